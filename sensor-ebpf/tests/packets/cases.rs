//! The cases. Sizes in words of the packet: an IPv4 header is 20 bytes, IPv6 40, TCP 20, UDP 8.
//!
//! tidy: long because they are one table.

use sensor_ebpf::abi::Side::{Local, Remote};
use sensor_ebpf::abi::Transport::{Icmp, Other, Tcp, Udp};
use sensor_ebpf::abi::Undecoded;

use super::build::Extension::{Authentication, Destination, Fragment, HopByHop, Routing};
use super::build::{Frame, from};
use super::{
    ALONE_SLOT, BOTH, Case, Expected, FREED_PORT, HOST, HOST_V6, JUDGED_PORT, LEARNED, LEARNED_PORT,
    LEARNED_PORT_SLOT, LEARNED_SLOT, NEIGHBOURS_SLOT, OTHER, OTHER_V6, POOL, POOL_AND_LEARNED, POOL_SLOT,
    Runs, STAR, STAR_SLOT, Step, V6_SLOT, WATCHED_V6, WIDE_SLOT, connections, inn, nothing, out,
};

const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;
const QINQ_OLD: u16 = 0x9100;

pub fn case(description: &'static str, steps: Vec<Step>, flows: usize, totals: &[(u32, Expected)]) -> Case {
    let totals = totals.iter().map(|(slot, expected)| (*slot, expected.0)).collect();
    Case { description, steps, totals, undecoded: Vec::new(), flows, runs: Runs::Everywhere }
}

/// One packet that cannot be read, and what is counted of it all the same.
fn broken(description: &'static str, frame: Frame, reason: Undecoded, totals: &[(u32, Expected)]) -> Case {
    Case { undecoded: vec![reason], ..case(description, vec![out(frame)], 0, totals) }
}

/// One UDP datagram of 28 bytes to `star`.
fn one_datagram() -> [(u32, Expected); 1] {
    [(STAR_SLOT, nothing().sent(Udp, 1, 28).connections(Local, Udp, 1))]
}

pub fn all() -> Vec<Case> {
    [
        links(),
        ip(),
        extensions(),
        fragments(),
        lookups(),
        aggregates(),
        malformed(),
        connections::tcp(),
        connections::udp(),
    ]
    .concat()
}

fn links() -> Vec<Case> {
    let datagram = || from(HOST, STAR);
    vec![
        case("a packet to nobody's address is not counted", vec![out(from(HOST, OTHER))], 0, &[]),
        case("a datagram over Ethernet", vec![out(datagram())], 1, &one_datagram()),
        case("a VLAN tag in the data", vec![out(datagram().tagged(&[VLAN]))], 1, &one_datagram()),
        case("QinQ, 802.1ad", vec![out(datagram().tagged(&[QINQ, VLAN]))], 1, &one_datagram()),
        case(
            "QinQ as it was before 802.1ad",
            vec![out(datagram().tagged(&[QINQ_OLD, VLAN]))],
            1,
            &one_datagram(),
        ),
        case(
            "three tags are one more than we follow",
            vec![out(datagram().tagged(&[QINQ, VLAN, VLAN]))],
            0,
            &[],
        ),
        case("IPv4 without a link header, as on tun", vec![out(datagram().raw())], 1, &one_datagram()),
        case(
            "IPv6 without a link header",
            vec![out(from(HOST_V6, WATCHED_V6).raw())],
            1,
            &[(V6_SLOT, nothing().sent(Udp, 1, 48).connections(Local, Udp, 1))],
        ),
        case("ARP is not IP, and nothing is wrong with it", vec![out(datagram().ethertype(0x0806))], 0, &[]),
        case("a frame that ends within its Ethernet header is not IP", vec![out(datagram().cut(13))], 0, &[])
            .runs(Runs::OnTheHost),
        case(
            "padding of a short Ethernet frame is not counted",
            vec![out(datagram().padding(18))],
            1,
            &one_datagram(),
        ),
    ]
}

fn ip() -> Vec<Case> {
    vec![
        case(
            "IPv4 options move the transport header",
            vec![out(from(HOST, POOL).options(10).payload(5))],
            1,
            &[
                (POOL_SLOT, nothing().sent(Udp, 1, 73).connections(Local, Udp, 1)),
                (NEIGHBOURS_SLOT, nothing().sent(Udp, 1, 73).connections(Local, Udp, 1)),
            ],
        ),
        case(
            "ICMP, both ways, has no flow",
            vec![
                out(from(HOST, STAR).protocol(1).payload(64)),
                inn(from(STAR, HOST).protocol(1).payload(64)),
            ],
            0,
            &[(STAR_SLOT, nothing().sent(Icmp, 1, 84).received(Icmp, 1, 84))],
        ),
        case(
            "ICMPv6",
            vec![inn(from(WATCHED_V6, HOST_V6).protocol(58).payload(8))],
            0,
            &[(V6_SLOT, nothing().received(Icmp, 1, 48))],
        ),
        case(
            "ICMPv6 inside IPv4 is not ICMP",
            vec![out(from(HOST, STAR).protocol(58).payload(8))],
            0,
            &[(STAR_SLOT, nothing().sent(Other, 1, 28))],
        ),
        case(
            "a protocol without ports",
            vec![out(from(HOST, STAR).protocol(47).payload(100))],
            0,
            &[(STAR_SLOT, nothing().sent(Other, 1, 120))],
        ),
        case(
            "total length 0 means the whole packet (BIG TCP)",
            vec![out(from(HOST, STAR).ack(7, 7).payload(1000).length(0))],
            1,
            &[(STAR_SLOT, nothing().sent(Tcp, 1, 1040).joined(1))],
        ),
        case(
            "payload length 0 behind a jumbo option means the whole packet (BIG TCP)",
            vec![out(from(HOST_V6, WATCHED_V6).ack(7, 7).payload(1000).extensions(&[HopByHop]).length(0))],
            1,
            &[(V6_SLOT, nothing().sent(Tcp, 1, 1068).joined(1))],
        ),
    ]
}

fn extensions() -> Vec<Case> {
    let six = [HopByHop, Destination(3), Routing, Authentication, Destination(0), Destination(0)];
    let chain = |extensions: &[super::build::Extension]| from(HOST_V6, WATCHED_V6).extensions(extensions);
    vec![
        case(
            "each IPv6 extension header is followed to the ports",
            vec![out(chain(&[HopByHop, Destination(3), Routing, Authentication]))],
            1,
            &[(V6_SLOT, nothing().sent(Udp, 1, 48 + 8 + 32 + 8 + 24).connections(Local, Udp, 1))],
        ),
        case(
            "six extension headers are followed",
            vec![out(chain(&six))],
            1,
            &[(V6_SLOT, nothing().sent(Udp, 1, 48 + 8 + 32 + 8 + 24 + 8 + 8).connections(Local, Udp, 1))],
        ),
        broken(
            "the seventh extension header is one too many: counted for its address",
            chain(&[&six[..], &[Destination(0)]].concat()),
            Undecoded::IpExtension,
            &[(V6_SLOT, nothing().sent(Other, 1, 48 + 8 + 32 + 8 + 24 + 8 + 8 + 8))],
        ),
        broken(
            "an extension header that says it is longer than the packet",
            chain(&[Destination(0)]).protocol(60).payload(2),
            Undecoded::IpExtension,
            &[(V6_SLOT, nothing().sent(Other, 1, 50))],
        ),
        case(
            "ESP hides what comes after it",
            vec![out(from(HOST_V6, WATCHED_V6).protocol(50).payload(40))],
            0,
            &[(V6_SLOT, nothing().sent(Other, 1, 80))],
        ),
        case(
            "no next header",
            vec![out(from(HOST_V6, WATCHED_V6).protocol(59).extensions(&[Destination(0)]))],
            0,
            &[(V6_SLOT, nothing().sent(Other, 1, 48))],
        ),
    ]
}

fn fragments() -> Vec<Case> {
    vec![
        case(
            "a fragmented datagram is one connection: the later fragment has no ports",
            vec![
                out(from(HOST, STAR).payload(1472).udp_length(2008).fragment(0, true)),
                out(from(HOST, STAR).payload(528).fragment(185, false)),
            ],
            1,
            &[(STAR_SLOT, nothing().sent(Udp, 2, 1500 + 548).connections(Local, Udp, 1))],
        ),
        case(
            "a later fragment alone opens nothing, and the endpoint's port is unknown",
            vec![out(from(HOST, POOL).payload(40).fragment(1, true))],
            0,
            &[(NEIGHBOURS_SLOT, nothing().sent(Udp, 1, 60))],
        ),
        case(
            "IPv6 fragments likewise, with an extension header before them",
            vec![
                out(from(HOST_V6, WATCHED_V6)
                    .payload(1400)
                    .udp_length(2008)
                    .extensions(&[HopByHop, Fragment(0, true)])),
                out(from(HOST_V6, WATCHED_V6).payload(600).extensions(&[HopByHop, Fragment(176, false)])),
            ],
            1,
            &[(V6_SLOT, nothing().sent(Udp, 2, 40 + 16 + 1408 + 40 + 16 + 600).connections(Local, Udp, 1))],
        ),
        case(
            "an atomic fragment is a whole packet (RFC 6946)",
            vec![out(from(HOST_V6, WATCHED_V6).extensions(&[Fragment(0, false)]))],
            1,
            &[(V6_SLOT, nothing().sent(Udp, 1, 56).connections(Local, Udp, 1))],
        ),
    ]
}

#[allow(clippy::too_many_lines, reason = "a table")]
fn lookups() -> Vec<Case> {
    let one = |slot: u32| (slot, nothing().sent(Udp, 1, 28).connections(Local, Udp, 1));
    vec![
        case(
            "watchlists count independently",
            vec![out(from(HOST, BOTH))],
            1,
            &[one(STAR_SLOT), one(ALONE_SLOT)],
        ),
        case(
            "an endpoint counts, and so does another watchlist's prefix around it",
            vec![out(from(HOST, POOL))],
            1,
            &[one(POOL_SLOT), one(NEIGHBOURS_SLOT)],
        ),
        case(
            "another port of the endpoint's address is the prefix's alone",
            vec![out(from(HOST, POOL).ports(40_000, 3334))],
            1,
            &[one(NEIGHBOURS_SLOT)],
        ),
        case(
            "our own port does not make an endpoint",
            vec![out(from(HOST, POOL).ports(3333, 3334))],
            1,
            &[one(NEIGHBOURS_SLOT)],
        ),
        case("a learned address, on any port", vec![out(from(HOST, LEARNED))], 1, &[one(LEARNED_SLOT)]),
        case(
            "a learned address is known without ports as well",
            vec![out(from(HOST, LEARNED).protocol(1).payload(8))],
            0,
            &[(LEARNED_SLOT, nothing().sent(Icmp, 1, 28))],
        ),
        case(
            "an address learned with its port beats the prefix on that port",
            vec![out(from(HOST, LEARNED_PORT).ports(40_000, 4444))],
            1,
            &[one(LEARNED_PORT_SLOT)],
        ),
        case("and on no other port", vec![out(from(HOST, LEARNED_PORT))], 1, &[one(WIDE_SLOT)]),
        case(
            "what was learned of address and port was put together with what is listed",
            vec![out(from(HOST, POOL).ports(40_000, 3335))],
            1,
            &[one(LEARNED_PORT_SLOT)],
        ),
        case(
            "an endpoint beats what was learned of its address",
            vec![out(from(HOST, POOL_AND_LEARNED)), out(from(HOST, POOL_AND_LEARNED).ports(40_000, 9))],
            2,
            &[one(POOL_SLOT), one(LEARNED_SLOT)],
        ),
        case(
            "a connection that was freed is nobody's, and what follows it on another port is",
            vec![
                out(from(HOST, LEARNED).ports(FREED_PORT, 443)),
                out(from(HOST, LEARNED).ports(40_000, 443)),
            ],
            1,
            &[one(LEARNED_SLOT)],
        ),
        case(
            "a connection is whose its own payload said, in both directions",
            vec![
                out(from(HOST, LEARNED).ports(JUDGED_PORT, 443)),
                inn(from(LEARNED, HOST).ports(443, JUDGED_PORT)),
            ],
            1,
            &[(
                POOL_SLOT,
                nothing()
                    .sent(Udp, 1, 28)
                    .received(Udp, 1, 28)
                    .connections(Local, Udp, 1)
                    .established(Local, Udp, 1),
            )],
        ),
        case(
            "what arrives is looked up by its source",
            vec![inn(from(STAR, HOST)), inn(from(HOST, STAR))],
            1,
            &[(STAR_SLOT, nothing().received(Udp, 1, 28).connections(Remote, Udp, 1))],
        ),
        case("what leaves is looked up by its destination", vec![out(from(STAR, HOST))], 0, &[]),
        case("IPv6 next to a watched prefix", vec![out(from(HOST_V6, OTHER_V6))], 0, &[]),
        case(
            "an IPv6 address that holds a watched IPv4 address is not that address",
            vec![out(from(HOST_V6, "::ffff:175.45.177.1"))],
            0,
            &[],
        ),
        case(
            "the first and the last address of a prefix, and not their neighbours",
            vec![
                out(from(HOST, "175.45.175.255")),
                out(from(HOST, "175.45.176.0")),
                out(from(HOST, "175.45.179.255")),
                out(from(HOST, "175.45.180.0")),
            ],
            2,
            &[(STAR_SLOT, nothing().sent(Udp, 2, 56).connections(Local, Udp, 2))],
        ),
    ]
}

fn aggregates() -> Vec<Case> {
    let segments = |frame: Frame, packets: u64| {
        let bytes = 40 + 2500;
        (vec![out(frame)], [(STAR_SLOT, nothing().sent(Tcp, packets, bytes).joined(1))])
    };
    [
        ("an aggregate counts as the packets it stands for", (7, 1000), 7),
        ("where their number is missing it follows from their size, rounded up", (0, 1000), 3),
        ("an exact multiple is not rounded up", (0, 1250), 2),
        ("a packet of its own counts once", (0, 0), 1),
        ("an aggregate of less than one segment counts once", (0, 9000), 1),
    ]
    .into_iter()
    .map(|(description, (count, size), packets)| {
        let frame = from(HOST, STAR).ack(7, 7).payload(2500).aggregate(count, size);
        let (steps, totals) = segments(frame, packets);
        case(description, steps, 1, &totals)
    })
    .collect()
}

fn malformed() -> Vec<Case> {
    let udp = || from(HOST, STAR).payload(40);
    let tcp = || from(HOST, STAR).ack(7, 7);
    let sent = |transport, bytes| [(STAR_SLOT, nothing().sent(transport, 1, bytes))];
    vec![
        broken(
            "IPv6 by its type and IPv4 by its version",
            udp().ethertype(0x86dd),
            Undecoded::IpVersion,
            &[],
        ),
        broken("IPv4 by its type and 6 by its version", udp().version(6), Undecoded::IpVersion, &[]),
        broken("neither 4 nor 6 where IP begins at once", udp().raw().version(5), Undecoded::IpVersion, &[]),
        broken("an IPv4 header of four words", udp().header_words(4), Undecoded::IpHeader, &[]),
        broken("an IPv4 header that is cut off", udp().cut(14 + 19), Undecoded::IpHeader, &[])
            .runs(Runs::OnWires),
        broken(
            "an IPv6 header that is cut off",
            from(HOST_V6, WATCHED_V6).cut(14 + 39),
            Undecoded::IpHeader,
            &[],
        )
        .runs(Runs::OnWires),
        broken("a total length shorter than the header", udp().length(19), Undecoded::IpLength, &[]),
        broken(
            "a total length shorter than the options",
            udp().options(2).length(27),
            Undecoded::IpLength,
            &[],
        ),
        broken("a total length beyond the packet", udp().length(69), Undecoded::IpLength, &[]),
        broken(
            "a payload length beyond the packet",
            from(HOST_V6, WATCHED_V6).length(9),
            Undecoded::IpLength,
            &[],
        ),
        broken("a TCP header that is cut off", tcp().length(39), Undecoded::TcpHeader, &sent(Tcp, 39)),
        broken("a TCP header of four words", tcp().data_offset(4), Undecoded::TcpHeader, &sent(Tcp, 40)),
        broken(
            "TCP options beyond the packet",
            tcp().payload(3).data_offset(6),
            Undecoded::TcpHeader,
            &sent(Tcp, 43),
        ),
        broken("a UDP header that is cut off", udp().length(27), Undecoded::UdpHeader, &sent(Udp, 27)),
        broken(
            "a UDP length shorter than its header",
            udp().udp_length(7),
            Undecoded::UdpHeader,
            &sent(Udp, 68),
        ),
        broken("a UDP length beyond the packet", udp().udp_length(49), Undecoded::UdpHeader, &sent(Udp, 68)),
        broken(
            "a broken packet to nobody is noted all the same",
            from(HOST, OTHER).udp_length(7),
            Undecoded::UdpHeader,
            &[],
        ),
        case(
            "a UDP length shorter than the packet leaves the rest to whoever put it there",
            vec![out(udp().udp_length(20))],
            1,
            &[(STAR_SLOT, nothing().sent(Udp, 1, 68).connections(Local, Udp, 1))],
        ),
        case(
            "a UDP length of 0 is a jumbogram's (RFC 2675)",
            vec![out(udp().udp_length(0))],
            1,
            &[(STAR_SLOT, nothing().sent(Udp, 1, 68).connections(Local, Udp, 1))],
        ),
    ]
}
