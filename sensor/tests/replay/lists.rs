//! Watchlists as replay asks for them, small enough to be read through: a list of indicators,
//! of which the first that matches in a watchlist is the one that counts.

use std::net::{IpAddr, SocketAddr};

use sensor::config::Inspect;
use sensor::replay::{Lists, Target};
use sensor::verdict::Watching;
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, TargetSet, Version};
use sensor_ebpf::classify::Tables;
use sensor_ebpf::ranges::Found;

/// What is watched, and for whom.
#[derive(Default)]
pub(super) struct Watched {
    targets: Vec<Target>,
    /// Address, port of an endpoint, slot.
    indicators: Vec<(IpAddr, Option<u16>, u32)>,
    /// No names, and no exceptions.
    watching: Watching,
}

impl Watched {
    /// Adds an address, whatever the port.
    pub(super) fn address(mut self, watchlist: &str, target: &str, address: &str) -> Self {
        let slot = self.slot(watchlist, target);
        self.indicators.push((address.parse().unwrap(), None, slot));
        self
    }

    /// Adds an address with a port.
    pub(super) fn endpoint(mut self, watchlist: &str, target: &str, endpoint: &str) -> Self {
        let slot = self.slot(watchlist, target);
        let endpoint: SocketAddr = endpoint.parse().unwrap();
        self.indicators.push((endpoint.ip(), Some(endpoint.port()), slot));
        self
    }

    fn slot(&mut self, watchlist: &str, target: &str) -> u32 {
        let wanted = Target { watchlist: watchlist.to_owned(), target: target.to_owned() };
        let slot = self.targets.iter().position(|known| *known == wanted).unwrap_or_else(|| {
            self.targets.push(wanted);
            self.targets.len() - 1
        });
        u32::try_from(slot).unwrap()
    }

    /// One target a watchlist, endpoints first.
    fn find(&self, address: IpAddr, port: Option<u16>) -> Option<TargetSet> {
        let mut slots: Vec<u32> = Vec::new();
        let matches = |of: Option<u16>| {
            self.indicators.iter().filter(move |it| it.0 == address && it.1 == of).map(|it| it.2)
        };
        let endpoints = port.into_iter().flat_map(|port| matches(Some(port)));
        for slot in endpoints.chain(matches(None)) {
            let watchlist = |slot: u32| &self.targets[slot as usize].watchlist;
            if !slots.iter().any(|&taken| watchlist(taken) == watchlist(slot)) {
                slots.push(slot);
            }
        }
        if slots.is_empty() { None } else { TargetSet::of(slots) }
    }
}

impl Tables for Watched {
    fn covers(&self, _: Version, _: &Address) -> bool {
        true
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        let address = remote.to_ip(version);
        let is_endpoint = port.is_some() && self.indicators.iter().any(|it| it.0 == address && it.1 == port);
        Found { targets: self.find(address, port).unwrap_or(TargetSet::EMPTY), is_endpoint }
    }

    fn may_know(&self, _: &Address) -> bool {
        false
    }

    fn learned(&self, _: &EndpointKey) -> Option<TargetSet> {
        None
    }

    fn judged(&self, _: &FlowKey) -> Option<TargetSet> {
        None
    }
}

impl Lists for Watched {
    type Tables = Self;

    fn tables(&self) -> &Self {
        self
    }

    fn targets(&self) -> &[Target] {
        &self.targets
    }

    fn inspect(&self) -> Inspect {
        Inspect::default()
    }

    fn watching(&self) -> &Watching {
        &self.watching
    }

    fn signal(&self, slot: u32, address: IpAddr, port: u16) -> &'static str {
        if self.indicators.contains(&(address, Some(port), slot)) { "endpoint" } else { "prefix" }
    }
}
