//! A capture put on a wire: split by tcpprep into its two sides, sent by tcpreplay from both
//! ends of a veth pair, at the capture's own times.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::namespace::{Namespace, run};

/// The end that a daemon watches: what clients send leaves here, what servers send arrives.
pub const NEAR: &str = "near0";
const FAR: &str = "far0";

/// A namespace that holds both ends of a veth pair, and in which nobody says anything unasked.
pub fn silent_pair() -> Namespace {
    for program in ["tcpprep", "tcpreplay"] {
        let version = Command::new(program).arg("--version").output();
        version.unwrap_or_else(|error| panic!("{program}: {error}: it is in Debian's package tcpreplay"));
    }
    let namespace = Namespace::new("pair");
    namespace.enter(|| {
        for which in ["all", "default"] {
            let switch = format!("/proc/sys/net/ipv6/conf/{which}/disable_ipv6");
            fs::write(&switch, "1").unwrap_or_else(|error| panic!("{switch}: {error}"));
        }
    });
    namespace.ip(&format!("link add {NEAR} type veth peer name {FAR}"));
    for end in [NEAR, FAR] {
        namespace.ip(&format!("link set {end} arp off multicast off up"));
    }
    namespace
}

/// Sends an Ethernet capture, in which `servers` (prefixes) are the servers and all others
/// clients, and returns how many packets were sent.
pub fn send(namespace: &Namespace, capture: &Path, servers: &[&str]) -> u64 {
    let sides = capture.with_extension("cache");
    let mut tcpprep = Command::new("tcpprep");
    run(tcpprep
        .arg("--cidr")
        .arg(servers.join(","))
        .arg("--pcap")
        .arg(capture)
        .arg("--cachefile")
        .arg(&sides));
    let mut tcpreplay = namespace.command("tcpreplay");
    // What the prefixes match is the primary side.
    tcpreplay.args(["--intf1", FAR, "--intf2", NEAR]).arg("--cachefile").arg(&sides).arg(capture);
    let said = run(&mut tcpreplay);
    let sent = said.lines().find_map(|line| line.strip_prefix("Actual: ")?.split(' ').next()?.parse().ok());
    sent.unwrap_or_else(|| panic!("tcpreplay does not say what it sent:\n{said}"))
}
