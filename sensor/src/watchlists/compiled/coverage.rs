//! The coverage filter: a bit for each IPv4 /16 and /24 and for each hash of the first 32 bits of
//! an IPv6 address, set where something is watched. It may say "perhaps" too often, never "no"
//! where something matches. Which bit is whose is the ABI's to say.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use sensor_ebpf::abi::{Address, Version, filter};

use super::Entries;

/// Bits of an IPv6 address that the filter hashes.
const V6_HASHED: u8 = 32;
/// Where their bitmap begins; it is the last of those that lists fill.
const V6_FIRST: usize = (filter::LISTED_WORDS - filter::V6_WORDS) as usize;

pub(super) struct Coverage {
    pub(super) words: Vec<u64>,
    /// IPv6 bits not yet set: once there are none, nothing is left to do for IPv6.
    v6_clear: u32,
}

impl Coverage {
    fn new() -> Self {
        Self { words: vec![0; filter::LISTED_WORDS as usize], v6_clear: 1 << filter::V6_BITS_LOG2 }
    }

    /// Of everything that stands for someone.
    pub(super) fn of(entries: &Entries) -> Self {
        let mut coverage = Self::new();
        for (prefix, _) in entries.v4.iter().filter(|(_, targets)| !targets.is_empty()) {
            coverage.add_v4(*prefix);
        }
        for (prefix, _) in entries.v6.iter().filter(|(_, targets)| !targets.is_empty()) {
            coverage.add_v6(*prefix);
        }
        for (endpoint, _) in entries.endpoints.iter().filter(|(_, targets)| !targets.is_empty()) {
            coverage.add_address(endpoint.ip());
        }
        coverage
    }

    /// All /16 and /24 that the prefix covers, or those that it lies in.
    fn add_v4(&mut self, prefix: Ipv4Net) {
        let (first, last) = (address(prefix.network()), address(prefix.broadcast()));
        self.set_all(filter::v4_block_bit(&first), filter::v4_block_bit(&last));
        self.set_all(filter::v4_bit(&first), filter::v4_bit(&last));
    }

    fn set_all(&mut self, (first_word, first_bit): (u32, u32), (last_word, last_bit): (u32, u32)) {
        for word in first_word..=last_word {
            let from = if word == first_word { first_bit } else { 0 };
            let to = if word == last_word { last_bit } else { 63 };
            self.words[word as usize] |= (u64::MAX << from) & (u64::MAX >> (63 - to));
        }
    }

    /// All /32 that the prefix covers, or the one that it lies in.
    fn add_v6(&mut self, prefix: Ipv6Net) {
        if self.v6_clear == 0 {
            return;
        }
        if prefix.prefix_len() < filter::V6_SHORTEST {
            self.words[V6_FIRST..].fill(u64::MAX);
            self.v6_clear = 0;
            return;
        }
        let first = prefix.network().to_bits() >> (128 - V6_HASHED);
        let blocks = 1u128 << V6_HASHED.saturating_sub(prefix.prefix_len());
        for block in first..first + blocks {
            self.set_v6(Ipv6Addr::from_bits(block << (128 - V6_HASHED)));
        }
    }

    fn add_address(&mut self, ip: IpAddr) {
        match ip {
            IpAddr::V4(ip) => self.add_v4(Ipv4Net::from(ip)),
            IpAddr::V6(ip) => self.set_v6(ip),
        }
    }

    fn set_v6(&mut self, ip: Ipv6Addr) {
        let (word, bit) = filter::v6_bit(&address(ip));
        let word = &mut self.words[word as usize];
        if *word & (1 << bit) == 0 {
            *word |= 1 << bit;
            self.v6_clear -= 1;
        }
    }
}

fn address(ip: impl Into<IpAddr>) -> Address {
    Address::from_ip(ip.into()).0
}

/// Is the bit of this address set?
pub(super) fn is_set(words: &[u64], version: Version, address: &Address) -> bool {
    filter::covers(version, address, |(word, bit)| words[word as usize] & (1 << bit) != 0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// IPv4 /16 and /24, and IPv6 /32.
    fn set(coverage: &Coverage) -> (u32, u32, u32) {
        let (v4, v6) = coverage.words.split_at(V6_FIRST);
        let (blocks, v4) = v4.split_at(filter::V4_BLOCK_WORDS as usize);
        let count = |words: &[u64]| words.iter().map(|word| word.count_ones()).sum();
        (count(blocks), count(v4), count(v6))
    }

    #[test]
    fn a_prefix_sets_as_many_bits_as_it_covers_blocks() {
        let table = [
            ("one address", "192.0.2.7/32", (1, 1, 0)),
            ("one /24", "192.0.2.0/24", (1, 1, 0)),
            ("two /24", "192.0.2.0/23", (1, 2, 0)),
            ("across words", "10.0.0.0/15", (2, 512, 0)),
            ("all of IPv4", "0.0.0.0/0", (1 << 16, 1 << 24, 0)),
            ("one IPv6 address", "2001:db8::1/128", (0, 0, 1)),
            ("one /32", "2001:db8::/32", (0, 0, 1)),
            ("the shortest that is spelt out", "2001::/16", (0, 0, 1 << 16)),
            ("shorter than that", "2000::/15", (0, 0, 1 << 20)),
            ("all of IPv6", "::/0", (0, 0, 1 << 20)),
        ];
        for (description, prefix, bits) in table {
            let mut coverage = Coverage::new();
            match prefix.parse().unwrap() {
                ipnet::IpNet::V4(prefix) => coverage.add_v4(prefix),
                ipnet::IpNet::V6(prefix) => coverage.add_v6(prefix),
            }
            assert_eq!(set(&coverage), bits, "{description}: {prefix}");
            assert_eq!(coverage.v6_clear, (1 << filter::V6_BITS_LOG2) - bits.2, "{description}");
        }
    }

    proptest! {
        #[test]
        fn every_address_of_a_covered_prefix_may_match(
            v4: u32, v4_len in 0..=32u8, v4_host: u32,
            v6: u128, v6_len in 0..=128u8, v6_host: u128,
        ) {
            let v4 = Ipv4Net::new(v4.into(), v4_len).unwrap().trunc();
            let v6 = Ipv6Net::new(v6.into(), v6_len).unwrap().trunc();
            let mut coverage = Coverage::new();
            coverage.add_v4(v4);
            coverage.add_v6(v6);
            let v4_inside = v4.network().to_bits() | (v4_host & v4.hostmask().to_bits());
            let v6_inside = v6.network().to_bits() | (v6_host & v6.hostmask().to_bits());
            let v4_inside = address(std::net::Ipv4Addr::from_bits(v4_inside));
            let v6_inside = address(Ipv6Addr::from_bits(v6_inside));
            prop_assert!(is_set(&coverage.words, Version::V4, &v4_inside));
            prop_assert!(is_set(&coverage.words, Version::V6, &v6_inside));
        }
    }
}
