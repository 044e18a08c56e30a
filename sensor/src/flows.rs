//! What a sweep of the flow table says: flows and peers alive for each target, and how many
//! flows left the table before their time. Pure; `run` sweeps every few seconds.
//!
//! The kernel's LRU evicts without a word. What it evicted follows from what it was given: a
//! flow that was there and is not, and had not ended, was evicted; so was one that came and went
//! between two sweeps. `evicted = created − ended − alive` is exact when the table is at rest, and
//! never too high while it is not.
//!
//! Between two sweeps, and while no daemon runs, nobody sees how a flow stood that leaves: one that
//! ends and leaves within that time counts as evicted. Nothing leaves before the table is full.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::net::SocketAddr;

use foldhash::{fast, quality};
use sensor_ebpf::abi::{Address, Daemon, Flow, FlowKey, Side, Transport, Version, index_of, numbered};
use sensor_ebpf::flow::{UDP_SILENCE_NS, is_over};

/// A flow is alive while it was seen in the last five minutes.
pub const ALIVE_NS: u64 = 300 * 1_000_000_000;

/// Flows of one target, by initiator (local, remote, unknown) and established (no, yes).
pub type Counts = [[u64; 2]; 3];

/// What one sweep saw.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// By slot.
    pub targets: HashMap<u32, TargetFlows>,
    /// Entries in the table, dead ones included.
    pub entries: u64,
    pub evicted: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetFlows {
    pub flows: Counts,
    /// Distinct remote addresses.
    pub peers: u64,
}

/// Whose index in TOTALS a slot is that a flow names: those of the maps in use, and those that other
/// maps had numbered before, as long as no packet came since.
#[derive(Clone, Debug, Default)]
pub struct Slots {
    pub numbering: u32,
    /// By what the flow says.
    pub former: HashMap<u32, u32>,
}

impl Slots {
    fn index(&self, slot: u32) -> Option<u32> {
        let index = index_of(slot);
        if slot == numbered(index, self.numbering) { Some(index) } else { self.former.get(&slot).copied() }
    }
}

/// Remembers from sweep to sweep which flows were there, by the hash of their key.
pub struct Sweeper {
    slots: Slots,
    hasher: quality::RandomState,
    /// Since when its leaving is no loss; `u64::MAX`: it has not ended.
    present: HashMap<u64, u64, fast::RandomState>,
    /// Of this and earlier daemons on the same table.
    counted: Daemon,
}

impl Sweeper {
    pub fn new(counted: Daemon, slots: Slots) -> Self {
        Self { slots, hasher: quality::RandomState::default(), present: HashMap::default(), counted }
    }

    /// What has been counted so far, to be kept where it outlives the daemon.
    pub const fn counted(&self) -> Daemon {
        self.counted
    }

    /// The programs of one more interface were put back, which the same entry keeps.
    pub const fn count_reattached(&mut self) {
        self.counted.reattached += 1;
    }

    /// [`keep`](Self::keep) and [`view`](Self::view) of the same flows.
    pub fn sweep(&mut self, flows: &[(FlowKey, Flow)], created: u64, now_ns: u64) -> View {
        let entries = self.keep(flows, created, now_ns);
        self.view(flows, entries, now_ns)
    }

    /// Remembers which flows are there, and counts those that left. Returns how many there are.
    /// `created`: entries that the table ever took, read before `flows` were listed.
    pub fn keep(&mut self, flows: &[(FlowKey, Flow)], created: u64, now_ns: u64) -> u64 {
        let mut present = HashMap::with_capacity_and_hasher(flows.len(), fast::RandomState::default());
        for (key, flow) in flows {
            present.insert(self.hasher.hash_one(key), ends_ns(key, flow));
        }
        let ended =
            self.present.iter().filter(|(hash, ends_ns)| **ends_ns <= now_ns && !present.contains_key(hash));
        self.counted.flows_ended += ended.count() as u64;
        let entries = present.len() as u64;
        let evicted = created.saturating_sub(entries).saturating_sub(self.counted.flows_ended);
        // Never down, even where a flow came while the table was being read.
        self.counted.flows_evicted = self.counted.flows_evicted.max(evicted);
        self.present = present;
        entries
    }

    /// What there is to show of these flows.
    pub fn view(&self, flows: &[(FlowKey, Flow)], entries: u64, now_ns: u64) -> View {
        View { targets: by_target(flows, &self.slots, now_ns), entries, evicted: self.counted.flows_evicted }
    }
}

/// Address and port of one end.
pub fn end(key: &FlowKey, side: Side) -> SocketAddr {
    let (address, port) = match side {
        Side::Local => (key.local, key.local_port),
        Side::Remote => (key.remote, key.remote_port),
    };
    SocketAddr::new(address.to_ip(Version::of(key.version)), port)
}

fn ends_ns(key: &FlowKey, flow: &Flow) -> u64 {
    if key.transport == Transport::Udp as u8 {
        flow.last_ns.saturating_add(UDP_SILENCE_NS)
    } else if is_over(flow) {
        0
    } else {
        u64::MAX
    }
}

fn by_target(flows: &[(FlowKey, Flow)], slots: &Slots, now_ns: u64) -> HashMap<u32, TargetFlows> {
    type Peers = HashSet<(u8, Address), fast::RandomState>;
    let mut targets: HashMap<u32, (Counts, Peers), fast::RandomState> = HashMap::default();
    for (key, flow) in flows.iter().filter(|(_, flow)| now_ns.saturating_sub(flow.last_ns) <= ALIVE_NS) {
        for slot in flow.targets.slots().filter_map(|slot| slots.index(slot)) {
            let (counts, peers) = targets.entry(slot).or_default();
            counts[usize::from(flow.initiator.min(2))][usize::from(flow.established != 0)] += 1;
            peers.insert((key.version, key.remote));
        }
    }
    targets
        .into_iter()
        .map(|(slot, (flows, peers))| (slot, TargetFlows { flows, peers: peers.len() as u64 }))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sensor_ebpf::abi::TargetSet;

    const SECOND: u64 = 1_000_000_000;

    fn flow(transport: Transport, remote: u32, last_s: u64) -> (FlowKey, Flow) {
        let key = FlowKey {
            remote: Address::v4(remote),
            local: Address::v4(1),
            remote_port: 3333,
            local_port: 50_000,
            transport: transport as u8,
            version: Version::V4 as u8,
            reserved: 0,
        };
        let targets = TargetSet::of([5]).expect("one slot");
        (key, Flow { last_ns: last_s * SECOND, targets, ..Flow::default() })
    }

    fn sweeper(counted: Daemon) -> Sweeper {
        Sweeper::new(counted, Slots::default())
    }

    #[test]
    fn a_flow_that_former_maps_numbered_is_its_targets_until_a_packet_names_the_slot_anew() {
        let flow_of = |slot| {
            let (key, flow) = flow(Transport::Tcp, slot, 1);
            (key, Flow { targets: TargetSet::of([slot]).expect("one slot"), ..flow })
        };
        let slots = Slots { numbering: 2, former: HashMap::from([(numbered(5, 1), 9)]) };
        let flows = [numbered(5, 1), numbered(9, 2), numbered(5, 2), numbered(7, 1)].map(flow_of);
        let view = Sweeper::new(Daemon::default(), slots).sweep(&flows, 4, SECOND);
        let peers: HashMap<u32, u64> =
            view.targets.iter().map(|(slot, found)| (*slot, found.peers)).collect();
        assert_eq!(peers, HashMap::from([(9, 2), (5, 1)]), "and of slot 7 nobody knows whose it was");
    }

    #[test]
    fn flows_and_peers_are_counted_while_they_are_alive() {
        let now_s = 1_000;
        let mut established = flow(Transport::Tcp, 7, now_s - 300);
        established.1.established = 1;
        let mut elsewhere = flow(Transport::Tcp, 8, now_s);
        elsewhere.1.initiator = 1;
        let mut same_peer = flow(Transport::Udp, 8, now_s);
        same_peer.0.local_port = 1;
        same_peer.1.initiator = 2;
        let dead = flow(Transport::Tcp, 9, now_s - 301);
        let view =
            sweeper(Daemon::default()).sweep(&[established, elsewhere, same_peer, dead], 4, now_s * SECOND);
        assert_eq!(view.targets[&5], TargetFlows { flows: [[0, 1], [1, 0], [1, 0]], peers: 2 });
        assert_eq!(view.entries, 4);
    }

    #[test]
    fn a_flow_that_leaves_after_its_end_was_not_evicted_and_one_that_leaves_before_was() {
        let mut over = flow(Transport::Tcp, 1, 100);
        over.1.ended = [1; 2];
        let open = flow(Transport::Tcp, 2, 100);
        let silent = flow(Transport::Udp, 3, 100);
        let speaking = flow(Transport::Udp, 4, 150);
        let mut sweeper = sweeper(Daemon::default());
        assert_eq!(sweeper.sweep(&[over, open, silent, speaking], 4, 155 * SECOND).evicted, 0);
        let view = sweeper.sweep(&[], 4, 160 * SECOND);
        assert_eq!(view.evicted, 2);
        assert_eq!(sweeper.counted(), Daemon { flows_evicted: 2, flows_ended: 2, ..Daemon::default() });
    }

    #[test]
    fn flows_that_come_and_go_between_two_sweeps_were_evicted() {
        let mut sweeper = sweeper(Daemon::default());
        assert_eq!(sweeper.sweep(&[flow(Transport::Tcp, 1, 1)], 10, SECOND).evicted, 9);
    }

    #[test]
    fn the_next_daemon_goes_on_where_the_last_one_stopped() {
        let mut sweeper = sweeper(Daemon { flows_evicted: 3, flows_ended: 7, ..Daemon::default() });
        let view = sweeper.sweep(&[flow(Transport::Tcp, 1, 1)], 11, SECOND);
        assert_eq!(view.evicted, 3);
    }
}
