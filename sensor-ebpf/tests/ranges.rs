//! The search, in tables that are made here word by word as its header says, and in tables that a
//! disturbed mind wrote: it finds what is there, it ends, and it reads nothing outside of them.

use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use sensor_ebpf::abi::{Address, TargetSet, Version};
use sensor_ebpf::ranges::{
    Found, Generation, HAS_PORTS, NOTHING, V4_INDEX, V4_INDEX_WORDS, V4_RANGES, V6_HEADER, find, pack,
};

const PLAIN: u32 = V4_RANGES;
const PORTS: u32 = (V4_RANGES + 1) | HAS_PORTS;

fn set(slot: u32) -> TargetSet {
    TargetSet::of([slot]).expect("one slot")
}

/// Tables of these ranges, whose answers are [`NOTHING`], [`PLAIN`] (slot 1) or [`PORTS`] (slot 2,
/// and 4, 5 and 6 on ports 80, 443 and 3333).
fn tables(v4: &[(u32, u32)], v6: &[(u128, u32)]) -> Vec<u64> {
    let mut words = vec![0; V4_RANGES as usize];
    words.extend([set(1).0, set(2).0, 3, 80, set(4).0, 443, set(5).0, 3333, set(6).0]);
    let number = |len: usize| u32::try_from(len).expect("few words");
    let base = number(words.len());
    for half in 0..V4_INDEX_WORDS {
        let (first, last) = (half << 16, half << 16 | 0xffff);
        let before = v4.iter().rposition(|(begins, _)| *begins <= first).expect("one begins at 0");
        let after = v4.iter().filter(|(begins, _)| *begins <= last).count();
        words[(V4_INDEX + half) as usize] = pack(base + number(before), number(after - before));
    }
    words.extend(v4.iter().map(|&(begins, answer)| pack(answer, begins)));
    words[V6_HEADER as usize] = pack(number(words.len()), number(v6.len()));
    words.extend(v6.iter().map(|(begins, _)| u64::try_from(begins >> 64).expect("64 bits")));
    words.extend(v6.iter().map(|(begins, _)| u64::try_from(begins & u128::from(u64::MAX)).expect("64 bits")));
    words.extend(v6.iter().map(|(_, answer)| u64::from(*answer)));
    words
}

/// What an answer says of a port.
fn said(answer: u32, port: Option<u16>) -> Found {
    let endpoint = |slot| Found { targets: set(slot), is_endpoint: true };
    match (answer, port) {
        (NOTHING, _) => Found::NOTHING,
        (PLAIN, _) => Found { targets: set(1), is_endpoint: false },
        (_, Some(80)) => endpoint(4),
        (_, Some(443)) => endpoint(5),
        (_, Some(3333)) => endpoint(6),
        _ => Found { targets: set(2), is_endpoint: false },
    }
}

fn answer() -> impl Strategy<Value = u32> {
    prop_oneof![Just(NOTHING), Just(PLAIN), Just(PORTS)]
}

/// Near one another, around the edge of a /16, or anywhere.
fn v4() -> impl Strategy<Value = u32> {
    prop_oneof![0x0a00_0000..0x0a00_0010u32, 0x0a00_fff8..0x0a01_0008u32, any::<u32>(), Just(u32::MAX)]
}

/// Near one another, around where the lower half ends, or anywhere.
fn v6() -> impl Strategy<Value = u128> {
    let edge = 0x2001_0db8_0000_0001_u128 << 64;
    prop_oneof![0x20..0x30u128, edge - 8..edge + 8, any::<u128>(), Just(u128::MAX)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_address_is_found_in_the_range_that_it_lies_in(
        mut v4_ranges in prop::collection::btree_map(v4(), answer(), 0..24),
        mut v6_ranges in prop::collection::btree_map(v6(), answer(), 0..24),
        v4_asked in prop::collection::vec(v4(), 32),
        v6_asked in prop::collection::vec(v6(), 32),
        port in prop_oneof![Just(None), Just(Some(80)), Just(Some(443)), Just(Some(3333)), any::<Option<u16>>()],
    ) {
        v4_ranges.entry(0).or_insert(NOTHING);
        v6_ranges.entry(0).or_insert(NOTHING);
        let (v4, v6): (Vec<_>, Vec<_>) = (v4_ranges.clone().into_iter().collect(), v6_ranges.clone().into_iter().collect());
        let words = tables(&v4, &v6);
        for asked in v4_asked.into_iter().chain(v4_ranges.keys().copied()) {
            let (address, version) = Address::from_ip(Ipv4Addr::from_bits(asked).into());
            let (_, answer) = v4_ranges.range(..=asked).next_back().expect("one begins at 0");
            prop_assert_eq!(find(&words[..], version, &address, port), said(*answer, port), "{:#x}", asked);
        }
        for asked in v6_asked.into_iter().chain(v6_ranges.keys().copied()) {
            let (address, version) = Address::from_ip(Ipv6Addr::from_bits(asked).into());
            let (_, answer) = v6_ranges.range(..=asked).next_back().expect("one begins at 0");
            prop_assert_eq!(find(&words[..], version, &address, port), said(*answer, port), "{:#x}", asked);
        }
    }
}

/// A few words of a generation, as positions and numbers that lie near one another, or anywhere.
fn words() -> impl Strategy<Value = Vec<u64>> {
    let number = prop_oneof![0..64u32, (V4_RANGES - 8)..(V4_RANGES + 64), any::<u32>()];
    let word = (number.clone(), number).prop_map(|(low, high)| u64::from(high) << 32 | u64::from(low));
    prop::collection::vec(word, 0..64)
}

/// Words where the search begins, and where it may come to; none in between.
struct Sparse {
    header: Vec<u64>,
    index: u64,
    ranges: Vec<u64>,
}

impl Generation for Sparse {
    fn word(&self, at: u32) -> Option<u64> {
        if at >= V4_RANGES {
            self.ranges.get((at - V4_RANGES) as usize).copied()
        } else if at >= V4_INDEX && at as usize >= self.header.len() {
            Some(self.index)
        } else {
            self.header.get(at as usize).copied()
        }
    }
}

proptest! {
    #[test]
    fn a_search_ends_whatever_the_words_are(
        header in words(), index: u64, ranges in words(), address: [u32; 4], port: Option<u16>,
    ) {
        let generation = Sparse { header, index, ranges };
        for version in [Version::V4, Version::V6] {
            let found = find(&generation, version, &Address(address), port);
            prop_assert!(!found.is_endpoint || port.is_some());
        }
    }

    #[test]
    fn an_array_that_is_too_short_is_no_reason_to_panic(
        words in words(), address: [u32; 4], port: Option<u16>,
    ) {
        for version in [Version::V4, Version::V6] {
            let found = find(&words[..], version, &Address(address), port);
            prop_assert!(!found.is_endpoint || port.is_some());
        }
    }
}
