//! Everything that reads bytes from strangers, one entry each: none may panic, hang, or say what
//! cannot be. Used by libFuzzer's targets and by the property tests alike.

use std::cell::RefCell;
use std::path::Path;

use sensor::config::Config;
use sensor::inspect::{ABOUT_MAX, Mining, Payload, dns, getwork, stratum, tls};
use sensor::verdict::{Finding, Known, Sample, Verdicts, Watching, World};
use sensor::watchlists::{Compiled, Entries, Watchlists};
use sensor_ebpf::abi::{
    Address, Direction, EndpointKey, FlowKey, Judged, Learned, SAMPLE_RECORD_MAX, SAMPLE_TEXT_MAX,
    SampleHeader, SampleKind, Side, TargetSet, Transport, Version,
};
use sensor_ebpf::headers::Link;
use sensor_ebpf::packet::{Aggregate, Captured};

use super::packets::indicators;
use super::packets::samples::PLENTY;
use super::packets::sampling::Sampling;
use super::seeds;

pub struct Entry {
    pub name: &'static str,
    pub read: fn(&[u8]),
    pub seeds: fn() -> Vec<Vec<u8>>,
}

pub const ALL: [Entry; 8] = [
    Entry { name: "classifier", read: classifier, seeds: seeds::packets },
    Entry { name: "verdict", read: verdict, seeds: seeds::sessions },
    Entry { name: "dns", read: dns, seeds: seeds::dns },
    Entry { name: "tls", read: tls, seeds: seeds::tls },
    Entry { name: "stratum", read: stratum, seeds: seeds::lines },
    Entry { name: "http", read: http, seeds: seeds::http },
    Entry { name: "lists", read: lists, seeds: seeds::lists },
    Entry { name: "config", read: config, seeds: seeds::config },
];

/// Takes a byte that says how, a length of two bytes, and as many bytes as that says or there are.
fn chunks(mut bytes: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (head, rest) = bytes.split_at_checked(3)?;
        let len = usize::from(u16::from_be_bytes([head[1], head[2]])).min(rest.len());
        let (chunk, behind) = rest.split_at(len);
        bytes = behind;
        Some((head[0], chunk))
    })
}

/// Packets, one after another, through the classifier, the counts and the sampler.
pub fn classifier(bytes: &[u8]) {
    let sampling = Sampling::new(PLENTY);
    let tables = indicators();
    for (how, frame) in chunks(bytes) {
        let link = match how >> 1 & 3 {
            0 | 1 => Link::Ethernet,
            2 => Link::Ip,
            _ => Link::Ethertype { ethertype: 0x86dd, offset: 4 },
        };
        let len_bytes = u32::try_from(frame.len()).expect("of two bytes") + u32::from(how >> 3 & 7) * 100;
        let aggregate = Aggregate { segments: u32::from(how >> 6), segment_size: u32::from(how >> 6) * 700 };
        let packet = Captured { bytes: frame, len_bytes, aggregate };
        sampling.hear_packet(&packet, link, Direction::ALL[usize::from(how & 1)], &tables);
        for (header, payload) in sampling.taken.take() {
            let is_text = SampleKind::of(header.kind).expect("a kind").is_text();
            assert!(payload.len() <= if is_text { SAMPLE_TEXT_MAX } else { SAMPLE_RECORD_MAX });
            assert!(header.payload as usize >= payload.len());
            assert!(frame.windows(payload.len()).any(|window| window == payload), "a part of the frame");
        }
    }
}

/// A DNS message, and a stream of them.
pub fn dns(bytes: &[u8]) {
    message(bytes);
    let mut messages = dns::messages(bytes);
    for bytes in messages.by_ref() {
        message(bytes);
    }
    assert!(messages.rest().len() <= bytes.len());
}

fn message(bytes: &[u8]) {
    let Some(message) = dns::Message::read(bytes) else { return };
    assert!(message.name().as_str().len() <= dns::NAME_MAX);
    let chain = message.chain();
    assert!(chain.names().count() <= dns::CHAIN_MAX + 1);
    assert!(chain.addresses().count() <= dns::ADDRESSES_MAX);
    let has_address = chain.outcome() == Some(dns::Outcome::Address);
    assert!(!has_address || chain.addresses().next().is_some(), "an address outcome has an address");
}

/// A hello, and its beginnings.
pub fn tls(bytes: &[u8]) {
    for is_cut in [false, true] {
        let Some(hello) = tls::inspect(Payload { bytes, is_cut }) else { continue };
        if let Some(name) = hello.server_name {
            assert!(name.as_str().bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}

/// Lines between miners and pools.
pub fn stratum(bytes: &[u8]) {
    for is_cut in [false, true] {
        printable(stratum::inspect(Payload { bytes, is_cut }));
    }
}

/// Requests and answers.
pub fn http(bytes: &[u8]) {
    for is_cut in [false, true] {
        printable(getwork::inspect(Payload { bytes, is_cut }));
    }
}

/// What is kept of a stranger's words can be shown to people.
fn printable(mining: Option<Mining>) {
    let Some(Mining { about, .. }) = mining else { return };
    for text in [about.agent, about.coin, about.wallet, about.worker].into_iter().flatten() {
        assert!(
            text.len() <= ABOUT_MAX && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text:?}"
        );
    }
}

/// A list file of each kind.
pub fn lists(bytes: &[u8]) {
    thread_local! {
        static FILE: RefCell<Option<tempfile::NamedTempFile>> = const { RefCell::new(None) };
    }
    FILE.with_borrow_mut(|file| {
        let file = file.get_or_insert_with(file_in_memory);
        std::fs::write(file.path(), bytes).expect("it can be written");
        let path = file.path().display();
        for kind in ["prefixes", "endpoints", "domains"] {
            let text = format!(
                "[builtin]\nmining = false\ndprk = false\n[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\ntarget = \"t\"\npath = \"{path}\"\nkind = \"{kind}\"\n"
            );
            let config = Config::parse(Path::new("poolwatch.toml"), text).expect("a config");
            let Ok(lists) = Watchlists::load(&config) else { continue };
            let slot_of = |_: &str, _: &str| Some(0);
            // Refusals are answers, too.
            let _ = Compiled::new(&lists, &config.limits, slot_of);
            let _ = Watching::of(&lists, slot_of);
        }
    });
}

/// Where that is possible: a disk is slow to take a new file each time.
fn file_in_memory() -> tempfile::NamedTempFile {
    tempfile::NamedTempFile::new_in("/dev/shm").or_else(|_| tempfile::NamedTempFile::new()).expect("a file")
}

/// A config, and what it watches, without the files that it names and the lists of our own.
pub fn config(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(mut config) = Config::parse(Path::new("poolwatch.toml"), text.to_owned()) else { return };
    (config.builtin.mining, config.builtin.dprk) = (false, false);
    if config.watchlists.iter().all(|list| list.feeds.is_empty()) {
        // Refusals are answers, too.
        let _ = Watchlists::load(&config);
    }
}

/// Samples of a few connections, as the daemon hears them.
pub fn verdict(bytes: &[u8]) {
    thread_local! {
        static NOTHING: Compiled = Compiled::of(&Entries::default());
    }
    NOTHING.with(|tables| hear_all(bytes, tables));
}

fn hear_all(bytes: &[u8], tables: &Compiled) {
    let mut verdicts = Verdicts::new(true);
    let mut world = Fresh { tables, known: Known::new(1024, 1024) };
    let mut sequence = [[1_u32; 2]; 2];
    for (number, (how, payload)) in chunks(bytes).enumerate() {
        let (kind, direction, connection) = (how & 3, how >> 2 & 1, how >> 3 & 1);
        let payload = &payload[..payload.len().min(SAMPLE_RECORD_MAX)];
        let next = &mut sequence[usize::from(connection)][usize::from(direction)];
        let len = u32::try_from(payload.len()).expect("of two bytes");
        let is_udp = kind == SampleKind::Dns as u8 && how >> 4 & 1 == 0;
        let header = SampleHeader {
            at_ns: number as u64,
            key: FlowKey {
                remote: Address::v4(7),
                local: Address::v4(8),
                remote_port: if kind == SampleKind::Dns as u8 { 53 } else { 3333 },
                local_port: 40_000 + u16::from(connection),
                transport: if is_udp { Transport::Udp } else { Transport::Tcp } as u8,
                version: Version::V4 as u8,
                reserved: 0,
            },
            targets: TargetSet::EMPTY,
            sequence: *next,
            payload: len + u32::from(how >> 5 & 1),
            captured: u16::try_from(len).expect("of two bytes"),
            kind,
            direction,
            interface: 0,
        };
        *next = next.wrapping_add(header.payload).wrapping_add(u32::from(how >> 6));
        verdicts.hear(&Sample { header, payload }, &Watching::default(), &mut world, &mut |finding| {
            if let Finding::Answer(answer) = finding {
                panic!("{answer:?}: no name is watched");
            }
        });
    }
}

/// Lists nothing, and remembers what it is told.
struct Fresh<'a> {
    tables: &'a Compiled,
    known: Known,
}

impl World for Fresh<'_> {
    type Lists = Compiled;

    fn lists(&self) -> &Compiled {
        self.tables
    }

    fn known(&self) -> &Known {
        &self.known
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        self.known.learn(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        self.known.judge(key, judged)
    }

    fn opened(&self, _: &FlowKey) -> Option<(u64, Option<Side>)> {
        None
    }
}
