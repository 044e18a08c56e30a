//! Captures on a wire: split by tcpprep into clients and servers, sent by tcpreplay from both
//! ends of a veth pair at their own times, past the running sensor. Its totals for the servers
//! must be those that replay gives, series by series.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, HashSet},
    net::{IpAddr, SocketAddr},
    process::{self, Command},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    Bench, Capture,
    packets::{Ip, Packet},
    pair::{FAR, MTU, NEAR, Pair, Sensor},
    replayed::replay,
    series::Series,
    table::{self, Row, Verdict, verdict},
};
use crate::{cargo, root::Root};

/// An Ethernet header, and the most that a veth takes behind one.
const FRAME_MAX: u64 = 14 + MTU;
const FRAME_MIN: u64 = 14;
/// For packets that arrive after tcpreplay has ended.
const PATIENCE: Duration = Duration::from_secs(5);

/// Prints the table, and returns how many captures differ.
pub(super) fn compare(
    bench: &Bench,
    dissected: &[(&Capture, Vec<Packet>)],
    root: &Root,
    longest: Duration,
    at_most: usize,
) -> Result<usize> {
    let (mut sent, mut rows) = (Vec::new(), Vec::new());
    for (capture, packets) in dissected {
        match servers(packets, longest) {
            Ok(servers) => sent.push((*capture, packets.len(), servers)),
            Err(why) => rows.push(left(capture, why)),
        }
    }
    sent.sort_by_key(|(_, packets, _)| Reverse(*packets));
    let rest = sent.split_off(at_most.min(sent.len()));
    rows.extend(rest.iter().map(|(capture, ..)| left(capture, "others have more packets".to_owned())));

    println!("\nsending {} captures over a veth pair …", sent.len());
    let pair = Pair::new(root)?;
    for (capture, packets, servers) in &sent {
        let differences = differences(bench, &pair, capture, *packets, servers)
            .with_context(|| format!("{} on a wire", capture.name))?;
        let cells = vec![packets.to_string(), servers.len().to_string()];
        rows.push(Row { cells, verdict: verdict(differences), name: capture.name.clone() });
    }
    rows.sort_by(|a, b| a.name.cmp(&b.name));
    let title = "Ethernet captures on a wire, the running sensor against replay";
    Ok(table::print(title, &["packets", "servers"], &rows))
}

fn left(capture: &Capture, why: String) -> Row {
    Row { cells: Vec::new(), verdict: Verdict::Left(why), name: capture.name.clone() }
}

/// The servers of a capture that can be sent as it was; otherwise, why it cannot.
fn servers(packets: &[Packet], longest: Duration) -> Result<BTreeSet<IpAddr>, String> {
    if !packets.iter().all(|packet| packet.is_ethernet) {
        return Err("not Ethernet".to_owned());
    }
    if packets.iter().any(|packet| packet.captured < packet.len) {
        return Err("not captured whole".to_owned());
    }
    if packets.iter().any(|packet| !(FRAME_MIN..=FRAME_MAX).contains(&packet.len)) {
        return Err("frames beyond the MTU, or shorter than their header".to_owned());
    }
    if ips(packets).any(|ip| ip.bytes.is_none()) {
        return Err("a packet whose IP header does not say its length".to_owned());
    }
    let times = || packets.iter().map(|packet| packet.time);
    let seconds = times().fold(f64::MIN, f64::max) - times().fold(f64::MAX, f64::min);
    if seconds > longest.as_secs_f64() {
        return Err(format!("takes {seconds:.0} s"));
    }
    let mut servers = only_servers(packets);
    if servers.is_empty() {
        servers.extend(busiest(packets));
    }
    let is_within = |ip: &Ip| servers.contains(&ip.source) && servers.contains(&ip.destination);
    if servers.is_empty() {
        return Err("nothing that we read in it".to_owned());
    }
    if ips(packets).any(is_within) {
        return Err("a server that talks to itself".to_owned());
    }
    Ok(servers)
}

fn ips(packets: &[Packet]) -> impl Iterator<Item = &Ip> {
    packets.iter().filter_map(|packet| packet.ip.as_ref())
}

/// The address that most packets go to; of equals, the first.
fn busiest(packets: &[Packet]) -> Option<IpAddr> {
    let mut counts: BTreeMap<IpAddr, u64> = BTreeMap::new();
    for ip in ips(packets) {
        *counts.entry(ip.destination).or_default() += 1;
    }
    let most = counts.values().max()?;
    counts.iter().find(|(_, count)| *count == most).map(|(address, _)| *address)
}

/// Who is sent the first packet of a flow, and sends none itself.
fn only_servers(packets: &[Packet]) -> BTreeSet<IpAddr> {
    let (mut servers, mut clients, mut seen) = (BTreeSet::new(), BTreeSet::new(), HashSet::new());
    for ip in ips(packets) {
        let mut flow = ends(ip);
        flow.1.sort();
        if seen.insert(flow) {
            servers.insert(ip.destination);
            clients.insert(ip.source);
        }
    }
    &servers - &clients
}

/// What tells a packet's flow; where there are no ports, the addresses do.
fn ends(ip: &Ip) -> (&'static str, [SocketAddr; 2]) {
    let (transport, source, destination) = ip.ends().unwrap_or_else(|| {
        let [source, destination] = [ip.source, ip.destination].map(|address| SocketAddr::new(address, 0));
        ("ip", source, destination)
    });
    (transport, [source, destination])
}

/// Sends the capture past a sensor of its own, and says where its totals are not replay's.
fn differences(
    bench: &Bench,
    pair: &Pair,
    capture: &Capture,
    packets: usize,
    servers: &BTreeSet<IpAddr>,
) -> Result<Vec<String>> {
    let quoted: Vec<String> = servers.iter().map(|address| format!("\"{address}\"")).collect();
    let top = format!(
        "interfaces = [\"{NEAR}\"]\n[state]\npins = \"/sys/fs/bpf/poolwatch-conformance-{}\"\n\
         [events]\noutput = \"none\"",
        process::id()
    );
    let tables = format!("[[watchlist]]\nname = \"servers\"\nprefixes = [{}]\n", quoted.join(", "));
    let config = bench.config("wire.toml", &top, &tables)?;
    let replayed = replay(&bench.sensor, &config, &[&capture.path])?.remove(0);
    let expected = Series::of_replay(&replayed.summary.context("replay does not read it")?);

    let sides = bench.place.join("sides.cache");
    split(capture, servers, &sides)?;
    let sensor = Sensor::start(pair, &bench.sensor, &config, &bench.place.join("sensor.log"))?;
    let sent = send(pair, capture, &sides)?;
    let since = Instant::now();
    let mut differences = loop {
        let differences = Series::of_metrics(&sensor.metrics()?).differences(&expected);
        if differences.is_empty() || since.elapsed() > PATIENCE {
            break differences;
        }
        thread::sleep(Duration::from_millis(50));
    };
    sensor.stop()?;
    if sent != packets {
        differences.push(format!("tcpreplay sent {sent} packets"));
    }
    if expected.is_empty() {
        differences.push("replay counts nothing: nothing is compared".to_owned());
    }
    Ok(differences)
}

/// Says for each packet which side sends it. What has a server's source is of the primary side.
fn split(capture: &Capture, servers: &BTreeSet<IpAddr>, sides: &std::path::Path) -> Result<()> {
    let prefixes =
        servers.iter().map(|address| format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 }));
    let prefixes = prefixes.collect::<Vec<_>>().join(",");
    let mut command = Command::new("tcpprep");
    command.args(["--no-arg-comment", "--cidr", &prefixes, "--pcap"]).arg(&capture.path);
    cargo::read(command.arg("--cachefile").arg(sides)).map(drop)
}

/// Returns how many packets were sent.
fn send(pair: &Pair, capture: &Capture, sides: &std::path::Path) -> Result<usize> {
    let mut command = pair.command("tcpreplay")?;
    command.args(["--intf1", FAR, "--intf2", NEAR, "--cachefile"]).arg(sides).arg(&capture.path);
    let said = cargo::read(&mut command)?;
    let sent = said.lines().find_map(|line| line.strip_prefix("Actual: ")?.split(' ').next()?.parse().ok());
    match sent {
        Some(sent) => Ok(sent),
        None => bail!("tcpreplay does not say what it sent:\n{said}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(source: &str, destination: &str, time: f64) -> Packet {
        let [source, destination] = [source, destination].map(|address| address.parse().unwrap());
        let ip = Ip { source, destination, bytes: Some(86), transport: None };
        Packet { is_ethernet: true, len: 100, captured: 100, time, ip: Some(ip), is_malformed: false }
    }

    const CLIENT: &str = "10.0.0.1";
    const SERVER: &str = "10.0.0.2";
    const BOTH: &str = "10.0.0.3";
    const LONGEST: Duration = Duration::from_secs(20);

    #[test]
    fn a_server_is_sent_the_first_packet_of_its_flows_and_opens_none() {
        let packets = [
            packet(CLIENT, SERVER, 0.0),
            packet(SERVER, CLIENT, 1.0),
            packet(CLIENT, BOTH, 2.0),
            packet(BOTH, SERVER, 3.0),
        ];
        assert_eq!(servers(&packets, LONGEST), Ok(BTreeSet::from([SERVER.parse().unwrap()])));
        assert!(servers(&packets[2..3], LONGEST).is_ok());
        assert_eq!(servers(&[], LONGEST).unwrap_err(), "nothing that we read in it");
    }

    #[test]
    fn where_all_open_flows_the_busiest_is_taken_unless_it_talks_to_itself() {
        let packets = [packet(CLIENT, BOTH, 0.0), packet(SERVER, BOTH, 1.0), packet(BOTH, SERVER, 2.0)];
        let mut packets = packets.to_vec();
        packets.extend([packet(BOTH, "10.0.0.4", 3.0), packet("10.0.0.4", CLIENT, 4.0)]);
        assert_eq!(servers(&packets, LONGEST), Ok(BTreeSet::from([BOTH.parse().unwrap()])));
        packets.push(packet(BOTH, BOTH, 5.0));
        assert_eq!(servers(&packets, LONGEST).unwrap_err(), "a server that talks to itself");
    }

    #[test]
    fn what_cannot_be_sent_as_it_was_is_left_out_with_a_reason() {
        let good = || packet(CLIENT, SERVER, 0.0);
        for (what, packet) in [
            ("not Ethernet", Packet { is_ethernet: false, ..good() }),
            ("whole", Packet { captured: 99, ..good() }),
            ("MTU", Packet { len: FRAME_MAX + 1, captured: FRAME_MAX + 1, ..good() }),
            ("shorter", Packet { len: 13, captured: 13, ..good() }),
            ("takes 21 s", Packet { time: 21.0, ..good() }),
            ("its length", Packet { ip: good().ip.map(|ip| Ip { bytes: None, ..ip }), ..good() }),
        ] {
            let why = servers(&[good(), packet], LONGEST).unwrap_err();
            assert!(why.contains(what), "{why}");
        }
    }
}
