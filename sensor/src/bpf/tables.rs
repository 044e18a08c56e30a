//! Writes what the packet path looks up: who has which slot, and the tables, of which each
//! generation is a map of its own that takes the place of the one before in one write.
//!
//! The truth is in the daemon's memory: tables are made afresh, never changed in place.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;
use aya_obj::generated::{BPF_F_INNER_MAP, BPF_F_MMAPABLE};
use sensor_ebpf::abi::{
    Address, Budgets, Daemon, EndpointKey, Findings, FlowKey, Judged, Learned, NAME_MAX, Settings,
    TargetName, Version, filter, numbered, slots_in_order,
};
use sensor_ebpf::ranges::Line;

use super::filter::Filter;
use super::mapped::Mapped;
use super::maps::{Generation, Maps, Raw, Writable};
use super::samples::{self, Samples};
use crate::config::Inspect;
use crate::watchlists::Compiled;

/// The writing side of the maps.
pub struct Tables {
    maps: Writable,
    /// (watchlist, target) → slot, as TARGETS says.
    slots: HashMap<(String, String), u32>,
    /// Of the slots, as flows name them.
    numbering: u32,
    /// The one in use; none before the first switch.
    generation: Option<Generation>,
}

impl Tables {
    /// Takes the writing side, and reads whose the slots are.
    pub fn take(maps: &mut Maps) -> Result<Self> {
        let maps = maps.writable.take().context("the tables have a writer already")?;
        let Raw(Settings { numbering, .. }) = maps.settings.get(&0, 0).context("reading SETTINGS")?;
        let mut slots = HashMap::new();
        for slot in 0..maps.targets.len() {
            let Raw(name) = maps.targets.get(&slot, 0).context("reading TARGETS")?;
            if name != FREE {
                slots.insert((text(&name.watchlist)?, text(&name.target)?), slot);
            }
        }
        Ok(Self { maps, slots, numbering, generation: None })
    }

    /// The slots of these targets, in their order: the ones that they have, or free ones that
    /// [`Tables::assign`] will make theirs, or none when TARGETS is full. Targets that left the
    /// config keep their slots and their counts. Nothing is written yet.
    pub fn plan<'a>(&self, targets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Option<u32>> {
        let taken: HashSet<u32> = self.slots.values().copied().collect();
        let mut free = slots_in_order(self.maps.targets.len()).filter(|slot| !taken.contains(slot));
        let mut slot = |(watchlist, target): (&str, &str)| {
            let own = self.slots.get(&(watchlist.to_owned(), target.to_owned()));
            own.copied().or_else(|| free.next())
        };
        targets.into_iter().map(&mut slot).collect()
    }

    /// Makes a slot a target's own from now on.
    pub fn assign(&mut self, watchlist: &str, target: &str, slot: u32) -> Result<()> {
        let name = TargetName { watchlist: bytes(watchlist)?, target: bytes(target)? };
        self.maps.targets.set(slot, Raw(name), 0).context("writing TARGETS")?;
        self.slots.insert((watchlist.to_owned(), target.to_owned()), slot);
        Ok(())
    }

    /// The slot of a target, where it has one.
    pub fn slot_of(&self, watchlist: &str, target: &str) -> Option<u32> {
        self.slots.get(&(watchlist.to_owned(), target.to_owned())).copied()
    }

    /// The same as flows name it.
    pub(super) fn named_by_flows(&self, watchlist: &str, target: &str) -> Option<u32> {
        self.slot_of(watchlist, target).map(|slot| numbered(slot, self.numbering))
    }

    /// Which numbering gave the slots to their targets.
    pub const fn numbering(&self) -> u32 {
        self.numbering
    }

    /// Slots that are somebody's, with whose they are.
    pub fn owners(&self) -> impl Iterator<Item = (u32, &str, &str)> {
        self.slots.iter().map(|((watchlist, target), slot)| (*slot, watchlist.as_str(), target.as_str()))
    }

    /// Slots that are somebody's.
    pub fn slots_taken(&self) -> usize {
        self.slots.len()
    }

    /// Writes down what an address stands for from now on. The one way into LEARNED.
    pub fn learn(&mut self, key: EndpointKey, learned: Learned) -> Result<()> {
        self.lead_to_learned(Version::of(key.version), &key.address)?;
        self.maps.learned.insert(Raw(key), Raw(learned), 0).context("writing LEARNED")
    }

    /// Writes down whom a connection concerns from now on, whatever is known of its address.
    pub fn judge(&mut self, key: FlowKey, judged: Judged) -> Result<()> {
        self.lead_to_learned(Version::of(key.version), &key.remote)?;
        self.maps.judged.insert(Raw(key), Raw(judged), 0).context("writing JUDGED")
    }

    /// Has the filter lead to LEARNED and JUDGED for an address. First of all: it may lead nowhere, and
    /// what it does not lead to is not known.
    fn lead_to_learned(&self, version: Version, address: &Address) -> Result<()> {
        let filter = Filter::map(&self.maps.filter)?;
        for bit in bits_of_learned(version, address) {
            filter.set_bit(bit);
        }
        Ok(())
    }

    pub(super) fn has_learned(&self, key: &EndpointKey) -> bool {
        self.maps.learned.get(&Raw(*key), 0).is_ok()
    }

    pub(super) fn has_judged(&self, key: &FlowKey) -> bool {
        self.maps.judged.get(&Raw(*key), 0).is_ok()
    }

    /// Everything that is in LEARNED.
    pub fn learned(&self) -> Result<Vec<(EndpointKey, Learned)>> {
        let entries = self.maps.learned.iter().map(|entry| entry.map(|(Raw(key), Raw(value))| (key, value)));
        entries.collect::<Result<_, _>>().context("reading LEARNED")
    }

    /// Everything that is in JUDGED.
    pub fn judged(&self) -> Result<Vec<(FlowKey, Judged)>> {
        let entries = self.maps.judged.iter().map(|entry| entry.map(|(Raw(key), Raw(value))| (key, value)));
        entries.collect::<Result<_, _>>().context("reading JUDGED")
    }

    /// What was learned of an address is over.
    pub fn unlearn(&mut self, key: &EndpointKey) -> Result<()> {
        gone(self.maps.learned.remove(&Raw(*key))).context("writing LEARNED")
    }

    /// A connection is over.
    pub fn unjudge(&mut self, key: &FlowKey) -> Result<()> {
        gone(self.maps.judged.remove(&Raw(*key))).context("writing JUDGED")
    }

    /// What daemons counted for the target at this slot, on this set of maps.
    pub fn findings(&self, slot: u32) -> Result<Findings> {
        Ok(self.maps.findings.get(&slot, 0).context("reading FINDINGS")?.0)
    }

    pub fn set_findings(&mut self, slot: u32, counted: Findings) -> Result<()> {
        self.maps.findings.set(slot, Raw(counted), 0).context("writing FINDINGS")
    }

    /// From now on this payload is sampled.
    pub fn inspect(&mut self, inspect: Inspect) -> Result<()> {
        self.set_budgets(samples::budgets(inspect))
    }

    /// How many samples of each kind may be taken from now on.
    pub fn set_budgets(&mut self, budgets: Budgets) -> Result<()> {
        self.maps.budgets.set(0, Raw(budgets), 0).context("writing BUDGETS")
    }

    /// The reading end of SAMPLES, once.
    pub fn take_samples(&mut self) -> Result<RingBuf<MapData>> {
        self.maps.samples.take().context("the samples have a reader already")
    }

    /// The same, to be waited for.
    pub fn samples(&mut self) -> Result<Samples> {
        Samples::new(self.take_samples()?)
    }

    /// What daemons counted about themselves on this set of maps.
    pub fn daemon(&self) -> Result<Daemon> {
        Ok(self.maps.daemon.get(&0, 0).context("reading DAEMON")?.0)
    }

    pub fn set_daemon(&mut self, counted: Daemon) -> Result<()> {
        self.maps.daemon.set(0, Raw(counted), 0).context("writing DAEMON")
    }

    /// Makes these tables the ones in use. A packet is looked up in the old ones or in the new
    /// ones: the filter covers both until the kernel knows only the new.
    pub fn switch_to(&mut self, compiled: &Compiled) -> Result<()> {
        let generation = generation(&compiled.lines).context("filling TABLES")?;
        let filter = Filter::map(&self.maps.filter)?;
        let mut covered = compiled.filter.clone();
        covered.resize(filter::WORDS as usize, 0);
        let learned = self.learned()?.into_iter().map(|(key, _)| (key.version, key.address));
        let judged = self.judged()?.into_iter().map(|(key, _)| (key.version, key.remote));
        for (version, address) in learned.chain(judged) {
            for (word, bit) in bits_of_learned(Version::of(version), &address) {
                covered[word as usize] |= 1 << bit;
            }
        }
        filter.add(&covered);
        self.put_in_place(&generation)?;
        filter.set(&covered);
        self.generation = Some(generation);
        Ok(())
    }

    /// Waits until every program that runs now has ended, programs that were replaced among them.
    pub fn wait_for_programs(&mut self) -> Result<()> {
        let generation = self.generation.take().context("no tables are in use yet")?;
        let waited = self.put_in_place(&generation);
        self.generation = Some(generation);
        waited
    }

    /// Returns when no program uses the one before any more: the kernel waits for all that run when an
    /// entry of an array of maps is written, since 4.20 (commit 1ae80cf31938).
    fn put_in_place(&mut self, generation: &Generation) -> Result<()> {
        self.maps.tables.set(0, generation, 0).context("writing TABLES")
    }
}

/// A map of its own for these lines. It lives as long as it is the one in use.
fn generation(lines: &[Line]) -> Result<Generation> {
    const INDEX_BYTES: u32 = 4;
    const LINE_BYTES: u32 = 64;
    let len = u32::try_from(lines.len()).context("the lists are too long")?;
    let words = lines.as_flattened();
    let flags = BPF_F_MMAPABLE | BPF_F_INNER_MAP;
    let wanted =
        aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, INDEX_BYTES, LINE_BYTES, len, flags);
    let map = MapData::create(wanted, "generation", None)?;
    let mapped = Mapped::new(map.fd(), words.len())?;
    for (place, word) in mapped.words().iter().zip(words) {
        place.store(*word, Ordering::Relaxed);
    }
    Ok(Map::Array(map).try_into()?)
}

/// Words and bits of the filter that lead to what was learned of an address.
const fn bits_of_learned(version: Version, address: &Address) -> [(u32, u32); 3] {
    let learned = filter::learned_bit(address);
    match version {
        Version::V4 => [filter::v4_block_bit(address), filter::v4_bit(address), learned],
        Version::V6 => [filter::v6_bit(address), learned, learned],
    }
}

/// That an entry had gone before is no failure to remove it.
fn gone(removed: Result<(), MapError>) -> Result<(), MapError> {
    match removed {
        Err(MapError::KeyNotFound) => Ok(()),
        removed => removed,
    }
}

const FREE: TargetName = TargetName { watchlist: [0; NAME_MAX + 1], target: [0; NAME_MAX + 1] };

fn bytes(name: &str) -> Result<[u8; NAME_MAX + 1]> {
    let mut bytes = [0; NAME_MAX + 1];
    ensure!(!name.is_empty() && name.len() <= NAME_MAX, "{name:?} is not a name of 1 to {NAME_MAX} bytes");
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    Ok(bytes)
}

fn text(bytes: &[u8]) -> Result<String> {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let text = std::str::from_utf8(&bytes[..end]).context("a name in TARGETS")?;
    Ok(text.to_owned())
}
