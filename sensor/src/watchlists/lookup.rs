//! "What would match, and why?" for people: a plain search through the lists as they are
//! written, by the same rules by which the compiled tables answer, and with the place.
//! Not for packets: it reads every entry.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};

use super::{Entry, Target, Watchlist, Watchlists, domains};

/// What a watchlist has on an address or a name.
#[derive(Clone, Debug)]
pub struct Match<'a> {
    pub watchlist: &'a Watchlist,
    pub target: &'a Target,
    /// `endpoint`, `prefix` or `domain`.
    pub signal: &'static str,
    pub indicator: String,
    /// `file:line`, or the citation of a built-in entry.
    pub source: String,
    /// The allow entry because of which this does not match after all, and its line.
    pub allowed: Option<(String, u32)>,
}

impl Watchlists {
    /// For each watchlist what a packet to or from this address would count for. Without a
    /// port, also each endpoint that it has at this address.
    pub fn lookup_address(&self, address: IpAddr, port: Option<u16>) -> Vec<Match<'_>> {
        let address = address.to_canonical();
        let mut matches = Vec::new();
        for list in &self.lists {
            let mut endpoints = self.endpoints(list, address, port);
            let has_endpoint = port.is_some() && !endpoints.is_empty();
            matches.append(&mut endpoints);
            if !has_endpoint {
                matches.extend(self.longest_prefix(list, address, port));
            }
        }
        matches
    }

    fn endpoints<'a>(&'a self, list: &'a Watchlist, address: IpAddr, port: Option<u16>) -> Vec<Match<'a>> {
        let mut found: Vec<(SocketAddr, Match<'a>)> = Vec::new();
        for target in &list.targets {
            for entry in &target.endpoints {
                let endpoint = entry.indicator;
                let asked = endpoint.ip() == address && port.is_none_or(|p| p == endpoint.port());
                // Ties go to the order of the config.
                if asked && found.iter().all(|(other, _)| *other != endpoint) {
                    let allowed = self.allowed(address, Some(endpoint.port()));
                    found.push((endpoint, matched(list, target, "endpoint", entry, allowed)));
                }
            }
        }
        found.sort_by_key(|(endpoint, _)| *endpoint);
        found.into_iter().map(|(_, found)| found).collect()
    }

    fn longest_prefix<'a>(
        &'a self,
        list: &'a Watchlist,
        address: IpAddr,
        port: Option<u16>,
    ) -> Option<Match<'a>> {
        let entries = list.targets.iter().flat_map(|target| {
            let covering = target.prefixes.iter().filter(|entry| entry.indicator.contains(&address));
            covering.map(move |entry| (target, entry))
        });
        let (target, entry) = first_max(entries, |(_, entry)| entry.indicator.prefix_len())?;
        Some(matched(list, target, "prefix", entry, self.allowed(address, port)))
    }

    fn allowed(&self, address: IpAddr, port: Option<u16>) -> Option<(String, u32)> {
        let by_endpoint = || self.allow.endpoint(SocketAddr::new(address, port?)).map(place);
        self.allow.address(address).map(place).or_else(by_endpoint)
    }

    /// For each watchlist what an answer for this name, or a TLS session naming it, would
    /// count for. `None`: this is no domain name.
    pub fn lookup_domain(&self, name: &str) -> Option<Vec<Match<'_>>> {
        let name = domains::parse(name).ok()?.indicator;
        let matches = self.lists.iter().filter_map(|list| {
            let entries = list.targets.iter().flat_map(|target| {
                let covering = target.domains.iter().filter(|e| domains::is_within(&name, &e.indicator));
                covering.map(move |entry| (target, entry))
            });
            let (target, entry) = first_max(entries, |(_, entry)| entry.indicator.len())?;
            Some(matched(list, target, "domain", entry, self.allow.domain(&name).map(place)))
        });
        Some(matches.collect())
    }
}

/// The first of those whose key is largest: [`Iterator::max_by_key`] returns the last.
fn first_max<T, K: Ord>(items: impl Iterator<Item = T>, key: impl Fn(&T) -> K) -> Option<T> {
    items.reduce(|best, item| if key(&item) > key(&best) { item } else { best })
}

fn place<T: Display>(entry: &Entry<T>) -> (String, u32) {
    (entry.indicator.to_string(), entry.line)
}

fn matched<'a, T: Display>(
    watchlist: &'a Watchlist,
    target: &'a Target,
    signal: &'static str,
    entry: &Entry<T>,
    allowed: Option<(String, u32)>,
) -> Match<'a> {
    let source = target.sources.get(entry.source as usize).map_or("", String::as_str);
    let source = match entry.line {
        0 => source.to_owned(),
        line => format!("{source}:{line}"),
    };
    Match { watchlist, target, signal, indicator: entry.indicator.to_string(), source, allowed }
}
