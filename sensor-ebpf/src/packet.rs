//! A packet as the classifier sees it: a length and bounded loads. The kernel half
//! reads a socket buffer through it, everything else a slice of bytes.
//!
//! Loads are of whole words, several at a time, since that is what compiles to one
//! bounds check and plain loads in the kernel; they are in the order of the wire, and
//! whoever wants a number says `from_be`.

/// What is known of an aggregate (GSO, GRO) that stands for several wire packets.
/// Both 0: a packet of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Aggregate {
    /// Wire packets that it stands for (`gso_segs`); 0: not known.
    pub segments: u32,
    /// Payload bytes of each, the last apart (`gso_size`).
    pub segment_size: u32,
}

/// Bytes from the link header on, of which a part may be out of reach.
pub trait Packet {
    /// Length on the link in bytes, including what cannot be loaded.
    fn len_bytes(&self) -> u32;

    /// The words at `offset` from the link header, in the order of the wire;
    /// `None` where the packet, or what was captured of it, ends before.
    fn load<W: Words>(&self, offset: u32) -> Option<W>;

    fn aggregate(&self) -> Aggregate;
}

/// Plain integers that a packet can be read as. Sealed: the kernel half relies on
/// every bit pattern being a value, and on none reading beyond its size.
pub trait Words: sealed::Plain {
    /// The value made of what `half` (16 bits) and `word` (32 bits) find at offsets in bytes.
    fn gather(half: impl Fn(usize) -> u16, word: impl Fn(usize) -> u32) -> Self;
}

impl Words for u16 {
    #[inline(always)]
    fn gather(half: impl Fn(usize) -> u16, _: impl Fn(usize) -> u32) -> Self {
        half(0)
    }
}

impl<const N: usize> Words for [u32; N] {
    #[inline(always)]
    fn gather(_: impl Fn(usize) -> u16, word: impl Fn(usize) -> u32) -> Self {
        core::array::from_fn(|i| word(4 * i))
    }
}

mod sealed {
    pub trait Plain: Copy + Sized {}
    impl Plain for u16 {}
    impl<const N: usize> Plain for [u32; N] {}
}

/// A packet in memory: what was captured of it, and how long it was on the link.
#[derive(Clone, Copy, Debug)]
pub struct Captured<'a> {
    pub bytes: &'a [u8],
    pub len_bytes: u32,
    pub aggregate: Aggregate,
}

impl<'a> From<&'a [u8]> for Captured<'a> {
    /// A packet of its own, captured whole.
    fn from(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            len_bytes: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            aggregate: Aggregate::default(),
        }
    }
}

impl Packet for Captured<'_> {
    fn len_bytes(&self) -> u32 {
        self.len_bytes
    }

    fn load<W: Words>(&self, offset: u32) -> Option<W> {
        let start = offset as usize;
        let bytes = self.bytes.get(start..start.checked_add(size_of::<W>())?)?;
        Some(W::gather(
            |at| u16::from_ne_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 2])),
            |at| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap_or(&[0; 4])),
        ))
    }

    fn aggregate(&self) -> Aggregate {
        self.aggregate
    }
}
