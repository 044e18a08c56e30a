//! What DNS says: queries of this host are remembered, their answers teach addresses. A name that is
//! watched may be the one asked for or any that it is an alias of.

use std::net::IpAddr;

use sensor_ebpf::abi::{Address, Direction, EndpointKey, Learned, TargetSet, Transport};
use sensor_ebpf::classify::Tables as _;

use super::queries::Queries;
use super::{Answer, Finding, Indicators, Sample, Verdicts, Watching, World};
use crate::inspect::dns::{self, Message, Outcome};

const SECOND_NS: u64 = 1_000_000_000;
/// An address is known for as long as its answer says, and within these bounds.
const TTL_MIN_NS: u64 = 60 * SECOND_NS;
pub(super) const TTL_MAX_NS: u64 = 24 * 60 * 60 * SECOND_NS;

impl Verdicts {
    pub(super) fn hear_dns(
        &mut self,
        sample: &Sample<'_>,
        watching: &Watching,
        world: &mut impl World,
        tell: &mut impl FnMut(Finding),
    ) {
        let Self { pieces, queries, .. } = self;
        if sample.header.key.transport != Transport::Tcp as u8 {
            hear_message(sample, sample.payload, queries, watching, world, tell);
            return;
        }
        // Messages over TCP may begin and end anywhere.
        pieces.whole(sample, |bytes, _| {
            let mut messages = dns::messages(bytes);
            for message in messages.by_ref() {
                hear_message(sample, message, queries, watching, world, tell);
            }
            let rest = messages.rest().len();
            ((), (rest > 0).then_some(bytes.len() - rest))
        });
    }
}

fn hear_message(
    sample: &Sample<'_>,
    bytes: &[u8],
    queries: &mut Queries,
    watching: &Watching,
    world: &mut impl World,
    tell: &mut impl FnMut(Finding),
) {
    let Some(message) = Message::read(bytes) else { return };
    let (key, at_ns) = (sample.header.key, sample.header.at_ns);
    let name = message.name();
    match (sample.direction(), message.is_response()) {
        (Direction::Egress, false) => queries.ask(key, message.id(), name.as_str(), at_ns),
        (Direction::Ingress, true) => {
            if !queries.answer(key, message.id(), name.as_str(), at_ns) {
                return;
            }
            let chain = message.chain();
            let Some(outcome) = chain.outcome() else { return };
            let mut targets = TargetSet::EMPTY;
            let mut indicators = Indicators::new();
            for name in chain.names() {
                let matches = watching.domains.find(name.as_str().as_bytes());
                targets = watching.joined(targets, matches.targets());
                indicators.extend(matches.iter().map(|it| (it.slot, it.indicator.to_owned())));
            }
            if targets.is_empty() {
                return;
            }
            let mut addresses = Vec::new();
            if outcome == Outcome::Address {
                for address in chain.addresses() {
                    addresses.push(address.ip);
                    learn(address.ip, u64::from(address.ttl_s) * SECOND_NS, targets, at_ns, watching, world);
                }
            }
            let (query, interface) = (name.as_str().to_owned(), sample.header.interface);
            let answer = Answer { key, query, outcome, targets, indicators, addresses, interface, at_ns };
            tell(Finding::Answer(answer));
        }
        // What others ask of this host, and what it answers them.
        _ => {}
    }
}

fn learn(
    ip: IpAddr,
    ttl_ns: u64,
    targets: TargetSet,
    at_ns: u64,
    watching: &Watching,
    world: &mut impl World,
) {
    if is_private(ip) || watching.allows(ip, 0) {
        return;
    }
    let (address, version) = Address::from_ip(ip);
    let own = targets;
    let targets = watching.composed(own, world.lists().listed(version, &address, None));
    let expires_ns = at_ns.saturating_add(ttl_ns.clamp(TTL_MIN_NS, TTL_MAX_NS));
    let key = EndpointKey { address, port: 0, version: version as u8, reserved: 0 };
    world.learn(key, Learned { targets, own, expires_ns });
}

/// Addresses that stand for another host in each network: an answer could make any of ours a pool's.
fn is_private(ip: IpAddr) -> bool {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            // RFC 6598: shared by carriers and their customers.
            let is_shared = first == 100 && second & 0xc0 == 64;
            ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || is_shared
                || ip.is_multicast()
                || ip.is_broadcast()
                || first == 0
        }
        IpAddr::V6(ip) => {
            ip.is_loopback()
                || ip.is_unspecified()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_multicast()
        }
    }
}
