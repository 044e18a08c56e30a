//! Whatever bytes come, from the wire or from a file: nothing that reads them panics, hangs or says
//! what cannot be. The entries are those of the fuzz targets in sensor/fuzz; here they run as bounded
//! property tests, on random bytes and on the seeds with a few bytes changed, moved or cut off.
//!
//! `POOLWATCH_FUZZ_SECONDS` lets each entry run so long instead of a fixed number of times.

#[path = "../fuzz/src/entries.rs"]
mod entries;
#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
#[path = "../fuzz/src/seeds.rs"]
mod seeds;

use std::path::Path;
use std::time::{Duration, Instant};

use entries::{ALL, Entry};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// What happens to a seed on its way.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Cut(Index),
    Remove(Index),
    Insert(Index, Vec<u8>),
    Repeat(Index, u8),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let at = |index: &Index| index.index(bytes.len() + 1);
        match self {
            Self::Set(index, byte) => {
                let at = at(index);
                if let Some(place) = bytes.get_mut(at) {
                    *place = *byte;
                }
            }
            Self::Cut(index) => bytes.truncate(at(index)),
            Self::Remove(index) => {
                let at = at(index);
                bytes.drain(at..(at + 4).min(bytes.len()));
            }
            Self::Insert(index, more) => {
                let at = at(index);
                bytes.splice(at..at, more.iter().copied());
            }
            Self::Repeat(index, times) => {
                let from = at(index);
                let part = bytes[from..(from + 64).min(bytes.len())].repeat(usize::from(*times));
                bytes.extend(part);
            }
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        1 => any::<Index>().prop_map(Change::Cut),
        1 => any::<Index>().prop_map(Change::Remove),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..9)).prop_map(|(at, more)| Change::Insert(at, more)),
        1 => (any::<Index>(), 1_u8..40).prop_map(|(at, times)| Change::Repeat(at, times)),
    ]
}

fn bytes(seeds: Vec<Vec<u8>>) -> impl Strategy<Value = Vec<u8>> {
    let changed = (select(seeds), prop::collection::vec(change(), 0..6)).prop_map(|(mut seed, changes)| {
        for change in &changes {
            change.apply(&mut seed);
        }
        seed
    });
    prop_oneof![9 => changed, 1 => prop::collection::vec(any::<u8>(), 0..600)]
}

/// Runs an entry a number of times, or for as long as was asked for.
fn run(entry: &Entry) {
    const CASES: u32 = 2000;
    let seconds = std::env::var("POOLWATCH_FUZZ_SECONDS");
    let seconds = seconds.map(|seconds| seconds.parse().expect("POOLWATCH_FUZZ_SECONDS is a number"));
    let end = seconds.map_or(Duration::ZERO, Duration::from_secs);
    let (start, strategy) = (Instant::now(), bytes((entry.seeds)()));
    let mut runs = 0;
    loop {
        let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
        let tested = TestRunner::new(config).run(&strategy, |bytes| {
            (entry.read)(&bytes);
            Ok(())
        });
        tested.unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        runs += CASES;
        if start.elapsed() >= end {
            break;
        }
    }
    println!("fuzz: {} executions {runs}", entry.name);
}

fn entry(name: &str) -> &'static Entry {
    ALL.iter().find(|entry| entry.name == name).expect("an entry")
}

#[test]
fn no_packets_break_the_classifier_or_the_sampler() {
    run(entry("classifier"));
}

#[test]
fn no_samples_break_the_verdicts() {
    run(entry("verdict"));
}

#[test]
fn no_bytes_break_the_reading_of_dns() {
    run(entry("dns"));
}

#[test]
fn no_bytes_break_the_reading_of_tls() {
    run(entry("tls"));
}

#[test]
fn no_bytes_break_the_reading_of_stratum() {
    run(entry("stratum"));
}

#[test]
fn no_bytes_break_the_reading_of_http() {
    run(entry("http"));
}

#[test]
fn no_bytes_break_the_reading_of_lists() {
    run(entry("lists"));
}

#[test]
fn no_bytes_break_the_reading_of_a_config() {
    run(entry("config"));
}

/// One folder an entry under sensor/fuzz/regressions; a file for each input that once broke something.
#[test]
fn what_once_broke_something_does_not_any_more() {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/regressions");
    for folder in std::fs::read_dir(regressions).expect("the regressions").map(|it| it.expect("a folder")) {
        if !folder.path().is_dir() {
            continue;
        }
        let name = folder.file_name().into_string().expect("an entry's name");
        for file in std::fs::read_dir(folder.path()).expect("a folder").map(|it| it.expect("a file")) {
            println!("{}", file.path().display());
            (entry(&name).read)(&std::fs::read(file.path()).expect("it can be read"));
        }
    }
}

#[test]
fn every_entry_has_seeds_and_reads_them() {
    for entry in &ALL {
        let seeds = (entry.seeds)();
        assert!(seeds.len() > 2, "{}", entry.name);
        for seed in &seeds {
            (entry.read)(seed);
        }
    }
}
