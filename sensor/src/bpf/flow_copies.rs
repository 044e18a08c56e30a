//! Flows of former sets of maps, written down anew in the table in use: slots by their owners, and where
//! programs of both cannot share one table ([`super::succession`] says when), field by field of the same
//! name. A flow that is in the table already stays as it is, so that copying again only adds.
//!
//! What a former set did not number itself, nobody knows any more whose it was: it is not copied, and in
//! a shared table it stays as it is.

use std::path::Path;

use anyhow::{Context, Result};
use aya::maps::{HashMap, Map, MapData, MapError, MapInfo};
use aya_obj::generated::{BPF_EXIST, BPF_NOEXIST};
use sensor_ebpf::abi::{Flow, FlowKey, TargetSet, map, numbered};
use sensor_ebpf::flow::is_over;

use super::entries::Entries;
use super::layout::{Layout, Places, TARGETS};
use super::maps::Raw;
use super::pins::Pins;
use super::succession::{field, place, read, slots_taken};
use crate::clock::now_ns;

/// The flow of a connection that is being opened is not touched within that time after a packet, since
/// what the next packet says of it would be lost if it came between reading and writing. Of others that
/// is a packet in the flow's own figures. A peer that wants to answer has by then (RFC 6298, 2.1).
const OPENING_NS: u64 = 1_000_000_000;

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
        let mut flows = open(&path)?;
        let translation = Translation::of(&set, &slot_of)?;
        for (key, flow) in Entries::open(&from)?.all()? {
            let Some((key, flow)) = translation.translate(&key, &flow)? else { continue };
            copied += usize::from(insert(&mut flows, key, flow, BPF_NOEXIST)?);
        }
    }
    Ok(copied)
}

/// Gives flows of a table that is shared with former sets, in which nobody counts any more, the slots of
/// today, so that no flow names an earlier numbering when that is given out again.
pub(super) fn renumber(pins: &Pins, slot_of: impl Fn(&str, &str) -> Option<u32>) -> Result<()> {
    let path = pins.maps().join(map::FLOWS);
    for set in pins.former()? {
        if id(&set.join(map::FLOWS))? != id(&path)? {
            continue;
        }
        let mut flows = open(&path)?;
        let translation = Translation::of(&set, &slot_of)?;
        for key in Entries::open(&path)?.keys()? {
            let Raw(key) = Raw::of_bytes(&key)?;
            // It may have gone meanwhile.
            let Ok(Raw(flow)) = flows.get(&Raw(key), 0) else { continue };
            let Some(targets) = translation.targets(flow.targets) else { continue };
            let is_opening = flow.established == 0 && !is_over(&flow);
            if !is_opening || now_ns().saturating_sub(flow.last_ns) > OPENING_NS {
                insert(&mut flows, key, Flow { targets, ..flow }, BPF_EXIST)?;
            }
        }
    }
    Ok(())
}

type Flows = HashMap<MapData, Raw<FlowKey>, Raw<Flow>>;

fn open(path: &Path) -> Result<Flows> {
    let table = MapData::from_pin(path).with_context(|| format!("{}", path.display()))?;
    Map::LruHashMap(table).try_into().with_context(|| format!("{}", path.display()))
}

/// `false`: it is there, or not there, against what `flags` ask for; or there is no room, as the kernel
/// half would find as well.
fn insert(flows: &mut Flows, key: FlowKey, flow: Flow, flags: u32) -> Result<bool> {
    match flows.insert(Raw(key), Raw(flow), u64::from(flags)) {
        Ok(()) => Ok(true),
        Err(MapError::SyscallError(error))
            if matches!(
                error.io_error.raw_os_error(),
                Some(libc::EEXIST | libc::ENOENT | libc::ENOMEM | libc::E2BIG | libc::EBUSY)
            ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error).context("writing a flow"),
    }
}

fn id(path: &Path) -> Result<u32> {
    Ok(MapInfo::from_pin(path).with_context(|| format!("{}", path.display()))?.id())
}

/// How to read what a former set says of targets.
pub(super) struct Translation {
    layout: Layout,
    ours: Layout,
    /// By slot, as flows of the set itself name it.
    slots: std::collections::HashMap<u32, u32>,
}

impl Translation {
    pub(super) fn of(set: &Path, slot_of: impl Fn(&str, &str) -> Option<u32>) -> Result<Self> {
        let (settings, layout) = read(set)?;
        let named = |index| if layout.numbered { numbered(index, settings.numbering) } else { index };
        let taken = slots_taken(&Entries::open(&set.join(map::TARGETS))?, &layout)?;
        let slots = taken
            .into_iter()
            .filter_map(|(index, (watchlist, target))| Some((named(index), slot_of(&watchlist, &target)?)))
            .collect();
        Ok(Self { layout, ours: Layout::own(), slots })
    }

    /// `None`: the set did not number them, or nobody is concerned any more.
    pub(super) fn targets(&self, named: TargetSet) -> Option<TargetSet> {
        let slots = named.slots().filter_map(|slot| self.slots.get(&slot).copied());
        TargetSet::of(slots).filter(|targets| !targets.is_empty())
    }

    fn translate(&self, key: &[u8], flow: &[u8]) -> Result<Option<(FlowKey, Flow)>> {
        let set = u64::from_ne_bytes(field(flow, place(&self.layout.flow, TARGETS)?)?.try_into()?);
        let Some(targets) = self.targets(TargetSet(set)) else { return Ok(None) };
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
