//! The fine filter: of the blocks in which something is listed, which addresses may be. What it is
//! asked, and where it answers, is [`sensor_ebpf::ranges::Fine`]'s to say.

use std::net::IpAddr;

use sensor_ebpf::abi::Version;
use sensor_ebpf::ranges::{Fine, Line, WORDS_PER_LINE};

use super::Entries;

/// Bits set in a line on average, of 512: more of them and it says "perhaps" too often, fewer and it
/// leaves the caches.
const BITS_PER_LINE: u128 = 32;
/// Lists that cover as much leave little to be told apart: all of it is perhaps listed.
const BITS_MAX: u128 = 1 << 24;
/// Length of the blocks, and from where on what lies in them is told apart.
const V4_BLOCK: u8 = 24;
const V6_BLOCK: u8 = 32;
const V6_WITHIN: u8 = 48;

/// The lines, a power of two of them.
pub(super) fn fine(entries: &Entries) -> Vec<Line> {
    let bits: u128 = spans(entries).map(|span| span.last - span.first + 1).sum();
    if bits >= BITS_MAX {
        return vec![[u64::MAX; WORDS_PER_LINE]];
    }
    let wanted = (bits / BITS_PER_LINE).max(1).next_power_of_two();
    let mut lines = vec![[0; WORDS_PER_LINE]; usize::try_from(wanted).unwrap_or(1)];
    let mask = lines.len() - 1;
    for span in spans(entries) {
        for number in span.first..=span.last {
            let fine = Fine::of(span.version, words(number << span.shift));
            let bit = if span.is_whole { fine.whole_block } else { fine.address } as usize;
            lines[fine.line as usize & mask][bit / 64] |= 1 << (bit % 64);
        }
    }
    lines
}

/// Blocks that are listed as a whole, or addresses in others, by number.
struct Span {
    version: Version,
    is_whole: bool,
    /// Bits of an address that are not in its number.
    shift: u8,
    first: u128,
    last: u128,
}

impl Span {
    fn new(version: Version, is_whole: bool, shift: u8, (first, last): (u128, u128)) -> Self {
        Self { version, is_whole, shift, first: first >> shift, last: last >> shift }
    }
}

fn spans(entries: &Entries) -> impl Iterator<Item = Span> {
    let v4 = entries.v4.iter().map(|(prefix, _)| {
        let is_whole = prefix.prefix_len() <= V4_BLOCK;
        let shift = if is_whole { 32 - V4_BLOCK } else { 0 };
        let ends = (prefix.network().to_bits().into(), prefix.broadcast().to_bits().into());
        Span::new(Version::V4, is_whole, shift, ends)
    });
    let v6 = entries.v6.iter().map(|(prefix, _)| {
        // One that is shorter than what is told apart stands for its whole block.
        let is_whole = prefix.prefix_len() < V6_WITHIN;
        let shift = 128 - if is_whole { V6_BLOCK } else { V6_WITHIN };
        Span::new(Version::V6, is_whole, shift, (prefix.network().to_bits(), prefix.broadcast().to_bits()))
    });
    let endpoints = entries.endpoints.iter().map(|(endpoint, _)| match endpoint.ip() {
        IpAddr::V4(ip) => Span::new(Version::V4, false, 0, (ip.to_bits().into(), ip.to_bits().into())),
        IpAddr::V6(ip) => Span::new(Version::V6, false, 128 - V6_WITHIN, (ip.to_bits(), ip.to_bits())),
    });
    v4.chain(v6).chain(endpoints)
}

/// An address in four words, an IPv4 one in the last.
#[allow(clippy::cast_possible_truncation, reason = "words are taken out of a number by casting")]
const fn words(bits: u128) -> [u32; 4] {
    [(bits >> 96) as u32, (bits >> 64) as u32, (bits >> 32) as u32, bits as u32]
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_ebpf::abi::TargetSet;

    /// How many of these addresses may be listed.
    fn perhaps(entries: &Entries, version: Version, addresses: impl Iterator<Item = u128>) -> usize {
        let lines = fine(entries);
        let is_set = |line: &Line, bit: u32| line[bit as usize / 64] >> (bit % 64) & 1 != 0;
        let asked = addresses.map(|bits| Fine::of(version, words(bits)));
        asked
            .filter(|fine| {
                let line = &lines[fine.line as usize & (lines.len() - 1)];
                is_set(line, fine.address) || is_set(line, fine.whole_block)
            })
            .count()
    }

    fn v4(prefix: &str) -> Entries {
        let entry = (prefix.parse().unwrap(), TargetSet::of([0]).unwrap());
        Entries { v4: vec![entry], ..Entries::default() }
    }

    fn v6(prefix: &str) -> Entries {
        let entry = (prefix.parse().unwrap(), TargetSet::of([0]).unwrap());
        Entries { v6: vec![entry], ..Entries::default() }
    }

    #[test]
    fn an_address_in_a_block_is_told_from_its_neighbours() {
        let block = 0xc000_0200;
        let neighbours = || block..block + 256;
        assert_eq!(perhaps(&v4("192.0.2.7/32"), Version::V4, neighbours()), 1);
        assert_eq!(perhaps(&v4("192.0.2.128/25"), Version::V4, neighbours()), 128);
        assert_eq!(perhaps(&v4("192.0.2.0/24"), Version::V4, neighbours()), 256);
        let sites = || (0..256).map(|site| 0x2001_0db8 << 96 | site << 80);
        assert_eq!(perhaps(&v6("2001:db8:7::/48"), Version::V6, sites()), 1);
        assert_eq!(perhaps(&v6("2001:db8:7::1/128"), Version::V6, sites()), 1);
        assert_eq!(perhaps(&v6("2001:db8::/47"), Version::V6, sites()), 256, "the whole block");
    }

    #[test]
    fn lists_of_everything_make_a_small_filter_that_says_perhaps() {
        let all = |entries: &Entries| fine(entries).as_flattened().iter().all(|word| *word == u64::MAX);
        assert!(all(&v6("::/0")));
        assert!(all(&v4("0.0.0.0/0")));
        assert_eq!([fine(&v6("::/0")).len(), fine(&v4("0.0.0.0/0")).len()], [1, 1]);
        assert_eq!(perhaps(&v4("0.0.0.0/1"), Version::V4, (0..1 << 31).step_by(1 << 20)), 1 << 11);
    }
}
