//! Flows of former sets of maps, written down anew in the table in use, where programs of both cannot
//! share one ([`super::succession`] says when): field by field of the same name, slots by their owners.
//! A flow that is in the table already stays as it is, so that copying again only adds.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapInfo};
use aya_obj::generated::BPF_NOEXIST;
use sensor_ebpf::abi::{Flow, FlowKey, TargetSet, index_of, map};

use super::entries::Entries;
use super::layout::{Layout, Places, TARGETS};
use super::maps::Raw;
use super::pins::Pins;
use super::succession::{field, place, read, slots_taken};

/// Copies what is not there yet. `slot_of` gives the slot of a watchlist's target, as flows are to name
/// it. Returns how many flows were copied.
pub(super) fn copy(pins: &Pins, slot_of: impl Fn(&str, &str) -> Option<u32>) -> Result<usize> {
    let path = pins.maps().join(map::FLOWS);
    let mut copied = 0;
    for set in pins.former()? {
        let from = set.join(map::FLOWS);
        if id(&from)? == id(&path)? {
            continue;
        }
        let table = MapData::from_pin(&path).with_context(|| format!("{}", path.display()))?;
        let mut flows: HashMap<MapData, Raw<FlowKey>, Raw<Flow>> = Map::LruHashMap(table).try_into()?;
        let translation = Translation::of(&set, &slot_of)?;
        for (key, flow) in Entries::open(&from)?.all()? {
            let Some((key, flow)) = translation.translate(&key, &flow)? else { continue };
            // An error: it is there, or there is no room, as the kernel half would find as well.
            copied += usize::from(flows.insert(Raw(key), Raw(flow), u64::from(BPF_NOEXIST)).is_ok());
        }
    }
    Ok(copied)
}

fn id(path: &Path) -> Result<u32> {
    Ok(MapInfo::from_pin(path).with_context(|| format!("{}", path.display()))?.id())
}

/// How to read a former set's flows.
struct Translation {
    layout: Layout,
    ours: Layout,
    /// By index of the former slot.
    slots: std::collections::HashMap<u32, u32>,
}

impl Translation {
    fn of(set: &Path, slot_of: impl Fn(&str, &str) -> Option<u32>) -> Result<Self> {
        let (_, layout) = read(set)?;
        let taken = slots_taken(&Entries::open(&set.join(map::TARGETS))?, &layout)?;
        let slots = taken
            .into_iter()
            .filter_map(|(index, (watchlist, target))| Some((index, slot_of(&watchlist, &target)?)))
            .collect();
        Ok(Self { layout, ours: Layout::own(), slots })
    }

    /// `None`: nobody is concerned by it any more.
    fn translate(&self, key: &[u8], flow: &[u8]) -> Result<Option<(FlowKey, Flow)>> {
        let set = u64::from_ne_bytes(field(flow, place(&self.layout.flow, TARGETS)?)?.try_into()?);
        let slots = TargetSet(set).slots().filter_map(|slot| self.slots.get(&index_of(slot)).copied());
        let Some(targets) = TargetSet::of(slots).filter(|targets| !targets.is_empty()) else {
            return Ok(None);
        };
        let key = rearranged(key, &self.layout.flow_key, &self.ours.flow_key, size_of::<FlowKey>())?;
        let flow = rearranged(flow, &self.layout.flow, &self.ours.flow, size_of::<Flow>())?;
        let (key, flow): (Raw<FlowKey>, Raw<Flow>) = (Raw::of_bytes(&key)?, Raw::of_bytes(&flow)?);
        Ok(Some((key.0, Flow { targets, ..flow.0 })))
    }
}

/// The fields that both layouts have, at the same length, each in its new place.
fn rearranged(entry: &[u8], from: &Places, to: &Places, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    for (name, (offset, len)) in to {
        let Some((old, old_len)) = from.get(name).copied() else { continue };
        if old_len == *len {
            bytes[*offset..offset + len].copy_from_slice(field(entry, (old, old_len))?);
        }
    }
    Ok(bytes)
}
