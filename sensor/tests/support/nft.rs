//! The independent count: nftables at the netdev hooks, which see what TC sees.
//!
//! Before Linux 5.16 there is none on egress: what leaves is then counted where it arrives, on
//! ingress of the veth pair's other end. That is the same while every packet is on its own.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::kernel::{Since, has};
use super::namespace::{Namespace, command_in, run};

/// What one direction of an address or prefix carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Socket buffers: with offloads on, an aggregate is one.
    pub packets: u64,
    /// IP bytes.
    pub bytes: u64,
}

/// Bytes of the Ethernet header, which the egress hook counts and the ingress hook does not.
const ETHERNET_LEN: u64 = 14;

pub struct Nft<'a> {
    near: &'a str,
    /// Where what leaves is counted, and whether that is on egress.
    leaving: (&'a str, Hook),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Hook {
    Ingress,
    Egress,
}

impl<'a> Nft<'a> {
    /// Counts on `eth0`, for each name, what goes to and comes from an address or prefix,
    /// by transport (`tcp`, `udp`).
    pub fn count(namespace: &'a Namespace, watched: &[(&str, &str)]) -> Self {
        let near = namespace.name.as_str();
        let leaving = if has(Since::NetdevEgress) {
            (near, Hook::Egress)
        } else {
            (namespace.peer.as_deref().expect("a pair, to count at its other end"), Hook::Ingress)
        };
        add(near, Hook::Ingress, "in", "saddr", watched);
        add(leaving.0, leaving.1, "out", "daddr", watched);
        Self { near, leaving }
    }

    pub fn ingress(&self, name: &str, transport: &str) -> Count {
        counter(self.near, &format!("{name}_{transport}_in"))
    }

    pub fn egress(&self, name: &str, transport: &str) -> Count {
        let (namespace, hook) = self.leaving;
        let count = counter(namespace, &format!("{name}_{transport}_out"));
        match hook {
            Hook::Ingress => count,
            Hook::Egress => Count { bytes: count.bytes - ETHERNET_LEN * count.packets, ..count },
        }
    }
}

/// A table of counters for one way, `in` or `out`, on one hook.
fn add(namespace: &str, hook: Hook, way: &str, address: &str, watched: &[(&str, &str)]) {
    let (mut counters, mut rules) = (String::new(), String::new());
    for (name, prefix) in watched {
        let family = if prefix.contains(':') { "ip6" } else { "ip" };
        for transport in ["tcp", "udp"] {
            let to_string = "writing to a string";
            let counter = format!("{name}_{transport}_{way}");
            writeln!(counters, "counter {counter} {{}}").expect(to_string);
            let rule = format!("{family} {address} {prefix} meta l4proto {transport} counter name {counter}");
            writeln!(rules, "{rule}").expect(to_string);
        }
    }
    let hook = match hook {
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    };
    let table = format!(
        "table netdev independent_{way} {{\n{counters}\
         chain counted {{ type filter hook {hook} device \"eth0\" priority 0;\n{rules}}}\n}}\n"
    );
    let mut nft = command_in(namespace, "nft");
    let mut child = nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft: is nftables installed?");
    child.stdin.take().expect("a pipe").write_all(table.as_bytes()).expect("nft reads");
    assert!(child.wait().expect("nft ends").success(), "nft refused:\n{table}");
}

fn counter(namespace: &str, name: &str) -> Count {
    let listing = run(command_in(namespace, "nft").args(["-j", "list", "counters"]));
    let listing: Value = serde_json::from_str(&listing).expect("JSON");
    let objects = listing["nftables"].as_array().expect("a list");
    let counter = objects.iter().map(|object| &object["counter"]).find(|counter| counter["name"] == name);
    let field = |key: &str| counter.expect("the counter is there")[key].as_u64().expect("a number");
    Count { packets: field("packets"), bytes: field("bytes") }
}
