//! One server of each capture, the busiest, watched by its address and as an endpoint. Its
//! packets and IP bytes as tshark counts them are the endpoint's totals, and what replay's flows
//! add up to, but for SYN-ACKs and resets before a connection's first other packet: those belong
//! to no flow that was seen.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddr,
};

use anyhow::Result;
use serde_json::Value;

use super::{
    Bench, Capture,
    packets::{Ip, Packet},
    replayed::{Replayed, replay},
    table::{self, Row, Verdict, verdict},
};

const FIN: u16 = 0x01;
const SYN: u16 = 0x02;
const RST: u16 = 0x04;
const ACK: u16 = 0x10;

/// Transport, address and port.
type Server = (&'static str, SocketAddr);

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Count {
    packets: u64,
    bytes: u64,
}

impl Count {
    fn add(&mut self, packets: u64, bytes: u64) {
        self.packets += packets;
        self.bytes += bytes;
    }
}

/// Prints the table, and returns how many captures differ.
pub(super) fn compare(bench: &Bench, dissected: &[(&Capture, Vec<Packet>)]) -> Result<usize> {
    let mut rows = Vec::new();
    for (capture, packets) in dissected {
        rows.push(row(bench, capture, packets)?);
    }
    let title = "The busiest server of each capture, replay against tshark";
    let columns = ["packets", "IP bytes", "of no flow", "malformed", "server"];
    Ok(table::print(title, &columns, &rows))
}

fn row(bench: &Bench, capture: &Capture, packets: &[Packet]) -> Result<Row> {
    let name = capture.name.clone();
    let left =
        |why: &str| Row { cells: Vec::new(), verdict: Verdict::Left(why.to_owned()), name: name.clone() };
    let Some(server) = busiest(packets) else {
        return Ok(left("no TCP or UDP right behind an IP header behind a link header that we read"));
    };
    let Some([all, in_flows]) = count(packets, server) else {
        return Ok(left("a packet whose IP header does not say its length"));
    };
    let (transport, address) = server;
    let tables = format!(
        "[[watchlist]]\nname = \"address\"\nprefixes = [\"{}\"]\n\
         [[watchlist]]\nname = \"endpoint\"\nendpoints = [\"{address}\"]\n",
        address.ip()
    );
    let config = bench.config("server.toml", "", &tables)?;
    let replayed = replay(&bench.sensor, &config, &[&capture.path])?.remove(0);
    let mut differences = Vec::new();
    for (what, expected, found) in
        [("flows", in_flows, flows(&replayed, server)), ("totals", all, totals(&replayed, transport))]
    {
        if found != expected {
            differences.push(format!("{what}: {found:?}, tshark: {expected:?}"));
        }
    }
    let malformed = packets.iter().filter(|packet| packet.is_malformed).count();
    let some = |count: u64| if count == 0 { String::new() } else { count.to_string() };
    let cells = vec![
        all.packets.to_string(),
        all.bytes.to_string(),
        some(all.packets - in_flows.packets),
        some(malformed as u64),
        format!("{transport} {address}"),
    ];
    Ok(Row { cells, verdict: verdict(differences), name })
}

fn ips(packets: &[Packet]) -> impl Iterator<Item = &Ip> {
    packets.iter().filter_map(|packet| packet.ip.as_ref())
}

/// Where most packets go to; of equals the first by transport and address.
fn busiest(packets: &[Packet]) -> Option<Server> {
    let mut counts: BTreeMap<Server, u64> = BTreeMap::new();
    for (transport, _, destination) in ips(packets).filter_map(Ip::ends) {
        *counts.entry((transport, destination)).or_default() += 1;
    }
    let most = counts.values().max()?;
    counts.iter().find(|(_, count)| *count == most).map(|(server, _)| *server)
}

/// What goes to and comes from the server, and what of it is in a flow; `None` where a length
/// is missing.
fn count(packets: &[Packet], (transport, address): Server) -> Option<[Count; 2]> {
    let (mut all, mut in_flows) = (Count::default(), Count::default());
    let mut begun = HashSet::new();
    for ip in ips(packets) {
        let Some((name, source, destination)) = ip.ends() else { continue };
        if name != transport || (source != address && destination != address) {
            continue;
        }
        let peer = if source == address { destination } else { source };
        all.add(1, ip.bytes?);
        if begins(ip) {
            begun.insert(peer);
        }
        if begun.contains(&peer) {
            in_flows.add(1, ip.bytes?);
        }
    }
    Some([all, in_flows])
}

/// UDP always; of TCP a request for a connection, or something from its middle.
fn begins(ip: &Ip) -> bool {
    ip.transport.is_some_and(|it| {
        it.name == "udp" || it.flags & (SYN | RST | ACK | FIN) == SYN || it.flags & (SYN | RST | ACK) == ACK
    })
}

/// The sum of the server's flows.
fn flows(replayed: &Replayed, (transport, address): Server) -> Count {
    let mut count = Count::default();
    let ends =
        |flow: &Value| ["source", "destination"].map(|end| flow[end].as_str().and_then(|it| it.parse().ok()));
    for flow in &replayed.flows {
        if flow["watchlist"] == "address"
            && flow["transport"] == transport
            && ends(flow).contains(&Some(address))
        {
            count.add(flow["packets"].as_u64().unwrap_or(0), flow["bytes"].as_u64().unwrap_or(0));
        }
    }
    count
}

/// The endpoint's totals, both ways.
fn totals(replayed: &Replayed, transport: &str) -> Count {
    let mut count = Count::default();
    let targets = replayed.summary.iter().filter_map(|summary| summary["targets"].as_array()).flatten();
    for target in targets.filter(|target| target["watchlist"] == "endpoint") {
        for direction in ["ingress", "egress"] {
            let of = |key: &str| target[key][direction][transport].as_u64().unwrap_or(0);
            count.add(of("packets"), of("bytes"));
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::conformance::packets::Transport;

    fn packet(source: &str, destination: &str, flags: u16, bytes: Option<u64>) -> Packet {
        let [source, destination] = [source, destination].map(|end| end.parse::<SocketAddr>().unwrap());
        let (source_port, destination_port) = (source.port(), destination.port());
        let transport = Transport { name: "tcp", source_port, destination_port, flags };
        let ip = Ip { source: source.ip(), destination: destination.ip(), bytes, transport: Some(transport) };
        Packet { is_ethernet: true, len: 100, captured: 100, time: 0.0, ip: Some(ip), is_malformed: false }
    }

    const CLIENT: &str = "10.0.0.1:5000";
    const SERVER: &str = "10.0.0.2:80";

    #[test]
    fn the_busiest_is_who_is_sent_the_most_packets() {
        let packets = [
            packet(CLIENT, SERVER, SYN, Some(40)),
            packet(SERVER, CLIENT, SYN | ACK, Some(1500)),
            packet(CLIENT, SERVER, ACK, Some(40)),
            packet("10.0.0.1:5001", SERVER, ACK, Some(60)),
            // Of no flow, until something else comes.
            packet(SERVER, "10.0.0.1:5002", SYN | ACK, Some(44)),
            packet(SERVER, "10.0.0.1:5002", RST, Some(40)),
            packet("10.0.0.1:5002", SERVER, ACK, Some(41)),
            packet(SERVER, "10.0.0.1:5002", RST, Some(40)),
        ];
        let server = busiest(&packets).unwrap();
        assert_eq!(server, ("tcp", SERVER.parse().unwrap()));
        let [all, in_flows] = count(&packets, server).unwrap();
        assert_eq!(all, Count { packets: 8, bytes: 1805 });
        assert_eq!(in_flows, Count { packets: 6, bytes: 1721 });
        assert_eq!(count(&[packet(SERVER, CLIENT, ACK, None)], server), None);
        assert_eq!(busiest(&[]), None);
    }

    #[test]
    fn of_replay_the_server_s_flows_and_the_endpoint_s_totals_are_summed() {
        let flow = |source: &str, watchlist: &str| {
            json!({ "transport": "tcp", "source": source, "destination": SERVER, "watchlist": watchlist,
                    "packets": 2, "bytes": 100 })
        };
        let replayed = Replayed {
            flows: vec![flow(CLIENT, "address"), flow(CLIENT, "endpoint"), flow("10.0.0.3:1", "address")],
            summary: Some(json!({ "targets": [
                { "watchlist": "endpoint", "packets": { "egress": { "tcp": 3 }, "ingress": { "tcp": 1 } },
                  "bytes": { "egress": { "tcp": 150 }, "ingress": { "tcp": 50 } } },
                { "watchlist": "address", "packets": { "egress": { "tcp": 9 } }, "bytes": {} },
            ] })),
            ..Replayed::default()
        };
        let expected = Count { packets: 4, bytes: 200 };
        assert_eq!(flows(&replayed, ("tcp", SERVER.parse().unwrap())), expected);
        assert_eq!(totals(&replayed, "tcp"), expected);
    }
}
