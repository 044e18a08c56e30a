//! What a capture file says, whatever its format: link types, clocks, lengths, and where it
//! goes wrong.

use std::io::Read;

use sensor::replay::capture::CaptureError;
use sensor::replay::replay;

use super::captures::{ETHERNET, LINUX_SLL, Order, Pcap, Pcapng, RAW, SECOND_NS, START, START_NS, USB_LINUX};
use super::packets::{Frame, icmp, ip, udp};
use super::{CLIENT, SERVER, read, server_watched};

/// 28 bytes of headers and a payload.
fn datagram() -> Frame {
    udp(CLIENT, SERVER).payload(72)
}

#[test]
fn every_link_type_is_read() {
    let v6 = udp("[2001:db8::5]:5000", "[2001:db8::1]:3333").payload(52);
    let v4 = datagram();
    let behind = |header: &[u8], packet: &Frame| [header, &ip(packet)].concat();
    // Ethertype, tags and packet, without the addresses before them.
    let typed = |packet: &Frame, tags: &[u16]| packet.clone().tagged(tags).bytes().split_off(12);
    let sll = |packet: &Frame, tags: &[u16]| [vec![0; 14], typed(packet, tags)].concat();
    let sll2 = |packet: &Frame| [&typed(packet, &[])[..2], &[0; 18], &ip(packet)].concat();
    let table = [
        ("Ethernet", 1, v4.bytes()),
        ("Ethernet, IPv6", 1, v6.bytes()),
        ("Ethernet, a VLAN tag", 1, v4.clone().tagged(&[0x8100]).bytes()),
        ("Ethernet, QinQ", 1, v6.clone().tagged(&[0x88a8, 0x8100]).bytes()),
        ("raw IP", 101, ip(&v4)),
        ("raw IP, IPv6", 12, ip(&v6)),
        ("raw IP, OpenBSD", 14, ip(&v4)),
        ("IPv4", 228, ip(&v4)),
        ("IPv6", 229, ip(&v6)),
        ("SLL", LINUX_SLL, sll(&v4, &[])),
        ("SLL, a VLAN tag after it", LINUX_SLL, sll(&v6, &[0x8100])),
        ("SLL2", 276, sll2(&v4)),
        ("SLL2, IPv6", 276, sll2(&v6)),
        ("PPP", 9, behind(&[0x00, 0x21], &v4)),
        ("PPP, IPv6 with address and control", 9, behind(&[0xff, 0x03, 0x00, 0x57], &v6)),
        ("PPP in HDLC framing, compressed", 50, behind(&[0x21], &v4)),
        ("PPP with direction", 204, behind(&[1, 0xff, 0x03, 0x00, 0x21], &v4)),
        ("Cisco HDLC", 104, behind(&[0x0f, 0x00, 0x86, 0xdd], &v6)),
        ("loopback, little-endian", 0, behind(&[2, 0, 0, 0], &v4)),
        ("loopback, big-endian", 0, behind(&[0, 0, 0, 30], &v6)),
        ("OpenBSD's loopback", 108, behind(&[0, 0, 0, 24], &v6)),
    ];
    let lists = server_watched().address("office", "server", "2001:db8::1");
    for (description, link_type, frame) in table {
        let report = read(&lists, &Pcap::new(link_type).frame(START_NS, &frame).bytes);
        let [flow] = report.flows.as_slice() else { panic!("{description}: {:?}", report.flows) };
        assert_eq!((flow.packets, flow.bytes), (1, 100), "{description}");
        assert_eq!(flow.destination.port(), 3333, "{description}");
        assert_eq!(report.summary.undecoded, 0, "{description}");
        assert_eq!(report.summary.bytes, frame.len() as u64, "{description}");
    }
}

#[test]
fn what_is_not_ip_is_a_packet_and_nothing_more() {
    let table = [
        ("ARP", 1, [vec![0; 12], vec![0x08, 0x06], vec![0; 46]].concat()),
        ("an Ethernet header that is cut", 1, vec![0; 13]),
        ("three tags", 1, datagram().tagged(&[0x8100; 3]).bytes()),
        ("PPP link control", 9, vec![0xc0, 0x21, 1, 0, 0, 4]),
        ("an SLL header that is cut", LINUX_SLL, vec![0; 15]),
        ("an empty PPP frame", 9, vec![]),
        ("a loopback family that is not IP", 0, vec![7, 0, 0, 0, 0]),
    ];
    for (description, link_type, frame) in table {
        let lists = server_watched();
        let summary = read(&lists, &Pcap::new(link_type).frame(START_NS, &frame).bytes).summary;
        assert_eq!((summary.packets, summary.undecoded), (1, 0), "{description}");
    }
}

#[test]
fn pcap_is_read_in_every_form() {
    let exact_ns = START_NS + 123_456_789;
    let micros_ns = START_NS + 123_456_000;
    let table = [
        ("microseconds, little-endian", Order::Little, Pcap::MICROSECONDS, micros_ns),
        ("microseconds, big-endian", Order::Big, Pcap::MICROSECONDS, micros_ns),
        ("nanoseconds, little-endian", Order::Little, Pcap::NANOSECONDS, exact_ns),
        ("nanoseconds, big-endian", Order::Big, Pcap::NANOSECONDS, exact_ns),
        ("modified", Order::Little, Pcap::MODIFIED, micros_ns),
    ];
    for (description, order, magic, expected_ns) in table {
        let lists = server_watched();
        let capture = Pcap::of(order, magic, ETHERNET)
            .frame(exact_ns, &datagram().bytes())
            .frame(exact_ns + 2 * SECOND_NS, &datagram().bytes());
        let report = read(&lists, &capture.bytes);
        let [flow] = report.flows.as_slice() else { panic!("{description}: {:?}", report.flows) };
        assert_eq!(flow.first_seen_ns, expected_ns, "{description}");
        assert_eq!(flow.last_seen_ns, expected_ns + 2 * SECOND_NS, "{description}");
        assert_eq!((flow.packets, flow.bytes), (2, 200), "{description}");
        assert_eq!(report.summary.nanoseconds, 2 * SECOND_NS, "{description}");
    }
}

#[test]
fn lengths_come_from_the_headers_where_a_snap_length_cut_the_frame() {
    let lists = server_watched();
    let whole = udp(CLIENT, SERVER).payload(1472).bytes();
    let capture = Pcap::new(ETHERNET)
        .cut_frame(START_NS, &whole[..64], whole.len())
        .cut_frame(START_NS, &whole[..40], whole.len())
        .cut_frame(START_NS, &whole[..30], whole.len());
    let report = read(&lists, &capture.bytes);
    assert_eq!(report.summary.bytes, 3 * 1514);
    assert_eq!((report.flows[0].packets, report.flows[0].bytes), (1, 1500));
    // Without its ports the second still counts for the address; the third has no addresses.
    assert_eq!(report.summary.targets[0].packets["egress"]["udp"], 2);
    assert_eq!(report.summary.targets[0].bytes["egress"]["udp"], 3000);
    assert_eq!(report.summary.undecoded_reasons, [("ip_header", 1), ("udp_header", 1)].into());
}

#[test]
fn a_frame_whose_original_length_was_never_written_is_as_long_as_it_is() {
    let lists = server_watched();
    let capture = Pcap::new(ETHERNET).cut_frame(START_NS, &datagram().bytes(), 0);
    let report = read(&lists, &capture.bytes);
    assert_eq!((report.flows[0].packets, report.flows[0].bytes), (1, 100));
    assert_eq!((report.summary.bytes, report.summary.undecoded), (0, 0));
}

#[test]
fn each_interface_of_a_pcapng_file_has_its_own_link_type_and_clock() {
    let lists = server_watched();
    let (ethernet, raw) = (datagram().bytes(), ip(&datagram()));
    for order in [Order::Little, Order::Big] {
        let capture = Pcapng::new(order)
            .interface(ETHERNET)
            .interface_with(RAW, 0, Some(9), None)
            .interface_with(RAW, 0, Some(0x8a), Some(i64::try_from(START).unwrap()))
            .block(5, &[0; 12]) // interface statistics
            .packet(0, START * 1_000_000, &ethernet, ethernet.len())
            .block(0x0000_0bad, &[1, 2, 3, 4])
            .packet(1, START_NS + 1, &raw, raw.len())
            .packet(2, 512, &raw, raw.len())
            .obsolete_packet(1, START_NS + SECOND_NS, &raw);
        let report = read(&lists, &capture.bytes);
        let [flow] = report.flows.as_slice() else { panic!("{order:?}: {:?}", report.flows) };
        assert_eq!((flow.packets, flow.bytes), (4, 400), "{order:?}");
        assert_eq!(flow.first_seen_ns, START_NS, "{order:?}");
        assert_eq!(flow.last_seen_ns, START_NS + SECOND_NS, "{order:?}");
        assert_eq!(report.summary.packets, 4, "{order:?}");
    }
}

#[test]
fn each_section_has_its_own_byte_order_and_interfaces() {
    let lists = server_watched();
    let (ethernet, raw) = (datagram().bytes(), ip(&datagram()));
    let capture = Pcapng::new(Order::Little)
        .interface(ETHERNET)
        .packet(0, START * 1_000_000, &ethernet, ethernet.len())
        .section(Order::Big)
        .interface(RAW)
        .packet(0, START * 1_000_000, &raw, raw.len())
        .section(Order::Little);
    assert_eq!(read(&lists, &capture.bytes).flows[0].packets, 2);

    let capture = Pcapng::new(Order::Little).interface(ETHERNET).section(Order::Little).packet(
        0,
        START * 1_000_000,
        &ethernet,
        ethernet.len(),
    );
    let report = replay(capture.bytes.as_slice(), &lists).unwrap();
    assert!(matches!(report.error, Some(CaptureError::Damaged { .. })), "{:?}", report.error);
}

#[test]
fn a_simple_packet_has_the_last_known_time_and_ends_at_the_snap_length() {
    let lists = server_watched();
    let whole = udp(CLIENT, SERVER).payload(100).bytes();
    let capture = Pcapng::new(Order::Little)
        .interface_with(ETHERNET, 50, None, None)
        .simple_packet(&whole[..50], whole.len())
        .packet(0, START * 1_000_000, &whole[..50], whole.len())
        .simple_packet(&whole[..50], whole.len());
    let report = read(&lists, &capture.bytes);
    assert_eq!(report.summary.packets, 3);
    assert_eq!(report.summary.bytes, 3 * whole.len() as u64);
    assert_eq!(report.summary.nanoseconds, 0, "what has no time does not stretch the capture");
    // What came before any time is as old as the epoch: 60 s of silence lie in between.
    let times: Vec<_> = report.flows.iter().map(|it| (it.first_seen_ns, it.packets, it.bytes)).collect();
    assert_eq!(times, [(0, 1, 128), (START_NS, 2, 256)]);
}

#[test]
fn a_simple_packets_padding_is_none_of_it() {
    let lists = server_watched();
    let whole = datagram().bytes();
    // One byte short of the UDP header's end, which three bytes of padding follow.
    let capture = Pcapng::new(Order::Little)
        .interface_with(ETHERNET, 41, None, None)
        .simple_packet(&whole[..41], whole.len());
    let summary = read(&lists, &capture.bytes).summary;
    assert_eq!(summary.undecoded_reasons, [("udp_header", 1)].into());
}

#[test]
fn a_capture_without_packets_is_a_capture() {
    let lists = server_watched();
    for (description, capture) in [
        ("pcap", Pcap::new(USB_LINUX).bytes),
        ("pcapng", Pcapng::new(Order::Big).bytes),
        ("pcapng with an interface nobody used", Pcapng::new(Order::Big).interface(USB_LINUX).bytes),
    ] {
        let summary = read(&lists, &capture).summary;
        assert_eq!((summary.packets, summary.bytes, summary.nanoseconds), (0, 0, 0), "{description}");
    }
}

#[test]
fn wherever_a_capture_is_cut_short_the_packets_before_count() {
    let lists = server_watched();
    let frame = icmp("10.0.0.1", "192.0.2.1").bytes();
    let mut pcap = Pcap::new(ETHERNET);
    let mut pcapng = Pcapng::new(Order::Little).interface(ETHERNET);
    let mut ends = [vec![pcap.bytes.len()], vec![28, pcapng.bytes.len()]];
    for second in START..START + 3 {
        pcap = pcap.frame(second * SECOND_NS, &frame);
        ends[0].push(pcap.bytes.len());
        pcapng = pcapng.packet(0, second * 1_000_000, &frame, frame.len());
        ends[1].push(pcapng.bytes.len());
    }
    for (capture, ends, before) in [(pcap.bytes, &ends[0], 1), (pcapng.bytes, &ends[1], 2)] {
        for length in 0..=capture.len() {
            let whole = ends.iter().filter(|&&end| end <= length).count();
            match replay(&capture[..length], &lists) {
                Err(error) => {
                    assert_eq!(whole, 0, "{length}: {error}");
                    let is_foreign = matches!(error, CaptureError::Foreign(_));
                    assert_eq!(is_foreign, length < 4, "{length}: {error}");
                }
                Ok(report) => {
                    let packets = whole.saturating_sub(before) as u64;
                    assert_eq!(report.summary.packets, packets, "{length}");
                    match report.error {
                        None => assert!(ends.contains(&length), "{length}"),
                        Some(CaptureError::Truncated { offset, .. }) => {
                            assert_eq!(offset, length as u64);
                            assert!(!ends.contains(&length), "{length}");
                        }
                        Some(other) => panic!("{length}: {other}"),
                    }
                }
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said() {
    let lists = server_watched();
    let raw = ip(&datagram());
    let usb = Pcap::new(USB_LINUX).frame(START_NS, &[0; 64]).bytes;
    let unheard_of = Pcap::new(4_242).frame(START_NS, &[0; 64]).bytes;
    let mut long = Pcap::new(RAW).frame(START_NS, &raw);
    long.bytes.extend([0xff; 16]);
    let mut version = Pcap::new(RAW).bytes;
    version[4] = 9;
    let mut lengths = Pcapng::new(Order::Little).interface(RAW);
    let last = lengths.bytes.len() - 4;
    lengths.bytes[last] += 4;
    let unknown = [0; 8];
    let undescribed =
        Pcapng::new(Order::Little).block(0x0000_0bad, &unknown).packet(0, 0, &raw, raw.len()).bytes;
    let mut overlong = Pcapng::new(Order::Little).interface(RAW).packet(0, 0, &raw, raw.len()).bytes;
    let captured_len = overlong.len() - 4 - raw.len() - 8;
    overlong[captured_len] += 8;
    let table = [
        ("an empty file", vec![], "not a capture: empty"),
        ("a text", b"hello".to_vec(), "neither pcap nor pcapng: begins with 68 65 6c 6c"),
        ("a link type that is known", usb, "link type 189 (USB_LINUX) cannot be read"),
        ("a link type that is not", unheard_of, "link type 4242 cannot be read"),
        ("a length beyond reason", long.bytes, "damaged at byte 140: a length beyond any packet's"),
        ("another version", version, "damaged at byte 0: a pcap version other than 2"),
        ("lengths that differ", lengths.bytes, "damaged at byte 28: a block whose two lengths differ"),
        (
            "an interface that was not described",
            undescribed,
            "damaged at byte 48: a packet of an interface that was not described",
        ),
        ("a packet longer than its block", overlong, "damaged at byte 60: an enhanced packet block"),
    ];
    for (description, capture, expected) in table {
        let error = match replay(capture.as_slice(), &lists) {
            Err(error) => error,
            Ok(report) => report.error.expect(description),
        };
        assert_eq!(error.to_string(), expected, "{description}");
    }
}

/// A file on a slow disk: a byte at a time, and interrupted before each.
struct Trickle<'a> {
    rest: &'a [u8],
    is_interrupted: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.is_interrupted = !self.is_interrupted;
        if self.is_interrupted {
            return Err(std::io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(1);
        self.rest.read(&mut buffer[..length])
    }
}

#[test]
fn how_a_file_arrives_makes_no_difference() {
    let lists = server_watched();
    let frame = datagram().bytes();
    let capture = Pcapng::new(Order::Big).interface(ETHERNET).block(0x0000_0bad, &[0; 400]).packet(
        0,
        START * 1_000_000,
        &frame,
        frame.len(),
    );
    let trickle = Trickle { rest: &capture.bytes, is_interrupted: false };
    let report = replay(trickle, &lists).unwrap();
    assert_eq!(report.flows, read(&lists, &capture.bytes).flows);
    assert_eq!(report.flows[0].packets, 1);
}

/// A disk that gives up.
struct Broken;

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StaleNetworkFileHandle.into())
    }
}

#[test]
fn a_read_error_is_not_the_end_of_the_file() {
    let lists = server_watched();
    let capture = Pcap::new(ETHERNET).frame(START_NS, &datagram().bytes());
    let report = replay(capture.bytes.chain(Broken), &lists).unwrap();
    assert_eq!(report.summary.packets, 1);
    assert!(matches!(report.error, Some(CaptureError::Read(_))), "{:?}", report.error);
}
