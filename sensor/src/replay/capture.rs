//! Reads packets out of a capture, one at a time: pcap (microseconds or nanoseconds, either
//! byte order) and pcapng. Memory is bounded by the largest packet that is let in, however
//! long the file is.
//!
//! What is here is the framing, done by hand so that blocks nobody asked for are skipped
//! unread and a damaged one is told from a file that was cut short; what is in a header or a
//! block is pcap-parser's. Compressed files are not unpacked.

use std::fmt;
use std::io::{self, ErrorKind, Read};

use sensor_ebpf::headers::Link;

use super::link::{self, LinkType};
use super::{pcap, pcapng};

/// Longest packet or block that is taken for one, in bytes: far above what a capture holds
/// (libpcap's own limit is 262,144), far below what a damaged length field says.
pub const BLOCK_MAX: usize = 16 << 20;

/// A packet as it was captured.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Since the epoch, in nanoseconds; `None` in a block that carries no time.
    pub time_ns: Option<u64>,
    /// Where the classifier begins; `None`: the link header says that it is not IP, or is
    /// cut off.
    pub link: Option<Link>,
    /// What was captured, from the link header on.
    pub bytes: &'a [u8],
    /// How long the packet was on the link, in bytes.
    pub original_len: u32,
}

/// Why a capture could not be read on.
#[derive(Debug)]
pub enum CaptureError {
    /// The file could not be read.
    Read(io::Error),
    /// Not a capture at all; its first bytes.
    Foreign(Vec<u8>),
    /// The file ends at `offset`, within something.
    Truncated { within: &'static str, offset: u64 },
    /// What begins at `offset` cannot be.
    Damaged { what: &'static str, offset: u64 },
    /// A packet of this link type (the registry's number).
    LinkType(u16),
}

impl fmt::Display for CaptureError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Read(error) => write!(f, "cannot be read: {error}"),
            Self::Foreign(first) if first.is_empty() => write!(f, "not a capture: empty"),
            Self::Foreign(first) => {
                write!(f, "neither pcap nor pcapng: begins with")?;
                first.iter().try_for_each(|byte| write!(f, " {byte:02x}"))
            }
            Self::Truncated { within, offset } => {
                write!(f, "cut short: ends at byte {offset}, within {within}")
            }
            Self::Damaged { what, offset } => write!(f, "damaged at byte {offset}: {what}"),
            Self::LinkType(number) => {
                write!(f, "link type {number}")?;
                if let Some(name) = link::name(*number) {
                    write!(f, " ({name})")?;
                }
                write!(f, " cannot be read")
            }
        }
    }
}

impl std::error::Error for CaptureError {}

/// A capture that is being read.
pub struct Capture<R> {
    input: Input<R>,
    format: Format,
}

enum Format {
    Pcap(pcap::File),
    Pcapng(pcapng::File),
}

impl<R: Read> Capture<R> {
    /// Reads the beginning of `reader`, which should be buffered.
    ///
    /// # Errors
    /// When this is not a capture, or the beginning of one is cut off.
    pub fn new(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input { reader, bytes: Vec::new(), offset: 0, begun: 0 };
        match input.begin(4, "the file header") {
            // Too short to be anything: foreign.
            Ok(_) | Err(CaptureError::Truncated { .. }) => {}
            Err(error) => return Err(error),
        }
        let format = if pcapng::is_section(input.bytes()) {
            Format::Pcapng(pcapng::File::open(&mut input)?)
        } else if pcap::is_header(input.bytes()) {
            Format::Pcap(pcap::File::open(&mut input)?)
        } else {
            return Err(CaptureError::Foreign(input.bytes));
        };
        Ok(Self { input, format })
    }

    /// The next packet; `None` at the end.
    ///
    /// # Errors
    /// When the rest cannot be read; there is no going on then.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        match &mut self.format {
            Format::Pcap(file) => file.next_frame(&mut self.input),
            Format::Pcapng(file) => file.next_frame(&mut self.input),
        }
    }
}

/// A packet of the link type with this number.
pub(super) fn frame(
    number: u16,
    time_ns: Option<u64>,
    bytes: &[u8],
    original_len: u32,
) -> Result<Frame<'_>, CaptureError> {
    let link_type = LinkType::from_number(number).ok_or(CaptureError::LinkType(number))?;
    Ok(Frame { time_ns, link: link_type.link(bytes), bytes, original_len })
}

/// The file, and the record or block of it that is in hand.
pub(super) struct Input<R> {
    reader: R,
    bytes: Vec<u8>,
    /// Of the end of what was read, from the beginning of the file.
    offset: u64,
    /// Of the beginning of what is in hand.
    begun: u64,
}

impl<R: Read> Input<R> {
    /// What is in hand.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Lets go of what is in hand and takes the next `length` bytes; `false` when the file
    /// ends here.
    pub(super) fn begin(&mut self, length: usize, within: &'static str) -> Result<bool, CaptureError> {
        self.begun = self.offset;
        self.bytes.clear();
        match self.extend(length, within) {
            Err(CaptureError::Truncated { .. }) if self.bytes.is_empty() => Ok(false),
            taken => taken.map(|()| true),
        }
    }

    /// Takes `length` bytes more; `within` says of what.
    pub(super) fn extend(&mut self, length: usize, within: &'static str) -> Result<(), CaptureError> {
        let held = self.bytes.len();
        if length > BLOCK_MAX {
            return Err(self.damaged("a length beyond any packet's"));
        }
        self.bytes.resize(held + length, 0);
        let taken = read_full(&mut self.reader, &mut self.bytes[held..]);
        let count = *taken.as_ref().unwrap_or(&0);
        self.bytes.truncate(held + count);
        self.offset += count as u64;
        match taken {
            Err(error) => Err(CaptureError::Read(error)),
            Ok(count) if count < length => Err(CaptureError::Truncated { within, offset: self.offset }),
            Ok(_) => Ok(()),
        }
    }

    /// Passes over `length` bytes.
    pub(super) fn skip(&mut self, length: u64, within: &'static str) -> Result<(), CaptureError> {
        let passed =
            io::copy(&mut self.reader.by_ref().take(length), &mut io::sink()).map_err(CaptureError::Read)?;
        self.offset += passed;
        if passed < length {
            return Err(CaptureError::Truncated { within, offset: self.offset });
        }
        Ok(())
    }

    /// An error about what is in hand.
    pub(super) fn damaged(&self, what: &'static str) -> CaptureError {
        CaptureError::Damaged { what, offset: self.begun }
    }
}

/// Fills `bytes` as far as the reader goes, and says how far.
fn read_full(reader: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut count = 0;
    while count < bytes.len() {
        match reader.read(&mut bytes[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
