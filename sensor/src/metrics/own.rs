//! The sensor about itself: what it could not read, count or look at, how full its maps are, and which
//! build it is.

use anyhow::Result;
use sensor_ebpf::abi::{SampleKind, Uncounted, Undecoded, Unsampled, capacity, map};

use super::family::{Family, counter, gauge};
use crate::events::Dropped;
use crate::state::State;

pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let own = state.kernel.own()?;
    let mut undecoded =
        counter("poolwatch_undecoded_packets_total", "Packets whose IP or transport headers are malformed.");
    for reason in Undecoded::ALL {
        undecoded.count(&[("reason", reason.reason())], own.undecoded[reason as usize]);
    }
    let mut uncounted = counter(
        "poolwatch_packets_uncounted_total",
        "Packets to a target that could not be counted, or not with their connection.",
    );
    for reason in Uncounted::ALL {
        uncounted.count(&[("reason", reason.reason())], own.uncounted[reason as usize]);
    }
    let mut evicted =
        counter("poolwatch_flows_evicted_total", "Flows pushed out of the table before they ended.");
    evicted.count(&[], state.flows.get().evicted);

    let mut unsampled =
        counter("poolwatch_samples_dropped_total", "Payloads that were to be inspected and were not.");
    for kind in SampleKind::ALL {
        for reason in Unsampled::ALL {
            let labels = [("kind", kind.name()), ("reason", reason.reason())];
            unsampled.count(&labels, own.samples_dropped[kind as usize][reason as usize]);
        }
    }
    let mut unwritten = counter("poolwatch_events_dropped_total", "Events that were not written.");
    for reason in Dropped::ALL {
        unwritten.count(&[("reason", reason.reason())], state.events_dropped.get(reason));
    }

    let mut build = gauge("poolwatch_build_info", "The build that is running.");
    build.add(&[("version", env!("CARGO_PKG_VERSION")), ("revision", env!("POOLWATCH_REVISION"))], 1.0);

    let mut families = vec![undecoded, uncounted, evicted, unsampled, unwritten, build];
    families.extend(sizes(state));
    Ok(families)
}

fn sizes(state: &State) -> [Family; 2] {
    let mut entries = gauge("poolwatch_map_entries", "Entries in a map of the kernel half.");
    let mut capacities = gauge("poolwatch_map_capacity", "Entries that a map of the kernel half can hold.");
    let watched = state.watched.get();
    let sizes = watched.compiled;
    let limits = &state.limits;
    let recognised = state.recognised.get();
    for (name, count, capacity) in [
        (map::TARGETS, watched.slots_taken as u64, limits.targets),
        (map::FLOWS, state.flows.get().entries, limits.flows),
        (map::LEARNED, recognised.learned, capacity::LEARNED),
        (map::JUDGED, recognised.judged, capacity::JUDGED),
        ("PREFIXES_V4", sizes.prefixes_v4 as u64, limits.prefixes),
        ("PREFIXES_V6", sizes.prefixes_v6 as u64, limits.prefixes),
        ("ENDPOINTS", sizes.endpoints as u64, limits.endpoints),
    ] {
        entries.count(&[("map", name)], count);
        capacities.count(&[("map", name)], u64::from(capacity));
    }
    [entries, capacities]
}
