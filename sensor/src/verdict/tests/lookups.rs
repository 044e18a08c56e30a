//! What DNS teaches, and what it does not.

use std::net::IpAddr;

use sensor_ebpf::abi::Direction::{self, Egress, Ingress};
use sensor_ebpf::abi::{Address, EndpointKey};

use super::packets::build::{Frame, from};
use super::wire::{HOST, Wire};
use crate::inspect::dns::written::Written;
use crate::inspect::dns::{Outcome, Rcode, Rtype};
use crate::verdict::{Answer, Finding};

const SECOND_NS: u64 = 1_000_000_000;
const DAY_NS: u64 = 24 * 60 * 60 * SECOND_NS;
const SERVER: &str = "192.0.2.53";
const POOL: &str = "pool.supportxmr.com";
/// Its address.
const ADDRESS: [u8; 4] = [192, 0, 2, 80];

fn query() -> Written {
    Written::query(POOL, Rtype::A)
}

fn answer() -> Written {
    Written::answer(POOL, Rtype::A)
}

fn asked(message: Written) -> (Direction, Frame) {
    (Egress, from(HOST, SERVER).ports(40_000, 53).data(&message.bytes()))
}

fn answered(message: Written) -> (Direction, Frame) {
    (Ingress, from(SERVER, HOST).ports(53, 40_000).data(&message.bytes()))
}

impl Wire {
    fn dns(&mut self, packets: impl IntoIterator<Item = (Direction, Frame)>) -> Vec<Answer> {
        for (direction, frame) in packets {
            self.packet(direction, &frame);
        }
        let found = std::mem::take(&mut self.found);
        let answers = found.into_iter().map(|it| match it {
            Finding::Answer(answer) => answer,
            other => panic!("{other:?}"),
        });
        answers.collect()
    }

    /// Seconds for which an address is known, from now on.
    fn known_s(&self, ip: &str) -> Option<u64> {
        let (address, version) = Address::from_ip(ip.parse::<IpAddr>().expect("an address"));
        let key = EndpointKey { address, port: 0, version: version as u8, reserved: 0 };
        let learned = self.host.known.learned().get(&key)?;
        Some((learned.expires_ns - self.now_ns()).div_ceil(SECOND_NS))
    }
}

#[test]
fn the_answer_to_a_query_for_a_watched_name_teaches_its_addresses() {
    let mut wire = Wire::new();
    let message = answer().a(POOL, 300, ADDRESS).a(POOL, 300, [198, 51, 100, 3]);
    let told = wire.dns([asked(query()), answered(message)]);
    let [told] = &told[..] else { panic!("{told:?}") };
    assert_eq!((told.query.as_str(), told.outcome), (POOL, Outcome::Address));
    assert_eq!(wire.names(told.targets), ["mining/supportxmr"]);
    assert_eq!(told.addresses.len(), 2);
    assert_eq!(wire.known_s("192.0.2.80"), Some(300));
    assert_eq!(wire.known_s("198.51.100.3"), Some(300));
}

#[test]
fn over_ipv6_and_tcp_as_well_in_however_many_segments() {
    let [asked, given] = [
        Written::query(POOL, Rtype::AAAA),
        Written::answer(POOL, Rtype::AAAA).aaaa(POOL, 300, "2001:db8:7::7"),
    ]
    .map(|message| {
        let message = message.bytes();
        let len = u16::try_from(message.len()).expect("a message");
        [&len.to_be_bytes()[..], &message].concat()
    });
    for at in 1..given.len() {
        let mut wire = Wire::new();
        let (host, server) = ("2001:db8::1", "2001:db8:53::53");
        let out = from(host, server).ports(40_000, 53);
        let inn = |at: usize, bytes: &[u8]| {
            let sequence = 900 + u32::try_from(at).expect("an offset");
            (Ingress, from(server, host).ports(53, 40_000).ack(sequence, 1).data(bytes))
        };
        let told = wire.dns([
            (Egress, out.clone().ack(1, 1).data(&asked)),
            inn(0, &given[..at]),
            inn(at, &given[at..]),
        ]);
        assert_eq!(told.len(), 1, "split at {at}");
        assert_eq!(wire.known_s("2001:db8:7::7"), Some(300), "split at {at}");
    }
}

#[test]
fn several_messages_of_a_stream_are_each_heard_once() {
    let mut wire = Wire::new();
    let sized = |message: Written| {
        let bytes = message.bytes();
        [&u16::try_from(bytes.len()).expect("a message").to_be_bytes()[..], &bytes].concat()
    };
    let other = "gulf.moneroocean.stream";
    let queries = [sized(query()), sized(Written::query(other, Rtype::A))].concat();
    let given = [
        sized(answer().a(POOL, 300, ADDRESS)),
        sized(Written::answer(other, Rtype::A).a(other, 300, [198, 51, 100, 3])),
    ]
    .concat();
    let (first, second) = given.split_at(given.len() / 2 + 20);
    let inn =
        |sequence, bytes: &[u8]| (Ingress, from(SERVER, HOST).ports(53, 40_000).ack(sequence, 1).data(bytes));
    let told = wire.dns([
        (Egress, from(HOST, SERVER).ports(40_000, 53).ack(1, 1).data(&queries)),
        inn(1, first),
        inn(1 + u32::try_from(first.len()).expect("a segment"), second),
    ]);
    let names: Vec<_> = told.iter().map(|it| it.query.as_str()).collect();
    assert_eq!(names, [POOL, other]);
}

#[test]
fn messages_that_were_heard_are_not_heard_again_with_the_end_of_the_next() {
    let mut wire = Wire::new();
    let sized = |message: Written| {
        let bytes = message.bytes();
        [&u16::try_from(bytes.len()).expect("a message").to_be_bytes()[..], &bytes].concat()
    };
    let (asked, given) = (sized(query()).repeat(2), sized(answer().a(POOL, 300, ADDRESS)).repeat(2));
    let at = |len: usize| 1 + u32::try_from(len).expect("an offset");
    let out = |from_byte: usize, to: usize| {
        (Egress, from(HOST, SERVER).ports(40_000, 53).ack(at(from_byte), 1).data(&asked[from_byte..to]))
    };
    let inn = |from_byte: usize, to: usize| {
        (Ingress, from(SERVER, HOST).ports(53, 40_000).ack(at(from_byte), 1).data(&given[from_byte..to]))
    };
    let (half, middle) = (asked.len() / 2 + 9, given.len() / 2 + 9);
    let told = wire.dns([out(0, half), inn(0, middle), out(half, asked.len()), inn(middle, given.len())]);
    assert_eq!(told.len(), 2, "one for each query");
}

#[test]
fn what_belongs_to_no_query_of_this_host_teaches_nothing() {
    let good = || answer().a(POOL, 300, ADDRESS);
    let with_id = |id: u16| {
        let mut bytes = good().bytes();
        bytes[..2].copy_from_slice(&id.to_be_bytes());
        bytes
    };
    let from_server = |bytes: &[u8]| (Ingress, from(SERVER, HOST).ports(53, 40_000).data(bytes));
    let other = "xmr.nanopool.org";
    for (what, packets) in [
        ("an answer without a query", vec![answered(good())]),
        ("another number", vec![asked(query()), from_server(&with_id(0x1235))]),
        (
            "another name",
            vec![asked(query()), answered(Written::answer(other, Rtype::A).a(other, 300, ADDRESS))],
        ),
        (
            "another server",
            vec![asked(query()), (Ingress, from("192.0.2.54", HOST).ports(53, 40_000).data(&good().bytes()))],
        ),
        (
            "another port",
            vec![asked(query()), (Ingress, from(SERVER, HOST).ports(53, 40_001).data(&good().bytes()))],
        ),
        (
            "an answer that leaves this host",
            vec![asked(query()), (Egress, from(HOST, SERVER).ports(40_000, 53).data(&good().bytes()))],
        ),
        (
            "a query of another host",
            vec![(Ingress, from(SERVER, HOST).ports(53, 40_000).data(&query().bytes())), answered(good())],
        ),
        (
            "a query over another transport",
            vec![
                (Egress, from(HOST, SERVER).ports(40_000, 53).ack(1, 1).data(&query().bytes())),
                answered(good()),
            ],
        ),
    ] {
        let mut wire = Wire::new();
        assert_eq!(wire.dns(packets), [], "{what}");
        assert!(wire.host.known.is_empty(), "{what}");
    }
}

#[test]
fn an_answer_counts_within_ten_seconds_and_once() {
    for (seconds, counts) in [(9, true), (11, false)] {
        let mut wire = Wire::new();
        wire.dns([asked(query())]);
        wire.wait(seconds);
        let told = wire
            .dns([answered(answer().a(POOL, 300, ADDRESS)), answered(answer().a(POOL, 300, [1, 2, 3, 4]))]);
        assert_eq!(told.len(), usize::from(counts), "after {seconds} s");
        assert_eq!(wire.known_s("192.0.2.80").is_some(), counts, "after {seconds} s");
        assert_eq!(wire.known_s("1.2.3.4"), None, "the second answer is nobody's");
    }
}

#[test]
fn a_forgery_before_the_answer_does_not_use_the_query_up() {
    let mut wire = Wire::new();
    let other = "xmr.nanopool.org";
    let told = wire.dns([
        asked(query()),
        answered(Written::answer(other, Rtype::A).a(other, 300, [1, 2, 3, 4])),
        answered(answer().a(POOL, 300, ADDRESS)),
    ]);
    assert_eq!(told.len(), 1);
}

#[test]
fn the_letters_case_in_the_answer_is_not_the_querys() {
    let mut wire = Wire::new();
    let mixed = "pOoL.SupportXMR.com";
    let told = wire.dns([asked(Written::query(mixed, Rtype::A)), answered(answer().a(POOL, 300, ADDRESS))]);
    assert_eq!(told.len(), 1);
}

#[test]
fn a_chain_of_aliases_is_followed_from_a_watched_name_and_to_one() {
    let cdn = "edge.cdn.example";
    for (what, asked_for, alias) in [("from one", POOL, cdn), ("to one", cdn, POOL)] {
        let mut wire = Wire::new();
        let message = Written::answer(asked_for, Rtype::A).cname(asked_for, 60, alias).a(alias, 300, ADDRESS);
        let told = wire.dns([asked(Written::query(asked_for, Rtype::A)), answered(message)]);
        assert_eq!(told.len(), 1, "{what}");
        assert_eq!(wire.names(told[0].targets), ["mining/supportxmr"], "{what}");
        let [(_, indicator)] = &told[0].indicators[..] else { panic!("{what}: {told:?}") };
        assert_eq!(indicator, "supportxmr.com", "{what}: that of the list, whichever name was asked for");
        assert!(wire.known_s("192.0.2.80").is_some(), "{what}");
    }
}

#[test]
fn an_address_is_known_for_a_minute_at_least_and_for_a_day_at_most() {
    for (ttl_s, known_s) in
        [(0, 60), (59, 60), (61, 61), (86_399, 86_399), (86_401, 86_400), (u32::MAX >> 1, 86_400)]
    {
        let mut wire = Wire::new();
        wire.dns([asked(query()), answered(answer().a(POOL, ttl_s, ADDRESS))]);
        assert_eq!(wire.known_s("192.0.2.80"), Some(known_s), "{ttl_s} s");
    }
    assert_eq!(DAY_NS / SECOND_NS, 86_400);
}

#[test]
fn private_and_allowed_addresses_are_told_and_never_learned() {
    for (what, ip) in [
        ("RFC 1918", [10, 1, 2, 3]),
        ("RFC 1918", [172, 20, 1, 1]),
        ("RFC 1918", [192, 168, 1, 1]),
        ("link-local", [169, 254, 1, 1]),
        ("shared by a carrier's customers", [100, 64, 0, 1]),
        ("multicast", [224, 0, 0, 1]),
        ("allowed", [203, 0, 113, 9]),
    ] {
        let mut wire = Wire::with("[allow]\nprefixes = [\"203.0.113.0/24\"]\n");
        let told = wire.dns([asked(query()), answered(answer().a(POOL, 300, ip))]);
        assert_eq!(told.len(), 1, "{what}");
        assert!(wire.host.known.is_empty(), "{what}: {ip:?}");
    }
    for ip in ["fe80::1", "fd00::1", "ff02::1"] {
        let mut wire = Wire::new();
        wire.dns([
            asked(Written::query(POOL, Rtype::AAAA)),
            answered(Written::answer(POOL, Rtype::AAAA).aaaa(POOL, 300, ip)),
        ]);
        assert!(wire.host.known.is_empty(), "{ip}");
    }
}

#[test]
fn an_answer_without_an_address_is_told_as_what_it_is() {
    for (what, message, outcome) in [
        ("no such name", answer().rcode(Rcode::NXDOMAIN), Outcome::NxDomain),
        ("no address", answer(), Outcome::NoAddress),
        ("a filter's answer", answer().a(POOL, 300, [0, 0, 0, 0]), Outcome::Sinkhole),
        ("a filter's answer at home", answer().a(POOL, 300, [127, 0, 0, 1]), Outcome::Sinkhole),
    ] {
        let mut wire = Wire::new();
        let told = wire.dns([asked(query()), answered(message)]);
        assert_eq!(told.iter().map(|it| it.outcome).collect::<Vec<_>>(), [outcome], "{what}");
        assert!(told[0].addresses.is_empty() && wire.host.known.is_empty(), "{what}");
    }
}

#[test]
fn names_that_nobody_watches_and_allowed_ones_are_not_told() {
    let other = "www.example";
    let mut wire = Wire::with("[allow]\ndomains = [\"supportxmr.com\"]\n");
    for name in [other, POOL] {
        let message = Written::answer(name, Rtype::A).a(name, 300, ADDRESS);
        assert_eq!(wire.dns([asked(Written::query(name, Rtype::A)), answered(message)]), [], "{name}");
    }
    assert!(wire.host.known.is_empty());
}

#[test]
fn an_address_that_a_list_has_concerns_both() {
    let mut wire = Wire::new();
    let told = wire.dns([asked(query()), answered(answer().a(POOL, 300, [175, 45, 176, 9]))]);
    assert_eq!(told.len(), 1);
    let learned: Vec<_> = wire.host.known.learned().values().map(|it| it.targets).collect();
    let mut names = wire.names(learned[0]);
    names.sort();
    assert_eq!(names, ["dprk/star-kp", "mining/supportxmr"]);
}
