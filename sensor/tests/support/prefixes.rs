//! Lists of prefixes, as long as one likes and the same in each run: 70 % IPv4 /32, 25 % /24 and
//! 5 % IPv6 /48 to /64, random over public unicast space; a shorter list begins a longer one.
//!
//! Room is left between them, so that what is not listed is known without looking: the third
//! octet of IPv4 is even (a /24's divisible by four, a /32's two more than a multiple of eight),
//! the last octet of a /32 is odd, and so is the third group of IPv6.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;

use anyhow::{Context, Result};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use tempfile::TempDir;

const SEED: u64 = 0x706f_6f6c_7761_7463;

/// First octets that hold special-purpose blocks (IANA's registry), or no unicast at all.
const RESERVED: [u8; 9] = [0, 10, 100, 127, 169, 172, 192, 198, 203];
const FIRST_MULTICAST: u8 = 224;

/// `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014): small, fast, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub const fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A public unicast address, whose third octet is `third` where `mask` has no bit.
    pub fn v4(&mut self, third: u8, mask: u8) -> Ipv4Addr {
        loop {
            let [a, b, c, d, ..] = self.word().to_be_bytes();
            if a < FIRST_MULTICAST && !RESERVED.contains(&a) {
                return Ipv4Addr::new(a, b, c & mask | third, d);
            }
        }
    }

    /// An address of `2000::/3` (RFC 4291, 2.4), whose third group is odd or even.
    pub fn v6(&mut self, odd: bool) -> Ipv6Addr {
        let bits = u128::from(self.word()) << 64 | u128::from(self.word());
        let global = bits & (u128::MAX >> 3) | 1 << 125;
        Ipv6Addr::from_bits(global & !THIRD_GROUP_ODD | if odd { THIRD_GROUP_ODD } else { 0 })
    }
}

/// The bit that makes the third group of an IPv6 address odd.
pub const THIRD_GROUP_ODD: u128 = 1 << 80;

/// `count` different prefixes, in no order.
pub fn generated(count: u32) -> Vec<IpNet> {
    let mut random = Random::new(SEED);
    let mut listed = HashSet::with_capacity(count as usize);
    let mut prefixes = Vec::with_capacity(count as usize);
    for index in 0..count {
        loop {
            let prefix = one(index, &mut random);
            if listed.insert(prefix) {
                prefixes.push(prefix);
                break;
            }
        }
    }
    prefixes
}

/// Of each twenty, one is of IPv6 and five are a /24.
fn one(index: u32, random: &mut Random) -> IpNet {
    match index % 20 {
        2 => {
            let [byte, ..] = random.word().to_be_bytes();
            Ipv6Net::new_assert(random.v6(true), 48 + byte % 17).trunc().into()
        }
        1 | 5 | 9 | 13 | 17 => Ipv4Net::new_assert(random.v4(0, 0b1111_1100), 24).trunc().into(),
        _ => {
            let address = random.v4(0b010, 0b1111_1000).to_bits() | 1;
            Ipv4Net::new_assert(address.into(), 32).into()
        }
    }
}

/// A million of them.
pub const MILLION: u32 = 1_000_000;

/// A feed file of a million prefixes, which goes with the directory, and the config that watches it
/// as `million`.
pub fn million() -> Result<(TempDir, String)> {
    let directory = TempDir::new().context("a directory")?;
    let feed = directory.path().join("million.netset");
    write_feed(&feed, &generated(MILLION))?;
    let list = "[[watchlist]]\nname = \"million\"\n[[watchlist.feed]]\n";
    let config = format!("{list}target = \"million\"\npath = \"{}\"\nkind = \"prefixes\"\n", feed.display());
    Ok((directory, config))
}

/// Writes them as a feed file, a line each.
pub fn write_feed(path: &Path, prefixes: &[IpNet]) -> Result<()> {
    let named = || format!("{}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(named)?);
    for prefix in prefixes {
        writeln!(file, "{prefix}").with_context(named)?;
    }
    file.flush().with_context(named)
}
