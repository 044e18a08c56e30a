//! Packets as tshark dissects them: link, outermost IP header, the transport right behind it.
//!
//! tshark lists a tunnel's inner headers under the same fields, so that the first occurrence is
//! taken and the list of protocols says what it belongs to. Nothing is put together again, and a
//! header whose lengths tshark calls impossible is none: that packet is malformed.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::cargo;

const FIELDS: [&str; 18] = [
    "frame.protocols",
    "frame.len",
    "frame.cap_len",
    "frame.time_epoch",
    "ip.src",
    "ip.dst",
    "ip.len",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.plen",
    "tcp.srcport",
    "tcp.dstport",
    "udp.srcport",
    "udp.dstport",
    "tcp.flags",
    "tcp.hdr_len",
    "ip.hdr_len",
    "_ws.expert.message",
];

/// Between the occurrences of a field; no value holds it.
const NEXT: char = '\x1f';

/// What may stand before an IP header for replay to see it.
const LINKS: [&str; 9] = ["eth", "ethertype", "vlan", "ieee8021ad", "sll", "raw", "null", "ppp", "chdlc"];
const TAGS: [&str; 2] = ["vlan", "ieee8021ad"];
const TAGS_MAX: usize = 2;
const IPV6_LEN: u64 = 40;
const IMPOSSIBLE_IP: [&str; 3] =
    ["total length exceeds packet length", "payload length exceeds", "Bogus IP length"];
const IMPOSSIBLE_TRANSPORT: [&str; 3] = ["Short segment", "Bogus TCP header length", "Bad length value"];

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Packet {
    pub(super) is_ethernet: bool,
    /// On the link, and of that captured, in bytes.
    pub(super) len: u64,
    pub(super) captured: u64,
    /// Seconds since the epoch.
    pub(super) time: f64,
    /// `None`: not IP, malformed, or not behind a link header that replay reads.
    pub(super) ip: Option<Ip>,
    pub(super) is_malformed: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Ip {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    /// Of the length field; `None` where it is 0.
    pub(super) bytes: Option<u64>,
    /// `None`: neither TCP nor UDP, a later fragment, or malformed.
    pub(super) transport: Option<Transport>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Transport {
    /// `tcp` or `udp`.
    pub(super) name: &'static str,
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    /// TCP's control bits; 0 for UDP.
    pub(super) flags: u16,
}

impl Ip {
    /// Source and destination where there are ports.
    pub(super) fn ends(&self) -> Option<(&'static str, SocketAddr, SocketAddr)> {
        let Transport { name, source_port, destination_port, .. } = self.transport?;
        let source = SocketAddr::new(self.source, source_port);
        Some((name, source, SocketAddr::new(self.destination, destination_port)))
    }
}

pub(super) fn read(capture: &Path) -> Result<Vec<Packet>> {
    let mut command = Command::new("tshark");
    command.args(["-n", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE"]);
    command.args(["-T", "fields", "-E", &format!("aggregator={NEXT}"), "-r"]).arg(capture);
    command.args(FIELDS.iter().flat_map(|field| ["-e", field]));
    let said = cargo::read(&mut command)?;
    said.lines()
        .map(|line| packet(line).with_context(|| format!("{}: tshark says {line:?}", capture.display())))
        .collect()
}

/// A line of tshark's: the fields, separated by tabs.
fn packet(line: &str) -> Option<Packet> {
    let all: HashMap<&str, &str> = FIELDS.into_iter().zip(line.split('\t')).collect();
    let first = |field: &str| all.get(field).and_then(|values| values.split(NEXT).next());
    let said = all.get("_ws.expert.message").copied().unwrap_or_default();
    let complains = |of: &[&str]| of.iter().any(|what| said.contains(what));

    let protocols: Vec<&str> = first("frame.protocols")?.split(':').collect();
    let mut ip = ip(&protocols, &first).filter(|_| !complains(&IMPOSSIBLE_IP));
    // Of a tunnel's inside nobody asks.
    let has_broken_transport = ip.as_ref().is_some_and(|ip| {
        ip.transport.is_some() && (complains(&IMPOSSIBLE_TRANSPORT) || is_cut_off(ip, &first))
    });
    if let Some(ip) = ip.as_mut().filter(|_| has_broken_transport) {
        ip.transport = None;
    }
    Some(Packet {
        is_ethernet: protocols[0] == "eth",
        len: first("frame.len")?.parse().ok()?,
        captured: first("frame.cap_len")?.parse().ok()?,
        time: first("frame.time_epoch")?.parse().ok()?,
        ip,
        is_malformed: has_broken_transport || complains(&IMPOSSIBLE_IP),
    })
}

fn ip<'a>(protocols: &[&str], first: &impl Fn(&str) -> Option<&'a str>) -> Option<Ip> {
    let at = protocols.iter().position(|protocol| matches!(*protocol, "ip" | "ipv6"))?;
    let (link, rest) = protocols.split_at(at);
    let is_read = link.iter().all(|protocol| LINKS.contains(protocol));
    if !is_read || link.iter().filter(|protocol| TAGS.contains(protocol)).count() > TAGS_MAX {
        return None;
    }
    let version = rest[0];
    let field = |name: &str| first(&format!("{version}.{name}"));
    let (length, uncounted) = if version == "ip" { ("len", 0) } else { ("plen", IPV6_LEN) };
    let length: u64 = field(length)?.parse().ok()?;
    Some(Ip {
        source: field("src")?.parse().ok()?,
        destination: field("dst")?.parse().ok()?,
        bytes: (length > 0).then_some(length + uncounted),
        transport: transport(rest, first),
    })
}

/// A TCP header that goes on in the next fragment, or nowhere: tshark reads what is there.
fn is_cut_off<'a>(ip: &Ip, first: &impl Fn(&str) -> Option<&'a str>) -> bool {
    let number = |field: &str| first(field).and_then(|value| value.parse().ok());
    let ip_header = if ip.source.is_ipv4() { number("ip.hdr_len") } else { Some(IPV6_LEN) };
    let lengths = ip.bytes.zip(ip_header).zip(number("tcp.hdr_len"));
    ip.transport.is_some_and(|it| it.name == "tcp")
        && lengths.is_some_and(|((bytes, ip_header), tcp_header)| bytes < ip_header + tcp_header)
}

/// What follows the IP header and IPv6's extension headers.
fn transport<'a>(protocols: &[&str], first: &impl Fn(&str) -> Option<&'a str>) -> Option<Transport> {
    let is_extension = |protocol: &&&str| protocol.starts_with("ipv6.") || **protocol == "ah";
    let next = protocols[1..].iter().find(|protocol| !is_extension(protocol))?;
    let name = ["tcp", "udp"].into_iter().find(|name| name == next)?;
    let port = |end: &str| first(&format!("{name}.{end}port"))?.parse().ok();
    let flags = match first("tcp.flags").and_then(|flags| flags.strip_prefix("0x")) {
        Some(flags) if name == "tcp" => u16::from_str_radix(flags, 16).ok()?,
        _ => 0,
    };
    Some(Transport { name, source_port: port("src")?, destination_port: port("dst")?, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The fields' values, in their order; what is left out is empty.
    fn line(protocols: &str, values: &[(&str, &str)]) -> String {
        let fixed = [("frame.len", "100"), ("frame.cap_len", "90"), ("frame.time_epoch", "1.5")];
        let all: HashMap<&str, &str> = values.iter().copied().chain(fixed).collect();
        let values = FIELDS[1..].iter().map(|field| all.get(field).copied().unwrap_or_default());
        [protocols].into_iter().chain(values).collect::<Vec<_>>().join("\t")
    }

    const FOUR: [(&str, &str); 3] = [("ip.src", "10.0.0.1"), ("ip.dst", "10.0.0.2"), ("ip.len", "60")];
    const SIX: [(&str, &str); 3] = [("ipv6.src", "fd::1"), ("ipv6.dst", "fd::2"), ("ipv6.plen", "20")];
    const TCP: [(&str, &str); 3] = [("tcp.srcport", "5000"), ("tcp.dstport", "80"), ("tcp.flags", "0x0012")];
    const UDP: [(&str, &str); 2] = [("udp.srcport", "53"), ("udp.dstport", "54")];

    fn read(protocols: &str, values: &[&[(&str, &str)]]) -> Option<Ip> {
        packet(&line(protocols, &values.concat())).unwrap().ip
    }

    #[test]
    fn a_packet_has_its_lengths_time_and_link() {
        let packet = packet(&line("eth:ethertype:arp", &[])).unwrap();
        let expected =
            Packet { is_ethernet: true, len: 100, captured: 90, time: 1.5, ip: None, is_malformed: false };
        assert_eq!(packet, expected);
    }

    #[test]
    fn the_outermost_headers_are_taken() {
        let ends = |ip: Option<Ip>| ip.unwrap().ends().map(|(name, a, b)| format!("{name} {a} {b}"));
        for (what, protocols, values, expected) in [
            ("plain", "eth:ethertype:ip:tcp:http", [&FOUR, &TCP[..]], Some("tcp 10.0.0.1:5000 10.0.0.2:80")),
            (
                "tagged",
                "eth:ethertype:vlan:ethertype:ip:udp:dns",
                [&FOUR, &UDP],
                Some("udp 10.0.0.1:53 10.0.0.2:54"),
            ),
            ("extended", "raw:ipv6:ipv6.hopopts:tcp", [&SIX, &TCP], Some("tcp [fd::1]:5000 [fd::2]:80")),
            ("a quotation", "eth:ethertype:ip:icmp:ip:tcp", [&FOUR, &TCP], None),
            ("a tunnel", "eth:ethertype:ip:gre:ip:tcp", [&FOUR, &TCP], None),
            ("a fragment", "eth:ethertype:ip:data", [&FOUR, &[]], None),
        ] {
            assert_eq!(ends(read(protocols, &values)).as_deref(), expected, "{what}");
        }
        let outer =
            [("ip.src", "10.0.0.1\x1f10.9.9.9"), ("ip.dst", "10.0.0.2\x1f10.9.9.8"), ("ip.len", "60\x1f20")];
        let ip = read("eth:ethertype:ip:udp:vxlan:eth:ethertype:ip:tcp", &[&outer, &TCP, &UDP]).unwrap();
        assert_eq!(ip, read("eth:ethertype:ip:udp:dns", &[&FOUR, &UDP]).unwrap());
        let inner = read("eth:ethertype:ipv6:ip:tcp", &[&FOUR, &SIX, &TCP]).unwrap();
        assert_eq!((inner.bytes, inner.transport), (Some(60), None));
    }

    #[test]
    fn what_replay_does_not_read_is_no_packet_of_anyone() {
        assert_eq!(read("eth:ethertype:pppoes:ppp:ip:tcp", &[&FOUR, &TCP]), None);
        assert_eq!(read("eth:ethertype:vlan:ethertype:vlan:ethertype:vlan:ethertype:ip", &[&FOUR]), None);
        assert_eq!(read("eth:ethertype:ip", &[]), None, "a header that is cut off");
        let big = read("eth:ethertype:ip:tcp", &[&FOUR[..2], &[("ip.len", "0")], &TCP]);
        assert_eq!(big.unwrap().bytes, None);
    }

    #[test]
    fn headers_of_impossible_length_are_none_and_a_tunnel_s_inside_is_not_ours() {
        let said = |what: &str, protocols: &str| {
            let values = [&FOUR[..], &TCP, &[("_ws.expert.message", what)]].concat();
            packet(&line(protocols, &values)).unwrap()
        };
        let broken = said("a note\x1fIPv4 total length exceeds packet length (52 bytes)", "eth:ip:tcp");
        assert_eq!((broken.ip, broken.is_malformed), (None, true));
        let broken = said("Bogus TCP header length (0, must be at least 20)", "eth:ip:tcp");
        assert_eq!((broken.ip.unwrap().transport, broken.is_malformed), (None, true));
        let cut = [("ip.hdr_len", "20"), ("tcp.hdr_len", "44")];
        let cut = packet(&line("eth:ip:tcp", &[&FOUR[..], &TCP, &cut].concat())).unwrap();
        assert_eq!((cut.ip.unwrap().transport, cut.is_malformed), (None, true));
        let tunnel = said("Bogus TCP header length (0, must be at least 20)", "eth:ip:gre:ip:tcp");
        assert_eq!((tunnel.ip.unwrap().transport, tunnel.is_malformed), (None, false));
        assert!(!said("Previous segment(s) not captured", "eth:ip:tcp").is_malformed);
    }
}
