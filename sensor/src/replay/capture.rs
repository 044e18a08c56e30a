//! Reads packets out of a capture, one at a time: pcap (microseconds or nanoseconds, either
//! byte order) and pcapng. Memory is bounded by the largest packet that is let in, however
//! long the file is.
//!
//! What is here is the framing, done by hand so that blocks nobody asked for are skipped
//! unread and a damaged one is told from a file that was cut short; what is in a header or a
//! block is pcap-parser's. Compressed files are not unpacked.

use std::fmt;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;

use sensor_ebpf::headers::Link;

use super::link::{self, LinkType};
use super::{pcap, pcapng};

/// Longest packet or block that is taken for one, in bytes: far above what a capture holds
/// (libpcap's own limit is 262,144), far below what a damaged length field says.
pub const BLOCK_MAX: usize = 16 << 20;

/// What is read at once, in bytes: few system calls, and still in the cache when it is looked at.
const READ_BYTES: usize = 256 << 10;

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
    /// Reads the beginning of `reader`, which need not be buffered.
    ///
    /// # Errors
    /// When this is not a capture, or the beginning of one is cut off.
    pub fn new(reader: R) -> Result<Self, CaptureError> {
        let mut input = Input::new(reader);
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
            return Err(CaptureError::Foreign(input.bytes().to_vec()));
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

/// The file, and the record or block of it that is in hand: a part of the buffer that the file
/// is read into, so that a packet is never copied.
pub(super) struct Input<R> {
    reader: R,
    buffer: Vec<u8>,
    /// How much of the buffer was read.
    filled: usize,
    /// What of it is in hand; what follows was read ahead.
    hand: Range<usize>,
    /// Of the end of what is in hand, from the beginning of the file.
    offset: u64,
    /// Of its beginning.
    begun: u64,
}

impl<R: Read> Input<R> {
    fn new(reader: R) -> Self {
        Self { reader, buffer: vec![0; READ_BYTES], filled: 0, hand: 0..0, offset: 0, begun: 0 }
    }

    /// What is in hand.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.hand.clone()]
    }

    /// Lets go of what is in hand and takes the next `length` bytes; `false` when the file
    /// ends here.
    pub(super) fn begin(&mut self, length: usize, within: &'static str) -> Result<bool, CaptureError> {
        self.begun = self.offset;
        self.hand.start = self.hand.end;
        match self.extend(length, within) {
            Err(CaptureError::Truncated { .. }) if self.hand.is_empty() => Ok(false),
            taken => taken.map(|()| true),
        }
    }

    /// Takes `length` bytes more; `within` says of what.
    pub(super) fn extend(&mut self, length: usize, within: &'static str) -> Result<(), CaptureError> {
        if length > BLOCK_MAX {
            return Err(self.damaged("a length beyond any packet's"));
        }
        if length > self.ahead() {
            self.read(length).map_err(CaptureError::Read)?;
        }
        let count = length.min(self.ahead());
        self.hand.end += count;
        self.offset += count as u64;
        if count < length {
            return Err(CaptureError::Truncated { within, offset: self.offset });
        }
        Ok(())
    }

    /// Passes over `length` bytes behind what is in hand, which stays there.
    pub(super) fn skip(&mut self, length: u64, within: &'static str) -> Result<(), CaptureError> {
        let ahead = usize::try_from(length).unwrap_or(usize::MAX).min(self.ahead());
        self.buffer.copy_within(self.hand.clone(), self.hand.start + ahead);
        self.hand = self.hand.start + ahead..self.hand.end + ahead;
        let mut passed = ahead as u64;
        if passed < length {
            let mut rest = self.reader.by_ref().take(length - passed);
            passed += io::copy(&mut rest, &mut io::sink()).map_err(CaptureError::Read)?;
        }
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

    /// How many bytes were read that are not in hand yet.
    const fn ahead(&self) -> usize {
        self.filled - self.hand.end
    }

    /// Reads until `length` bytes are ahead, or the file ends; as many more as there is room for.
    fn read(&mut self, length: usize) -> io::Result<()> {
        self.buffer.copy_within(self.hand.start..self.filled, 0);
        self.filled -= self.hand.start;
        self.hand = 0..self.hand.len();
        let wanted = self.hand.end + length;
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.filled < wanted {
            match self.reader.read(&mut self.buffer[self.filled..]) {
                Ok(0) => break,
                Ok(count) => self.filled += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
