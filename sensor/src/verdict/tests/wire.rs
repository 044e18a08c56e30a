//! A wire on which this host and others talk, and someone who listens.

use std::path::Path;

use sensor_ebpf::abi::{Direction, EndpointKey, FlowKey, Judged, Learned, Side, TargetSet};
use sensor_ebpf::flow;

use super::packets::build::{Frame, from};
use super::packets::samples::PLENTY;
use super::packets::sampling::Sampling;
use crate::config::Config;
use crate::inspect::Signal;
use crate::verdict::{Detection, Finding, Known, Overlaid, Role, Sample, Verdicts, Watching, World};
use crate::watchlists::{Compiled, Watchlists};

pub const HOST: &str = "10.0.0.1";
/// Nobody's.
pub const STRANGER: &str = "192.0.2.9";
/// In `dprk`'s `star-kp`.
pub const STAR: &str = "175.45.176.7";

/// What the packet path knows: the lists, what was learned, and its flows.
pub struct Host {
    compiled: Compiled,
    pub known: Known,
    pub sampling: Sampling,
}

impl Host {
    fn overlaid(&self) -> Overlaid<'_, Compiled> {
        Overlaid { tables: &self.compiled, known: &self.known }
    }
}

impl World for Host {
    type Lists = Compiled;

    fn lists(&self) -> &Compiled {
        &self.compiled
    }

    fn known(&self) -> &Known {
        &self.known
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        self.known.learn(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        self.known.judge(key, judged)
    }

    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)> {
        let flows = self.sampling.memory.flows.borrow();
        flows.get(key).map(|it| (it.opened_ns, flow::initiator(it)))
    }
}

pub struct Wire {
    pub host: Host,
    pub verdicts: Verdicts,
    pub watching: Watching,
    pub found: Vec<Finding>,
    slots: Vec<(String, String)>,
    next_port: u16,
}

impl Wire {
    /// With the built-in lists.
    pub fn new() -> Self {
        Self::with("")
    }

    /// With the lists of this config.
    pub fn with(config: &str) -> Self {
        let config = Config::parse(Path::new("poolwatch.toml"), config.to_owned()).expect("a config");
        let lists = Watchlists::load(&config).expect("its lists");
        let slots: Vec<(String, String)> = lists
            .lists
            .iter()
            .flat_map(|list| list.targets.iter().map(|target| (list.name.clone(), target.name.clone())))
            .collect();
        let slot_of = |list: &str, target: &str| {
            let at = slots.iter().position(|(l, t)| (l.as_str(), t.as_str()) == (list, target));
            at.and_then(|slot| u32::try_from(slot).ok())
        };
        let compiled = Compiled::new(&lists, &config.limits, slot_of).expect("they fit");
        let watching = Watching::of(&lists, slot_of).expect("they fit");
        Self {
            host: Host { compiled, known: Known::new(1 << 20, 1 << 20), sampling: Sampling::new(PLENTY) },
            verdicts: Verdicts::new(true),
            watching,
            found: Vec::new(),
            slots,
            next_port: 40_000,
        }
    }

    /// A packet passes, and what it says is heard.
    pub fn packet(&mut self, direction: Direction, frame: &Frame) {
        self.host.sampling.hear(frame, direction, &self.host.overlaid());
        let taken = self.host.sampling.taken.take();
        for (header, payload) in taken {
            let sample = Sample { header, payload: &payload };
            let (watching, found) = (&self.watching, &mut self.found);
            self.verdicts.hear(&sample, watching, &mut self.host, &mut |finding| found.push(finding));
        }
    }

    pub fn wait(&self, seconds: u64) {
        let now_ns = &self.host.sampling.memory.now_ns;
        now_ns.set(now_ns.get() + seconds * 1_000_000_000);
    }

    pub fn now_ns(&self) -> u64 {
        self.host.sampling.memory.now_ns.get()
    }

    /// A port of this host that no connection had yet.
    pub fn fresh_port(&mut self) -> u16 {
        self.next_port += 1;
        self.next_port
    }

    /// `watchlist/target` of each.
    pub fn names(&self, targets: TargetSet) -> Vec<String> {
        let name = |slot: u32| {
            let (list, target) = &self.slots[slot as usize];
            format!("{list}/{target}")
        };
        targets.slots().map(name).collect()
    }

    /// Those found since the last time.
    pub fn detections(&mut self) -> Vec<Detection> {
        let found = std::mem::take(&mut self.found);
        let detections = found.into_iter().filter_map(|it| match it {
            Finding::Detection(detection) => Some(detection),
            _ => None,
        });
        detections.collect()
    }

    /// The one that was found since the last time.
    #[track_caller]
    pub fn only(&mut self, what: &str) -> Detection {
        let mut detections = self.detections();
        assert_eq!(detections.len(), 1, "{what}: {detections:?}");
        detections.remove(0)
    }

    /// Signal, role and targets of those found since the last time.
    pub fn told(&mut self) -> Vec<(Signal, Role, Vec<String>)> {
        let detections = self.detections();
        detections.iter().map(|it| (it.signal, it.role, self.names(it.targets))).collect()
    }
}

/// A connection between this host and another.
#[derive(Clone)]
pub struct Session {
    pub host: &'static str,
    pub remote: &'static str,
    pub local_port: u16,
    pub remote_port: u16,
    pub tags: Vec<u16>,
    /// Of the next byte, by [`Direction`].
    pub sequence: [u32; 2],
}

impl Session {
    /// From an ephemeral port to a server's, in its middle.
    pub fn to(wire: &mut Wire, remote: &'static str, remote_port: u16) -> Self {
        let local_port = wire.fresh_port();
        let host = if remote.contains(':') { "2001:db8::1" } else { HOST };
        Self { host, remote, local_port, remote_port, tags: Vec::new(), sequence: [7000, 5000] }
    }

    /// From another host to this port of ours, in its middle.
    pub fn at(wire: &mut Wire, local_port: u16, remote: &'static str) -> Self {
        let remote_port = wire.fresh_port();
        Self { host: HOST, remote, local_port, remote_port, tags: Vec::new(), sequence: [7000, 5000] }
    }

    fn frame(&self, direction: Direction) -> Frame {
        let frame = match direction {
            Direction::Egress => from(self.host, self.remote).ports(self.local_port, self.remote_port),
            Direction::Ingress => from(self.remote, self.host).ports(self.remote_port, self.local_port),
        };
        frame.tagged(&self.tags)
    }

    /// The handshake, begun by whoever sends this way.
    pub fn open(&mut self, wire: &mut Wire, direction: Direction) {
        let back = if direction == Direction::Egress { Direction::Ingress } else { Direction::Egress };
        let [mine, theirs] = [self.sequence[direction.index()], self.sequence[back.index()]];
        let [first, answered] = [mine.wrapping_sub(1), theirs.wrapping_sub(1)];
        wire.packet(direction, &self.frame(direction).syn(first));
        wire.packet(back, &self.frame(back).syn_ack(answered, mine));
        wire.packet(direction, &self.frame(direction).ack(mine, theirs));
    }

    /// Sends a segment.
    pub fn send(&mut self, wire: &mut Wire, direction: Direction, bytes: &[u8]) {
        let sequence = self.sequence[direction.index()];
        self.send_at(wire, direction, sequence, bytes);
        let len = u32::try_from(bytes.len()).expect("a segment");
        self.sequence[direction.index()] = sequence.wrapping_add(len);
    }

    /// Sends one again, or out of order.
    pub fn send_at(&self, wire: &mut Wire, direction: Direction, sequence: u32, bytes: &[u8]) {
        wire.packet(direction, &self.frame(direction).ack(sequence, 1).data(bytes));
    }

    pub fn says(&mut self, wire: &mut Wire, text: &str) {
        self.send(wire, Direction::Egress, text.as_bytes());
    }

    pub fn hears(&mut self, wire: &mut Wire, text: &str) {
        self.send(wire, Direction::Ingress, text.as_bytes());
    }
}
