//! Packets between `address:port`s, built by the builder that the classifier's tests have.

use std::net::SocketAddr;

#[allow(dead_code, reason = "the classifier's tests build much that is all the same to replay")]
#[path = "../../../sensor-ebpf/tests/packets/build.rs"]
mod build;

pub(super) use build::Frame;

const ICMP: u8 = 1;

/// In an Ethernet frame, as all of them are until made [`Frame::raw`].
pub(super) fn udp(source: &str, destination: &str) -> Frame {
    let [source, destination] = [source, destination].map(|end| end.parse::<SocketAddr>().unwrap());
    build::from(&source.ip().to_string(), &destination.ip().to_string())
        .ports(source.port(), destination.port())
}

/// A segment without flags.
pub(super) fn tcp(source: &str, destination: &str) -> Frame {
    udp(source, destination).tcp(0)
}

/// An echo request between IPv4 addresses: 28 bytes.
pub(super) fn icmp(source: &str, destination: &str) -> Frame {
    build::from(source, destination).protocol(ICMP).payload(8)
}

/// From the IP header on.
pub(super) fn ip(packet: &Frame) -> Vec<u8> {
    packet.clone().raw().bytes()
}

/// A TCP connection that is opened, used and closed: seven segments with 1,100 bytes of
/// payload, from `client`'s SYN with this sequence number on.
pub(super) fn connection(client: &str, server: &str, isn: u32) -> Vec<Frame> {
    let [to, fro] = [tcp(client, server), tcp(server, client)];
    let (ours, theirs) = (isn + 1, 9_001);
    vec![
        to.clone().syn(isn),
        fro.clone().syn_ack(theirs - 1, ours),
        to.clone().ack(ours, theirs),
        to.clone().ack(ours, theirs).payload(100),
        fro.clone().ack(theirs, ours + 100).payload(1000),
        to.fin(ours + 100, theirs + 1000),
        fro.fin(theirs + 1000, ours + 101),
    ]
}
