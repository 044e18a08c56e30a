//! What a capture has taught so far lies over the compiled tables, as LEARNED and JUDGED do in the kernel,
//! behind the same filter; what has expired is known no more. Time is the capture's.

use sensor_ebpf::abi::{EndpointKey, FlowKey, Judged, Learned, Side, TargetSet, Version};
use sensor_ebpf::classify::{Observation, Tables};
use sensor_ebpf::flow::initiator;

use super::connections::Connections;
use crate::verdict::{Known, Overlaid, World};

/// Addresses, and connections, that are known at a time.
pub const KNOWN_MAX: usize = 1 << 20;

/// Which of the targets that were found for a packet are learned and not listed.
pub fn only_learned<T: Tables>(tables: &Overlaid<'_, T>, seen: &Observation) -> TargetSet {
    let Some(flow) = seen.flow else { return TargetSet::EMPTY };
    let version = Version::of(flow.version);
    let listed = tables.listed(version, &flow.remote, Some(flow.remote_port)).targets;
    let learned = [flow.remote_port, 0].map(|port| {
        let key = EndpointKey { address: flow.remote, port, version: flow.version, reserved: 0 };
        tables.learned(&key).unwrap_or(TargetSet::EMPTY)
    });
    let is_learned = |slot: &u32| learned.iter().any(|set| set.contains(*slot)) && !listed.contains(*slot);
    TargetSet::of(seen.targets.slots().filter(is_learned)).unwrap_or(TargetSet::EMPTY)
}

/// What verdicts ask and change.
pub struct Learning<'a, T> {
    pub tables: &'a T,
    pub known: &'a mut Known,
    pub connections: &'a Connections,
}

impl<T: Tables> World for Learning<'_, T> {
    type Lists = T;

    fn lists(&self) -> &T {
        self.tables
    }

    fn known(&self) -> &Known {
        self.known
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        self.known.learn(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        self.known.judge(key, judged)
    }

    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)> {
        let connection = self.connections.find(key)?;
        Some((connection.flow.opened_ns, initiator(&connection.flow)))
    }
}
