//! From a capture's link type to where the network header begins: the small headers that
//! capture libraries put before a packet, and those of point-to-point links.
//!
//! Numbers and layouts are those of the registry at <https://www.tcpdump.org/linktypes.html>
//! (LINKTYPE_ names). Ethernet, VLAN tags and everything from the IP header on are the
//! classifier's; what a link header carries other than IP is not followed.

use sensor_ebpf::headers::Link;

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The link types whose packets can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkType {
    /// ETHERNET (1).
    Ethernet,
    /// RAW (101, and 12 and 14 on the BSDs): an IP header of either version.
    Ip,
    /// IPV4 (228).
    Ipv4,
    /// IPV6 (229).
    Ipv6,
    /// `LINUX_SLL` (113): 16 bytes, the protocol in the last two.
    LinuxSll,
    /// `LINUX_SLL2` (276): 20 bytes, the protocol in the first two.
    LinuxSll2,
    /// PPP (9) and `PPP_HDLC` (50).
    Ppp,
    /// `PPP_WITH_DIR` (204): one byte that says who sent, then PPP.
    PppWithDirection,
    /// `C_HDLC` (104): address, control, Ethertype.
    CiscoHdlc,
    /// NULL (0) and LOOP (108): an address family in four bytes.
    Loopback,
}

impl LinkType {
    /// `number`: as the file says it; `None` where it is none of ours.
    pub fn from_number(number: u16) -> Option<Self> {
        Some(match number {
            1 => Self::Ethernet,
            12 | 14 | 101 => Self::Ip,
            228 => Self::Ipv4,
            229 => Self::Ipv6,
            113 => Self::LinuxSll,
            276 => Self::LinuxSll2,
            9 | 50 => Self::Ppp,
            204 => Self::PppWithDirection,
            104 => Self::CiscoHdlc,
            0 | 108 => Self::Loopback,
            _ => return None,
        })
    }

    /// Where the classifier begins with `frame`. `None`: the link header is cut off, or says
    /// that what follows is not IP.
    pub fn link(self, frame: &[u8]) -> Option<Link> {
        match self {
            Self::Ethernet => Some(Link::Ethernet),
            Self::Ip => Some(Link::Ip),
            Self::Ipv4 => Some(Link::Ethertype { ethertype: ETHERTYPE_IPV4, offset: 0 }),
            Self::Ipv6 => Some(Link::Ethertype { ethertype: ETHERTYPE_IPV6, offset: 0 }),
            Self::LinuxSll => ethertype(frame, 14, 16),
            Self::LinuxSll2 => ethertype(frame, 0, 20),
            Self::Ppp => ppp(frame, 0),
            Self::PppWithDirection => ppp(frame, 1),
            Self::CiscoHdlc => ethertype(frame, 2, 4),
            Self::Loopback => loopback(frame),
        }
    }
}

/// An Ethertype in network byte order at `at`, and the network header at `offset`.
fn ethertype(frame: &[u8], at: usize, offset: u32) -> Option<Link> {
    let ethertype = frame.get(at..)?.first_chunk().copied().map(u16::from_be_bytes)?;
    Some(Link::Ethertype { ethertype, offset })
}

/// PPP (RFC 1661) at `at`: with or without address and control (RFC 1662, 3.1), the protocol
/// in two bytes or compressed to one (RFC 1661, 6.5). Captures of serial lines may hold
/// Cisco's framing instead, told by its address byte.
fn ppp(frame: &[u8], at: usize) -> Option<Link> {
    const UNICAST: u8 = 0x0f;
    const BROADCAST: u8 = 0x8f;
    const PROTOCOL_IPV4: u16 = 0x0021;
    const PROTOCOL_IPV6: u16 = 0x0057;

    let (at, bytes) = match frame.get(at..)? {
        [UNICAST | BROADCAST, 0, _, _, ..] => {
            return ethertype(frame, at + 2, u32::try_from(at).ok()? + 4);
        }
        [0xff, 0x03, rest @ ..] => (at + 2, rest),
        bytes => (at, bytes),
    };
    let (protocol, length) = match *bytes {
        // The last byte of a protocol is odd, those before it are even.
        [low, ..] if low & 1 == 1 => (u16::from(low), 1),
        [high, low, ..] => (u16::from_be_bytes([high, low]), 2),
        _ => return None,
    };
    let ethertype = match protocol {
        PROTOCOL_IPV4 => ETHERTYPE_IPV4,
        PROTOCOL_IPV6 => ETHERTYPE_IPV6,
        _ => return None,
    };
    Some(Link::Ethertype { ethertype, offset: u32::try_from(at).ok()? + length })
}

/// The address family, in the byte order of the machine that captured (LOOP: of the network),
/// which need not be ours: the families are small enough for either order to be told. IPv6
/// has a number of its own on each system.
fn loopback(frame: &[u8]) -> Option<Link> {
    const AF_INET: u32 = 2;
    const AF_INET6_LINUX: u32 = 10;
    const AF_INET6_BSD: u32 = 24;
    const AF_INET6_FREEBSD: u32 = 28;
    const AF_INET6_DARWIN: u32 = 30;

    let word: [u8; 4] = *frame.first_chunk()?;
    let family = u32::from_be_bytes(word).min(u32::from_le_bytes(word));
    let ethertype = match family {
        AF_INET => ETHERTYPE_IPV4,
        AF_INET6_LINUX | AF_INET6_BSD | AF_INET6_FREEBSD | AF_INET6_DARWIN => ETHERTYPE_IPV6,
        _ => return None,
    };
    Some(Link::Ethertype { ethertype, offset: 4 })
}

/// The registry's name of a link type that people have in their captures but we do not read.
pub fn name(number: u16) -> Option<&'static str> {
    Some(match number {
        6 => "IEEE802_5",
        8 => "SLIP",
        10 => "FDDI",
        51 => "PPP_ETHER",
        100 => "ATM_RFC1483",
        105 => "IEEE802_11",
        107 => "FRELAY",
        117 => "PFLOG",
        119 => "IEEE802_11_PRISM",
        127 => "IEEE802_11_RADIOTAP",
        163 => "IEEE802_11_AVS",
        187 => "BLUETOOTH_HCI_H4",
        189 => "USB_LINUX",
        192 => "PPI",
        195 => "IEEE802_15_4_WITHFCS",
        197 => "ERF",
        201 => "BLUETOOTH_HCI_H4_WITH_PHDR",
        220 => "USB_LINUX_MMAPPED",
        239 => "NFLOG",
        249 => "USBPCAP",
        251 => "BLUETOOTH_LE_LL",
        252 => "WIRESHARK_UPPER_PDU",
        253 => "NETLINK",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A link header of zeros with these bytes at this offset.
    fn header(length: usize, at: usize, bytes: &[u8]) -> Vec<u8> {
        let mut header = vec![0; length];
        header[at..at + bytes.len()].copy_from_slice(bytes);
        header
    }

    #[test]
    fn a_link_header_says_where_the_network_header_begins() {
        let v4 = |offset| Some(Link::Ethertype { ethertype: 0x0800, offset });
        let v6 = |offset| Some(Link::Ethertype { ethertype: 0x86dd, offset });
        let vlan = |offset| Some(Link::Ethertype { ethertype: 0x8100, offset });
        let table = [
            ("Ethernet is the classifier's", 1, vec![], Some(Link::Ethernet)),
            ("raw IP", 101, vec![], Some(Link::Ip)),
            ("raw IP as OpenBSD numbers it", 14, vec![], Some(Link::Ip)),
            ("raw IP as others number it", 12, vec![], Some(Link::Ip)),
            ("raw IPv4", 228, vec![], v4(0)),
            ("raw IPv6", 229, vec![], v6(0)),
            ("SLL, IPv4", 113, header(16, 14, &[0x08, 0x00]), v4(16)),
            ("SLL, a VLAN tag", 113, header(16, 14, &[0x81, 0x00]), vlan(16)),
            ("SLL, cut", 113, vec![0; 15], None),
            ("SLL2, IPv6", 276, header(20, 0, &[0x86, 0xdd]), v6(20)),
            ("PPP, IPv4", 9, vec![0x00, 0x21], v4(2)),
            ("PPP, IPv6", 9, vec![0x00, 0x57], v6(2)),
            ("PPP, link control", 9, vec![0xc0, 0x21], None),
            ("PPP, protocol compressed", 9, vec![0x21], v4(1)),
            ("PPP with address and control", 9, vec![0xff, 0x03, 0x00, 0x57], v6(4)),
            ("the same, protocol compressed", 50, vec![0xff, 0x03, 0x57], v6(3)),
            ("PPP, cut after the address and control", 50, vec![0xff, 0x03], None),
            ("PPP, cut within the protocol", 9, vec![0x00], None),
            ("PPP, empty", 9, vec![], None),
            ("Cisco's framing on a serial line", 50, vec![0x0f, 0x00, 0x08, 0x00], v4(4)),
            ("Cisco HDLC", 104, vec![0x8f, 0x00, 0x86, 0xdd], v6(4)),
            ("PPP with direction", 204, vec![0x01, 0xff, 0x03, 0x00, 0x21], v4(5)),
            ("PPP with direction, Cisco's framing", 204, vec![0, 0x0f, 0, 0x08, 0], v4(5)),
            ("loopback, little-endian", 0, vec![2, 0, 0, 0], v4(4)),
            ("loopback, big-endian", 0, vec![0, 0, 0, 2], v4(4)),
            ("loopback, IPv6 on Linux", 0, vec![10, 0, 0, 0], v6(4)),
            ("loopback, IPv6 on NetBSD and OpenBSD", 108, vec![0, 0, 0, 24], v6(4)),
            ("loopback, IPv6 on FreeBSD", 0, vec![28, 0, 0, 0], v6(4)),
            ("loopback, IPv6 on macOS", 0, vec![30, 0, 0, 0], v6(4)),
            ("loopback, another family", 0, vec![7, 0, 0, 0], None),
            ("loopback, cut", 0, vec![2, 0, 0], None),
        ];
        for (description, number, bytes, expected) in table {
            let link_type = LinkType::from_number(number).expect(description);
            assert_eq!(link_type.link(&bytes), expected, "{description}");
        }
    }

    #[test]
    fn no_link_type_is_both_read_and_refused() {
        for number in 0..=u16::MAX {
            assert!(LinkType::from_number(number).is_none() || name(number).is_none(), "{number}");
        }
    }
}
