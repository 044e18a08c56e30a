//! What is over of what was recognised and learned, as the flow table shows.

use std::collections::{BTreeMap, HashMap};

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{EndpointKey, Flow, FlowKey, Judged, index_of};
use sensor_ebpf::flow::is_over;

use crate::flows::ALIVE_NS;
use crate::verdict::{Known, Role};

/// A connection that was recognised and of which no packet was counted within this time is over.
const UNSEEN_NS: u64 = 60 * 1_000_000_000;

/// How things stand now.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Aged {
    /// Sessions alive, by index of the slot and [`Role`].
    pub(super) sessions: BTreeMap<(u32, u8), u64>,
    /// Connections of which nothing is to be known any more.
    pub(super) over: Vec<FlowKey>,
    /// Addresses likewise: their time is up, and nobody is connected there who came before that.
    pub(super) expired: Vec<EndpointKey>,
}

/// `roomy`: of more connections than that, those go that were freed or have been silent for long, the
/// oldest first. They may be over without anybody having seen it.
pub(super) fn aged(known: &Known, flows: &[(FlowKey, Flow)], now_ns: u64, roomy: usize) -> Aged {
    if known.is_empty() {
        // On most hosts, always.
        return Aged::default();
    }
    let is_alive = |flow: &Flow| !is_over(flow) && now_ns.saturating_sub(flow.last_ns) <= ALIVE_NS;
    let by_key: HashMap<&FlowKey, &Flow, RandomState> = flows.iter().map(|(key, flow)| (key, flow)).collect();
    let mut aged = Aged::default();
    let mut idle = Vec::new();
    for (key, judged) in known.judged() {
        let (flow, is_freed) = (by_key.get(key), is_freed(judged));
        let is_done = match flow {
            // A freed connection is not counted, so that its end is not seen: it is as long as there is
            // something to free it of.
            _ if is_freed => !has_learned(known, key),
            Some(flow) => is_over(flow),
            None => now_ns.saturating_sub(judged.at_ns) > UNSEEN_NS,
        };
        if is_done {
            aged.over.push(*key);
        } else if is_freed || !flow.is_some_and(|flow| is_alive(flow)) {
            idle.push((judged.at_ns, *key));
        } else if judged.role != Role::None as u8 {
            for slot in judged.targets.slots() {
                *aged.sessions.entry((index_of(slot), judged.role)).or_default() += 1;
            }
        }
    }
    let too_many = (known.judged().len() - aged.over.len()).saturating_sub(roomy);
    idle.sort_unstable_by_key(|(at_ns, _)| *at_ns);
    aged.over.extend(idle.into_iter().take(too_many).map(|(_, key)| key));

    let is_up = |expires_ns: u64| expires_ns < now_ns;
    if known.learned().values().any(|it| is_up(it.expires_ns)) {
        let opened = opened(known, flows.iter().filter(|(_, flow)| is_alive(flow)));
        let is_kept =
            |key, expires_ns| opened.get(key).is_some_and(|opened_ns: &u64| *opened_ns <= expires_ns);
        let expired =
            known.learned().iter().filter(|(key, it)| is_up(it.expires_ns) && !is_kept(*key, it.expires_ns));
        aged.expired = expired.map(|(key, _)| *key).collect();
    }
    aged
}

/// When the first of these flows was opened that concerns somebody by an address, or by address and port.
fn opened<'a>(
    known: &Known,
    flows: impl Iterator<Item = &'a (FlowKey, Flow)>,
) -> HashMap<EndpointKey, u64, RandomState> {
    let mut opened: HashMap<_, u64, RandomState> = HashMap::default();
    for (key, flow) in flows.filter(|(key, _)| !known.judged().get(key).is_some_and(is_freed)) {
        for endpoint in endpoints(key) {
            let first_ns = opened.entry(endpoint).or_insert(flow.opened_ns);
            *first_ns = flow.opened_ns.min(*first_ns);
        }
    }
    opened
}

const fn is_freed(judged: &Judged) -> bool {
    judged.signal == Judged::FREED
}

fn has_learned(known: &Known, key: &FlowKey) -> bool {
    endpoints(key).iter().any(|endpoint| known.learned().contains_key(endpoint))
}

/// By what a flow may have been found.
fn endpoints(key: &FlowKey) -> [EndpointKey; 2] {
    [0, key.remote_port].map(|port| EndpointKey {
        address: key.remote,
        port,
        version: key.version,
        reserved: 0,
    })
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::{Address, Learned, TargetSet, Transport, Version};

    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const NOW_NS: u64 = 10_000 * SECOND_NS;

    fn key(local_port: u16) -> FlowKey {
        FlowKey {
            remote: Address::v4(7),
            local: Address::v4(1),
            remote_port: 443,
            local_port,
            transport: Transport::Tcp as u8,
            version: Version::V4 as u8,
            reserved: 0,
        }
    }

    fn seen(port: u16, opened_ns: u64, last_ns: u64) -> (FlowKey, Flow) {
        (key(port), Flow { opened_ns, last_ns, ..Flow::default() })
    }

    fn judge(known: &mut Known, port: u16, signal: u8, at_ns: u64) {
        let targets = if signal == Judged::FREED { TargetSet::EMPTY } else { slot() };
        let role = if signal == Judged::FREED { Role::None } else { Role::Miner } as u8;
        known.judge(key(port), Judged { targets, own: targets, at_ns, signal, role, reserved: [0; 6] });
    }

    fn slot() -> TargetSet {
        TargetSet::of([5]).expect("one slot")
    }

    /// Of which the address is known until then.
    fn known_until(expires_ns: u64) -> Known {
        let mut known = Known::new(8, 100);
        let key = EndpointKey { port: 0, ..endpoints(&key(1))[0] };
        known.learn(key, Learned { targets: slot(), own: slot(), expires_ns });
        known
    }

    #[test]
    fn sessions_are_those_that_are_alive() {
        let mut known = known_until(2 * NOW_NS);
        (1..=3).for_each(|port| judge(&mut known, port, 1, NOW_NS - 400 * SECOND_NS));
        judge(&mut known, 4, 1, NOW_NS - SECOND_NS);
        let flows = [seen(1, 1, NOW_NS), seen(2, 1, NOW_NS - 400 * SECOND_NS)];
        let aged = aged(&known, &flows, NOW_NS, 100);
        assert_eq!(aged.sessions, BTreeMap::from([((5, Role::Miner as u8), 1)]));
        assert_eq!(aged.over, [key(3)], "the silent one may go on, that of a second ago may be counted yet");
    }

    #[test]
    fn what_was_freed_stays_as_long_as_there_is_something_to_free_it_of_and_makes_room_for_others() {
        let mut known = known_until(2 * NOW_NS);
        (1..=20).for_each(|port| judge(&mut known, port, Judged::FREED, u64::from(port)));
        judge(&mut known, 30, 1, 3);
        let flows: Vec<_> = (1..=30).map(|port| seen(port, 1, NOW_NS)).collect();
        assert_eq!(aged(&known, &flows, NOW_NS, 100).over, []);
        let over = aged(&known, &flows, NOW_NS, 15).over;
        assert_eq!(over, [1, 2, 3, 4, 5, 6].map(key), "the oldest, and no session");
        let nothing = Known::new(8, 100);
        let mut freed = nothing.clone();
        judge(&mut freed, 1, Judged::FREED, NOW_NS);
        assert_eq!(aged(&freed, &flows, NOW_NS, 100).over, [key(1)], "of nothing any more");
        assert_eq!(aged(&nothing, &flows, NOW_NS, 100), Aged::default());
    }

    #[test]
    fn an_address_outlives_its_time_only_for_who_was_connected_before_that() {
        let expires_ns = NOW_NS - 10 * SECOND_NS;
        let count = |flows: &[_], known: &Known| aged(known, flows, NOW_NS, 100).expired.len();
        let mut known = known_until(expires_ns);
        let (before, after) = (seen(1, expires_ns - 5, NOW_NS), seen(2, expires_ns + 5, NOW_NS));
        assert_eq!(count(&[before], &known), 0);
        assert_eq!(count(&[after], &known), 1, "who came later does not keep it");
        assert_eq!(count(&[seen(1, 1, NOW_NS - 400 * SECOND_NS)], &known), 1, "who is silent neither");
        assert_eq!(count(&[], &known), 1);
        judge(&mut known, 1, Judged::FREED, NOW_NS);
        assert_eq!(count(&[before], &known), 1, "nor who talks to another site there");
        assert_eq!(count(&[], &known_until(NOW_NS)), 0);
    }
}
