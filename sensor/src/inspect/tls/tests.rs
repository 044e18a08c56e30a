//! What hellos of all sorts say, sound and wrong, whole and cut off.

use std::slice::from_ref;

use proptest::prelude::*;

use super::written::{
    GREASE, PADDING, body, ech, extension, fields, hello, host_name, message, post_quantum_key_share, record,
    records, server_name, sized, sized_as,
};
use super::{Hello, Payload, inspect};

const POOL: &str = "pool.example";

fn read_bytes(bytes: &[u8]) -> Option<Hello> {
    inspect(Payload { bytes, is_cut: false })
}

/// The server name, `-` where there is none; the ECH offer; what is wanted.
fn said(bytes: &[u8]) -> String {
    let Some(hello) = read_bytes(bytes) else { return "nothing".to_owned() };
    let name = hello.server_name.map_or("-".to_owned(), |name| name.to_string());
    format!(
        "{name}{}{}",
        if hello.has_ech { " ech" } else { "" },
        match hello.wanted {
            0 => String::new(),
            wanted => format!(" {wanted} wanted"),
        }
    )
}

fn grease() -> Vec<u8> {
    extension(GREASE, &[0])
}

/// Hellos of all sorts, all of them sound.
fn sound() -> Vec<(&'static str, Vec<u8>, &'static str)> {
    let padding = || extension(PADDING, &[0; 200]);
    vec![
        ("name first", hello(&[server_name(POOL), padding()]), POOL),
        ("name last", hello(&[padding(), server_name(POOL)]), POOL),
        ("upper case", hello(&[server_name("Pool.EXAMPLE")]), POOL),
        ("GREASE around it", hello(&[grease(), server_name(POOL), extension(0xfafa, &[])]), POOL),
        ("a post-quantum key share before it", hello(&[post_quantum_key_share(), server_name(POOL)]), POOL),
        (
            "and 2 KiB more",
            hello(&[post_quantum_key_share(), extension(PADDING, &[0; 2048]), server_name(POOL)]),
            POOL,
        ),
        ("ECH behind it", hello(&[server_name(POOL), ech()]), "pool.example ech"),
        ("ECH before it", hello(&[ech(), server_name(POOL)]), "pool.example ech"),
        ("ECH without name", hello(&[ech()]), "- ech"),
        ("no name", hello(&[grease(), padding()]), "-"),
        ("an empty list of extensions", hello(&[]), "-"),
        ("no extensions", record(&message(&fields())), "-"),
        ("two records", records(&message(&body(&[grease(), server_name(POOL)])), 100), POOL),
        (
            "records of one byte",
            records(&message(&body(&[grease(), server_name(POOL), ech()])), 1),
            "pool.example ech",
        ),
        (
            "more than one record holds",
            records(&message(&body(&[extension(PADDING, &[0; 20_000]), server_name(POOL)])), 1 << 14),
            POOL,
        ),
    ]
}

#[test]
fn a_hello_tells_its_server_name() {
    for (what, bytes, expected) in sound() {
        assert_eq!(said(&bytes), expected, "{what}");
        assert_eq!(
            said(&[&bytes[..], &record(b"more")].concat()),
            expected,
            "{what}, and something behind it"
        );
    }
}

#[test]
fn a_hello_cut_off_says_only_what_the_whole_says_and_how_much_is_missing() {
    for (what, bytes, _) in sound() {
        let whole = read_bytes(&bytes).unwrap();
        let mut before = Hello { wanted: usize::MAX, ..Hello::default() };
        for cut in 0..bytes.len() {
            let hello = read_bytes(&bytes[..cut]).unwrap();
            assert!(hello.wanted > 0 && hello.wanted <= bytes.len() - cut, "{what} cut at {cut}: {hello:?}");
            assert!(
                hello.server_name.is_none() || hello.server_name == whole.server_name,
                "{what} cut at {cut}"
            );
            assert!(!hello.has_ech || whole.has_ech, "{what} cut at {cut}");
            // What was certain stays so.
            assert!(
                before.server_name.is_none() || hello.server_name == before.server_name,
                "{what} cut at {cut}"
            );
            before = hello;
        }
        assert_eq!(whole.wanted, 0, "{what}");
    }
}

#[test]
fn what_is_wanted_of_one_record_is_exact() {
    let bytes = hello(&[server_name(POOL), extension(PADDING, &[0; 500])]);
    // Once the message's length is known.
    for cut in 9..bytes.len() {
        assert_eq!(read_bytes(&bytes[..cut]).unwrap().wanted, bytes.len() - cut, "cut at {cut}");
    }
    let behind_name = bytes.len() - 504;
    assert_eq!(said(&bytes[..behind_name]), "pool.example 504 wanted");
    assert_eq!(said(&bytes[..behind_name - 1]), "- 505 wanted");
}

#[test]
fn what_is_no_host_name_is_not_told() {
    let list = |entries: &[Vec<u8>]| hello(&[extension(0, &sized(2, &entries.concat())), ech()]);
    let cases = [
        ("an empty name", list(&[host_name("")])),
        ("an empty list", list(&[])),
        ("an empty extension", hello(&[extension(0, &[]), ech()])),
        ("two names", list(&[host_name(POOL), host_name("other.example")])),
        ("another kind of name", list(&[[&[1], &sized(2, POOL.as_bytes())[..]].concat()])),
        ("an address", list(&[host_name("192.0.2.1")])),
        ("an IPv6 address", list(&[host_name("2001:db8::1")])),
        ("control bytes", list(&[host_name("pool\n.example")])),
        ("a name of 300 bytes", list(&[host_name(&"a.".repeat(150))])),
        (
            "a name longer than its list",
            hello(&[extension(0, &sized(2, &[&[0], &sized_as(2, 40, POOL.as_bytes())[..]].concat())), ech()]),
        ),
        (
            "a name shorter than its list",
            hello(&[extension(0, &sized(2, &[&[0], &sized_as(2, 4, POOL.as_bytes())[..]].concat())), ech()]),
        ),
        (
            "a list longer than its extension",
            hello(&[extension(0, &sized_as(2, 90, &host_name(POOL))), ech()]),
        ),
        (
            "a list shorter than its extension",
            hello(&[extension(0, &sized_as(2, 3, &host_name(POOL))), ech()]),
        ),
    ];
    for (what, bytes) in cases {
        assert_eq!(said(&bytes), "- ech", "{what}");
    }
    assert_eq!(
        said(&hello(&[server_name(POOL), server_name("other.example")])),
        POOL,
        "of two extensions the first"
    );
}

#[test]
fn lengths_that_lie_end_the_reading() {
    let name = server_name(POOL);
    let before_suites = 2 + 32 + 33;
    let lie = |at: usize, bytes: &[u8]| {
        let mut body = body(&[name.clone(), grease()]);
        body[at..at + bytes.len()].copy_from_slice(bytes);
        record(&message(&body))
    };
    let extensions_at = fields().len();
    let cases = [
        ("a session id beyond the hello", lie(34, &[255]), "-"),
        ("a session id of more than 32 bytes", lie(34, &[33]), "-"),
        ("cipher suites beyond the hello", lie(before_suites, &[255, 255]), "-"),
        ("compressions beyond the hello", lie(extensions_at - 2, &[255]), "-"),
        ("extensions beyond the hello", lie(extensions_at, &[1, 255]), "-"),
        ("extensions that end before the hello", lie(extensions_at, &[0, 4]), "-"),
        ("an extension beyond the extensions", lie(extensions_at + 4, &[255, 255]), "-"),
        (
            "a last extension beyond the extensions",
            record(&message(&body(&[
                name.clone(),
                [&GREASE.to_be_bytes(), &sized_as(2, 9, &[0])[..]].concat(),
            ]))),
            POOL,
        ),
        ("a byte behind the last extension", record(&message(&body(&[name.clone(), vec![0]]))), POOL),
        ("a hello of 16 MB", record(&[&[1], &sized_as(3, 0xff_ffff, &body(&[]))[..]].concat()), "nothing"),
        ("a hello of no bytes", record(&message(&[])), "nothing"),
        ("a record of no bytes", record(&[]), "nothing"),
        (
            "a record of 65,535 bytes",
            [&[22, 3, 1], &sized_as(2, 0xffff, &message(&body(&[])))[..]].concat(),
            "nothing",
        ),
        (
            "an alert between two records",
            [record(&message(&body(from_ref(&name)))[..100]), vec![21, 3, 1, 0, 2, 1, 0]].concat(),
            "-",
        ),
        (
            "an empty record between two",
            [record(&message(&body(from_ref(&name)))[..100]), record(&[])].concat(),
            "-",
        ),
    ];
    for (what, bytes, expected) in cases {
        assert_eq!(said(&bytes), expected, "{what}");
    }
}

#[test]
fn what_is_no_client_hello_says_nothing() {
    let server_hello = [&[2], &sized(3, &body(&[]))[..]].concat();
    let cases = [
        ("a ServerHello", record(&server_hello)),
        ("an alert", vec![21, 3, 3, 0, 2, 2, 40]),
        ("application data", [&[23, 3, 3], &sized(2, &[0; 64])[..]].concat()),
        ("a change of cipher spec", vec![20, 3, 3, 0, 1, 1]),
        (
            "a hello of SSL 2, which may offer later versions",
            [&[0x80, 46, 1, 3, 1, 0, 3, 0, 0, 0, 32][..], &[0; 35]].concat(),
        ),
        ("a version that there never was", vec![22, 4, 1, 0, 80, 1]),
        ("a request", b"GET / HTTP/1.1\r\n".to_vec()),
        ("a JSON line", b"{\"id\":1}\n".to_vec()),
        ("a datagram of DTLS", vec![22, 254, 253, 0, 0, 0, 0]),
    ];
    for (what, bytes) in cases {
        assert_eq!(said(&bytes), "nothing", "{what}");
    }
}

#[test]
fn a_few_bytes_may_become_a_hello() {
    assert_eq!(said(&[]), "- 9 wanted");
    assert_eq!(said(&[22, 3]), "- 7 wanted");
    assert_eq!(said(&[22, 3, 1, 2, 0, 1]), "- 3 wanted");
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        said(&bytes);
        said(&record(&message(&bytes)));
        said(&record(&message(&[fields(), bytes].concat())));
    }

    #[test]
    fn no_change_to_a_hello_makes_it_panic(
        which in 0..15_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let (_, mut bytes, _) = sound().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        said(&bytes);
        said(&bytes[..cut.index(bytes.len())]);
    }

    #[test]
    fn records_may_cut_a_hello_anywhere(sizes in prop::collection::vec(1..300_usize, 1..40)) {
        let whole = message(&body(&[grease(), extension(PADDING, &[0; 900]), server_name(POOL), ech()]));
        let mut rest = &whole[..];
        let mut bytes = Vec::new();
        for size in sizes.iter().cycle() {
            let (fragment, behind) = rest.split_at((*size).min(rest.len()));
            bytes.extend(record(fragment));
            rest = behind;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(said(&bytes), "pool.example ech");
    }
}
