//! Payload on its way to the daemon: the kinds there are, what each may have, and how a sample lies in
//! the ring.

use super::{FlowKey, TargetSet};

/// What a sample looks like, which says how much of it is copied and whose budget it is taken from.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SampleKind {
    /// A line of a text protocol: nearly always JSON.
    Json = 0,
    /// An HTTP request or response.
    Http = 1,
    /// A TLS ClientHello.
    Tls = 2,
    /// A DNS message, after its length where it came over TCP.
    Dns = 3,
    /// Known by its length. None is taken yet.
    Binary = 4,
}

impl SampleKind {
    pub const ALL: [Self; 5] = [Self::Json, Self::Http, Self::Tls, Self::Dns, Self::Binary];

    /// The label value of `poolwatch_samples_dropped_total`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Http => "http",
            Self::Tls => "tls",
            Self::Dns => "dns",
            Self::Binary => "binary",
        }
    }

    /// Its share of `inspect.samples_per_second`, in hundredths: so much, and no other kind can take it.
    pub const fn share_percent(self) -> u32 {
        match self {
            Self::Json => 40,
            Self::Http | Self::Tls => 20,
            Self::Dns => 15,
            Self::Binary => 5,
        }
    }

    #[inline(always)]
    pub const fn is_text(self) -> bool {
        matches!(self, Self::Json | Self::Http)
    }

    /// That of this number.
    #[inline(always)]
    pub const fn of(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Json),
            1 => Some(Self::Http),
            2 => Some(Self::Tls),
            3 => Some(Self::Dns),
            4 => Some(Self::Binary),
            _ => None,
        }
    }
}

/// Why a payload was not sampled that should have been.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unsampled {
    /// Its kind has had its share of this moment.
    Budget = 0,
    /// SAMPLES is full: the daemon is slow, or there is none.
    Ring = 1,
    /// Its side of the connection has been sampled as often as one is.
    Stream = 2,
    /// The payload could not be read.
    Unreadable = 3,
}

impl Unsampled {
    pub const ALL: [Self; 4] = [Self::Budget, Self::Ring, Self::Stream, Self::Unreadable];

    /// The label value of `poolwatch_samples_dropped_total`.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Ring => "ring",
            Self::Stream => "stream",
            Self::Unreadable => "unreadable",
        }
    }
}

/// BUDGETS: samples that each kind may have in one window on one CPU, written by the daemon; 0: the
/// kind is not wanted.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Budgets {
    /// By [`SampleKind`].
    pub per_window: [u32; 8],
}

/// Windows of a budget are two to the power of this many nanoseconds long: about an eighth of a second.
pub const WINDOW_NS_LOG2: u32 = 27;

/// SPENT: what was taken of the [`Budgets`] in a window; one entry, per CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Spent {
    /// Which window: the clock's bits above [`WINDOW_NS_LOG2`].
    pub window: u64,
    /// By [`SampleKind`].
    pub samples: [u32; 8],
}

/// STREAMS: how far a connection's payload has been sampled, by direction. Keyed by [`FlowKey`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Stream {
    /// Next expected sequence number.
    pub next: [u32; 2],
    /// Bytes still wanted to complete a line, record or message; 0: no continuation is open.
    pub wanted: [u16; 2],
    /// Segments that the continuation may still take.
    pub segments: [u8; 2],
    /// Samples left.
    pub left: [u8; 2],
    /// [`SampleKind`] of the open continuation.
    pub kind: [u8; 2],
    pub reserved: [u8; 2],
}

/// Payload bytes of a sample of a text protocol.
pub const SAMPLE_TEXT_MAX: usize = 512;
/// Payload bytes of a sample of TLS or DNS.
pub const SAMPLE_RECORD_MAX: usize = 2048;

/// SAMPLES: an entry is this header and then as many payload bytes as its class holds
/// ([`SAMPLE_TEXT_MAX`] or [`SAMPLE_RECORD_MAX`]), of which `captured` are meaningful.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleHeader {
    pub at_ns: u64,
    pub key: FlowKey,
    /// Those of the remote address, empty when nothing lists it.
    pub targets: TargetSet,
    /// TCP sequence number of the first payload byte; 0 for UDP.
    pub sequence: u32,
    /// Payload bytes that the packet carried.
    pub payload: u32,
    /// Payload bytes copied.
    pub captured: u16,
    /// [`SampleKind`].
    pub kind: u8,
    /// [`Direction`].
    pub direction: u8,
    /// Index of the interface.
    pub interface: u32,
}
