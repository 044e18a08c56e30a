//! Payload that goes on in the next segment: what was begun is kept until its end comes, or is clear
//! not to come. Bounded in number and size; buffers are used again.

use sensor_ebpf::abi::{FlowKey, SampleKind};

use super::Sample;
use super::bounded::Bounded;

/// Begun pieces that are kept; of more, the oldest go.
const PIECES_MAX: usize = 1024;
/// Bytes of one: a sample, and what the kernel half continues it with.
const PIECE_BYTES_MAX: usize = 2048 + 4096;
/// The rest comes with the next segment, or when that is sent again. What was begun longer ago will hardly
/// go on: most of it never does, since it was all there was.
const GOES_ON_WITHIN_NS: u64 = 5 * 1_000_000_000;

/// A side of a connection.
type Key = (FlowKey, u8);

/// Is what was said before complete, so that this is another message? Behind the header of one, a request
/// or a response begins another; and where one JSON value follows on another, it is not part of it.
fn begins_anew(before: &[u8], sample: &Sample<'_>) -> bool {
    let begins = |text: &[u8]| sample.payload.starts_with(text);
    match SampleKind::of(sample.header.kind) {
        Some(SampleKind::Http | SampleKind::Json) => {
            let is_http = [&b"POST "[..], b"GET ", b"HTTP/"].into_iter().any(begins);
            is_http && before.windows(4).any(|end| end == b"\r\n\r\n")
                || before.ends_with(b"}") && begins(b"{")
        }
        _ => false,
    }
}

pub(super) struct Pieces {
    begun: Bounded<Key, Piece>,
    spare: Vec<Vec<u8>>,
    /// Pieces that had to go while they could still have gone on.
    pub(super) forgotten: u64,
}

struct Piece {
    /// Sequence number that goes on.
    next: u32,
    at_ns: u64,
    bytes: Vec<u8>,
}

impl Default for Pieces {
    fn default() -> Self {
        Self { begun: Bounded::new(PIECES_MAX), spare: Vec::new(), forgotten: 0 }
    }
}

impl Pieces {
    /// Has `read` look at what this side has said and was not done with, and keeps that from the byte
    /// that it returns, where it wants more. `read` is told whether bytes are missing at the end.
    pub(super) fn whole<T>(
        &mut self,
        sample: &Sample<'_>,
        read: impl FnOnce(&[u8], bool) -> (T, Option<usize>),
    ) -> T {
        let key = (sample.header.key, sample.header.direction);
        let next = sample.header.sequence.wrapping_add(sample.header.payload);
        let at_ns = sample.header.at_ns;
        let going_on = match self.begun.remove(&key) {
            Some(piece) if piece.next == sample.header.sequence && !begins_anew(&piece.bytes, sample) => {
                Some(piece)
            }
            Some(other) => {
                self.spare.push(other.bytes);
                None
            }
            None => None,
        };
        let Some(mut piece) = going_on else {
            let (said, wanted_from) = read(sample.payload, sample.is_cut());
            let wanted = wanted_from.and_then(|from| sample.payload.get(from..));
            if let Some(wanted) = wanted.filter(|_| !sample.is_cut()) {
                let mut bytes = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(PIECE_BYTES_MAX));
                bytes.clear();
                bytes.extend_from_slice(wanted);
                self.keep(key, Piece { next, at_ns, bytes });
            }
            return said;
        };
        let room = PIECE_BYTES_MAX - piece.bytes.len();
        let taken = &sample.payload[..sample.payload.len().min(room)];
        piece.bytes.extend_from_slice(taken);
        let is_cut = sample.is_cut() || taken.len() < sample.payload.len();
        let (said, wanted_from) = read(&piece.bytes, is_cut);
        match wanted_from {
            Some(from) if !is_cut => {
                piece.bytes.drain(..from.min(piece.bytes.len()));
                self.keep(key, Piece { next, at_ns, ..piece });
            }
            _ => self.spare.push(piece.bytes),
        }
        said
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 4] {
        let bytes = self.begun.values().map(|piece| &piece.bytes).chain(&self.spare).map(Vec::capacity).max();
        let [begun, order] = self.begun.remembered();
        [begun, order, (self.spare.len(), PIECES_MAX + 1), (bytes.unwrap_or(0), 2 * PIECE_BYTES_MAX)]
    }

    fn keep(&mut self, key: Key, piece: Piece) {
        let at_ns = piece.at_ns;
        if let Some(gone) = self.begun.insert(key, piece) {
            self.forgotten += u64::from(at_ns.saturating_sub(gone.at_ns) <= GOES_ON_WITHIN_NS);
            self.spare.push(gone.bytes);
        }
        self.spare.truncate(PIECES_MAX);
    }
}
