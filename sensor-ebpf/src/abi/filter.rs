//! FILTER: bitmaps in 64-bit words: a bit for each IPv4 /16 in which something may concern someone,
//! which stays in the first cache; one for each IPv4 /24 that may; one for each hash of the first 32
//! bits of such an IPv6 address; and one for each hash of an address in LEARNED or JUDGED. There is one FILTER,
//! and it is true of every generation of the tables: it holds the bits of the old one and of the new
//! one while they change.

use super::{Address, Version};

pub const V4_BLOCK_WORDS: u32 = 1 << 10;
pub const V4_WORDS: u32 = 1 << 18;
pub const V6_BITS_LOG2: u32 = 20;
pub const V6_WORDS: u32 = 1 << (V6_BITS_LOG2 - 6);
pub const LEARNED_BITS_LOG2: u32 = 20;
pub const LEARNED_WORDS: u32 = 1 << (LEARNED_BITS_LOG2 - 6);
/// Words of the bitmaps that lists fill; those of what was learned follow.
pub const LISTED_WORDS: u32 = V4_BLOCK_WORDS + V4_WORDS + V6_WORDS;
pub const WORDS: u32 = LISTED_WORDS + LEARNED_WORDS;
/// An IPv6 prefix shorter than this sets the whole IPv6 bitmap.
pub const V6_SHORTEST: u8 = 16;
/// Fibonacci hashing (Knuth, TAOCP 3, 6.4).
const GOLDEN: u32 = 0x9e37_79b1;

/// May an address concern someone, as far as these bits say?
#[inline(always)]
pub fn covers(version: Version, address: &Address, is_set: impl Fn((u32, u32)) -> bool) -> bool {
    match version {
        Version::V4 => is_set(v4_block_bit(address)) && is_set(v4_bit(address)),
        Version::V6 => is_set(v6_bit(address)),
    }
}

/// Word and bit of an IPv4 address' /16.
#[inline(always)]
pub const fn v4_block_bit(address: &Address) -> (u32, u32) {
    let block = u32::from_be(address.v4_word()) >> 16;
    (block >> 6, block & 63)
}

/// Word and bit of an IPv4 address' /24.
#[inline(always)]
pub const fn v4_bit(address: &Address) -> (u32, u32) {
    let block = u32::from_be(address.v4_word()) >> 8;
    (V4_BLOCK_WORDS + (block >> 6), block & 63)
}

/// Word and bit of an IPv6 address.
#[inline(always)]
pub const fn v6_bit(address: &Address) -> (u32, u32) {
    let hash = u32::from_be(address.0[0]).wrapping_mul(GOLDEN) >> (32 - V6_BITS_LOG2);
    (V4_BLOCK_WORDS + V4_WORDS + (hash >> 6), hash & 63)
}

/// Word and bit of an address in LEARNED.
#[inline(always)]
pub const fn learned_bit(address: &Address) -> (u32, u32) {
    let [a, b, c, d] = address.0;
    let hash = (a ^ b ^ c ^ d).wrapping_mul(GOLDEN) >> (32 - LEARNED_BITS_LOG2);
    (LISTED_WORDS + (hash >> 6), hash & 63)
}
