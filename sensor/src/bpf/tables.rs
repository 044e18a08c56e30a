//! Writes what the packet path looks up: who has which slot, the tables of the generation that
//! is not in use, and then the one word that makes it the one in use.
//!
//! The truth is in the daemon's memory: the tries are filled afresh, never merged, since kernels
//! before 6.13 miscount a trie's entries on update in place (and can skip keys on iteration).

use std::collections::{HashMap, HashSet};

use anyhow::{Context, Result, ensure};
use aya::maps::MapError;
use sensor_ebpf::abi::{
    Address, Daemon, EndpointKey, Learned, NAME_MAX, SCHEMA, Settings, TargetName, Version, filter,
};

use super::filter::Filter;
use super::maps::{Maps, Raw, Writable};
use crate::watchlists::Compiled;

/// The writing side of the maps.
pub struct Tables {
    maps: Writable,
    /// (watchlist, target) → slot, as TARGETS says.
    slots: HashMap<(String, String), u32>,
}

impl Tables {
    /// Takes the writing side, and reads whose the slots are.
    pub fn take(maps: &mut Maps) -> Result<Self> {
        let maps = maps.writable.take().context("the tables have a writer already")?;
        let settings = maps.settings.get(&0, 0).context("reading SETTINGS")?.0;
        ensure!(
            settings.schema == 0 || settings.schema == SCHEMA,
            "the pinned maps are of schema {}, this poolwatch writes {SCHEMA}: `poolwatch detach` removes them with their counts",
            settings.schema
        );
        let mut slots = HashMap::new();
        for slot in 0..maps.targets.len() {
            let Raw(name) = maps.targets.get(&slot, 0).context("reading TARGETS")?;
            if name != FREE {
                slots.insert((text(&name.watchlist)?, text(&name.target)?), slot);
            }
        }
        Ok(Self { maps, slots })
    }

    /// The slots of these targets, in their order: the ones that they have, or free ones that
    /// [`Tables::assign`] will make theirs, or none when TARGETS is full. Targets that left the
    /// config keep their slots and their counts. Nothing is written yet.
    pub fn plan<'a>(&self, targets: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Option<u32>> {
        let taken: HashSet<u32> = self.slots.values().copied().collect();
        let mut free = (0..self.maps.targets.len()).filter(|slot| !taken.contains(slot));
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

    /// Slots that are somebody's.
    pub fn slots_taken(&self) -> usize {
        self.slots.len()
    }

    /// Writes down what an address stands for from now on. The one way into LEARNED.
    pub fn learn(&mut self, key: EndpointKey, learned: Learned) -> Result<()> {
        self.maps.learned.insert(Raw(key), Raw(learned), 0).context("writing LEARNED")?;
        let Raw(now) = self.maps.settings.get(&0, 0).context("reading SETTINGS")?;
        let (word, bit) = filter_bit(&key);
        Filter::map(&self.maps.filter)?.set(now.generation as usize & 1, word, bit);
        Ok(())
    }

    /// What the daemon counted about itself, in this life and earlier ones.
    pub fn daemon(&self) -> Result<Daemon> {
        Ok(self.maps.daemon.get(&0, 0).context("reading DAEMON")?.0)
    }

    pub fn set_daemon(&mut self, counted: Daemon) -> Result<()> {
        self.maps.daemon.set(0, Raw(counted), 0).context("writing DAEMON")
    }

    /// Fills the generation that is not in use and makes it the one in use.
    pub fn switch_to(&mut self, compiled: &Compiled) -> Result<()> {
        let Raw(now) = self.maps.settings.get(&0, 0).context("reading SETTINGS")?;
        let next = (now.generation & 1) ^ 1;
        let generation = next as usize;

        let endpoints = &mut self.maps.endpoints[generation];
        while let Some(key) = first(endpoints.keys())? {
            endpoints.remove(&key).context("emptying ENDPOINTS")?;
        }
        for (key, targets) in &compiled.endpoints {
            endpoints.insert(Raw(*key), Raw(*targets), 0).context("writing ENDPOINTS")?;
        }

        let prefixes = &mut self.maps.prefixes_v4[generation];
        while let Some(key) = first(prefixes.keys())? {
            prefixes.remove(&key).context("emptying PREFIXES_V4")?;
        }
        for (prefix, targets) in &compiled.v4 {
            let (address, _) = Address::from_ip(prefix.network().into());
            let key = aya::maps::lpm_trie::Key::new(u32::from(prefix.prefix_len()), address.v4_word());
            prefixes.insert(&key, Raw(*targets), 0).context("writing PREFIXES_V4")?;
        }

        let prefixes = &mut self.maps.prefixes_v6[generation];
        while let Some(key) = first(prefixes.keys())? {
            prefixes.remove(&key).context("emptying PREFIXES_V6")?;
        }
        for (prefix, targets) in &compiled.v6 {
            let (address, _) = Address::from_ip(prefix.network().into());
            let key = aya::maps::lpm_trie::Key::new(u32::from(prefix.prefix_len()), address.0);
            prefixes.insert(&key, Raw(*targets), 0).context("writing PREFIXES_V6")?;
        }

        let mut covered = compiled.filter.clone();
        for key in self.maps.learned.keys() {
            let (word, bit) = filter_bit(&key.context("listing LEARNED")?.0);
            covered[word] |= bit;
        }
        Filter::map(&self.maps.filter)?.write(generation, &covered)?;
        let settings = Settings { schema: SCHEMA, generation: next };
        self.maps.settings.set(0, Raw(settings), 0).context("writing SETTINGS")
    }
}

/// Word (within a generation) and bit of an address in the coverage filter.
fn filter_bit(key: &EndpointKey) -> (usize, u64) {
    let (word, bit) = if key.version == Version::V4 as u8 {
        filter::v4_bit(&key.address)
    } else {
        filter::v6_bit(&key.address)
    };
    (word as usize, 1 << bit)
}

const FREE: TargetName = TargetName { watchlist: [0; NAME_MAX + 1], target: [0; NAME_MAX + 1] };

/// The first key of a map; asked for again after each removal, since no kernel skips that one.
fn first<K>(mut keys: impl Iterator<Item = Result<K, MapError>>) -> Result<Option<K>> {
    keys.next().transpose().context("listing a table's keys")
}

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
