//! The connections of a capture, each told as a whole and from one side: *local* is who opened it, or
//! who sent first where the opening was not captured. TCP connections are followed whomever they
//! concern, since what one says may tell so only later; flows of UDP from when they concern someone on.
//!
//! Nothing expires, so that also those are shown whose ports others took over. What the metrics would
//! count is not here but in `memory`.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{Direction, Flow, FlowKey, Side, TargetSet, Transport};
use sensor_ebpf::classify::Observation;
use sensor_ebpf::flow::{self, Step, begin, begins};

use crate::verdict::Detection;

/// A connection as it ended, or as the capture ended.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    pub key: FlowKey,
    pub flow: Flow,
    /// Place in [`Connections::concerns`], or [`NOBODY`].
    concern: u32,
}

const NOBODY: u32 = u32::MAX;

/// Whom a connection concerns, and why.
#[derive(Clone, Debug)]
pub struct Concern {
    /// By the [`Side`] whose address was looked up.
    pub targets: [TargetSet; 2],
    /// Those of them that were learned and are not listed.
    pub learned: [TargetSet; 2],
    pub detections: Vec<Detection>,
}

/// Where a packet belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Of its connection.
    pub index: usize,
    /// Which way it went, seen from the local side.
    pub direction: Direction,
    /// A connection before this one had the same ends.
    pub succeeds: bool,
}

/// All of one capture, in the order in which they began.
#[derive(Default)]
pub struct Connections {
    all: Vec<Connection>,
    concerns: Vec<Concern>,
    /// The latest between two ends, whichever of them is which.
    latest: HashMap<FlowKey, u32, RandomState>,
    /// That of the packet before: packets come in runs.
    last: Option<(FlowKey, u32)>,
    max: usize,
}

impl Connections {
    /// For at most `max` of them.
    pub fn new(max: usize) -> Self {
        Self { max: max.min(NOBODY as usize), ..Self::default() }
    }

    pub fn is_full(&self) -> bool {
        self.all.len() >= self.max
    }

    /// Those that concern someone.
    pub fn concerned(&self) -> impl Iterator<Item = (&Connection, &Concern)> {
        self.all.iter().filter_map(|it| Some((it, self.concerns.get(it.concern as usize)?)))
    }

    /// The latest connection between these ends, if it is told from this side.
    pub fn find(&self, key: &FlowKey) -> Option<&Connection> {
        let index = *self.latest.get(&either_way(key))?;
        self.all.get(index as usize).filter(|connection| connection.key == *key)
    }

    /// Takes a packet, seen in both directions, into its connection. `None`: it belongs to none that is
    /// followed.
    pub fn follow(&mut self, egress: &Observation, ingress: &Observation, now_ns: u64) -> Option<Place> {
        let key = egress.flow?;
        let ends = either_way(&key);
        let last = self.last.filter(|(last, _)| *last == ends).map(|(_, index)| index);
        let known = last.or_else(|| self.latest.get(&ends).copied());
        if let Some(index) = known {
            self.last = Some((ends, index));
            let index = index as usize;
            let connection = &mut self.all[index];
            let sent_by_local =
                (connection.key.local, connection.key.local_port) == (key.local, key.local_port);
            let seen = if sent_by_local { egress } else { ingress };
            if flow::follow(&mut connection.flow, seen, now_ns) != Step::Succeeds {
                return Some(Place { index, direction: seen.direction, succeeds: false });
            }
        }
        let is_tcp = matches!(egress.transport, Transport::Tcp);
        let is_wanted = is_tcp || !egress.targets.is_empty() || !ingress.targets.is_empty();
        if !is_wanted || !begins(egress) || self.is_full() {
            return None;
        }
        let mut flow = Flow::default();
        begin(&mut flow, egress, now_ns, 0);
        let index = self.all.len();
        self.all.push(Connection { key, flow, concern: NOBODY });
        let place = u32::try_from(index).ok()?;
        self.latest.insert(ends, place);
        self.last = Some((ends, place));
        Some(Place { index, direction: Direction::Egress, succeeds: known.is_some() })
    }

    /// What looking up the address of one side gave for a packet; `learned` says which of those are
    /// learned, and is asked only when there are new ones.
    pub fn concern(
        &mut self,
        index: usize,
        side: Side,
        found: TargetSet,
        learned: impl FnOnce() -> TargetSet,
    ) {
        if found.is_empty() {
            return;
        }
        let concern = self.of(index);
        let known = concern.targets[side.index()];
        if found == known || found.slots().all(|slot| known.contains(slot)) {
            return;
        }
        concern.targets[side.index()] = union(known, found);
        concern.learned[side.index()] = union(concern.learned[side.index()], learned());
    }

    /// The connection has said whom it concerns: what was taken for its target before is none.
    pub fn detect(&mut self, index: usize, detection: Detection) {
        let concern = self.of(index);
        concern.targets[Side::Remote.index()] = detection.targets;
        concern.detections.push(detection);
    }

    /// The connection has said that it concerns no one but these.
    pub fn free(&mut self, index: usize, rest: TargetSet) {
        self.of(index).targets[Side::Remote.index()] = rest;
    }

    fn of(&mut self, index: usize) -> &mut Concern {
        let concern = &mut self.all[index].concern;
        if *concern == NOBODY {
            *concern = u32::try_from(self.concerns.len()).unwrap_or(NOBODY);
            self.concerns.push(Concern {
                targets: [TargetSet::EMPTY; 2],
                learned: [TargetSet::EMPTY; 2],
                detections: Vec::new(),
            });
        }
        &mut self.concerns[*concern as usize]
    }
}

/// Both sets; where that would be too many, the first.
fn union(first: TargetSet, second: TargetSet) -> TargetSet {
    TargetSet::of(first.slots().chain(second.slots())).unwrap_or(first)
}

/// The same key for both directions.
fn either_way(key: &FlowKey) -> FlowKey {
    if (key.local.0, key.local_port) <= (key.remote.0, key.remote_port) {
        return *key;
    }
    FlowKey {
        remote: key.local,
        local: key.remote,
        remote_port: key.local_port,
        local_port: key.remote_port,
        ..*key
    }
}
