//! The table of payloads: what is sent, and exactly which samples are taken of it. The same table goes
//! through the host build here and, in the sensor's tests, through the kernel.

use sensor_ebpf::abi::{Budgets, Direction, SampleKind, TargetSet, Unsampled};
use sensor_ebpf::classify::{Observation, Tables, classify};
use sensor_ebpf::packet::Captured;

use super::build::{Frame, from};
use super::sampling::{Expecting, Sampling, Taken};
use super::{HOST, OTHER, Runs, Step, indicators, inn, out};

/// As many samples as anybody sends here.
pub const PLENTY: Budgets = Budgets { per_window: [1 << 20; 8] };

/// Where miners listen and ask in these cases.
pub const PORTS: (u16, u16) = (40_000, 3333);

/// A sample that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub kind: SampleKind,
    pub direction: Direction,
    pub sequence: u32,
    /// Bytes that the packet carries.
    pub payload: usize,
    pub captured: Vec<u8>,
    pub targets: TargetSet,
}

#[derive(Clone, Debug)]
pub struct SampleCase {
    pub description: String,
    pub steps: Vec<Step>,
    pub wanted: Vec<Wanted>,
    pub dropped: Vec<(SampleKind, Unsampled, u64)>,
    pub budgets: Budgets,
    pub runs: Runs,
}

impl SampleCase {
    pub fn new(description: impl Into<String>) -> Self {
        Self {
            description: description.into(),
            steps: Vec::new(),
            wanted: Vec::new(),
            dropped: Vec::new(),
            budgets: PLENTY,
            runs: Runs::Everywhere,
        }
    }

    /// This host sends a segment; nothing comes of it, unless [`SampleCase::taken`] says so.
    pub fn says(self, sequence: u32, data: &[u8]) -> Self {
        self.sends(segment(sequence, data))
    }

    /// The other end sends one.
    pub fn hears(self, sequence: u32, data: &[u8]) -> Self {
        self.receives(answer(sequence, data))
    }

    pub fn sends(mut self, frame: Frame) -> Self {
        self.steps.push(out(frame));
        self
    }

    pub fn receives(mut self, frame: Frame) -> Self {
        self.steps.push(inn(frame));
        self
    }

    /// The packet before is sampled so: as much of it as its kind has room for.
    pub fn taken(self, kind: SampleKind) -> Self {
        let captured = self.payload().1.len();
        self.taken_of(kind, captured)
    }

    /// The packet before is sampled, and so many bytes of its payload are copied.
    pub fn taken_of(mut self, kind: SampleKind, bytes: usize) -> Self {
        let (seen, payload) = self.payload();
        let max = if kind.is_text() { 512 } else { 2048 };
        self.wanted.push(Wanted {
            kind,
            direction: seen.direction,
            sequence: seen.segment.sequence,
            payload: payload.len(),
            captured: payload[..bytes.min(max)].to_vec(),
            targets: seen.targets,
        });
        self
    }

    /// The packet before is sampled, and its payload has this sequence number.
    pub fn taken_at(self, kind: SampleKind, sequence: u32) -> Self {
        let mut case = self.taken(kind);
        case.wanted.iter_mut().last().expect("it was taken").sequence = sequence;
        case
    }

    /// The packet before is not sampled for this reason.
    pub fn dropped(mut self, kind: SampleKind, reason: Unsampled) -> Self {
        self.dropped.push((kind, reason, 1));
        self
    }

    pub fn budget(mut self, kind: SampleKind, samples: u32) -> Self {
        self.budgets.per_window[kind as usize] = samples;
        self
    }

    pub fn runs(self, runs: Runs) -> Self {
        Self { runs, ..self }
    }

    /// Of the packet before, as it was on the link.
    fn payload(&self) -> (Observation, Vec<u8>) {
        let Some(Step::Packet(direction, frame)) = self.steps.last() else { panic!("a packet comes first") };
        let bytes = frame.bytes();
        let packet = Captured { aggregate: frame.aggregate, ..Captured::from(&bytes[..]) };
        let seen = classify(&packet, frame.link(), *direction, &indicators()).expect("it is sound");
        let start = seen.payload_offset as usize;
        (seen, bytes[start..start + seen.payload_len as usize].to_vec())
    }

    /// As OWN holds them.
    pub fn own_dropped(&self) -> [[u64; 4]; 8] {
        let mut own = [[0; 4]; 8];
        for (kind, reason, count) in &self.dropped {
            own[*kind as usize][*reason as usize] += count;
        }
        own
    }

    /// After all of its packets on the host.
    pub fn on_host(&self, expecting: Expecting, tables: &impl Tables) -> Sampling {
        let sampling = Sampling { expecting, ..Sampling::new(self.budgets) };
        for step in &self.steps {
            let Step::Packet(direction, frame) = step else { panic!("nobody waits here") };
            sampling.hear(frame, *direction, tables);
        }
        sampling
    }

    /// What is wrong with what was taken, if anything.
    pub fn complaint(&self, taken: &[Taken], dropped: [[u64; 4]; 8]) -> Option<String> {
        let taken: Vec<_> = taken.iter().map(as_wanted).collect();
        if taken == self.wanted && dropped == self.own_dropped() {
            return None;
        }
        let shown = |samples: &[Wanted]| {
            let lines = samples.iter().map(|it| {
                let text = String::from_utf8_lossy(&it.captured[..it.captured.len().min(40)]).into_owned();
                let (kind, way, at, of) = (it.kind, it.direction, it.sequence, it.payload);
                format!("\n   {kind:?} {way:?} {at} {} of {of}: {text:?} {:?}", it.captured.len(), it.targets)
            });
            lines.collect::<String>()
        };
        let (is, should) = (shown(&taken), shown(&self.wanted));
        Some(format!("{}:\n taken {is}\n wanted {should}\n dropped {dropped:?}", self.description))
    }
}

fn as_wanted((header, payload): &Taken) -> Wanted {
    Wanted {
        kind: SampleKind::of(header.kind).expect("a kind"),
        direction: Direction::ALL[usize::from(header.direction)],
        sequence: header.sequence,
        payload: header.payload as usize,
        captured: payload.clone(),
        targets: header.targets,
    }
}

/// A segment from here to nobody's address.
pub fn segment(sequence: u32, data: &[u8]) -> Frame {
    from(HOST, OTHER).ports(PORTS.0, PORTS.1).ack(sequence, 1).data(data)
}

/// One from there.
pub fn answer(sequence: u32, data: &[u8]) -> Frame {
    from(OTHER, HOST).ports(PORTS.1, PORTS.0).ack(sequence, 1).data(data)
}
