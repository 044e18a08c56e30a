//! The compiled lists, as the packet path searches them. Each address lies in exactly one range,
//! and a range has one answer: what its longest prefix stands for, and which of its ports stand
//! for something else. Nothing nests any more, so one search is the whole lookup.
//!
//! A generation of the tables is one flat array of 64-bit words. It is built in one piece, given
//! to the kernel in one piece, and made the one in use by setting one pointer.
//!
//! | words | hold |
//! |---|---|
//! | [`V6_HEADER`] | where the IPv6 ranges begin, and their number in the upper half |
//! | [`V4_INDEX`], 65,536 of them | by the first two octets of an IPv4 address: the last range that begins before or with them, and how many ranges from it on to search |
//! | IPv4 ranges | the first address in the upper half, the answer below it; ascending |
//! | IPv6 ranges | the upper halves of all first addresses; then the lower halves; then the answers |
//! | answers | a [`TargetSet`]; where [`HAS_PORTS`] is set then a number, and so many pairs of a port and a set, ascending |
//!
//! An answer is the position of its word, or [`NOTHING`]. What is read is the daemon's own writing;
//! still, a position outside of the array finds nothing, and each search ends.

use crate::abi::{Address, TargetSet, Version};

pub const V6_HEADER: u32 = 0;
pub const V4_INDEX: u32 = 1;
pub const V4_INDEX_WORDS: u32 = 1 << 16;
/// Where the IPv4 ranges begin.
pub const V4_RANGES: u32 = V4_INDEX + V4_INDEX_WORDS;
/// The answer of a range that nothing covers.
pub const NOTHING: u32 = 0;
/// Set in an answer behind whose set there are ports.
pub const HAS_PORTS: u32 = 1 << 31;
/// Halvings until one is left of the ranges that begin within a /16, and the one before them.
const V4_STEPS: u32 = 17;
/// Halvings until one is left of all that the config's limits allow.
const V6_STEPS: u32 = 27;
/// Halvings until one is left of all ports.
const PORT_STEPS: u32 = 16;

/// A generation.
pub trait Generation {
    /// The word at a position; `None` outside of the array.
    fn word(&self, at: u32) -> Option<u64>;
}

impl Generation for [u64] {
    #[inline]
    fn word(&self, at: u32) -> Option<u64> {
        self.get(at as usize).copied()
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
    let answer = match version {
        Version::V4 => find_v4(generation, u32::from_be(address.v4_word())),
        Version::V6 => find_v6(generation, address),
    };
    if answer == NOTHING {
        return Found::NOTHING;
    }
    let at = answer & !HAS_PORTS;
    if let Some(port) = port
        && answer & HAS_PORTS != 0
        && let Some(targets) = find_port(generation, at.wrapping_add(1), port)
    {
        return Found { targets, is_endpoint: true };
    }
    Found { targets: generation.word(at).map_or(TargetSet::EMPTY, TargetSet), is_endpoint: false }
}

#[inline(always)]
fn find_v4(generation: &(impl Generation + ?Sized), address: u32) -> u32 {
    let Some(word) = generation.word(V4_INDEX + (address >> 16)) else { return NOTHING };
    let (first, count) = unpack(word);
    let begins = |at| generation.word(at).is_some_and(|range| (range >> 32) as u32 <= address);
    let at = last_that::<V4_STEPS>(first, count, begins);
    generation.word(at).map_or(NOTHING, |range| range as u32)
}

#[inline(always)]
fn find_v6(generation: &(impl Generation + ?Sized), address: &Address) -> u32 {
    let half = |high, low| u64::from(u32::from_be(high)) << 32 | u64::from(u32::from_be(low));
    let [a, b, c, d] = address.0;
    let (upper, lower) = (half(a, b), half(c, d));
    let Some(header) = generation.word(V6_HEADER) else { return NOTHING };
    let (first, count) = unpack(header);
    let begins = |at: u32| match generation.word(at) {
        Some(found) if found == upper => {
            generation.word(at.wrapping_add(count)).is_some_and(|found| found <= lower)
        }
        Some(found) => found < upper,
        None => false,
    };
    let at = last_that::<V6_STEPS>(first, count, begins);
    generation.word(at.wrapping_add(count.wrapping_mul(2))).map_or(NOTHING, |answer| answer as u32)
}

#[inline(always)]
fn find_port(generation: &(impl Generation + ?Sized), at: u32, port: u16) -> Option<TargetSet> {
    let count = generation.word(at)? as u32;
    let place = |pair: u32| at.wrapping_add(pair.wrapping_mul(2));
    let is = |pair: u32| generation.word(place(pair).wrapping_add(1));
    let pair =
        last_that::<PORT_STEPS>(0, count, |pair| is(pair).is_some_and(|found| found <= u64::from(port)));
    if is(pair)? == u64::from(port) {
        generation.word(place(pair).wrapping_add(2)).map(TargetSet)
    } else {
        None
    }
}

/// The last of `count` numbers from `first` on that is `wanted`, where all that are come before
/// all that are not; `first`, where none is. `STEPS`: halvings that leave one of them.
#[inline(always)]
fn last_that<const STEPS: u32>(first: u32, count: u32, wanted: impl Fn(u32) -> bool) -> u32 {
    let (mut first, mut count) = (first, count);
    for _ in 0..STEPS {
        if count <= 1 {
            break;
        }
        let half = count / 2;
        let middle = first.wrapping_add(half);
        if wanted(middle) {
            first = middle;
            count -= half;
        } else {
            count = half;
        }
    }
    first
}
