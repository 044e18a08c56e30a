//! What a set of maps says about itself, by name: where each counter lies in an entry, where the names
//! of targets lie, and what a flow looks like. Pinned beside the maps as a document ([`super::document`])
//! before anything counts in them, so that another version of poolwatch, older or newer, can take over
//! what they counted without knowing this one.

use std::collections::BTreeMap;
use std::mem::offset_of;
use std::path::Path;

use anyhow::{Context, Result};
use sensor_ebpf::abi::{
    Claim, Daemon, Direction, Findings, Flow, FlowKey, Own, Side, TargetName, Totals, Transport, Uncounted,
    Undecoded, map,
};
use serde::{Deserialize, Serialize};

use super::attach;
use super::document;

/// Counters by name.
pub(super) type Counts = BTreeMap<String, u64>;

/// Where each counter lies: bytes from the beginning of its entry to its `u64`.
pub(super) type Offsets = BTreeMap<String, usize>;

/// Where something else lies: the same, and how many bytes it is long.
pub(super) type Places = BTreeMap<String, (usize, usize)>;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Layout {
    pub(super) totals: Offsets,
    pub(super) own: Offsets,
    pub(super) findings: Offsets,
    pub(super) daemon: Offsets,
    pub(super) target: Places,
    pub(super) flow_key: Places,
    pub(super) flow: Places,
    pub(super) claim: Places,
    /// Do flows tell who numbered the slots that they name?
    pub(super) numbered: bool,
}

impl Layout {
    /// That of the maps that this version makes.
    pub(super) fn own() -> Self {
        Self {
            totals: offsets::<Totals>(),
            own: offsets::<Own>(),
            findings: offsets::<Findings>(),
            daemon: offsets::<Daemon>(),
            target: places([
                ("watchlist", offset_of!(TargetName, watchlist), size_of::<[u8; 64]>()),
                ("target", offset_of!(TargetName, target), size_of::<[u8; 64]>()),
            ]),
            flow_key: flow_key(),
            flow: flow(),
            claim: places([
                ("key", offset_of!(Claim, key), size_of::<FlowKey>()),
                ("opened_ns", offset_of!(Claim, opened_ns), 8),
                ("milestone", offset_of!(Claim, milestone), 8),
            ]),
            numbered: true,
        }
    }

    /// That of the first two schemas, which did not write theirs down: the counters were where they
    /// are now in schema 3.
    fn before_it_was_written_down() -> Result<Self> {
        serde_json::from_str(include_str!("layout/schemas_1_and_2.json")).context("a built-in layout")
    }

    /// Pins it beside the maps that it is about.
    pub(super) fn pin(&self, maps: &Path) -> Result<()> {
        document::pin(&maps.join(map::LAYOUT), map::LAYOUT, &serde_json::to_string(self)?)
    }

    /// That of pinned maps of this schema; `None` while they are being made.
    pub(super) fn read(maps: &Path, schema: u32) -> Result<Option<Self>> {
        let path = maps.join(map::LAYOUT);
        match document::read(&path)? {
            Some(text) => {
                serde_json::from_str(&text).with_context(|| format!("{}", path.display())).map(Some)
            }
            None if matches!(schema, 1 | 2) => Self::before_it_was_written_down().map(Some),
            None => Ok(None),
        }
    }

    /// Can programs of both kinds count in the same table of flows?
    pub(super) fn shares_flows_with(&self, other: &Self) -> bool {
        let flows = |it: &Self| (it.flow_key.clone(), it.flow.clone(), it.claim.clone(), it.numbered);
        flows(self) == flows(other)
    }
}

/// A struct of the ABI that holds nothing but counters (and times of sightings).
pub(super) trait Counters: Default {
    /// Shows each of them under its name.
    fn each(&mut self, see: &mut dyn FnMut(String, &mut u64));

    /// As far as it has counters of these names.
    fn of_names(counts: &Counts) -> Self {
        let mut counters = Self::default();
        counters.each(&mut |name, count| *count = counts.get(&name).copied().unwrap_or(0));
        counters
    }
}

const TRANSPORTS: [&str; 4] = ["tcp", "udp", "icmp", "other"];
const SIDES: [&str; 2] = ["local", "remote"];

impl Counters for Totals {
    fn each(&mut self, see: &mut dyn FnMut(String, &mut u64)) {
        for direction in Direction::ALL {
            for transport in Transport::ALL {
                let (way, over) = (attach::name(direction), TRANSPORTS[transport as usize]);
                let (direction, transport) = (direction as usize, transport as usize);
                see(format!("packets.{way}.{over}"), &mut self.packets[direction][transport]);
                see(format!("bytes.{way}.{over}"), &mut self.bytes[direction][transport]);
            }
        }
        for side in Side::ALL {
            for transport in Transport::CONNECTED {
                let (by, over) = (SIDES[side as usize], TRANSPORTS[transport as usize]);
                let (side, transport) = (side as usize, transport as usize);
                see(format!("connections.{by}.{over}"), &mut self.connections[side][transport]);
                see(format!("established.{by}.{over}"), &mut self.established[side][transport]);
            }
        }
        see("joined".to_owned(), &mut self.joined);
        see(LAST_SEEN.to_owned(), &mut self.last_seen_ns);
    }
}

/// Not a count: of two the later stands.
pub(super) const LAST_SEEN: &str = "last_seen_ns";

impl Counters for Own {
    fn each(&mut self, see: &mut dyn FnMut(String, &mut u64)) {
        for reason in Undecoded::ALL {
            see(format!("undecoded.{}", reason.reason()), &mut self.undecoded[reason as usize]);
        }
        for reason in Uncounted::ALL {
            see(format!("uncounted.{}", reason.reason()), &mut self.uncounted[reason as usize]);
        }
        see("flows_created".to_owned(), &mut self.flows_created);
        see("streams_created".to_owned(), &mut self.streams_created);
        for (kind, by_reason) in self.samples_dropped.iter_mut().enumerate() {
            each_of(&format!("samples_dropped.{kind}"), by_reason, see);
        }
    }
}

impl Counters for Findings {
    fn each(&mut self, see: &mut dyn FnMut(String, &mut u64)) {
        each_of("detections", &mut self.detections, see);
        each_of("answers", &mut self.answers, see);
    }
}

impl Counters for Daemon {
    fn each(&mut self, see: &mut dyn FnMut(String, &mut u64)) {
        see("flows_evicted".to_owned(), &mut self.flows_evicted);
        see("flows_ended".to_owned(), &mut self.flows_ended);
        each_of("events_dropped", &mut self.events_dropped, see);
        see("reattached".to_owned(), &mut self.reattached);
        each_of("signals", &mut self.signals, see);
        each_of("refused", &mut self.refused, see);
        each_of("forgotten", &mut self.forgotten, see);
    }
}

/// By place, where the places have no names yet.
fn each_of(name: &str, counts: &mut [u64], see: &mut dyn FnMut(String, &mut u64)) {
    for (place, count) in counts.iter_mut().enumerate() {
        see(format!("{name}.{place}"), count);
    }
}

fn offsets<C: Counters>() -> Offsets {
    let mut counters = C::default();
    let beginning = std::ptr::from_ref(&counters).addr();
    let mut offsets = Offsets::new();
    counters.each(&mut |name, count| {
        offsets.insert(name, std::ptr::from_ref(count).addr() - beginning);
    });
    offsets
}

fn places<const N: usize>(fields: [(&str, usize, usize); N]) -> Places {
    fields.into_iter().map(|(name, offset, len)| (name.to_owned(), (offset, len))).collect()
}

#[rustfmt::skip]
fn flow_key() -> Places {
    places([
        ("remote",      offset_of!(FlowKey, remote), 16),
        ("local",       offset_of!(FlowKey, local), 16),
        ("remote_port", offset_of!(FlowKey, remote_port), 2),
        ("local_port",  offset_of!(FlowKey, local_port), 2),
        ("transport",   offset_of!(FlowKey, transport), 1),
        ("version",     offset_of!(FlowKey, version), 1),
    ])
}

#[rustfmt::skip]
fn flow() -> Places {
    places([
        ("opened_ns",    offset_of!(Flow, opened_ns), 8),
        ("last_ns",      offset_of!(Flow, last_ns), 8),
        ("bytes",        offset_of!(Flow, bytes), 16),
        ("packets",      offset_of!(Flow, packets), 8),
        (TARGETS,        offset_of!(Flow, targets), 8),
        ("sequence",     offset_of!(Flow, sequence), 8),
        ("syn",          offset_of!(Flow, syn), 2),
        ("acknowledged", offset_of!(Flow, acknowledged), 2),
        ("ended",        offset_of!(Flow, ended), 2),
        ("spoke",        offset_of!(Flow, spoke), 2),
        ("initiator",    offset_of!(Flow, initiator), 1),
        ("established",  offset_of!(Flow, established), 1),
        ("interface",    offset_of!(Flow, interface), 4),
        ("cookie",       offset_of!(Flow, cookie), 8),
        ("owner",        offset_of!(Flow, owner), 8),
        ("cgroup",       offset_of!(Flow, cgroup), 8),
        ("lengths",      offset_of!(Flow, lengths), 32),
    ])
}

/// The field of a flow that names slots.
pub(super) const TARGETS: &str = "targets";

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The counters that are not 0.
    pub(in crate::bpf) fn named(mut counters: impl Counters) -> Counts {
        let mut counts = Counts::new();
        counters.each(&mut |name, count| {
            if *count > 0 {
                counts.insert(name, *count);
            }
        });
        counts
    }

    #[test]
    fn each_counter_has_a_name_and_a_place_of_its_own() {
        for (what, offsets, words) in [
            ("Totals", offsets::<Totals>(), size_of::<Totals>() / 8),
            ("Findings", offsets::<Findings>(), size_of::<Findings>() / 8),
            ("Daemon", offsets::<Daemon>(), size_of::<Daemon>() / 8),
        ] {
            let mut places: Vec<_> = offsets.values().copied().collect();
            places.sort_unstable();
            assert_eq!(places, (0..words).map(|word| word * 8).collect::<Vec<_>>(), "{what}");
        }
    }

    #[test]
    fn counters_go_by_name_and_back() {
        let totals = Totals { joined: 7, bytes: [[1, 2, 3, 4], [5, 6, 7, 8]], ..Totals::default() };
        let named = named(totals);
        assert_eq!(named["bytes.egress.udp"], 6);
        assert!(!named.contains_key("packets.egress.udp"), "zeros are left out");
        assert_eq!(Totals::of_names(&named), totals);
    }

    #[test]
    fn the_fields_of_a_flow_fill_it_but_for_what_is_reserved() {
        let len = |places: Places| places.values().map(|(_, len)| len).sum::<usize>();
        assert_eq!(len(flow_key()), size_of::<FlowKey>() - 2);
        assert_eq!(len(flow()), size_of::<Flow>() - 2);
    }

    #[test]
    fn the_first_schemas_counted_where_this_one_counts() {
        let first = Layout::before_it_was_written_down().expect("it is JSON");
        assert_eq!(first.own, Layout::own().own);
        assert_eq!((first.target.clone(), first.flow.clone()), (Layout::own().target, Layout::own().flow));
        assert!(!first.shares_flows_with(&Layout::own()));
    }
}
