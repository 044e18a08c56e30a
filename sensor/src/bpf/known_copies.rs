//! What former sets of maps knew of addresses and connections (LEARNED, JUDGED), written down anew in
//! the set in use, slots by their owners. What is there already stays. Sets of another layout of these
//! are left out: what they knew is learned again.

use anyhow::Result;
use sensor_ebpf::abi::{EndpointKey, FlowKey, Judged, Learned, TargetSet, map};

use super::entries::Entries;
use super::flow_copies::Translation;
use super::maps::Raw;
use super::pins::Pins;
use super::tables::Tables;

/// Before the programs are replaced, and again after: nothing that was learned meanwhile is lost.
pub(super) fn copy(pins: &Pins, tables: &mut Tables) -> Result<()> {
    for set in pins.former()?.iter().rev() {
        let (learned, judged) = (set.join(map::LEARNED), set.join(map::JUDGED));
        if !learned.exists() || !judged.exists() {
            continue;
        }
        let translation = Translation::of(set, |watchlist, target| tables.named_by_flows(watchlist, target))?;
        let ours = |set| translation.targets(set).unwrap_or(TargetSet::EMPTY);
        for (key, value) in Entries::open(&learned)?.all()? {
            let (Ok(Raw(key)), Ok(Raw(value))) =
                (Raw::<EndpointKey>::of_bytes(&key), Raw::<Learned>::of_bytes(&value))
            else {
                break;
            };
            let (targets, own) = (ours(value.targets), ours(value.own));
            if !own.is_empty() && !tables.has_learned(&key) {
                tables.learn(key, Learned { targets, own, ..value })?;
            }
        }
        for (key, value) in Entries::open(&judged)?.all()? {
            let (Ok(Raw(key)), Ok(Raw(value))) =
                (Raw::<FlowKey>::of_bytes(&key), Raw::<Judged>::of_bytes(&value))
            else {
                break;
            };
            let (targets, own) = (ours(value.targets), ours(value.own));
            if (!targets.is_empty() || value.targets.is_empty()) && !tables.has_judged(&key) {
                tables.judge(key, Judged { targets, own, ..value })?;
            }
        }
    }
    Ok(())
}
