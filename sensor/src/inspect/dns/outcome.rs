//! What an answer comes to, as the metrics on answers tell it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Chain, Rcode};

/// What the asker learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// An address to connect to.
    Address,
    /// The name exists and has no address of the type asked for.
    NoAddress,
    /// There is no such name.
    NxDomain,
    /// Only addresses out of [`SINKHOLES`]: a filter has answered.
    Sinkhole,
}

impl Outcome {
    pub const ALL: [Self; 4] = [Self::Address, Self::NoAddress, Self::NxDomain, Self::Sinkhole];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::NoAddress => "none",
            Self::NxDomain => "nxdomain",
            Self::Sinkhole => "sinkhole",
        }
    }
}

/// Where no server can be reached from another host, so that no pool is there: filters answer with
/// them. Private addresses are not among them, a pool's proxy may have one; what a filter's operator
/// answers with out of its own public range cannot be told from a pool's.
pub const SINKHOLES: [IpNet; 6] = [
    // This network, this host (RFC 6890 2.2.2): 0.0.0.0 is what most filters answer with.
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 8)),
    // Loopback (RFC 1122 3.2.1.3).
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
    // Reserved, and the limited broadcast address (RFC 1112 4).
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(240, 0, 0, 0), 4)),
    // Unspecified and loopback (RFC 4291 2.5).
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 128)),
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128)),
    // Discarded on the way (RFC 6666).
    IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 0), 64)),
];

/// What a DNS64 resolver puts before an IPv4 address (RFC 6052 2.1).
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Chain<'_> {
    /// Nothing where the asker goes on asking (a failure, a truncated answer), and where what could
    /// not be read might change it.
    pub fn outcome(&self) -> Option<Outcome> {
        if !self.is_usable() {
            return None;
        }
        match self.message.rcode() {
            Rcode::NXDOMAIN => Some(Outcome::NxDomain),
            Rcode::NOERROR => self.outcome_by_address(),
            _ => None,
        }
    }

    fn outcome_by_address(&self) -> Option<Outcome> {
        let mut outcome = Outcome::NoAddress;
        for address in self.addresses() {
            if !is_sinkhole(address.ip) {
                return Some(Outcome::Address);
            }
            outcome = Outcome::Sinkhole;
        }
        self.is_whole().then_some(outcome)
    }
}

fn is_sinkhole(ip: IpAddr) -> bool {
    let ip = within(ip);
    SINKHOLES.iter().any(|sinkhole| sinkhole.contains(&ip))
}

/// The IPv4 address that an IPv6 address stands for, else the address itself.
fn within(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) if NAT64.contains(&v6) => {
            let [.., a, b, c, d] = v6.octets();
            Ipv4Addr::new(a, b, c, d).into()
        }
        ip => ip,
    }
}
