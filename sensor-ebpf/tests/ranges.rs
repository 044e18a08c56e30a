//! The search, in tables that are made here word by word as its header says, and in tables that a
//! disturbed mind wrote: it finds what is there, it ends, and it reads nothing outside of them.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use sensor_ebpf::abi::{Address, TargetSet, Version};
use sensor_ebpf::ranges::{
    FINE, Found, GOES_ON, Generation, HAS_PORTS, HEAD_WORDS, INDEX_WORDS, Line, NOTHING, V4_INDEX, V6_INDEX,
    find, pack,
};

/// Answers: slot 1; slot 2, and 4, 5 and 6 on ports 80, 443 and 3333.
const PLAIN: u32 = HEAD_WORDS;
const PORTS: u32 = (HEAD_WORDS + 1) | HAS_PORTS;

fn set(slot: u32) -> TargetSet {
    TargetSet::of([slot]).expect("one slot")
}

/// Tables of these ranges, made naively: each table and each word begins a line of its own, and the
/// fine filter says "perhaps".
struct Made {
    lines: Vec<Line>,
}

impl Made {
    fn of(v4: &[(u32, u32)], v6: &[(u128, u32)]) -> Vec<Line> {
        let mut made = Self { lines: vec![[0; 8]; HEAD_WORDS as usize / 8] };
        let sets = PLAIN + 3;
        let ports = [(80, sets), (443, sets + 1), (3333, sets + 2)];
        let ports = ports.into_iter().flat_map(|(port, set)| [(port, set), (port + 1, NOTHING)]);
        made.lines.push([set(1).0, set(2).0, 0, set(4).0, set(5).0, set(6).0, 0, 0]);
        let place = made.table(&[(0, NOTHING)].into_iter().chain(ports).collect::<Vec<_>>());
        made.lines[PLAIN as usize / 8][2] = place;
        made.lines[FINE as usize / 8][0] = pack(number(made.lines.len()), 0);
        made.lines.push([u64::MAX; 8]);
        let v4: Vec<_> = v4.iter().map(|&(first, answer)| (u128::from(first) << 96, answer)).collect();
        for (index, ranges) in [(V4_INDEX, &v4[..]), (V6_INDEX, v6)] {
            for half in 0..INDEX_WORDS {
                let place = made.block(ranges, u128::from(half) << 112, 112, half << 16);
                let at = (index + half) as usize;
                made.lines[at / 8][at % 8] = place;
            }
        }
        made.lines
    }

    /// Where the table for a block of addresses is, which have all but the last `free` bits in
    /// common. `from`: the first of the keys in it.
    fn block(&mut self, all: &[(u128, u32)], block: u128, free: u32, from: u32) -> u64 {
        // Of 32 bits each; the first 16 of the first were the index's.
        let below = if free == 112 { 96 } else { free - 32 };
        let inside = |first: u128, free: u32| {
            move |range: &&(u128, u32)| range.0 > first && range.0 >> free == first >> free
        };
        let key = |bits: u128| u32::try_from(bits >> below & 0xffff_ffff).expect("32 bits");
        let last = key(block | ((1 << free) - 1));
        let mut keys = BTreeSet::from([from]);
        for (first, _) in all.iter().filter(inside(block, free)) {
            keys.insert(key(*first));
            keys.extend(key(*first).checked_add(1).filter(|next| *next <= last));
        }
        let mut ranges = Vec::new();
        for key in keys {
            let first = block >> below >> 32 << 32 << below | u128::from(key) << below;
            if below > 0 && all.iter().any(|range| inside(first, below)(&range)) {
                let place = self.block(all, first, below, 0);
                self.lines.push([place; 8]);
                ranges.push((key, number(8 * (self.lines.len() - 1)) | GOES_ON));
            } else {
                ranges.push((key, all.iter().rfind(|range| range.0 <= first).expect("one begins at 0").1));
            }
        }
        self.table(&ranges)
    }

    fn table(&mut self, ranges: &[(u32, u32)]) -> u64 {
        let (mut level, mut levels) = (ranges.to_vec(), 0);
        while level.len() > 1 {
            let mut above = Vec::new();
            for ranges in level.chunks(8) {
                above.push((ranges[0].0, number(self.lines.len())));
                let word =
                    |at: usize| ranges.get(at).or(ranges.last()).map(|&(first, says)| pack(says, first));
                self.lines.push(std::array::from_fn(|at| word(at).expect("a range")));
            }
            (level, levels) = (above, levels + 1);
        }
        pack(level[0].1, levels)
    }
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("few lines")
}

/// What an answer says of a port.
fn said(answer: u32, port: Option<u16>) -> Found {
    let endpoint = |slot| Found { targets: set(slot), is_endpoint: true };
    let prefix = |slot| Found { targets: set(slot), is_endpoint: false };
    match (answer, port) {
        (NOTHING, _) => Found::NOTHING,
        (PLAIN, _) => prefix(1),
        (_, Some(80)) => endpoint(4),
        (_, Some(443)) => endpoint(5),
        (_, Some(3333)) => endpoint(6),
        _ => prefix(2),
    }
}

fn answer() -> impl Strategy<Value = u32> {
    prop_oneof![Just(NOTHING), Just(PLAIN), Just(PORTS)]
}

/// Near one another, around the edge of a /16, or anywhere.
fn v4() -> impl Strategy<Value = u32> {
    prop_oneof![0x0a00_0000..0x0a00_0010u32, 0x0a00_fff8..0x0a01_0008u32, any::<u32>(), Just(u32::MAX)]
}

/// Near one another, around where words end, or anywhere.
fn v6() -> impl Strategy<Value = u128> {
    let edge = 0x2001_0db8_0000_0001_u128 << 64;
    let words = (0..4u32, 0..4u128, 0..3u128).prop_map(|(shift, word, last)| word << (32 * shift) | last);
    prop_oneof![0x20..0x30u128, edge - 8..edge + 8, words, any::<u128>(), Just(u128::MAX)]
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
        let lines = Made::of(&v4, &v6);
        for asked in v4_asked.into_iter().chain(v4_ranges.keys().copied()) {
            let (address, version) = Address::from_ip(Ipv4Addr::from_bits(asked).into());
            let (_, answer) = v4_ranges.range(..=asked).next_back().expect("one begins at 0");
            prop_assert_eq!(find(&lines[..], version, &address, port), said(*answer, port), "{:#x}", asked);
        }
        for asked in v6_asked.into_iter().chain(v6_ranges.keys().copied()) {
            let (address, version) = Address::from_ip(Ipv6Addr::from_bits(asked).into());
            let (_, answer) = v6_ranges.range(..=asked).next_back().expect("one begins at 0");
            prop_assert_eq!(find(&lines[..], version, &address, port), said(*answer, port), "{:#x}", asked);
        }
    }
}

/// A line of a generation, of positions and numbers that lie near one another, or anywhere.
fn line() -> impl Strategy<Value = Line> {
    const BEHIND: u32 = HEAD_WORDS;
    let number = prop_oneof![0..64u32, BEHIND..BEHIND + 64, BEHIND / 8..BEHIND / 8 + 8, any::<u32>()];
    let word = (number.clone(), number).prop_map(|(low, high)| pack(low, high));
    prop::array::uniform8(word)
}

/// Lines where the search begins, and where it may come to; none in between.
#[derive(Debug)]
struct Sparse {
    index: Line,
    others: Vec<Line>,
}

impl Generation for Sparse {
    fn line(&self, at: u32) -> Option<&Line> {
        const OTHERS: u32 = FINE / 8;
        match at.checked_sub(OTHERS) {
            None => Some(&self.index),
            Some(other) => self.others.get(other as usize),
        }
    }
}

proptest! {
    #[test]
    fn a_search_ends_whatever_the_words_are(
        index in line(), others in prop::collection::vec(line(), 0..8),
        address: [u32; 4], port: Option<u16>,
    ) {
        let generation = Sparse { index, others };
        for version in [Version::V4, Version::V6] {
            let found = find(&generation, version, &Address(address), port);
            prop_assert!(!found.is_endpoint || port.is_some());
        }
    }

    #[test]
    fn an_array_that_is_too_short_is_no_reason_to_panic(
        lines in prop::collection::vec(line(), 0..8), address: [u32; 4], port: Option<u16>,
    ) {
        for version in [Version::V4, Version::V6] {
            let found = find(&lines[..], version, &Address(address), port);
            prop_assert!(!found.is_endpoint || port.is_some());
        }
    }
}
