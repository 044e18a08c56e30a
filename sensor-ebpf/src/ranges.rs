//! The compiled lists, as the packet path searches them. Each address lies in exactly one range,
//! and a range has one answer: what its longest prefix stands for, and which of its ports stand
//! for something else. Nothing nests any more, so one search is the whole lookup.
//!
//! A generation of the tables is one flat array of lines, each eight 64-bit words and as long as a
//! line of the cache. It is built in one piece, given to the kernel in one piece, and made the one
//! in use by setting one pointer. Asking for a line costs the kernel a call, and whoever has one
//! reads all of it.
//!
//! A *table* is a tree of ranges of 32-bit keys. A word is the first key in the upper half and in
//! the lower one, in the last level, the answer, and in those above it, the line with the ranges
//! from there on; ascending, and repeated to the end of its line. Where a table is, is a word as
//! well: its first line, and in the upper half the number of levels; with none of them it is the
//! answer itself.
//!
//! | words | hold |
//! |---|---|
//! | [`V4_INDEX`], [`INDEX_WORDS`] of them | by the first 16 bits of an IPv4 address: where its table is |
//! | [`V6_INDEX`], as many | by the first 16 bits of an IPv6 address: where the table of its first 32 bits is |
//! | [`FINE`] | the first line of the fine filter, and in the upper half its length less one, which is all ones |
//! | all others | tables, and what answers point at |
//!
//! An answer is [`NOTHING`], or the position of a word: where the table of the next 32 bits of the
//! address is ([`GOES_ON`]), or the [`TargetSet`] and, behind it, where a table of ports is
//! ([`HAS_PORTS`]).
//!
//! The *fine filter* is asked first. It answers for most addresses that merely lie near a listed
//! one: an IPv4 address within its /24, an IPv6 /48 within its /32. All that is known of one block
//! is in one line: half of its bits stand for addresses in it, the other half for the whole of it.
//!
//! What is read is the daemon's own writing; still, a position outside of the array finds nothing,
//! and each search ends.
//!
//! # What was tried
//! By `cargo xtask bench`, in ns over an empty program, destinations rotating over 65,536, on two
//! CPUs of an AMD EPYC in a virtual machine, Linux 6.18; † while other programs ran.
//!
//! | not listed, but in the /24 of a listed address; prefixes: | 3 | 100,000 | 1,000,000 |
//! |---|---|---|---|
//! | two LPM tries a generation, hashes for endpoints and for what was learned † | 109 | 1,536 | 2,063 |
//! | one sorted array, halved after an index of 16 bits, a call for each probe † | 43 | 236 | 414 |
//! | trees of lines | 40 | 156 | 351 |
//! | trees of lines behind the fine filter: kept | 34 | 52 | 72 |
//!
//! Tries take one system call an entry to fill, 3.5 s for a million, and 96 MiB; an array of lines
//! is one copy, 0.03 s and 31 MiB. Halving lines instead of words, or selecting a word of a line
//! within the search, made the verifier walk 175,000 to 211,000 instructions instead of 75,000: what
//! is added to a pointer must be known exactly, and so the states of a loop do not merge. So did an
//! answer that is itself a slot, which saves a matched packet one call. Code for a newer instruction
//! set (`-Ctarget-cpu=v3`) was 6 % shorter, no faster, and 25 % longer to verify.
//!
//! Before all this stands [`crate::abi::filter`]. With its /24 bitmap alone, 2 MiB, a packet outside
//! cost 20 ns here with 3 prefixes and 300 ns in traffic, where the network stack empties the caches
//! between two packets; with 8 KiB of /16 bits before it, 13 and 42. With a hash of /24s in 256 KiB
//! instead it was 133 in traffic, and with 100,000 prefixes 168 instead of 187.

use crate::abi::{Address, TargetSet, Version};

/// As the kernel's array holds it.
pub type Line = [u64; WORDS_PER_LINE];
pub const WORDS_PER_LINE: usize = 8;

pub const V4_INDEX: u32 = 0;
pub const V6_INDEX: u32 = V4_INDEX + INDEX_WORDS;
pub const INDEX_WORDS: u32 = 1 << 16;
pub const FINE: u32 = V6_INDEX + INDEX_WORDS;
/// Words before all that an answer can be at; whole lines.
pub const HEAD_WORDS: u32 = FINE + WORDS_PER_LINE as u32;
/// The answer of a range that nothing covers.
pub const NOTHING: u32 = 0;
/// Set in an answer that the next 32 bits of the address have to give.
pub const GOES_ON: u32 = 1 << 30;
/// Set in an answer behind whose set there are ports.
pub const HAS_PORTS: u32 = 1 << 31;
/// Levels of a table: of more ranges than the config's limits allow.
const LEVELS_MAX: u64 = 9;

/// A generation.
pub trait Generation {
    /// The line at a position, counted in lines; `None` outside of the array.
    fn line(&self, at: u32) -> Option<&Line>;

    /// The word at a position, counted in words.
    #[inline(always)]
    fn word(&self, at: u32) -> Option<u64> {
        let line = self.line(at / WORDS_PER_LINE as u32)?;
        Some(line[at as usize % WORDS_PER_LINE])
    }
}

impl Generation for [Line] {
    #[inline]
    fn line(&self, at: u32) -> Option<&Line> {
        self.get(at as usize)
    }
}

/// What the lists say of an address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub targets: TargetSet,
    /// An endpoint said so, rather than the longest prefix.
    pub is_endpoint: bool,
}

impl Found {
    pub const NOTHING: Self = Self { targets: TargetSet::EMPTY, is_endpoint: false };
}

/// Two numbers in a word: `low` in the lower half, `high` in the upper one.
pub const fn pack(low: u32, high: u32) -> u64 {
    (high as u64) << 32 | low as u64
}

/// Where the fine filter speaks of an address.
#[derive(Clone, Copy, Debug)]
pub struct Fine {
    /// To be cut to the filter's length.
    pub line: u32,
    /// Bits of that line.
    pub address: u32,
    pub whole_block: u32,
}

impl Fine {
    /// Of an address by its words in the host's byte order, as [`find`] has them.
    #[inline(always)]
    pub const fn of(version: Version, [first, second, _, last]: [u32; 4]) -> Self {
        let (block, within) = match version {
            Version::V4 => (last >> 8, last & 0xff),
            Version::V6 => (first, second >> 16),
        };
        // Fibonacci hashing (Knuth, TAOCP 3, 6.4).
        let hash = block.wrapping_mul(0x9e37_79b1);
        let address = (hash ^ within ^ within >> 8) & 0xff;
        Self { line: hash >> 8, address, whole_block: 0x100 | hash & 0xff }
    }
}

/// May this address be listed?
#[inline(always)]
fn may_be_listed(generation: &(impl Generation + ?Sized), fine: &Fine) -> bool {
    let (first, mask) = unpack(generation.word(FINE).unwrap_or_default());
    let Some(line) = generation.line(first.wrapping_add(fine.line & mask)) else { return false };
    let is_set = |bit: u32| line[(bit >> 6) as usize % WORDS_PER_LINE] >> (bit & 63) & 1 != 0;
    is_set(fine.address) || is_set(fine.whole_block)
}

#[inline(always)]
const fn unpack(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Looks an address up; a port as well, where there is one.
#[inline(always)]
pub fn find(
    generation: &(impl Generation + ?Sized),
    version: Version,
    address: &Address,
    port: Option<u16>,
) -> Found {
    let words = address.0.map(u32::from_be);
    if !may_be_listed(generation, &Fine::of(version, words)) {
        return Found::NOTHING;
    }
    let answer = match version {
        Version::V4 => indexed(generation, V4_INDEX, words[3]),
        Version::V6 => find_v6(generation, words),
    };
    if answer == NOTHING {
        return Found::NOTHING;
    }
    let at = answer & !HAS_PORTS;
    if let Some(port) = port
        && answer & HAS_PORTS != 0
    {
        let place = generation.word(at.wrapping_add(1)).unwrap_or_default();
        let of_port = search(generation, place, u32::from(port));
        if of_port != NOTHING {
            return Found { targets: targets(generation, of_port), is_endpoint: true };
        }
    }
    Found { targets: targets(generation, at), is_endpoint: false }
}

#[inline(always)]
fn targets(generation: &(impl Generation + ?Sized), at: u32) -> TargetSet {
    generation.word(at).map_or(TargetSet::EMPTY, TargetSet)
}

#[inline(always)]
fn find_v6(generation: &(impl Generation + ?Sized), [first, others @ ..]: [u32; 4]) -> u32 {
    let mut answer = indexed(generation, V6_INDEX, first);
    for word in others {
        if answer & GOES_ON == 0 {
            break;
        }
        let place = generation.word(answer & !GOES_ON).unwrap_or_default();
        answer = search(generation, place, word);
    }
    answer
}

/// The answer for a key whose upper half says where to search.
#[inline(always)]
fn indexed(generation: &(impl Generation + ?Sized), index: u32, key: u32) -> u32 {
    let place = generation.word(index + (key >> 16)).unwrap_or_default();
    search(generation, place, key)
}

/// The answer for a key, in the table at `place`.
#[inline(always)]
fn search(generation: &(impl Generation + ?Sized), place: u64, key: u32) -> u32 {
    let (mut at, levels) = (place as u32, place >> 32);
    for level in 0..LEVELS_MAX {
        if level >= levels {
            break;
        }
        at = generation.line(at).map_or(NOTHING, |line| last_begun(line, key));
    }
    at
}

/// What the last range of a line says that begins at this key or before.
#[inline(always)]
fn last_begun(line: &Line, key: u32) -> u32 {
    let behind = u64::from(key) + 1;
    // Counted without a branch, which could not be foretold: 1 where the difference is below 0.
    let begun: u64 = line.iter().map(|range| (range >> 32).wrapping_sub(behind) >> 63).sum();
    line[begun.wrapping_sub(1) as usize % WORDS_PER_LINE] as u32
}
