//! What messages of all sorts say, sound and wrong, whole and cut off.
//!
//! tidy: long because messages sound and broken stand in tables, to be read as one.

use proptest::prelude::*;

use super::written::{IN, Section, Written};
use super::{ADDRESSES_MAX, CHAIN_MAX, Message, Opcode, Outcome, Rcode, Rtype, messages};

const POOL: &str = "pool.example";
const EDGE: &str = "edge.cdn.example";
const V4: [u8; 4] = [192, 0, 2, 1];
const V6: &str = "2001:db8::1";

fn answer() -> Written {
    Written::answer(POOL, Rtype::A)
}

/// What a message says, as text: question; names; addresses with TTL; outcome.
fn said(bytes: &[u8]) -> String {
    let Some(message) = Message::read(bytes) else { return "nothing".to_owned() };
    let chain = message.chain();
    let names: Vec<_> = chain.names().map(|name| name.to_string()).collect();
    let addresses: Vec<_> = chain.addresses().map(|a| format!("{} {}", a.ip, a.ttl_s)).collect();
    let outcome = chain.outcome().map_or("-", Outcome::name);
    format!("{}; {}; {outcome}", names.join(" > "), addresses.join(", "))
}

#[test]
fn a_query_tells_its_question() {
    let cases = [
        ("a plain one", Written::query(POOL, Rtype::A)),
        ("with EDNS", Written::query(POOL, Rtype::A).edns(1232)),
        ("in mixed case (0x20)", Written::query("pOOl.eXaMPle", Rtype::A)),
    ];
    for (what, query) in cases {
        let bytes = query.bytes();
        let message = Message::read(&bytes).unwrap();
        assert_eq!(
            (message.id(), message.name().as_str(), message.qtype()),
            (0x1234, POOL, Rtype::A),
            "{what}"
        );
        assert!(!message.is_response() && !message.is_truncated() && message.is_internet(), "{what}");
        assert_eq!((message.opcode(), message.rcode()), (Opcode::QUERY, Rcode::NOERROR), "{what}");
        assert_eq!(said(&bytes), "pool.example; ; -", "{what}");
    }
}

#[test]
fn an_answer_tells_the_chain_its_addresses_and_what_it_comes_to() {
    let cases = [
        ("an address", answer().a(POOL, 60, V4), "pool.example; 192.0.2.1 60; address"),
        (
            "two, and EDNS",
            answer().a(POOL, 60, V4).a(POOL, 61, [192, 0, 2, 2]).edns(4096),
            "pool.example; 192.0.2.1 60, 192.0.2.2 61; address",
        ),
        (
            "IPv6",
            Written::answer(POOL, Rtype::AAAA).aaaa(POOL, 60, V6),
            "pool.example; 2001:db8::1 60; address",
        ),
        (
            "everything there is",
            Written::answer(POOL, Rtype::ANY).aaaa(POOL, 60, V6).a(POOL, 60, V4).record(
                POOL,
                Rtype::MX,
                9,
                b"m",
            ),
            "pool.example; 2001:db8::1 60, 192.0.2.1 60; address",
        ),
        (
            "an alias; the smallest TTL counts",
            answer().cname(POOL, 30, EDGE).a(EDGE, 60, V4).a(EDGE, 20, [192, 0, 2, 2]),
            "pool.example > edge.cdn.example; 192.0.2.1 30, 192.0.2.2 20; address",
        ),
        (
            "aliases of aliases",
            answer().cname(POOL, 300, "a.example").cname("a.example", 9, EDGE).a(EDGE, 60, V4),
            "pool.example > a.example > edge.cdn.example; 192.0.2.1 9; address",
        ),
        (
            "the same in the wrong order",
            answer().a(EDGE, 60, V4).cname("b.example", 9, EDGE).cname("a.example", 8, "b.example").cname(
                POOL,
                300,
                "a.example",
            ),
            "pool.example > a.example > b.example > edge.cdn.example; 192.0.2.1 8; address",
        ),
        (
            "cases that differ from record to record",
            answer().cname("POOL.example", 30, "Edge.CDN.example").a("eDGE.cdn.example", 60, V4),
            "pool.example > edge.cdn.example; 192.0.2.1 30; address",
        ),
        (
            "underscores",
            Written::answer("_stratum._tcp.pool.example", Rtype::A).a("_stratum._tcp.pool.example", 60, V4),
            "_stratum._tcp.pool.example; 192.0.2.1 60; address",
        ),
    ];
    for (what, message, expected) in cases {
        assert_eq!(said(&message.bytes()), expected, "{what}");
    }
}

#[test]
fn what_gives_no_address_tells_why_where_it_is_certain() {
    let cases = [
        (
            "no such name",
            answer().rcode(Rcode::NXDOMAIN).section(Section::Authority).soa("example"),
            "pool.example; ; nxdomain",
        ),
        (
            "an alias for no such name",
            answer().rcode(Rcode::NXDOMAIN).cname(POOL, 30, EDGE).section(Section::Authority).soa("example"),
            "pool.example > edge.cdn.example; ; nxdomain",
        ),
        (
            "no such name, and yet an address",
            answer().rcode(Rcode::NXDOMAIN).a(POOL, 60, V4),
            "pool.example; ; nxdomain",
        ),
        (
            "a name without address",
            answer().section(Section::Authority).soa("example"),
            "pool.example; ; none",
        ),
        (
            "an alias without address",
            answer().cname(POOL, 30, EDGE),
            "pool.example > edge.cdn.example; ; none",
        ),
        (
            "text",
            Written::answer(POOL, Rtype::TXT).record(POOL, Rtype::TXT, 60, b"\x02hi"),
            "pool.example; ; none",
        ),
        ("a failure", answer().rcode(Rcode::SERVFAIL), "pool.example; ; -"),
        ("refused", answer().rcode(Rcode::REFUSED), "pool.example; ; -"),
        ("truncated", answer().truncated().a(POOL, 60, V4), "pool.example; ; -"),
        ("a notification", answer().opcode(Opcode::NOTIFY).a(POOL, 60, V4), "pool.example; ; -"),
        ("a query that answers itself", Written::query(POOL, Rtype::A).a(POOL, 60, V4), "pool.example; ; -"),
        (
            "another class",
            Written::header(0x8180).question(POOL, Rtype::A, 3).a(POOL, 60, V4),
            "pool.example; ; -",
        ),
        (
            "a record of another class",
            answer().record_by(POOL, Rtype::A, 3, 60, |message| message.u16(9)),
            "pool.example; ; none",
        ),
        (
            "addresses of others",
            answer().a("bank.example", 60, [198, 51, 100, 1]).a("sub.pool.example", 60, V4),
            "pool.example; ; none",
        ),
        ("an address that was not asked for", answer().aaaa(POOL, 60, V6), "pool.example; ; none"),
        (
            "an address outside the answer section",
            answer().section(Section::Additional).a(POOL, 60, V4),
            "pool.example; ; none",
        ),
        (
            "two aliases of one name: the first counts",
            answer().cname(POOL, 30, EDGE).cname(POOL, 30, "b.example").a("b.example", 60, V4),
            "pool.example > edge.cdn.example; ; none",
        ),
        (
            "a TTL with the highest bit set",
            answer().a(POOL, 0x8000_0001, V4),
            "pool.example; 192.0.2.1 0; address",
        ),
        ("the root", Written::answer("", Rtype::A).a("", 60, V4), "; 192.0.2.1 60; address"),
    ];
    for (what, message, expected) in cases {
        assert_eq!(said(&message.bytes()), expected, "{what}");
    }
}

#[test]
fn hints_of_https_records_are_addresses_where_they_were_asked_for() {
    let https = || Written::answer(POOL, Rtype::HTTPS);
    let cases = [
        (
            "both families",
            https().https(POOL, 1, &[V4, [192, 0, 2, 2]], &[V6]),
            "pool.example; 192.0.2.1 300, 192.0.2.2 300, 2001:db8::1 300; address",
        ),
        (
            "at an alias",
            https().cname(POOL, 30, EDGE).https(EDGE, 1, &[V4], &[]),
            "pool.example > edge.cdn.example; 192.0.2.1 30; address",
        ),
        ("in alias mode they mean nothing", https().https(POOL, 0, &[V4], &[]), "pool.example; ; none"),
        ("none", https().https(POOL, 1, &[], &[]), "pool.example; ; none"),
        ("unasked", answer().https(POOL, 1, &[V4], &[]), "pool.example; ; none"),
        (
            "a hint beyond the record",
            https().record(POOL, Rtype::HTTPS, 60, &[0, 1, 0, 0, 4, 0, 8, 192, 0, 2, 1]),
            "pool.example; ; none",
        ),
    ];
    for (what, message, expected) in cases {
        assert_eq!(said(&message.bytes()), expected, "{what}");
    }
}

#[test]
fn an_answer_of_nothing_but_sinkholes_is_a_sinkhole() {
    let cases = [
        ("0.0.0.0", answer().a(POOL, 60, [0, 0, 0, 0]), Outcome::Sinkhole),
        ("loopback", answer().a(POOL, 60, [127, 0, 0, 53]), Outcome::Sinkhole),
        ("broadcast", answer().a(POOL, 60, [255; 4]), Outcome::Sinkhole),
        ("two of them", answer().a(POOL, 60, [0; 4]).a(POOL, 60, [127, 0, 0, 1]), Outcome::Sinkhole),
        ("behind an alias", answer().cname(POOL, 60, EDGE).a(EDGE, 60, [0; 4]), Outcome::Sinkhole),
        ("one of them and an address", answer().a(POOL, 60, [0; 4]).a(POOL, 60, V4), Outcome::Address),
        ("a private address", answer().a(POOL, 60, [10, 0, 0, 1]), Outcome::Address),
    ];
    let v6 = [
        ("::", Outcome::Sinkhole),
        ("::1", Outcome::Sinkhole),
        ("::ffff:0.0.0.0", Outcome::Sinkhole),
        ("64:ff9b::127.0.0.1", Outcome::Sinkhole),
        ("100::1", Outcome::Sinkhole),
        ("::2", Outcome::Address),
        ("64:ff9b::192.0.2.1", Outcome::Address),
        (V6, Outcome::Address),
    ]
    .map(|(ip, outcome)| (ip, Written::answer(POOL, Rtype::AAAA).aaaa(POOL, 60, ip), outcome));
    for (what, message, expected) in cases.into_iter().chain(v6) {
        let bytes = message.bytes();
        assert_eq!(Message::read(&bytes).unwrap().chain().outcome(), Some(expected), "{what}");
    }
}

/// `links` aliases from the pool on, and an address at the end, backwards if told so.
fn chain_of(links: usize, backwards: bool) -> Vec<u8> {
    let name = |n: usize| if n == 0 { POOL.to_owned() } else { format!("n{n}.example") };
    let mut order: Vec<_> = (0..links).collect();
    if backwards {
        order.reverse();
    }
    let message = order.iter().fold(answer(), |message, n| message.cname(&name(*n), 60, &name(n + 1)));
    message.a(&name(links), 60, V4).bytes()
}

#[test]
fn a_chain_is_followed_so_far_and_no_farther() {
    for backwards in [false, true] {
        let bytes = chain_of(CHAIN_MAX, backwards);
        let chain = Message::read(&bytes).unwrap().chain();
        assert_eq!((chain.names().count(), chain.outcome()), (CHAIN_MAX + 1, Some(Outcome::Address)));
        let bytes = chain_of(CHAIN_MAX + 1, backwards);
        let chain = Message::read(&bytes).unwrap().chain();
        assert_eq!((chain.names().count(), chain.outcome()), (CHAIN_MAX + 1, None));
        assert_eq!(chain.addresses().count(), 0);
    }
}

#[test]
fn a_chain_that_bites_its_tail_leads_nowhere() {
    let cases = [
        ("itself", answer().cname(POOL, 60, POOL).a(POOL, 60, V4), "pool.example; ; none"),
        (
            "each other",
            answer().cname(POOL, 60, EDGE).cname(EDGE, 60, "Pool.example").a(EDGE, 60, V4),
            "pool.example > edge.cdn.example; ; none",
        ),
    ];
    for (what, message, expected) in cases {
        assert_eq!(said(&message.bytes()), expected, "{what}");
    }
}

#[test]
fn no_more_addresses_are_given_than_the_limit() {
    let message = (0..100).fold(answer(), |message, n| message.a(POOL, 60, [192, 0, 2, n]));
    let bytes = message.bytes();
    let chain = Message::read(&bytes).unwrap().chain();
    assert_eq!((chain.addresses().count(), chain.outcome()), (ADDRESSES_MAX, Some(Outcome::Address)));
}

#[test]
fn names_keep_what_they_may_be_compared_by() {
    let label = "a".repeat(63);
    let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
    let cases = [
        ("labels of 63 bytes, 255 in all", longest.as_str(), longest.as_str()),
        ("bytes that no watched name holds", "p\u{e9}l *\0\n\\.example", "p??l?????.example"),
    ];
    for (what, name, expected) in cases {
        let bytes = Written::answer(name, Rtype::A).a(name, 60, V4).bytes();
        assert_eq!(said(&bytes), format!("{expected}; 192.0.2.1 60; address"), "{what}");
    }
    // A dot within a label ends no label.
    let bytes = Written::header(0x0100)
        .announcing(Section::Question, 1)
        .raw(b"\x0ex.pool\x07example\x00\x00\x01\x00\x01")
        .bytes();
    assert_eq!(said(&bytes), "x?pool?example; ; -");
}

#[test]
fn questions_that_cannot_be_read_say_nothing() {
    let label = [&[63_u8][..], &[b'a'; 63]].concat();
    let behind = [0, 0, 1, 0, 1];
    let asking =
        |name: &[u8]| Written::header(0x0100).announcing(Section::Question, 1).raw(name).raw(&behind);
    let cases = [
        ("no question", Written::header(0x8180).a(POOL, 60, V4)),
        ("two questions", Written::query(POOL, Rtype::A).question(EDGE, Rtype::A, IN)),
        ("a question that is not there", Written::header(0x0100).announcing(Section::Question, 1)),
        ("a pointer to itself", asking(&[0xc0, 12])),
        ("a pointer forward", asking(&[0xc0, 14])),
        ("a pointer into the header", asking(&[0xc0, 4])),
        ("a pointer into the header behind a label", asking(&[1, b'a', 0xc0, 4])),
        ("a pointer back to its own label", asking(&[1, b'a', 0xc0, 12])),
        ("a name of 256 bytes", asking(&[&label[..], &label, &label, &[62], &[b'b'; 62]].concat())),
        ("a label of a type that was never used (RFC 6891 5)", asking(&[0x41, 1, 2, 3])),
    ];
    for (what, message) in cases {
        assert_eq!(said(&message.bytes()), "nothing", "{what}");
    }
}

#[test]
fn wrong_records_end_the_reading_and_what_came_before_them_counts() {
    let with = answer().a(POOL, 60, V4);
    let here = u16::try_from(with.len()).unwrap();
    let pointing =
        |to: u16| with.clone().announcing(Section::Answer, 2).raw(&(0xc000 | to).to_be_bytes()).raw(&[0; 10]);
    let alone = |data: &[u8]| answer().record(POOL, Rtype::A, 60, data);
    let address = "pool.example; 192.0.2.1 60; address";
    let cases = [
        ("an owner that points to itself", pointing(here), address),
        ("an owner that points forward", pointing(here + 4), address),
        ("an owner beyond the message", pointing(0x3fff), address),
        ("records that are announced only", with.clone().announcing(Section::Answer, 0xffff), address),
        (
            "fewer announced than there are",
            with.clone().a(POOL, 1, V4).announcing(Section::Answer, 1),
            address,
        ),
        ("none announced", with.clone().announcing(Section::Answer, 0), "pool.example; ; none"),
        ("only announced", answer().announcing(Section::Answer, 2), "pool.example; ; -"),
        ("an address of 3 bytes", alone(&[192, 0, 2]), "pool.example; ; none"),
        ("an address of 5 bytes", alone(&[192, 0, 2, 1, 9]), "pool.example; ; none"),
        ("an address of no bytes", alone(&[]), "pool.example; ; none"),
        (
            "data beyond the message",
            answer()
                .announcing(Section::Answer, 1)
                .raw(b"\xc0\x0c\x00\x01\x00\x01\0\0\0\x3c\x00\x05\xc0\x00\x02\x01"),
            "pool.example; ; -",
        ),
        (
            "an alias with bytes behind its target",
            answer().record(POOL, Rtype::CNAME, 60, &[0xc0, 12, 0]),
            "pool.example; ; none",
        ),
        (
            "an alias whose target points forward",
            answer().record(POOL, Rtype::CNAME, 60, &[0xc0, 0xff]),
            "pool.example; ; none",
        ),
    ];
    for (what, message, expected) in cases {
        assert_eq!(said(&message.bytes()), expected, "{what}");
    }
}

#[test]
fn pointers_by_the_hundred_end() {
    // Each points to the one before it; the first to the question's name.
    let first = answer().len() + 12;
    let mut pointers = vec![0xc0, 12];
    for at in (first..).step_by(2).take(600) {
        pointers.extend((0xc000 | u16::try_from(at).unwrap()).to_be_bytes());
    }
    let mut message = answer().record(POOL, Rtype::NULL, 0, &pointers);
    let last = u16::try_from(message.len() - 2).unwrap();
    for _ in 0..100 {
        message =
            message.raw(&(0xc000 | last).to_be_bytes()).raw(b"\x00\x05\x00\x01\0\0\0\x3c\x00\x02\xc0\x0c");
    }
    assert_eq!(said(&message.announcing(Section::Answer, 101).bytes()), "pool.example; ; -");
}

/// Messages of all sorts, of which each address and name is certain once it was read.
fn sound() -> Vec<Vec<u8>> {
    vec![
        Written::query(POOL, Rtype::A).edns(1232).bytes(),
        answer().cname(POOL, 30, EDGE).a(EDGE, 60, V4).a(EDGE, 20, [192, 0, 2, 2]).edns(4096).bytes(),
        answer().a(EDGE, 60, V4).cname("a.example", 9, EDGE).cname(POOL, 300, "a.example").bytes(),
        answer().a(POOL, 60, [0; 4]).a(POOL, 60, V4).bytes(),
        answer().rcode(Rcode::NXDOMAIN).section(Section::Authority).soa("example").bytes(),
        Written::answer(POOL, Rtype::HTTPS).https(POOL, 1, &[V4], &[V6]).bytes(),
        chain_of(CHAIN_MAX + 1, true),
    ]
}

#[test]
fn what_is_cut_off_says_nothing_that_the_whole_does_not_say() {
    for whole in sound() {
        let of_whole = Message::read(&whole).unwrap();
        let names: Vec<_> = of_whole.chain().names().collect();
        let addresses: Vec<_> = of_whole.chain().addresses().map(|address| address.ip).collect();
        for cut in 0..whole.len() {
            let Some(message) = Message::read(&whole[..cut]) else { continue };
            let chain = message.chain();
            assert_eq!((message.id(), message.name()), (of_whole.id(), of_whole.name()), "cut at {cut}");
            assert!(names.starts_with(&chain.names().collect::<Vec<_>>()), "cut at {cut}");
            let said: Vec<_> = chain.addresses().map(|address| address.ip).collect();
            assert!(addresses.starts_with(&said), "cut at {cut}");
            let outcome = chain.outcome();
            assert!(outcome.is_none() || outcome == of_whole.chain().outcome(), "cut at {cut}: {outcome:?}");
        }
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        said(&bytes);
        messages(&bytes).for_each(|message| { said(message); });
    }

    #[test]
    fn no_change_to_a_message_makes_it_panic(
        which in 0..7_usize,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = sound().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        said(&bytes);
        said(&bytes[..cut.index(bytes.len())]);
    }
}
