//! Replay: the kernel half's classifier over a capture, without a kernel and without
//! privileges. A capture knows no host, so both addresses of a packet are looked up: a match
//! of the destination counts as egress, of the source as ingress, of both as two
//! observations. Time is the capture's.
//!
//! Nothing here opens files or prints; that is `commands/replay.rs`.

pub mod capture;
pub mod link;
pub mod memory;
mod pcap;
mod pcapng;
pub mod report;
pub mod text;
pub mod watched;

use std::io::Read;
use std::net::IpAddr;

use sensor_ebpf::abi::Direction;
use sensor_ebpf::classify::{Tables, classify};
use sensor_ebpf::count::{count, observe};
use sensor_ebpf::packet::{Aggregate, Captured};

use capture::{Capture, CaptureError, Frame};
use memory::Memory;
use report::Report;

/// Connections of one capture that are kept, at up to 700 bytes each while the report is put
/// together. What goes beyond is counted as uncounted (`flow_table`).
pub const CONNECTIONS_MAX: usize = 4_194_304;

/// What a slot stands for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    pub watchlist: String,
    pub target: String,
}

/// What replay asks of the watchlists.
pub trait Lists {
    /// What was compiled for the packet path.
    type Tables: Tables;

    fn tables(&self) -> &Self::Tables;

    /// By slot.
    fn targets(&self) -> &[Target];

    /// Why the target at `slot` is concerned by this address and port.
    fn signal(&self, slot: u32, address: IpAddr, port: u16) -> &'static str;
}

/// Packets of a capture, whatever is in them.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    packets: u64,
    /// Of the packets as they were on the link.
    bytes: u64,
    /// Earliest and latest time, in nanoseconds since the epoch.
    span_ns: Option<(u64, u64)>,
    /// The last time that a packet told.
    now_ns: u64,
}

impl Seen {
    fn add(&mut self, frame: &Frame) {
        self.packets += 1;
        self.bytes += u64::from(frame.original_len);
        let Some(time_ns) = frame.time_ns else { return };
        self.now_ns = time_ns;
        let (first, last) = self.span_ns.unwrap_or((time_ns, time_ns));
        self.span_ns = Some((first.min(time_ns), last.max(time_ns)));
    }
}

/// Counts a whole capture. Where the rest of one cannot be read, what came before it counts
/// and the report says why it ends there.
///
/// # Errors
/// When `reader`, which need not be buffered, gives no capture at all.
pub fn replay<L: Lists>(reader: impl Read, lists: &L) -> Result<Report<'_>, CaptureError> {
    let mut capture = Capture::new(reader)?;
    let memory = Memory::new(lists.targets().len(), CONNECTIONS_MAX);
    let mut seen = Seen::default();
    let error = loop {
        match capture.next_frame() {
            Ok(Some(frame)) => {
                seen.add(&frame);
                memory.begin_packet(seen.now_ns);
                count_both_ways(&frame, lists.tables(), &memory);
            }
            Ok(None) => break None,
            Err(error) => break Some(error),
        }
    };
    Ok(report::report(lists, &seen, &memory.into_counts(), error))
}

/// Looks up the destination, then the source.
fn count_both_ways(frame: &Frame, tables: &impl Tables, memory: &Memory) {
    let Some(link) = frame.link else { return };
    let captured_len = u32::try_from(frame.bytes.len()).unwrap_or(u32::MAX);
    let packet = Captured {
        bytes: frame.bytes,
        // Some writers leave the original length at 0.
        len_bytes: frame.original_len.max(captured_len),
        aggregate: Aggregate::default(),
    };
    if observe(&packet, link, Direction::Egress, tables, memory).is_err() {
        return;
    }
    // What is wrong with its headers was noted by the first observation, and holds both ways.
    if let Ok(seen) = classify(&packet, link, Direction::Ingress, tables)
        && !seen.targets.is_empty()
    {
        count(&seen, memory);
    }
}
