//! The config's watchlists as replay asks for them: compiled as for the kernel, slots in the
//! order of the config, and for each of them why an address concerns it.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::{Lists, Target};
use crate::config::{Config, Inspect};
use crate::verdict::Watching;
use crate::watchlists::{Compiled, Watchlists};

/// What is watched.
pub struct Watched {
    compiled: Compiled,
    watching: Watching,
    inspect: Inspect,
    /// By slot.
    targets: Vec<Target>,
    /// Those that a target lists itself, with its slot.
    endpoints: HashSet<(SocketAddr, u32)>,
}

impl Watched {
    /// # Errors
    /// When the lists are more than the config's limits let in, or too many of them concern
    /// one address.
    pub fn new(config: &Config, watchlists: &Watchlists) -> anyhow::Result<Self> {
        let mut targets = Vec::new();
        let compiled = Compiled::of_config(config, watchlists, |watchlist, target| {
            targets.push(Target { watchlist: watchlist.to_owned(), target: target.to_owned() });
            u32::try_from(targets.len() - 1).ok()
        })?;
        let slots: HashMap<(&str, &str), u32> = targets
            .iter()
            .map(|target| (target.watchlist.as_str(), target.target.as_str()))
            .zip(0..)
            .collect();
        let watching = Watching::of(watchlists, |watchlist, target| slots.get(&(watchlist, target)).copied())
            .map_err(|error| config.document.error_at_key(error.key(), error))?;
        let listed = watchlists.lists.iter().flat_map(|list| &list.targets);
        let endpoints = listed
            .zip(0..)
            .flat_map(|(target, slot)| target.endpoints.iter().map(move |entry| (entry.indicator, slot)))
            .collect();
        Ok(Self { compiled, watching, inspect: config.inspect, targets, endpoints })
    }
}

impl Lists for Watched {
    type Tables = Compiled;

    fn tables(&self) -> &Compiled {
        &self.compiled
    }

    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn inspect(&self) -> Inspect {
        self.inspect
    }

    fn watching(&self) -> &Watching {
        &self.watching
    }

    /// Within a watchlist an endpoint beats a prefix, so what lists the endpoint was found by it.
    fn signal(&self, slot: u32, address: IpAddr, port: u16) -> &'static str {
        if self.endpoints.contains(&(SocketAddr::new(address, port), slot)) { "endpoint" } else { "prefix" }
    }
}
