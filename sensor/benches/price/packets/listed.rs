//! The lists that packets are held against, and addresses in and beside them. Each address is
//! asked of the compiled tables whether it lies where its case says.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Result, ensure};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sensor::config::{Category, Limits};
use sensor::watchlists::{Compiled, Entry, Target, Watchlist, Watchlists};
use sensor_ebpf::abi::{Address, FlowKey, TargetSet};
use sensor_ebpf::classify::{Tables, targets};

use super::trial::ROUND;
use crate::prefixes::{Random, THIRD_GROUP_ODD, generated};

/// The port that the packets go to, and that of the endpoints.
pub const PORT: u16 = 3333;
/// Slots of the two targets.
pub const PREFIXES: u32 = 0;
pub const ENDPOINTS: u32 = 1;
/// As many endpoints are listed as prefixes, up to this.
const ENDPOINTS_AT_MOST: u32 = 1_000;
const SEED: u64 = 0x7061_636b_6574_7321;

/// Room for every case's flows, so that none is evicted.
pub fn limits() -> Limits {
    Limits { flows: 1 << 18, ..Limits::default() }
}

/// Where packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Where no bit of the filter is set.
    Outside,
    OutsideV6,
    /// Into the /24 of a listed address, but not to it.
    Inside,
    /// Into the /32 of a listed prefix, but not into that.
    InsideV6,
    Prefix,
    Endpoint,
}

impl To {
    pub const fn is_v6(self) -> bool {
        matches!(self, Self::OutsideV6 | Self::InsideV6)
    }
}

pub struct Listed {
    pub compiled: Compiled,
    v4: Vec<Ipv4Net>,
    /// Those of them that are one address.
    hosts: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Net>,
    endpoints: Vec<Ipv4Addr>,
}

impl Listed {
    pub fn new(prefixes: u32) -> Result<Self> {
        let all = generated(prefixes);
        let mut random = Random::new(SEED);
        // In a third octet that no prefix has.
        let endpoints: Vec<Ipv4Addr> =
            (0..prefixes.min(ENDPOINTS_AT_MOST)).map(|_| random.v4(0b110, 0b1111_1000)).collect();
        let watchlists = watchlists(&all, &endpoints);
        let slot = |_: &str, target: &str| Some(if target == "endpoints" { ENDPOINTS } else { PREFIXES });
        let compiled = Compiled::new(&watchlists, &limits(), slot)?;
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in all {
            match prefix {
                IpNet::V4(prefix) => v4.push(prefix),
                IpNet::V6(prefix) => v6.push(prefix),
            }
        }
        let hosts = v4.iter().filter(|prefix| prefix.prefix_len() == 32).map(Ipv4Net::addr).collect();
        Ok(Self { compiled, v4, hosts, v6, endpoints })
    }

    /// One address for each packet of a round, of which some may be the same.
    pub fn destinations(&self, to: To) -> Result<Vec<IpAddr>> {
        let mut random = Random::new(SEED ^ to as u64);
        (0..ROUND)
            .map(|_| {
                let address = self.destination(to, &mut random);
                self.check(to, address).map(|()| address)
            })
            .collect()
    }

    fn destination(&self, to: To, random: &mut Random) -> IpAddr {
        match to {
            To::Outside => random.v4(1, 0b1111_1110).into(),
            To::OutsideV6 => loop {
                let address = random.v6(false).into();
                // The filter's bit is a hash, which others may have as well.
                if !self.covers(address) {
                    return address;
                }
            },
            To::Inside => {
                let host = pick(&self.hosts, random).to_bits();
                let even = random.word().to_be_bytes()[0] & !1;
                Ipv4Addr::from_bits(host & !0xff | u32::from(even)).into()
            }
            To::InsideV6 => {
                let network = pick(&self.v6, random).network().to_bits() >> 96 << 96;
                let below = (random.v6(false).to_bits() & (u128::MAX >> 32)) & !THIRD_GROUP_ODD;
                Ipv6Addr::from_bits(network | below).into()
            }
            To::Prefix => {
                let prefix = pick(&self.v4, random);
                let [a, b, c, d, ..] = random.word().to_be_bytes();
                let host = u32::from_be_bytes([a, b, c, d]) & prefix.hostmask().to_bits();
                Ipv4Addr::from_bits(prefix.network().to_bits() | host).into()
            }
            To::Endpoint => (*pick(&self.endpoints, random)).into(),
        }
    }

    /// What the tables would say is what the case says.
    fn check(&self, to: To, address: IpAddr) -> Result<()> {
        let (remote, version) = Address::from_ip(address);
        let (remote_port, local_port) = (PORT, 0);
        let local = Address::default();
        let flow = FlowKey { remote, local, remote_port, local_port, transport: 0, version: 0, reserved: 0 };
        let found = targets(version, remote, Some(flow), &self.compiled);
        let wanted = match to {
            To::Prefix => TargetSet::of([PREFIXES]),
            To::Endpoint => TargetSet::of([ENDPOINTS]),
            _ => None,
        };
        let is_outside = matches!(to, To::Outside | To::OutsideV6);
        ensure!(found == wanted.unwrap_or_default(), "{address} is not {to:?}: it is {found:?}");
        ensure!(self.covers(address) != is_outside, "{address} is not {to:?} to the filter");
        Ok(())
    }

    fn covers(&self, address: IpAddr) -> bool {
        let (remote, version) = Address::from_ip(address);
        self.compiled.covers(version, &remote)
    }
}

fn pick<'a, T>(from: &'a [T], random: &mut Random) -> &'a T {
    let index = random.word() % from.len() as u64;
    &from[usize::try_from(index).unwrap_or_default()]
}

/// One watchlist of two targets, so that the counts tell which table was hit.
fn watchlists(prefixes: &[IpNet], endpoints: &[Ipv4Addr]) -> Watchlists {
    let prefixes = prefixes.iter().map(|prefix| entry(*prefix)).collect();
    let endpoints = endpoints.iter().map(|address| entry(SocketAddr::from((*address, PORT)))).collect();
    let list = Watchlist {
        name: "listed".to_owned(),
        category: Category::Custom,
        targets: vec![
            Target { prefixes, ..Target::new("prefixes") },
            Target { endpoints, ..Target::new("endpoints") },
        ],
        updated: None,
    };
    Watchlists { lists: vec![list], ..Watchlists::default() }
}

const fn entry<T>(indicator: T) -> Entry<T> {
    Entry { indicator, source: 0, line: 0 }
}
