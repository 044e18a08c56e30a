//! Builds packets for tests from words, so that a test reads like what it sends. Every length
//! and type is right unless the test says otherwise.

use std::net::IpAddr;

use sensor_ebpf::headers::{Link, tcp_flag};
use sensor_ebpf::packet::Aggregate;

/// An IPv6 extension header, or the authentication header.
#[derive(Clone, Debug)]
pub enum Extension {
    HopByHop,
    Routing,
    /// Longer than the least by this many units of 8 bytes.
    Destination(u8),
    Authentication,
    /// Offset in units of 8 bytes, and whether more follow.
    Fragment(u16, bool),
}

#[derive(Clone, Debug)]
enum Body {
    Tcp {
        flags: u8,
        seq: u32,
        ack: u32,
        data_offset: u8,
    },
    Udp {
        length: Option<u16>,
    },
    /// A protocol without ports.
    Protocol(u8),
}

/// A packet in the making.
#[derive(Clone, Debug)]
pub struct Frame {
    link: Link,
    tags: Vec<u16>,
    ethertype: Option<u16>,
    source: IpAddr,
    destination: IpAddr,
    version: Option<u8>,
    header_words: Option<u8>,
    length: Option<u16>,
    options: usize,
    extensions: Vec<Extension>,
    fragment: (u16, bool),
    ports: (u16, u16),
    body: Body,
    payload: Vec<u8>,
    padding: usize,
    cut: Option<usize>,
    snapped: Option<usize>,
    pub aggregate: Aggregate,
}

/// From one address to another, over Ethernet; UDP from port 40000 to 3333 until told otherwise.
pub fn from(source: &str, destination: &str) -> Frame {
    Frame {
        link: Link::Ethernet,
        tags: Vec::new(),
        ethertype: None,
        source: source.parse().expect("an address"),
        destination: destination.parse().expect("an address"),
        version: None,
        header_words: None,
        length: None,
        options: 0,
        extensions: Vec::new(),
        fragment: (0, false),
        ports: (40_000, 3333),
        body: Body::Udp { length: None },
        payload: Vec::new(),
        padding: 0,
        cut: None,
        snapped: None,
        aggregate: Aggregate::default(),
    }
}

impl Frame {
    /// Without an Ethernet header.
    pub fn raw(mut self) -> Self {
        self.link = Link::Ip;
        self
    }

    /// With tags of these types (0x8100, 0x88a8, …), outermost first.
    pub fn tagged(mut self, types: &[u16]) -> Self {
        self.tags = types.to_vec();
        self
    }

    /// With this Ethertype, whatever the packet is.
    pub fn ethertype(mut self, ethertype: u16) -> Self {
        self.ethertype = Some(ethertype);
        self
    }

    pub fn ports(mut self, source: u16, destination: u16) -> Self {
        self.ports = (source, destination);
        self
    }

    pub fn tcp(mut self, flags: u8) -> Self {
        self.body = Body::Tcp { flags, seq: 1000, ack: 0, data_offset: 5 };
        self
    }

    /// A connection request with this initial sequence number.
    pub fn syn(self, isn: u32) -> Self {
        self.tcp(tcp_flag::SYN).numbered(isn, 0)
    }

    /// Its answer, with the answerer's own initial sequence number.
    pub fn syn_ack(self, isn: u32, ack: u32) -> Self {
        self.tcp(tcp_flag::SYN | tcp_flag::ACK).numbered(isn, ack)
    }

    pub fn ack(self, seq: u32, ack: u32) -> Self {
        self.tcp(tcp_flag::ACK).numbered(seq, ack)
    }

    pub fn fin(self, seq: u32, ack: u32) -> Self {
        self.tcp(tcp_flag::FIN | tcp_flag::ACK).numbered(seq, ack)
    }

    pub fn rst(self, seq: u32, ack: u32) -> Self {
        self.tcp(tcp_flag::RST | tcp_flag::ACK).numbered(seq, ack)
    }

    /// With this sequence number and acknowledgement.
    pub fn numbered(mut self, sequence: u32, acknowledgement: u32) -> Self {
        if let Body::Tcp { seq, ack, .. } = &mut self.body {
            (*seq, *ack) = (sequence, acknowledgement);
        }
        self
    }

    /// TCP header length in words of four bytes, whatever it really is.
    pub fn data_offset(mut self, words: u8) -> Self {
        if let Body::Tcp { data_offset, .. } = &mut self.body {
            *data_offset = words;
        }
        self
    }

    pub fn udp(mut self) -> Self {
        self.body = Body::Udp { length: None };
        self
    }

    /// UDP whose length field lies.
    pub fn udp_length(mut self, length: u16) -> Self {
        self.body = Body::Udp { length: Some(length) };
        self
    }

    pub fn protocol(mut self, protocol: u8) -> Self {
        self.body = Body::Protocol(protocol);
        self
    }

    /// With a payload of so many bytes that say nothing.
    pub fn payload(self, bytes: usize) -> Self {
        self.data(&vec![0x61; bytes])
    }

    /// With this payload.
    pub fn data(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Bytes after the IP packet, as short Ethernet frames have them.
    pub fn padding(mut self, bytes: usize) -> Self {
        self.padding = bytes;
        self
    }

    /// IPv4 options, in words of four bytes.
    pub fn options(mut self, words: usize) -> Self {
        self.options = words;
        self
    }

    pub fn extensions(mut self, extensions: &[Extension]) -> Self {
        self.extensions = extensions.to_vec();
        self
    }

    /// IPv4 fragment: offset in units of 8 bytes, and whether more follow. A later fragment has
    /// no transport header.
    pub fn fragment(mut self, offset: u16, more: bool) -> Self {
        self.fragment = (offset, more);
        self
    }

    /// The version field, whatever the packet is.
    pub fn version(mut self, version: u8) -> Self {
        self.version = Some(version);
        self
    }

    /// The IPv4 header length field in words, whatever it really is.
    pub fn header_words(mut self, words: u8) -> Self {
        self.header_words = Some(words);
        self
    }

    /// The IP length field, whatever it really is.
    pub fn length(mut self, length: u16) -> Self {
        self.length = Some(length);
        self
    }

    /// Only the first bytes of it.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.cut = Some(bytes);
        self
    }

    /// It was whole on the link, and a snap length let so many bytes of it be captured.
    pub fn snapped(mut self, bytes: usize) -> Self {
        self.snapped = Some(bytes);
        self
    }

    pub fn aggregate(mut self, segments: u32, segment_size: u32) -> Self {
        self.aggregate = Aggregate { segments, segment_size };
        self
    }

    /// How much of its bytes was captured.
    pub fn captured(&self) -> usize {
        self.snapped.unwrap_or(usize::MAX)
    }

    pub fn link(&self) -> Link {
        self.link
    }

    pub fn bytes(&self) -> Vec<u8> {
        let ip = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.ipv4(source.octets(), destination.octets()),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.ipv6(source.octets(), destination.octets()),
            mixed => panic!("{mixed:?}: one family, please"),
        };
        let mut frame = Vec::new();
        if self.link == Link::Ethernet {
            frame.extend([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1]);
            for tag in &self.tags {
                frame.extend(tag.to_be_bytes());
                frame.extend(7u16.to_be_bytes());
            }
            let own = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
            frame.extend(self.ethertype.unwrap_or(own).to_be_bytes());
        }
        frame.extend(ip);
        frame.extend(vec![0xee; self.padding]);
        frame.truncate(self.cut.unwrap_or(usize::MAX));
        frame
    }

    fn ipv4(&self, source: [u8; 4], destination: [u8; 4]) -> Vec<u8> {
        let (offset, more) = self.fragment;
        let (protocol, body) = self.body(offset != 0);
        let header = 20 + 4 * self.options;
        let own_words = u8::try_from(header / 4).expect("at most ten words of options");
        let own_length = u16::try_from(header + body.len()).expect("fits the field");
        let mut ip = vec![self.version.unwrap_or(4) << 4 | self.header_words.unwrap_or(own_words), 0];
        ip.extend(self.length.unwrap_or(own_length).to_be_bytes());
        ip.extend([0, 1]);
        ip.extend((u16::from(more) << 13 | offset).to_be_bytes());
        ip.extend([64, protocol, 0, 0]);
        ip.extend(source);
        ip.extend(destination);
        ip.extend(vec![1; 4 * self.options]);
        ip.extend(body);
        ip
    }

    fn ipv6(&self, source: [u8; 16], destination: [u8; 16]) -> Vec<u8> {
        let later =
            self.extensions.iter().any(|e| matches!(e, Extension::Fragment(offset, _) if *offset != 0));
        let (protocol, body) = self.body(later);
        let mut next = protocol;
        let mut chain = Vec::new();
        for extension in self.extensions.iter().rev() {
            let mut header = match extension {
                Extension::HopByHop | Extension::Routing => vec![next, 0, 1, 4, 0, 0, 0, 0],
                Extension::Destination(more) => {
                    let mut header = vec![next, *more];
                    header.extend(vec![0; 6 + 8 * usize::from(*more)]);
                    header
                }
                // RFC 4302: 3 words of fixed fields and 3 of check value; the length says 4.
                Extension::Authentication => {
                    let mut header = vec![next, 4];
                    header.extend(vec![0; 22]);
                    header
                }
                Extension::Fragment(offset, more) => {
                    let mut header = vec![next, 0];
                    header.extend((offset << 3 | u16::from(*more)).to_be_bytes());
                    header.extend([0, 0, 0, 9]);
                    header
                }
            };
            header.append(&mut chain);
            chain = header;
            next = match extension {
                Extension::HopByHop => 0,
                Extension::Routing => 43,
                Extension::Destination(_) => 60,
                Extension::Authentication => 51,
                Extension::Fragment(..) => 44,
            };
        }
        let own_length = u16::try_from(chain.len() + body.len()).expect("fits the field");
        let mut ip = vec![self.version.unwrap_or(6) << 4, 0, 0, 0];
        ip.extend(self.length.unwrap_or(own_length).to_be_bytes());
        ip.extend([next, 64]);
        ip.extend(source);
        ip.extend(destination);
        ip.extend(chain);
        ip.extend(body);
        ip
    }

    fn body(&self, later: bool) -> (u8, Vec<u8>) {
        let mut bytes = Vec::new();
        let protocol = match &self.body {
            Body::Tcp { .. } => 6,
            Body::Udp { .. } => 17,
            Body::Protocol(protocol) => *protocol,
        };
        if !later && !matches!(self.body, Body::Protocol(_)) {
            bytes.extend(self.ports.0.to_be_bytes());
            bytes.extend(self.ports.1.to_be_bytes());
        }
        match &self.body {
            Body::Tcp { flags, seq, ack, data_offset } if !later => {
                bytes.extend(seq.to_be_bytes());
                bytes.extend(ack.to_be_bytes());
                bytes.extend([data_offset << 4, *flags, 0xff, 0xff, 0, 0, 0, 0]);
            }
            Body::Udp { length } if !later => {
                let own = u16::try_from(8 + self.payload.len()).expect("fits the field");
                bytes.extend(length.unwrap_or(own).to_be_bytes());
                bytes.extend([0, 0]);
            }
            _ => {}
        }
        bytes.extend(&self.payload);
        (protocol, bytes)
    }
}
