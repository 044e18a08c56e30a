//! The independent count: nftables at the netdev hooks, which see what TC sees.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use super::namespace::{Namespace, run};

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
    namespace: &'a Namespace,
}

impl<'a> Nft<'a> {
    /// Counts on `eth0`, for each name, what goes to and comes from an address or prefix,
    /// by transport (`tcp`, `udp`).
    pub fn count(namespace: &'a Namespace, watched: &[(&str, &str)]) -> Self {
        let (mut counters, mut ingress, mut egress) = (String::new(), String::new(), String::new());
        for (name, prefix) in watched {
            let family = if prefix.contains(':') { "ip6" } else { "ip" };
            for transport in ["tcp", "udp"] {
                let counter = format!("{name}_{transport}");
                let to_string = "writing to a string";
                writeln!(counters, "counter {counter}_in {{}}\ncounter {counter}_out {{}}").expect(to_string);
                let rule = format!("meta l4proto {transport} counter name {counter}");
                writeln!(ingress, "{family} saddr {prefix} {rule}_in").expect(to_string);
                writeln!(egress, "{family} daddr {prefix} {rule}_out").expect(to_string);
            }
        }
        let rules = format!(
            "table netdev independent {{\n{counters}\
             chain ingress {{ type filter hook ingress device \"eth0\" priority 0;\n{ingress}}}\n\
             chain egress {{ type filter hook egress device \"eth0\" priority 0;\n{egress}}}\n}}\n"
        );
        let mut nft = namespace.command("nft");
        let mut child =
            nft.args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft: is nftables installed?");
        child.stdin.take().expect("a pipe").write_all(rules.as_bytes()).expect("nft reads");
        assert!(child.wait().expect("nft ends").success(), "nft refused:\n{rules}");
        Self { namespace }
    }

    pub fn ingress(&self, name: &str, transport: &str) -> Count {
        self.counter(&format!("{name}_{transport}_in"))
    }

    pub fn egress(&self, name: &str, transport: &str) -> Count {
        let count = self.counter(&format!("{name}_{transport}_out"));
        Count { bytes: count.bytes - ETHERNET_LEN * count.packets, ..count }
    }

    fn counter(&self, name: &str) -> Count {
        let listing = run(self.namespace.command("nft").args(["-j", "list", "counters"]));
        let listing: Value = serde_json::from_str(&listing).expect("JSON");
        let objects = listing["nftables"].as_array().expect("a list");
        let counter = objects.iter().map(|object| &object["counter"]).find(|counter| counter["name"] == name);
        let field = |key: &str| counter.expect("the counter is there")[key].as_u64().expect("a number");
        Count { packets: field("packets"), bytes: field("bytes") }
    }
}
