//! The first handshake message of a stream of TLS records, byte after byte: records may cut it
//! anywhere (RFC 8446 5.1), and the sample may end anywhere.

/// Content type of handshake records (RFC 8446 5.1).
const HANDSHAKE: u8 = 22;

/// Message type (RFC 8446 4).
const CLIENT_HELLO: u8 = 1;

/// Type, version, length.
const RECORD_HEADER_LEN: usize = 5;

/// Longest fragment (RFC 8446 5.1).
const FRAGMENT_MAX: usize = 1 << 14;

/// Type and length.
const MESSAGE_HEADER_LEN: usize = 4;

/// Version, random, and the shortest of session id, cipher suites and compressions.
const HELLO_MIN: usize = 2 + 32 + 1 + 2 + 1;

/// With each of its fields as long as it can be.
const HELLO_MAX: usize = 2 + 32 + (1 + 32) + (2 + 65_534) + (1 + 255) + (2 + 65_535);

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The bytes end, and may go on.
    End,
    /// A `ClientHello` that no server takes.
    Wrong,
    /// Something else.
    Other,
}

pub(super) struct Handshake<'a> {
    /// Not yet read.
    bytes: &'a [u8],
    /// Of the record being read.
    record_left: usize,
    /// Of the message being read; of its header, before that is read.
    message_left: usize,
}

impl<'a> Handshake<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, record_left: 0, message_left: MESSAGE_HEADER_LEN }
    }

    /// Reads the message's header.
    pub(super) fn open(&mut self) -> Result<(), Stop> {
        // What is wrong here is no hello at all.
        let kind = self.u8().map_err(other)?;
        if kind != CLIENT_HELLO {
            return Err(Stop::Other);
        }
        let upper = usize::from(self.u8().map_err(other)?);
        let length = upper << 16 | usize::from(self.u16().map_err(other)?);
        if !(HELLO_MIN..=HELLO_MAX).contains(&length) {
            return Err(Stop::Other);
        }
        self.message_left = length;
        Ok(())
    }

    /// Bytes of the message that have not been read.
    pub(super) const fn left(&self) -> usize {
        self.message_left
    }

    /// Bytes that are missing where they ended, at least.
    pub(super) fn wanted(&self) -> usize {
        let next_header = if self.message_left > self.record_left { RECORD_HEADER_LEN } else { 0 };
        // Of which the beginning may be there.
        (self.message_left + next_header).saturating_sub(self.bytes.len())
    }

    pub(super) fn u8(&mut self) -> Result<u8, Stop> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(u8::from_be_bytes(byte))
    }

    pub(super) fn u16(&mut self) -> Result<u16, Stop> {
        let mut bytes = [0; 2];
        self.fill(&mut bytes)?;
        Ok(u16::from_be_bytes(bytes))
    }

    pub(super) fn fill(&mut self, mut into: &mut [u8]) -> Result<(), Stop> {
        while !into.is_empty() {
            let fragment = self.fragment(into.len())?;
            let (filled, rest) = into.split_at_mut(fragment.len());
            filled.copy_from_slice(fragment);
            into = rest;
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, mut count: usize) -> Result<(), Stop> {
        while count > 0 {
            count -= self.fragment(count)?.len();
        }
        Ok(())
    }

    /// The next bytes that lie in one record: at least 1, at most `wanted`.
    fn fragment(&mut self, wanted: usize) -> Result<&'a [u8], Stop> {
        if wanted > self.message_left {
            return Err(Stop::Wrong);
        }
        if self.record_left == 0 {
            self.record()?;
        }
        let here = wanted.min(self.record_left).min(self.bytes.len());
        let (fragment, rest) = self.bytes.split_at_checked(here).ok_or(Stop::End)?;
        if fragment.is_empty() {
            return Err(Stop::End);
        }
        self.bytes = rest;
        self.record_left -= here;
        self.message_left -= here;
        Ok(fragment)
    }

    /// Reads the next record's header, as far as it is there.
    fn record(&mut self) -> Result<(), Stop> {
        let header = self.bytes.get(..RECORD_HEADER_LEN.min(self.bytes.len())).unwrap_or_default();
        // The version's second byte says nothing (RFC 8446 5.1); its first has always been 3.
        let may_be = |at: usize, expected: u8| header.get(at).is_none_or(|byte| *byte == expected);
        if !may_be(0, HANDSHAKE) || !may_be(1, 3) {
            return Err(Stop::Wrong);
        }
        let Some(([_, _, _, high, low], rest)) = self.bytes.split_first_chunk() else {
            return Err(Stop::End);
        };
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        // No fragment of a handshake is empty (RFC 8446 5.1).
        if !(1..=FRAGMENT_MAX).contains(&length) {
            return Err(Stop::Wrong);
        }
        self.bytes = rest;
        self.record_left = length;
        Ok(())
    }
}

/// What cannot be the beginning of a hello is none.
fn other(stop: Stop) -> Stop {
    if stop == Stop::Wrong { Stop::Other } else { stop }
}
