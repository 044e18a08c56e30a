//! pcapng: sections of blocks, several interfaces each with its own link type and clock, and
//! packets in Enhanced, Simple and (obsolete) Packet Blocks. Every other block is skipped.
//!
//! Format: <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcapng-03.html>. Each section
//! has its own byte order and its own interfaces.

use std::io::Read;

use pcap_parser::pcapng::{
    parse_enhancedpacketblock_be, parse_enhancedpacketblock_le, parse_interfacedescriptionblock_be,
    parse_interfacedescriptionblock_le, parse_sectionheaderblock, parse_simplepacketblock_be,
    parse_simplepacketblock_le,
};
use pcap_parser::{EPB_MAGIC, IDB_MAGIC, InterfaceDescriptionBlock, OptionCode, SHB_MAGIC, SPB_MAGIC};

use super::capture::{CaptureError, Frame, Input, frame};

/// The Packet Block, which the Enhanced one replaced in 2007; pcap-parser leaves it to us.
const PACKET_BLOCK: u32 = 2;
/// Type, length, four bytes of whatever, and the length again unless those were it.
const BLOCK_MIN: u32 = 12;
/// Interfaces of one section.
const INTERFACES_MAX: usize = 1 << 16;

/// Do these first bytes of a file begin a section?
pub(super) fn is_section(first: &[u8]) -> bool {
    first == SHB_MAGIC.to_be_bytes()
}

/// Where the reading of a pcapng file stands.
pub(super) struct File {
    big_endian: bool,
    /// Those of the section, by number.
    interfaces: Vec<Interface>,
}

/// What packets need of an interface description.
struct Interface {
    link_type: u16,
    /// In bytes; 0: none.
    snap_len: u32,
    clock: Clock,
}

impl File {
    /// `input` holds the first four bytes.
    pub(super) fn open(input: &mut Input<impl Read>) -> Result<Self, CaptureError> {
        let mut file = Self { big_endian: false, interfaces: Vec::new() };
        input.extend(8, "the file header")?;
        file.take_block(input)?;
        file.begin_section(input)?;
        Ok(file)
    }

    pub(super) fn next_frame<'a>(
        &mut self,
        input: &'a mut Input<impl Read>,
    ) -> Result<Option<Frame<'a>>, CaptureError> {
        while input.begin(BLOCK_MIN as usize, "a block header")? {
            match self.take_block(input)? {
                SHB_MAGIC => self.begin_section(input)?,
                IDB_MAGIC => self.add_interface(input)?,
                EPB_MAGIC => return self.enhanced_packet(input).map(Some),
                SPB_MAGIC => return self.simple_packet(input).map(Some),
                PACKET_BLOCK => return self.packet(input).map(Some),
                _ => {}
            }
        }
        Ok(None)
    }

    /// With the first [`BLOCK_MIN`] bytes in hand: takes the rest of the block, or passes over
    /// it when it is of no use. Returns its type.
    fn take_block(&mut self, input: &mut Input<impl Read>) -> Result<u32, CaptureError> {
        const BYTE_ORDER_BIG: u32 = 0x1a2b_3c4d;
        const BYTE_ORDER_LITTLE: u32 = BYTE_ORDER_BIG.swap_bytes();

        let mut kind = self.word(input.bytes(), 0);
        if is_section(&input.bytes()[..4]) {
            kind = SHB_MAGIC;
            self.big_endian = match word_be(input.bytes(), 8) {
                BYTE_ORDER_BIG => true,
                BYTE_ORDER_LITTLE => false,
                _ => return Err(input.damaged("a section without a byte order")),
            };
        }
        let length = self.word(input.bytes(), 4);
        if length < BLOCK_MIN || !length.is_multiple_of(4) {
            return Err(input.damaged("an impossible block length"));
        }
        let rest = length - BLOCK_MIN;
        match kind {
            SHB_MAGIC | IDB_MAGIC | EPB_MAGIC | SPB_MAGIC | PACKET_BLOCK => {
                input.extend(rest as usize, "a block")?;
            }
            _ if rest > 0 => {
                input.skip(u64::from(rest) - 4, "a block")?;
                input.extend(4, "a block")?;
            }
            _ => {}
        }
        let end = input.bytes().len();
        if self.word(input.bytes(), end - 4) != length {
            return Err(input.damaged("a block whose two lengths differ"));
        }
        Ok(kind)
    }

    fn begin_section(&mut self, input: &Input<impl Read>) -> Result<(), CaptureError> {
        let (_, section) =
            parse_sectionheaderblock(input.bytes()).map_err(|_| input.damaged("a section header"))?;
        if section.major_version != 1 {
            return Err(input.damaged("a pcapng version other than 1"));
        }
        self.interfaces.clear();
        Ok(())
    }

    fn add_interface(&mut self, input: &Input<impl Read>) -> Result<(), CaptureError> {
        let parse = if self.big_endian {
            parse_interfacedescriptionblock_be
        } else {
            parse_interfacedescriptionblock_le
        };
        let (_, block) = parse(input.bytes()).map_err(|_| input.damaged("an interface description"))?;
        if self.interfaces.len() == INTERFACES_MAX {
            return Err(input.damaged("more interfaces than a section can have"));
        }
        self.interfaces.push(Interface {
            link_type: u16::try_from(block.linktype.0).unwrap_or(u16::MAX),
            snap_len: block.snaplen,
            clock: Clock::of(&block, self.big_endian),
        });
        Ok(())
    }

    fn enhanced_packet<'a>(&self, input: &'a Input<impl Read>) -> Result<Frame<'a>, CaptureError> {
        let parse = if self.big_endian { parse_enhancedpacketblock_be } else { parse_enhancedpacketblock_le };
        let (_, block) = parse(input.bytes()).map_err(|_| input.damaged("an enhanced packet block"))?;
        let interface = self.interface(block.if_id, input)?;
        let time_ns = interface.clock.time_ns(ticks(block.ts_high, block.ts_low));
        // Not `packet_data()`, whose slice lives no longer than the block.
        let captured = block.data.get(..block.caplen as usize).unwrap_or(block.data);
        frame(interface.link_type, Some(time_ns), captured, block.origlen)
    }

    /// On the first interface, without a time, as long as the snap length lets it be.
    fn simple_packet<'a>(&self, input: &'a Input<impl Read>) -> Result<Frame<'a>, CaptureError> {
        let parse = if self.big_endian { parse_simplepacketblock_be } else { parse_simplepacketblock_le };
        let (_, block) = parse(input.bytes()).map_err(|_| input.damaged("a simple packet block"))?;
        let interface = self.interface(0, input)?;
        let length = match interface.snap_len {
            0 => block.origlen,
            snap_len => block.origlen.min(snap_len),
        };
        let captured = block.data.get(..length as usize).unwrap_or(block.data);
        frame(interface.link_type, None, captured, block.origlen)
    }

    /// Interface and drops in 16 bits each, then as in an Enhanced Packet Block.
    fn packet<'a>(&self, input: &'a Input<impl Read>) -> Result<Frame<'a>, CaptureError> {
        const HEADER_LEN: usize = 28;
        let bytes = input.bytes();
        let held = bytes.len() - 4;
        let damaged = || input.damaged("a packet block");
        if held < HEADER_LEN {
            return Err(damaged());
        }
        let number = self.word(bytes, 8);
        let number = if self.big_endian { number >> 16 } else { number & 0xffff };
        let interface = self.interface(number, input)?;
        let time_ns = interface.clock.time_ns(ticks(self.word(bytes, 12), self.word(bytes, 16)));
        let captured_len = self.word(bytes, 20) as usize;
        let captured = bytes[HEADER_LEN..held].get(..captured_len).ok_or_else(damaged)?;
        frame(interface.link_type, Some(time_ns), captured, self.word(bytes, 24))
    }

    fn interface(&self, number: u32, input: &Input<impl Read>) -> Result<&Interface, CaptureError> {
        self.interfaces
            .get(number as usize)
            .ok_or_else(|| input.damaged("a packet of an interface that was not described"))
    }

    /// The word at `at`, in the section's byte order.
    fn word(&self, bytes: &[u8], at: usize) -> u32 {
        let word = word_be(bytes, at);
        if self.big_endian { word } else { word.swap_bytes() }
    }
}

fn word_be(bytes: &[u8], at: usize) -> u32 {
    let word = bytes.get(at..).and_then(|rest| rest.first_chunk().copied());
    u32::from_be_bytes(word.unwrap_or_default())
}

/// A timestamp's two words.
fn ticks(high: u32, low: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// What an interface's timestamps mean.
#[derive(Clone, Copy, Debug)]
struct Clock {
    /// `if_tsresol`: the negative power of ten of a second, or with the high bit of two.
    resolution: u8,
    /// `if_tsoffset`: what is to be added, in seconds.
    offset_s: i64,
}

impl Clock {
    fn of(block: &InterfaceDescriptionBlock, big_endian: bool) -> Self {
        // pcap-parser reads `if_tsoffset` as little-endian in every section.
        let offset = block
            .options
            .iter()
            .find(|option| option.code == OptionCode::IfTsoffset)
            .and_then(|option| option.as_bytes().ok()?.first_chunk().copied())
            .unwrap_or_default();
        Self {
            resolution: block.if_tsresol,
            offset_s: if big_endian { i64::from_be_bytes(offset) } else { i64::from_le_bytes(offset) },
        }
    }

    /// Nanoseconds since the epoch, rounded down; what lies before it or beyond 64 bits is
    /// brought to the nearest end.
    fn time_ns(self, ticks: u64) -> u64 {
        const SECOND_NS: i128 = 1_000_000_000;
        let ticks = i128::from(ticks);
        let power = u32::from(self.resolution & 0x7f);
        // No unit that does not fit in 128 bits is long enough for its ticks to make a nanosecond.
        let time_ns = if self.resolution & 0x80 != 0 {
            (ticks * SECOND_NS).checked_shr(power).unwrap_or(0)
        } else {
            10_i128.checked_pow(power).map_or(0, |unit| ticks * SECOND_NS / unit)
        };
        let time_ns = time_ns + i128::from(self.offset_s) * SECOND_NS;
        u64::try_from(time_ns.max(0)).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interfaces_clock_is_brought_to_nanoseconds_since_the_epoch() {
        let table = [
            ("microseconds", 6, 0, 1_400_000_000_123_456, 1_400_000_000_123_456_000),
            ("nanoseconds", 9, 0, 1_400_000_000_123_456_789, 1_400_000_000_123_456_789),
            ("seconds", 0, 0, 1_400_000_000, 1_400_000_000_000_000_000),
            ("picoseconds are rounded down", 12, 0, 1_999, 1),
            ("a half of a second", 0x81, 0, 3, 1_500_000_000),
            ("2^-32 s", 0xa0, 0, 5 << 31, 2_500_000_000),
            ("the finest unit of ten", 127, 0, u64::MAX, 0),
            ("the finest unit of two", 0xff, 0, u64::MAX, 0),
            ("an offset", 6, 10, 1, 10_000_001_000),
            ("an offset back", 6, -1, 1_500_000, 500_000_000),
            ("before the epoch", 6, -10, 1, 0),
            ("beyond 64 bits", 0, 0, u64::MAX, u64::MAX),
            ("an offset beyond 64 bits", 6, i64::MAX, 0, u64::MAX),
        ];
        for (description, resolution, offset_s, ticks, expected) in table {
            let clock = Clock { resolution, offset_s };
            assert_eq!(clock.time_ns(ticks), expected, "{description}");
        }
    }
}
