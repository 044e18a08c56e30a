//! Connections, packets, bytes, flows and sightings of each target.
//!
//! From the start an idle target has its local TCP connections, attempted and established, at 0;
//! every other series comes with its first count, so that an idle target stays cheap to scrape.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use sensor_ebpf::abi::{Direction, Side, Totals, Transport};

use super::family::{Family, counter, gauge};
use crate::bpf::attach;
use crate::clock::boot_at;
use crate::flows::{Counts, View};
use crate::state::{Slot, State};

pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let watched = state.watched.get();
    let mut families = Families::new();
    let taken = watched.slots.iter().map(|slot| slot.index + 1).max().unwrap_or(0);
    let (totals, boot_at) = (state.kernel.all_totals(taken)?, boot_at());
    for slot in &watched.slots {
        let totals = totals.get(slot.index as usize).context("a slot beyond TOTALS")?;
        families.totals(slot, totals, boot_at);
    }
    families.views(&watched.slots, &state.flows.get());
    Ok(families.into_vec())
}

struct Families {
    connections: Family,
    established: Family,
    joined: Family,
    packets: Family,
    bytes: Family,
    last_seen: Family,
    flows: Family,
    peers: Family,
}

impl Families {
    const fn new() -> Self {
        Self {
            connections: counter(
                "poolwatch_connections_total",
                "Connection attempts seen, by who opened them.",
            ),
            established: counter(
                "poolwatch_connections_established_total",
                "Connections established: TCP handshakes completed, UDP flows in which both sides sent.",
            ),
            joined: counter(
                "poolwatch_connections_joined_total",
                "TCP connections first seen in their middle.",
            ),
            packets: counter("poolwatch_packets_total", "Wire packets."),
            bytes: counter("poolwatch_bytes_total", "IP bytes, headers included."),
            last_seen: gauge(
                "poolwatch_last_seen_timestamp_seconds",
                "When a packet last concerned the target.",
            ),
            flows: gauge("poolwatch_flows", "Flows alive in the last 5 minutes."),
            peers: gauge(
                "poolwatch_peers",
                "Distinct remote addresses among the flows alive in the last 5 minutes.",
            ),
        }
    }

    fn totals(&mut self, slot: &Slot, totals: &Totals, boot_at: SystemTime) {
        let target = [("watchlist", slot.watchlist.as_str()), ("target", slot.target.as_str())];
        for (family, counts) in
            [(&mut self.connections, &totals.connections), (&mut self.established, &totals.established)]
        {
            for side in Side::ALL {
                for transport in Transport::CONNECTED {
                    let count = counts[side as usize][transport as usize];
                    let from_the_start = side == Side::Local && transport == Transport::Tcp;
                    if count > 0 || from_the_start {
                        let labels = [
                            target[0],
                            target[1],
                            ("initiator", initiator(side)),
                            ("transport", name(transport)),
                        ];
                        family.count(&labels, count);
                    }
                }
            }
        }
        if totals.joined > 0 {
            self.joined.count(&target, totals.joined);
        }
        for (family, counts) in [(&mut self.packets, &totals.packets), (&mut self.bytes, &totals.bytes)] {
            for direction in Direction::ALL {
                for transport in Transport::ALL {
                    let count = counts[direction as usize][transport as usize];
                    if count > 0 {
                        let labels = [
                            target[0],
                            target[1],
                            ("direction", attach::name(direction)),
                            ("transport", name(transport)),
                        ];
                        family.count(&labels, count);
                    }
                }
            }
        }
        if totals.last_seen_ns > 0 {
            let seen_at = boot_at + Duration::from_nanos(totals.last_seen_ns);
            let seconds = seen_at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
            self.last_seen.add(&target, seconds);
        }
    }

    fn views(&mut self, slots: &[Slot], view: &View) {
        for slot in slots {
            let Some(found) = view.targets.get(&slot.index) else { continue };
            let target = [("watchlist", slot.watchlist.as_str()), ("target", slot.target.as_str())];
            self.flows(target, &found.flows);
            self.peers.count(&target, found.peers);
        }
    }

    fn flows(&mut self, target: [(&str, &str); 2], counts: &Counts) {
        for (by_established, initiator) in counts.iter().zip(["local", "remote", "unknown"]) {
            for (count, established) in by_established.iter().zip(["false", "true"]) {
                if *count > 0 {
                    let labels =
                        [target[0], target[1], ("initiator", initiator), ("established", established)];
                    self.flows.count(&labels, *count);
                }
            }
        }
    }

    fn into_vec(self) -> Vec<Family> {
        let Self { connections, established, joined, packets, bytes, last_seen, flows, peers } = self;
        vec![connections, established, joined, packets, bytes, last_seen, flows, peers]
    }
}

/// The label value of `initiator`.
pub(crate) const fn initiator(side: Side) -> &'static str {
    match side {
        Side::Local => "local",
        Side::Remote => "remote",
    }
}

/// The label value of `transport`.
pub(crate) const fn name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Icmp => "icmp",
        Transport::Other => "other",
    }
}
