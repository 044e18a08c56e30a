//! Which packets' payload is copied for inspection: what may open or carry a mining session, a TLS
//! ClientHello, or a DNS message. Decided by how the payload begins, at any point of a connection, so
//! that a session older than the sensor is found too; by length alone, never.
//!
//! What is begun and not ended (a line, a header, a TLS record) is continued with the next segment
//! of the same side, a few times. Everything that should have been copied and was not is counted.
//! Streams are remembered from their first sample on only: a flood of SYNs writes nothing.

use core::ops::DerefMut;

use crate::abi::{
    Direction, FlowKey, SAMPLE_RECORD_MAX, SAMPLE_TEXT_MAX, SampleHeader, SampleKind, Stream, TargetSet,
    Transport, Unsampled,
};
use crate::classify::Observation;
use crate::count::Ledger;
use crate::headers::tcp_flag::{ACK, SYN};
use crate::packet::Packet;

/// Samples of one side of a connection, continuations apart.
pub const SAMPLES_MAX: u8 = 8;
/// Segments that continue a sample, and bytes that they may bring.
const SEGMENTS_MAX: u8 = 4;
const CONTINUED_MAX: u16 = 4096;

const DNS_PORT: u16 = 53;
/// Keeps a computed offset within what the verifier lets a packet pointer move.
const OFFSET_MASK: u32 = 0x3fff;

/// What became of a request for one more sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Nobody wants this kind.
    Off,
    OverBudget,
}

/// Where samples go, and what is remembered of streams. In the kernel what [`consider`] asks is one
/// program and what [`sample`] asks another, or the verifier would walk each way through the second
/// for each way through the first.
pub trait Sampler: Ledger {
    type Stream<'a>: DerefMut<Target = Stream>
    where
        Self: 'a;

    fn stream(&self, key: &FlowKey) -> Option<Self::Stream<'_>>;
    fn add_stream(&self, key: &FlowKey, stream: &Stream);
    /// May a segment with this number continue a sample of some stream? False positives are allowed.
    fn may_continue(&self, sequence: u32) -> bool;
    /// One will.
    fn expect(&self, sequence: u32);
    /// Asks for one more sample, and takes it from the budget.
    fn admit(&self, kind: SampleKind, now_ns: u64) -> Admission;
    /// Hands over the header and as much of the payload at `offset` as it says.
    fn emit(&self, packet: &impl Packet, offset: u32, header: &SampleHeader) -> Result<(), Unsampled>;
}

/// A packet whose payload may be wanted, and all that is asked of it from here on.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub key: FlowKey,
    pub targets: TargetSet,
    /// The first eight bytes of the payload, the first of them lowest; zeros where it is shorter, and
    /// for DNS.
    pub first: u64,
    pub payload_offset: u32,
    pub payload_len: u32,
    pub sequence: u32,
    /// [`Direction`](crate::abi::Direction).
    pub direction: u8,
    /// [`SampleKind`], or what else it is.
    pub kind: u8,
    pub reserved: u16,
}

impl Candidate {
    /// The kind of what is none.
    pub const NONE: u8 = 0xff;
    /// Of a segment that begins like nothing, and may continue something.
    const CONTINUES: u8 = 0xfe;
    /// Of a connection request, which has no payload: what is known of these ports is another's.
    const OPENS: u8 = 0xfd;
}

/// Is this packet's payload worth a closer look? Asked of each packet, so that this is the part that has
/// to be cheap.
#[inline(always)]
pub fn consider(packet: &impl Packet, seen: &Observation, sampler: &impl Sampler) -> Option<Candidate> {
    let key = seen.flow?;
    let is_tcp = matches!(seen.transport, Transport::Tcp);
    let mut first = 0;
    let kind = if seen.payload_len == 0 {
        if !is_tcp || seen.segment.flags & (SYN | ACK) != SYN {
            return None;
        }
        Candidate::OPENS
    } else if is_tcp {
        first = first_bytes(packet, seen)?;
        let begun = begins(first, seen.payload_len, matches!(seen.direction, Direction::Egress));
        // Whoever mines at this port does not look like DNS: that begins with a length.
        let is_dns = key.remote_port == DNS_PORT && begun == Candidate::CONTINUES;
        if is_dns { SampleKind::Dns as u8 } else { begun }
    } else if key.remote_port == DNS_PORT {
        SampleKind::Dns as u8
    } else {
        return None;
    };
    // A SYN takes a number of its own, before what it may carry (RFC 9293, 3.4; RFC 7413).
    let opens = u32::from(seen.segment.flags & SYN != 0);
    let sequence = seen.segment.sequence.wrapping_add(opens);
    if kind == Candidate::CONTINUES && !sampler.may_continue(sequence) {
        return None;
    }
    Some(Candidate {
        key,
        targets: seen.targets,
        first,
        payload_offset: seen.payload_offset,
        payload_len: seen.payload_len,
        sequence,
        direction: seen.direction as u8,
        kind,
        reserved: 0,
    })
}

/// Copies the payload of a candidate, where it is wanted after all.
#[inline(always)]
pub fn sample(packet: &impl Packet, seen: &Candidate, sampler: &impl Sampler) {
    if seen.kind == Candidate::OPENS {
        return forget(&seen.key, sampler);
    }
    match SampleKind::of(seen.kind) {
        Some(SampleKind::Dns) => {
            take(packet, seen, SampleKind::Dns, sampler);
        }
        begun => sample_stream(packet, seen, begun, sampler),
    }
}

/// Another connection has these ports now.
#[inline(always)]
fn forget(key: &FlowKey, sampler: &impl Sampler) {
    if let Some(mut stream) = sampler.stream(key) {
        *stream = NEW;
    }
}

/// A stream of which nothing was sampled yet.
const NEW: Stream = Stream {
    next: [0; 2],
    wanted: [0; 2],
    segments: [0; 2],
    left: [SAMPLES_MAX; 2],
    kind: [0; 2],
    reserved: [0; 2],
};

#[inline(always)]
fn sample_stream(packet: &impl Packet, seen: &Candidate, begun: Option<SampleKind>, sampler: &impl Sampler) {
    let (key, side) = (&seen.key, usize::from(seen.direction & 1));
    let (mut kind, mut left, mut open) = (begun, SAMPLES_MAX, Open::default());
    let known = sampler.stream(key);
    let is_known = known.is_some();
    if let Some(stream) = known {
        left = stream.left[side];
        if stream.wanted[side] > 0 && stream.next[side] == seen.sequence {
            open = Open { wanted: stream.wanted[side], segments: stream.segments[side] };
            kind = SampleKind::of(stream.kind[side]);
        }
    }
    let Some(kind) = kind else { return };
    let continues = open.wanted > 0;
    if !continues && left == 0 {
        return drop_sample(kind, Unsampled::Stream, sampler);
    }
    let taken = take(packet, seen, kind, sampler);
    let open = if taken { open.after(packet, seen, kind) } else { Open::default() };
    if !continues && taken {
        left -= 1;
    }
    let next = seen.sequence.wrapping_add(seen.payload_len);
    if open.wanted > 0 {
        sampler.expect(next);
    }
    if !is_known {
        if !taken {
            return;
        }
        sampler.add_stream(key, &NEW);
        if let Some(mut own) = sampler.own() {
            own.streams_created += 1;
        }
    }
    if let Some(mut stream) = sampler.stream(key) {
        Now { next, open, left, kind }.note(&mut stream, side);
    }
}

/// How far a side has come.
struct Now {
    next: u32,
    open: Open,
    left: u8,
    kind: SampleKind,
}

impl Now {
    #[inline(always)]
    fn note(&self, stream: &mut Stream, side: usize) {
        stream.next[side] = self.next;
        stream.wanted[side] = self.open.wanted;
        stream.segments[side] = self.open.segments;
        stream.left[side] = self.left;
        stream.kind[side] = self.kind as u8;
    }
}

/// Copies what there is room for. `false`: it was not copied, and if it should have been, that is counted.
#[inline(always)]
fn take(packet: &impl Packet, seen: &Candidate, kind: SampleKind, sampler: &impl Sampler) -> bool {
    let now_ns = sampler.now_ns();
    match sampler.admit(kind, now_ns) {
        Admission::Admitted => {}
        Admission::Off => return false,
        Admission::OverBudget => {
            drop_sample(kind, Unsampled::Budget, sampler);
            return false;
        }
    }
    let max = if kind.is_text() { SAMPLE_TEXT_MAX } else { SAMPLE_RECORD_MAX } as u32;
    let header = SampleHeader {
        at_ns: now_ns,
        key: seen.key,
        targets: seen.targets,
        sequence: seen.sequence,
        payload: seen.payload_len,
        captured: seen.payload_len.min(max) as u16,
        kind: kind as u8,
        direction: seen.direction,
        interface: sampler.interface(),
    };
    match sampler.emit(packet, seen.payload_offset, &header) {
        Ok(()) => true,
        Err(reason) => {
            drop_sample(kind, reason, sampler);
            false
        }
    }
}

#[inline(always)]
fn drop_sample(kind: SampleKind, reason: Unsampled, sampler: &impl Sampler) {
    if let Some(mut own) = sampler.own() {
        own.samples_dropped[kind as usize & 7][reason as usize & 3] += 1;
    }
}

/// [`Candidate::first`].
#[inline(always)]
fn first_bytes(packet: &impl Packet, seen: &Observation) -> Option<u64> {
    const BYTES: u32 = 8;
    let present = seen.payload_len.min(BYTES);
    // A TCP header comes before, so that eight bytes end wherever the payload does; a load of one
    // byte alone would be compiled to a comparison that the verifier does not take for a bound.
    let [low, high] = packet.load::<[u32; 2]>((seen.payload_offset + present - BYTES) & OFFSET_MASK)?;
    let bytes = u64::from(u32::from_le(low)) | u64::from(u32::from_le(high)) << 32;
    Some(bytes >> ((8 * (BYTES - present)) & 63))
}

/// The last four bytes of a payload that is not longer than a text sample, in the order of the wire.
#[inline(always)]
fn last_bytes(packet: &impl Packet, seen: &Candidate) -> u32 {
    let end = seen.payload_offset + seen.payload_len;
    packet.load::<[u32; 1]>((end - 4) & OFFSET_MASK).map_or(0, |[word]| u32::from_be(word))
}

/// How a payload begins that is worth a look. Bytes that `mask` leaves out may be anything; a payload
/// that is shorter may still become one.
struct Beginning {
    bytes: u64,
    mask: u64,
}

impl Beginning {
    const fn text<const N: usize>(text: &[u8; N]) -> Self {
        let (mut bytes, mut mask, mut at) = (0, 0, 0);
        while at < N {
            bytes |= (text[at] as u64) << (8 * at);
            mask |= 0xff << (8 * at);
            at += 1;
        }
        Self { bytes, mask }
    }
}

const JSON: Beginning = Beginning::text(b"{");
const DUINO: Beginning = Beginning::text(b"FROM,");
const POST: Beginning = Beginning::text(b"POST ");
const GET: Beginning = Beginning::text(b"GET ");
const RESPONSE: Beginning = Beginning::text(b"HTTP/");
/// A handshake record (RFC 8446, 5.1) of any version, and in it a ClientHello (4). Only those that this
/// host sends: whom others ask of its servers says nothing about whom it talks to.
const HELLO: Beginning = Beginning { bytes: 0x01_00_00_00_03_16, mask: 0xff_00_00_00_ff_ff };

#[inline(always)]
fn begins(first: u64, len: u32, is_sent: bool) -> u8 {
    let present = u64::MAX >> (64 - 8 * len.clamp(1, 8));
    let is = |it: Beginning| (first ^ it.bytes) & it.mask & present == 0;
    if is(JSON) || is(DUINO) || is_blank(first) && begins_behind_blanks(first) {
        SampleKind::Json as u8
    } else if is_sent && is(HELLO) {
        SampleKind::Tls as u8
    } else if is(POST) || is(GET) || is(RESPONSE) {
        SampleKind::Http as u8
    } else {
        Candidate::CONTINUES
    }
}

/// Is the first byte one that may stand before JSON (RFC 8259, 2)?
#[inline(always)]
const fn is_blank(first: u64) -> bool {
    const BLANKS: u64 = 1 << b' ' | 1 << b'\t' | 1 << b'\n' | 1 << b'\r';
    let byte = first & 0xff;
    byte <= b' ' as u64 && BLANKS >> (byte & 63) & 1 != 0
}

/// JSON behind at most seven blanks; a payload of blanks alone begins nothing.
#[inline(always)]
fn begins_behind_blanks(first: u64) -> bool {
    let mut text = first;
    for _ in 0..7 {
        if !is_blank(text) {
            break;
        }
        text >>= 8;
    }
    text & 0xff == u64::from(b'{')
}

/// What a continuation may still take; nothing: it is closed.
#[derive(Clone, Copy, Default)]
struct Open {
    wanted: u16,
    segments: u8,
}

impl Open {
    /// After this segment was copied, which continued it or began it.
    #[inline(always)]
    fn after(self, packet: &impl Packet, seen: &Candidate, kind: SampleKind) -> Self {
        let len = seen.payload_len;
        let (wanted, segments) = match (self.wanted, kind) {
            (0, SampleKind::Tls) => (hello_len(seen.first, len), SEGMENTS_MAX),
            (0, _) => (u32::from(CONTINUED_MAX), SEGMENTS_MAX),
            (wanted, _) => (u32::from(wanted).saturating_sub(len), self.segments - 1),
        };
        let wanted = wanted.min(u32::from(CONTINUED_MAX)) as u16;
        if wanted == 0 || segments == 0 || kind.is_text() && ends(packet, seen, kind) {
            return Self::default();
        }
        Self { wanted, segments }
    }
}

/// Is a text complete with this segment, or not to be completed?
#[inline(always)]
fn ends(packet: &impl Packet, seen: &Candidate, kind: SampleKind) -> bool {
    const LINE_FEED: u32 = 0x0a;
    const EMPTY_LINE: u32 = 0x0d0a_0d0a;
    if seen.payload_len > SAMPLE_TEXT_MAX as u32 {
        // What was left out is missing in between.
        return true;
    }
    let last = last_bytes(packet, seen);
    match kind {
        SampleKind::Http => last == EMPTY_LINE,
        _ => last & 0xff == LINE_FEED,
    }
}

/// Bytes of a ClientHello that are not in its first segment: of its record, or of the message where
/// that goes on in further ones; as far as the first eight bytes say, of which the message's length
/// lacks the last.
#[inline(always)]
fn hello_len(first: u64, len: u32) -> u32 {
    const RECORD_HEADER: u32 = 5;
    const MESSAGE_HEADER: u32 = 4;
    if len < 8 {
        return u32::from(CONTINUED_MAX);
    }
    let byte = |at: u32| (first >> (8 * at)) as u32 & 0xff;
    let record = RECORD_HEADER + (byte(3) << 8 | byte(4));
    let message = RECORD_HEADER + MESSAGE_HEADER + (byte(6) << 16 | byte(7) << 8);
    let whole = if record > message { record } else { message };
    whole.saturating_sub(len)
}
