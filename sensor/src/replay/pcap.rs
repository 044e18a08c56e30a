//! Classic pcap: one header, then records. Times in microseconds or nanoseconds, in either
//! byte order, and Kuznetzov's "modified" form, all told by the first four bytes.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>. The file's snap
//! length is not believed: records say how much they hold.

use std::io::Read;

use pcap_parser::pcap::{parse_pcap_frame, parse_pcap_frame_be, parse_pcap_frame_modified};
use pcap_parser::{PcapHeader, parse_pcap_header};

use super::capture::{CaptureError, Frame, Input, frame};

const HEADER_LEN: usize = 24;
const RECORD_LEN: usize = 16;
/// With interface, protocol and packet type behind the usual fields.
const RECORD_MODIFIED_LEN: usize = 24;

/// Do these first bytes of a file begin a pcap header?
pub(super) fn is_header(first: &[u8]) -> bool {
    matches!(
        first,
        [0xa1, 0xb2, 0xc3, 0xd4] | [0xd4, 0xc3, 0xb2, 0xa1] // microseconds
            | [0xa1, 0xb2, 0x3c, 0x4d] | [0x4d, 0x3c, 0xb2, 0xa1] // nanoseconds
            | [0x34, 0xcd, 0xb2, 0xa1] // modified
    )
}

/// What a pcap file's header says.
pub(super) struct File {
    header: PcapHeader,
}

impl File {
    /// `input` holds the first four bytes.
    pub(super) fn open(input: &mut Input<impl Read>) -> Result<Self, CaptureError> {
        input.extend(HEADER_LEN - 4, "the file header")?;
        let (_, header) = parse_pcap_header(input.bytes()).map_err(|_| input.damaged("the file header"))?;
        if header.version_major != 2 {
            return Err(input.damaged("a pcap version other than 2"));
        }
        Ok(Self { header })
    }

    pub(super) fn next_frame<'a>(
        &mut self,
        input: &'a mut Input<impl Read>,
    ) -> Result<Option<Frame<'a>>, CaptureError> {
        let header = &self.header;
        let record_len = if header.is_modified_format() { RECORD_MODIFIED_LEN } else { RECORD_LEN };
        if !input.begin(record_len, "a record header")? {
            return Ok(None);
        }
        let held = self.captured_len(input.bytes());
        input.extend(held, "a packet")?;
        let parse = match header {
            _ if header.is_modified_format() => parse_pcap_frame_modified,
            _ if header.is_bigendian() => parse_pcap_frame_be,
            _ => parse_pcap_frame,
        };
        let (_, record) = parse(input.bytes()).map_err(|_| input.damaged("a record"))?;
        let unit_ns = if header.is_nanosecond_precision() { 1 } else { 1_000 };
        let time_ns = u64::from(record.ts_sec) * 1_000_000_000 + u64::from(record.ts_usec) * unit_ns;
        // The high half holds what is known of the frame check sequence.
        let [_, _, high, low] = header.network.0.to_be_bytes();
        frame(u16::from_be_bytes([high, low]), Some(time_ns), record.data, record.origlen).map(Some)
    }

    /// The record header's third word: how many bytes follow it.
    fn captured_len(&self, record: &[u8]) -> usize {
        let word = record.get(8..).and_then(|rest| rest.first_chunk().copied()).unwrap_or_default();
        let length =
            if self.header.is_bigendian() { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) };
        length as usize
    }
}
