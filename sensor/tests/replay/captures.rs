//! Captures as a capture tool would write them, and some as none should.

/// Seconds since the epoch that tests count from.
pub(super) const START: u64 = 1_400_000_000;
pub(super) const SECOND_NS: u64 = 1_000_000_000;
pub(super) const START_NS: u64 = START * SECOND_NS;

pub(super) const ETHERNET: u16 = 1;
pub(super) const RAW: u16 = 101;
pub(super) const LINUX_SLL: u16 = 113;
pub(super) const USB_LINUX: u16 = 189;

/// A number as a file of either byte order holds it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Big,
    Little,
}

impl Order {
    fn two(self, value: u16) -> [u8; 2] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    fn four(self, value: u32) -> [u8; 4] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }

    fn eight(self, value: i64) -> [u8; 8] {
        match self {
            Self::Big => value.to_be_bytes(),
            Self::Little => value.to_le_bytes(),
        }
    }
}

/// A pcap file in the writing.
pub(super) struct Pcap {
    pub(super) bytes: Vec<u8>,
    order: Order,
    magic: u32,
}

impl Pcap {
    pub(super) const MICROSECONDS: u32 = 0xa1b2_c3d4;
    pub(super) const NANOSECONDS: u32 = 0xa1b2_3c4d;
    pub(super) const MODIFIED: u32 = 0xa1b2_cd34;

    /// Little-endian, in microseconds.
    pub(super) fn new(link_type: u16) -> Self {
        Self::of(Order::Little, Self::MICROSECONDS, link_type)
    }

    pub(super) fn of(order: Order, magic: u32, link_type: u16) -> Self {
        let mut bytes = order.four(magic).to_vec();
        bytes.extend(order.two(2));
        bytes.extend(order.two(4));
        bytes.extend([0; 8]);
        bytes.extend(order.four(262_144));
        bytes.extend(order.four(u32::from(link_type)));
        Self { bytes, order, magic }
    }

    /// Adds a frame that was captured whole.
    pub(super) fn frame(self, time_ns: u64, frame: &[u8]) -> Self {
        self.cut_frame(time_ns, frame, frame.len())
    }

    /// Adds a frame of which `frame` was captured.
    pub(super) fn cut_frame(mut self, time_ns: u64, frame: &[u8], original_len: usize) -> Self {
        let unit_ns = if self.magic == Self::NANOSECONDS { 1 } else { 1_000 };
        for word in
            [time_ns / SECOND_NS, time_ns % SECOND_NS / unit_ns, frame.len() as u64, original_len as u64]
        {
            self.bytes.extend(self.order.four(u32::try_from(word).unwrap()));
        }
        if self.magic == Self::MODIFIED {
            self.bytes.extend([7; 8]);
        }
        self.bytes.extend(frame);
        self
    }
}

/// A pcapng file in the writing.
pub(super) struct Pcapng {
    pub(super) bytes: Vec<u8>,
    order: Order,
}

impl Pcapng {
    /// With its first section.
    pub(super) fn new(order: Order) -> Self {
        Self { bytes: Vec::new(), order }.section(order)
    }

    pub(super) fn section(mut self, order: Order) -> Self {
        self.order = order;
        let mut body = order.four(0x1a2b_3c4d).to_vec();
        body.extend(order.two(1));
        body.extend(order.two(0));
        body.extend(order.eight(-1));
        self.block(0x0a0d_0d0a, &body)
    }

    /// An interface whose clock ticks in microseconds.
    pub(super) fn interface(self, link_type: u16) -> Self {
        self.interface_with(link_type, 0, None, None)
    }

    pub(super) fn interface_with(
        self,
        link_type: u16,
        snap_len: u32,
        resolution: Option<u8>,
        offset_s: Option<i64>,
    ) -> Self {
        let mut body = self.order.two(link_type).to_vec();
        body.extend([0, 0]);
        body.extend(self.order.four(snap_len));
        let name = ("name".as_bytes().to_vec(), 2);
        let resolution = resolution.map(|resolution| (vec![resolution], 9));
        let offset = offset_s.map(|offset_s| (self.order.eight(offset_s).to_vec(), 14));
        for (value, code) in [Some(name), resolution, offset].into_iter().flatten() {
            body.extend(self.order.two(code));
            body.extend(self.order.two(u16::try_from(value.len()).unwrap()));
            body.extend(padded(&value));
        }
        body.extend([0; 4]);
        self.block(1, &body)
    }

    /// An Enhanced Packet Block.
    pub(super) fn packet(self, interface: u32, ticks: u64, frame: &[u8], original_len: usize) -> Self {
        let body = [&self.order.four(interface), self.timed(ticks, frame, original_len).as_slice()].concat();
        self.block(6, &body)
    }

    /// A Packet Block, which nobody should write any more.
    pub(super) fn obsolete_packet(self, interface: u16, ticks: u64, frame: &[u8]) -> Self {
        let mut body = self.order.two(interface).to_vec();
        body.extend(self.order.two(u16::MAX));
        body.extend(self.timed(ticks, frame, frame.len()));
        self.block(2, &body)
    }

    /// A Simple Packet Block: the first interface, no time.
    pub(super) fn simple_packet(self, frame: &[u8], original_len: usize) -> Self {
        let mut body = self.order.four(u32::try_from(original_len).unwrap()).to_vec();
        body.extend(padded(frame));
        self.block(3, &body)
    }

    pub(super) fn block(mut self, kind: u32, body: &[u8]) -> Self {
        let length = self.order.four(u32::try_from(12 + body.len()).unwrap());
        self.bytes.extend(self.order.four(kind));
        self.bytes.extend(length);
        self.bytes.extend(body);
        self.bytes.extend(length);
        self
    }

    fn timed(&self, ticks: u64, frame: &[u8], original_len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        for word in [ticks >> 32, ticks & 0xffff_ffff, frame.len() as u64, original_len as u64] {
            bytes.extend(self.order.four(u32::try_from(word).unwrap()));
        }
        bytes.extend(padded(frame));
        bytes
    }
}

/// To a multiple of four bytes, with something that must not be taken for data.
fn padded(bytes: &[u8]) -> Vec<u8> {
    let mut padded = bytes.to_vec();
    padded.resize(bytes.len().next_multiple_of(4), 0xee);
    padded
}
