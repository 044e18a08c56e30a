//! Every type, map name and capacity that crosses the boundary between the kernel
//! half and the daemon. `repr(C)`, integers and byte arrays only, explicit padding,
//! sizes asserted: what is written on one side is read on the other byte for byte.
//!
//! Integers are in the host's byte order unless their doc says otherwise. Times are
//! nanoseconds of `CLOCK_MONOTONIC` (`bpf_ktime_get_ns`); replay uses the capture's.
//! A change to anything here is a new [`SCHEMA`].
//!
//! tidy: long because what crosses the boundary stands in one file, to be read as one.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// In a file of its own, so that the test of upgrades can build a poolwatch that counts in another one.
#[cfg_attr(feature = "made-up-upgrade", path = "abi/made_up_totals.rs")]
mod totals;

pub mod filter;
mod samples;

pub use samples::{
    Budgets, SAMPLE_RECORD_MAX, SAMPLE_TEXT_MAX, SampleHeader, SampleKind, Spent, Stream, Unsampled,
    WINDOW_NS_LOG2,
};
pub use totals::{SCHEMA, Totals, slots_in_order};

/// Names of the maps, as they stand in the object and in the pins directory.
pub mod map {
    pub const SETTINGS: &str = "SETTINGS";
    pub const TARGETS: &str = "TARGETS";
    pub const TOTALS: &str = "TOTALS";
    pub const OWN: &str = "OWN";
    pub const FLOWS: &str = "FLOWS";
    pub const CLAIMS: &str = "CLAIMS";
    pub const FILTER: &str = "FILTER";
    pub const TABLES: &str = "TABLES";
    pub const LEARNED: &str = "LEARNED";
    pub const STREAMS: &str = "STREAMS";
    pub const SAMPLES: &str = "SAMPLES";
    pub const SAMPLER: &str = "SAMPLER";
    pub const BUDGETS: &str = "BUDGETS";
    pub const JUDGED: &str = "JUDGED";
    pub const FINDINGS: &str = "FINDINGS";
    pub const DAEMON: &str = "DAEMON";
    /// Pinned beside the others by the daemon alone: documents, see `bpf::layout` and `bpf::carried`.
    pub const LAYOUT: &str = "LAYOUT";
    pub const CARRIED: &str = "CARRIED";

    /// Every one of them.
    pub const ALL: [&str; 18] = [
        SETTINGS, TARGETS, TOTALS, OWN, FLOWS, CLAIMS, FILTER, TABLES, LEARNED, STREAMS, SAMPLES, SAMPLER,
        BUDGETS, JUDGED, FINDINGS, DAEMON, LAYOUT, CARRIED,
    ];
}

/// Names of the programs: ingress and egress, of interfaces with an Ethernet header and of
/// those that begin with IP.
pub mod program {
    pub const ETHERNET: [&str; 2] = ["poolwatch_in", "poolwatch_out"];
    pub const IP: [&str; 2] = ["poolwatch_l3in", "poolwatch_l3out"];
    /// What they call to sample a payload.
    pub const TAKE: &str = "poolwatch_take";
}

/// Default capacities; the daemon sets those that the config's `[limits]` names.
pub mod capacity {
    pub const TARGETS: u32 = 1024;
    pub const FLOWS: u32 = 65_536;
    /// Claims live for the instant in which two CPUs race for one milestone.
    pub const CLAIMS: u32 = 8_192;
    pub const PREFIXES: u32 = 1_048_576;
    pub const ENDPOINTS: u32 = 65_536;
    pub const LEARNED: u32 = 16_384;
    pub const JUDGED: u32 = 16_384;
    pub const STREAMS: u32 = 16_384;
    pub const SAMPLES_BYTES: u32 = 1 << 20;
    /// Places for the sequence numbers of segments that continue a sample.
    pub const EXPECTED: u32 = 4096;
}

/// Which way a packet went, seen from this host.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    Ingress = 0,
    Egress = 1,
}

impl Direction {
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its place in an array. The mask says to the verifier what the type says to us.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize & 1
    }

    /// Who sent a packet that went this way.
    #[inline(always)]
    pub const fn sender(self) -> Side {
        match self {
            Self::Ingress => Side::Remote,
            Self::Egress => Side::Local,
        }
    }
}

/// One end of a flow. The remote end is the one whose address is watched.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    Local = 0,
    Remote = 1,
}

impl Side {
    pub const ALL: [Self; 2] = [Self::Local, Self::Remote];

    /// Its place in an array. The mask says to the verifier what the type says to us.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize & 1
    }

    #[inline(always)]
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Local => Self::Remote,
            Self::Remote => Self::Local,
        }
    }
}

/// What the IP header's protocol field says is inside, as far as counting cares.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    Tcp = 0,
    Udp = 1,
    Icmp = 2,
    Other = 3,
}

impl Transport {
    pub const ALL: [Self; 4] = [Self::Tcp, Self::Udp, Self::Icmp, Self::Other];
    /// Those that have ports, flows and connections.
    pub const CONNECTED: [Self; 2] = [Self::Tcp, Self::Udp];
}

/// IP version, as the number that the header carries.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    V4 = 4,
    V6 = 6,
}

impl Version {
    /// That of this number.
    pub const fn of(number: u8) -> Self {
        if number == Self::V4 as u8 { Self::V4 } else { Self::V6 }
    }
}

/// An address in network byte order, word by word as it lies on the wire. IPv4 is
/// held in its mapped form `::ffff:a.b.c.d` (RFC 4291, 2.5.5.2); whether an address
/// *is* IPv4 is said by the [`Version`] beside it, since a hostile IPv6 header may
/// carry the mapped form as well.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Address(pub [u32; 4]);

impl Address {
    /// `word`: the four octets in network byte order.
    #[inline(always)]
    pub const fn v4(word: u32) -> Self {
        Self([0, 0, u32::from_ne_bytes([0, 0, 0xff, 0xff]), word])
    }

    #[inline(always)]
    pub const fn v4_word(&self) -> u32 {
        self.0[3]
    }

    /// As the standard library's type, for people and for prefix arithmetic.
    pub fn to_ip(self, version: Version) -> IpAddr {
        match version {
            Version::V4 => IpAddr::V4(Ipv4Addr::from(self.0[3].to_ne_bytes())),
            Version::V6 => {
                let mut octets = [0; 16];
                for (four, word) in octets.chunks_exact_mut(4).zip(self.0) {
                    four.copy_from_slice(&word.to_ne_bytes());
                }
                IpAddr::V6(Ipv6Addr::from(octets))
            }
        }
    }

    pub fn from_ip(ip: IpAddr) -> (Self, Version) {
        match ip {
            IpAddr::V4(ip) => (Self::v4(u32::from_ne_bytes(ip.octets())), Version::V4),
            IpAddr::V6(ip) => {
                let o = ip.octets();
                let word = |i: usize| u32::from_ne_bytes([o[i], o[i + 1], o[i + 2], o[i + 3]]);
                (Self([word(0), word(4), word(8), word(12)]), Version::V6)
            }
        }
    }
}

/// Most targets that one packet concerns: one a watchlist, in at most four watchlists.
pub const TARGETS_PER_PACKET: usize = 4;

/// Most slots that TOTALS may have, so that a [`TargetSet`] can name each.
pub const SLOTS_MAX: u32 = 0x3ffe;

/// A slot as a [`TargetSet`] names it: its index in TOTALS, and above it the `numbering` that gave it
/// to its target. Another version of poolwatch gives its slots out anew while flows go on, so that a
/// flow may still name slots of the numbering before. Four numberings are told apart.
#[inline(always)]
pub const fn numbered(index: u32, numbering: u32) -> u32 {
    index & INDEX | (numbering & 3) << 14
}

/// Index in TOTALS of a slot that a [`TargetSet`] names.
#[inline(always)]
pub const fn index_of(slot: u32) -> u32 {
    slot & INDEX
}

/// Which of the four numberings gave it to its target.
#[inline(always)]
pub const fn numbering_of(slot: u32) -> u32 {
    slot >> 14 & 3
}

const INDEX: u32 = 0x3fff;

/// Up to [`TARGETS_PER_PACKET`] slots of TOTALS, [`numbered`], ascending, in one word: the first
/// in the low 16 bits, `0xffff` for "no more". Equal sets are equal words.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetSet(pub u64);

impl TargetSet {
    pub const EMPTY: Self = Self(u64::MAX);
    const NONE: u16 = 0xffff;

    #[inline(always)]
    pub const fn is_empty(self) -> bool {
        self.0 == u64::MAX
    }

    /// The slot at `index` (0 to 3).
    #[inline(always)]
    pub const fn slot(self, index: usize) -> Option<u32> {
        let slot = (self.0 >> (16 * (index & 3))) as u16;
        if slot == Self::NONE { None } else { Some(slot as u32) }
    }

    /// All four at once, without a branch for each: a field is 0 where the slot stands (Warren,
    /// Hacker's Delight, 6-1), and the verifier has one path to walk instead of five.
    #[inline(always)]
    pub const fn contains(self, slot: u32) -> bool {
        const ONES: u64 = 0x0001_0001_0001_0001;
        const HIGHS: u64 = 0x8000_8000_8000_8000;
        let differs = self.0 ^ (slot as u64 & 0xffff).wrapping_mul(ONES);
        differs.wrapping_sub(ONES) & !differs & HIGHS != 0
    }

    /// Did the same numbering give both of them their slots? Neither may be empty.
    #[inline(always)]
    pub const fn is_numbered_as(self, other: Self) -> bool {
        (self.0 ^ other.0) & (!INDEX & 0xffff) as u64 == 0
    }

    pub fn slots(self) -> impl Iterator<Item = u32> {
        (0..TARGETS_PER_PACKET).map_while(move |i| self.slot(i))
    }

    /// The set of these slots, in whatever order they come; `None` when there are more
    /// than [`TARGETS_PER_PACKET`] different ones or the index of one is not below [`SLOTS_MAX`].
    pub fn of(slots: impl IntoIterator<Item = u32>) -> Option<Self> {
        let mut sorted = [Self::NONE; TARGETS_PER_PACKET];
        let mut len = 0;
        for slot in slots {
            if slot > 0xffff || index_of(slot) >= SLOTS_MAX {
                return None;
            }
            let slot = slot as u16;
            if sorted.contains(&slot) {
                continue;
            }
            if len == TARGETS_PER_PACKET {
                return None;
            }
            sorted[len] = slot;
            len += 1;
            sorted.sort_unstable();
        }
        let bits = sorted.iter().rev().fold(0, |bits, &slot| bits << 16 | u64::from(slot));
        Some(Self(bits))
    }
}

impl Default for TargetSet {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// SETTINGS: one entry, written by the daemon before anything else: what the other maps are.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Settings {
    /// 0: nothing was written yet.
    pub schema: u32,
    /// How many sets of maps came before this one; its slots are [`numbered`] so.
    pub numbering: u32,
}

/// Longest name of a watchlist or a target, in bytes.
pub const NAME_MAX: usize = 63;

/// TARGETS: whose a slot of TOTALS is. UTF-8, padded with zeros; all zero: free.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetName {
    pub watchlist: [u8; NAME_MAX + 1],
    pub target: [u8; NAME_MAX + 1],
}

impl Totals {
    /// The sum of two CPUs' entries; the later of their sightings.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        for (mine, theirs) in sum.packets.iter_mut().zip(other.packets) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.bytes.iter_mut().zip(other.bytes) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.connections.iter_mut().zip(other.connections) {
            add_all(mine, &theirs);
        }
        for (mine, theirs) in sum.established.iter_mut().zip(other.established) {
            add_all(mine, &theirs);
        }
        sum.joined += other.joined;
        sum.last_seen_ns = sum.last_seen_ns.max(other.last_seen_ns);
        sum
    }
}

/// Adds each count to its namesake.
fn add_all(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine = mine.wrapping_add(*theirs);
    }
}

/// Why a packet's headers could not be read.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Undecoded {
    /// The version field is not the one that the link layer announced, or neither 4 nor 6.
    IpVersion = 0,
    /// The IP header is cut off, or shorter than its minimum.
    IpHeader = 1,
    /// The length field is shorter than the header, or longer than the packet.
    IpLength = 2,
    /// An IPv6 extension header is cut off, or there are more than we follow.
    IpExtension = 3,
    /// The TCP header is cut off, or its data offset is impossible.
    TcpHeader = 4,
    /// The UDP header is cut off, or its length field is impossible.
    UdpHeader = 5,
}

impl Undecoded {
    pub const ALL: [Self; 6] = [
        Self::IpVersion,
        Self::IpHeader,
        Self::IpLength,
        Self::IpExtension,
        Self::TcpHeader,
        Self::UdpHeader,
    ];

    /// The label value of `poolwatch_undecoded_packets_total`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::IpVersion => "ip_version",
            Self::IpHeader => "ip_header",
            Self::IpLength => "ip_length",
            Self::IpExtension => "ip_extension",
            Self::TcpHeader => "tcp_header",
            Self::UdpHeader => "udp_header",
        }
    }
}

/// Why a packet to a target was not counted, or not in full.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Uncounted {
    /// TOTALS has no such slot.
    Slot = 0,
    /// FLOWS took no new entry: packets and bytes count, the connection does not.
    FlowTable = 1,
    /// CLAIMS took no new entry: packets and bytes count, the milestone does not.
    ClaimTable = 2,
}

impl Uncounted {
    pub const ALL: [Self; 3] = [Self::Slot, Self::FlowTable, Self::ClaimTable];

    /// The label value of `poolwatch_packets_uncounted_total`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Slot => "slot",
            Self::FlowTable => "flow_table",
            Self::ClaimTable => "claim_table",
        }
    }
}

/// OWN: what the kernel half says about itself; one entry, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Own {
    /// By [`Undecoded`].
    pub undecoded: [u64; 8],
    /// By [`Uncounted`].
    pub uncounted: [u64; 4],
    /// Entries that FLOWS ever took; those evicted follow from it.
    pub flows_created: u64,
    /// Entries that STREAMS ever took.
    pub streams_created: u64,
    /// By [`SampleKind`] and [`Unsampled`].
    pub samples_dropped: [[u64; 4]; 8],
}

impl Own {
    /// The sum of two CPUs' entries.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        add_all(&mut sum.undecoded, &other.undecoded);
        add_all(&mut sum.uncounted, &other.uncounted);
        sum.flows_created += other.flows_created;
        sum.streams_created += other.streams_created;
        for (mine, theirs) in sum.samples_dropped.iter_mut().zip(other.samples_dropped) {
            add_all(mine, &theirs);
        }
        sum
    }
}

/// FLOWS: which flow. No padding: the kernel hashes every byte.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FlowKey {
    pub remote: Address,
    pub local: Address,
    /// Host byte order.
    pub remote_port: u16,
    /// Host byte order.
    pub local_port: u16,
    /// [`Transport`]: TCP or UDP.
    pub transport: u8,
    /// [`Version`].
    pub version: u8,
    pub reserved: u16,
}

/// [`Flow::initiator`] of a flow first seen in its middle.
pub const INITIATOR_UNKNOWN: u8 = 2;

/// FLOWS: what is known of a flow. Flags are bytes that are only ever *set* within one
/// connection, never combined in place: two CPUs that handle the two directions at once
/// cannot undo each other's. Packets and bytes are by direction for the same reason; they
/// serve views, and what two CPUs add in the same direction in the same instant may be lost
/// here. TOTALS lose nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Flow {
    pub opened_ns: u64,
    pub last_ns: u64,
    /// IP bytes, by [`Direction`].
    pub bytes: [u64; 2],
    /// Wire packets, by [`Direction`].
    pub packets: [u32; 2],
    /// The set that the last packet concerned.
    pub targets: TargetSet,
    /// TCP: initial sequence number, by [`Side`]; valid where `syn` is set.
    pub sequence: [u32; 2],
    /// TCP: this side sent a SYN.
    pub syn: [u8; 2],
    /// TCP: the SYN of this side was acknowledged by the other.
    pub acknowledged: [u8; 2],
    /// TCP: this side sent a FIN; after a reset both are set.
    pub ended: [u8; 2],
    /// This side sent something other than a reset.
    pub spoke: [u8; 2],
    /// [`Side`], or [`INITIATOR_UNKNOWN`].
    pub initiator: u8,
    /// TCP: handshake complete; UDP and joined TCP: both sides spoke.
    pub established: u8,
    pub reserved: [u8; 2],
    /// Index of the interface that saw it first.
    pub interface: u32,
    /// Socket cookie of the local socket; 0: not known.
    pub cookie: u64,
    /// Owner (process) id; 0: not known.
    pub owner: u64,
    /// Control group id; 0: not known.
    pub cgroup: u64,
    /// Payload lengths in 16 bins of 16 bytes, by [`Direction`]; all are halved when one is full.
    pub lengths: [[u8; 16]; 2],
}

/// CLAIMS: a milestone of one connection that must count exactly once, however many CPUs
/// see it at the same time: whoever inserts the key first counts it. (A compare-and-swap
/// would do, but atomics that return a value need kernel 5.12, commit 5ffa25502b5a.)
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub key: FlowKey,
    /// The connection: when its flow was opened.
    pub opened_ns: u64,
    /// [`Claim::ESTABLISHED`], [`Claim::SUCCEEDED`], or the word of a new [`TargetSet`].
    pub milestone: u64,
}

impl Claim {
    /// The connection was established.
    pub const ESTABLISHED: u64 = u64::MAX;
    /// Another connection took its ports over.
    pub const SUCCEEDED: u64 = u64::MAX - 1;
}

/// LEARNED: an address with a port; port 0: every port.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct EndpointKey {
    pub address: Address,
    /// Host byte order.
    pub port: u16,
    /// [`Version`].
    pub version: u8,
    pub reserved: u8,
}

/// LEARNED: what an address stands for since a DNS answer or a mining session told.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Learned {
    /// Whom a packet concerns: `own`, put together with what is listed there.
    pub targets: TargetSet,
    /// What was learned itself. For the daemon alone, which puts it together anew when lists change.
    pub own: TargetSet,
    pub expires_ns: u64,
}

/// JUDGED: what a connection's own payload said of it, by [`FlowKey`]: it was recognised, or a name in
/// it freed it of what was learned of its address. Written by the daemon alone; the packet path asks
/// for addresses only of which something was learned.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judged {
    /// Whom it concerns since then, as in [`Learned`].
    pub targets: TargetSet,
    /// As in [`Learned`].
    pub own: TargetSet,
    /// When that was.
    pub at_ns: u64,
    /// Number of its signal in the daemon; [`Judged::FREED`].
    pub signal: u8,
    /// Role: `miner` 0, `pool` 1, `none` 2.
    pub role: u8,
    pub reserved: [u8; 6],
}

impl Judged {
    /// The signal of a connection that is nobody's after all.
    pub const FREED: u8 = 0xff;
}

/// FINDINGS: one entry a target, written by the daemon alone, pinned so that what it
/// counted outlives it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Findings {
    /// By role: `miner`, `pool`, `none`.
    pub detections: [u64; 4],
    /// By result: `address`, `none`, `nxdomain`, `sinkhole`.
    pub answers: [u64; 4],
}

impl Findings {
    /// What was found before and since.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let mut sum = *self;
        add_all(&mut sum.detections, &other.detections);
        add_all(&mut sum.answers, &other.answers);
        sum
    }
}

/// DAEMON: one entry, written by the daemon alone: what it counts about itself, pinned so
/// that no counter goes down when it restarts.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Daemon {
    /// Flows that left the table before they ended.
    pub flows_evicted: u64,
    /// Flows that left the table after they ended.
    pub flows_ended: u64,
    /// By reason: a slow consumer, an output that failed, a target's share used up.
    pub events_dropped: [u64; 4],
    /// Times the programs were put back on an interface from which something had removed them.
    pub reattached: u64,
    /// Recognised connections, by the number of their signal in the daemon.
    pub signals: [u64; 16],
    /// What found no place in LEARNED and in JUDGED.
    pub refused: [u64; 2],
    /// What recognition had to forget to make room: messages, sessions, queries.
    pub forgotten: [u64; 3],
}

const _: () = {
    assert!(size_of::<Settings>() == 8);
    assert!(size_of::<TargetName>() == 128);
    assert!(size_of::<Own>() == (8 + 4 + 2 + 32) * 8);
    assert!(size_of::<FlowKey>() == 40);
    assert!(size_of::<Flow>() == 128);
    assert!(size_of::<Claim>() == 56);
    assert!(size_of::<EndpointKey>() == 20);
    assert!(size_of::<Learned>() == 24);
    assert!(size_of::<Judged>() == 32);
    assert!(size_of::<Budgets>() == 32);
    assert!(size_of::<Spent>() == 40);
    assert!(size_of::<Stream>() == 20);
    assert!(size_of::<SampleHeader>() == 72);
    assert!(size_of::<Findings>() == 64);
    assert!(size_of::<Daemon>() == 224);
};
