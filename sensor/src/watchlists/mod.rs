//! The second stage of the configuration: built-in lists, inline indicators and feed files,
//! parsed and validated into one kind of thing, with the place each indicator came from.
//!
//! [`Compiled`] is what the packet path looks up, [`Domains`] what the inspectors do; people ask
//! through [`Watchlists::lookup_address`] and [`Watchlists::lookup_domain`]. No name is ever
//! resolved.

pub(crate) mod builtin;
mod compiled;
mod domains;
mod endpoints;
mod feed;
mod load;
mod lookup;
mod pool;
mod prefixes;

use std::borrow::Cow;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use ipnet::IpNet;
use time::Date;

pub use crate::config::{Category, Kind, UNLISTED};
pub use compiled::{CompileError, Compiled, DomainMatch, Domains, Entries, Matches, Sizes};
pub use lookup::Match;
pub use pool::{Pool, Status};

/// All that is watched, in the order of the config, the built-in lists first.
#[derive(Clone, Debug, Default)]
pub struct Watchlists {
    pub lists: Vec<Watchlist>,
    pub allow: Allow,
    /// What someone should know about the lists though it is no error: a line each.
    pub notes: Vec<String>,
}

/// A named set of targets.
#[derive(Clone, Debug)]
pub struct Watchlist {
    pub name: String,
    pub category: Category,
    /// In the order in which the config first names them, which is how ties are decided.
    pub targets: Vec<Target>,
    /// Its oldest feed's file time; for a built-in list the date of its last review; `None`
    /// when all is inline.
    pub updated: Option<SystemTime>,
}

/// What indicators stand for, and what is counted.
#[derive(Clone, Debug)]
pub struct Target {
    pub name: String,
    pub confidence: Confidence,
    /// When a built-in target was last held against its source.
    pub reviewed: Option<Date>,
    /// Of a built-in mining pool.
    pub pool: Option<Pool>,
    /// Config and feed files by path, or a built-in target's citation.
    pub sources: Vec<String>,
    /// Without duplicates, as the other two.
    pub prefixes: Vec<Entry<IpNet>>,
    pub endpoints: Vec<Entry<SocketAddr>>,
    /// ASCII, lower case, without a final dot; each matches itself and its subdomains.
    pub domains: Vec<Entry<String>>,
}

impl Target {
    /// Of which nothing is known yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            confidence: Confidence::Confirmed,
            reviewed: None,
            pool: None,
            sources: Vec::new(),
            prefixes: Vec::new(),
            endpoints: Vec::new(),
            domains: Vec::new(),
        }
    }

    /// How sure it is, and of a pool its status: `confirmed, alive`.
    pub fn standing(&self) -> String {
        let confidence = self.confidence.name();
        match &self.pool {
            Some(pool) => format!("{confidence}, {}", pool.status.name()),
            None => confidence.to_owned(),
        }
    }

    /// All sources in one line.
    pub fn source(&self) -> String {
        self.sources.join(", ")
    }
}

/// What never matches, whatever a list says.
#[derive(Clone, Debug, Default)]
pub struct Allow {
    pub prefixes: Vec<Entry<IpNet>>,
    pub endpoints: Vec<Entry<SocketAddr>>,
    pub domains: Vec<Entry<String>>,
}

impl Allow {
    /// The entry that keeps this address from matching, and from being learned.
    pub fn address(&self, address: IpAddr) -> Option<&Entry<IpNet>> {
        self.prefixes.iter().find(|entry| entry.indicator.contains(&address))
    }

    /// The entry that keeps this address from matching on this port alone.
    pub fn endpoint(&self, endpoint: SocketAddr) -> Option<&Entry<SocketAddr>> {
        self.endpoints.iter().find(|entry| entry.indicator == endpoint)
    }

    /// The entry that keeps this name from matching: itself, or a parent.
    pub fn domain(&self, domain: &str) -> Option<&Entry<String>> {
        self.domains.iter().find(|entry| domains::is_within(domain, &entry.indicator))
    }
}

/// An indicator and where it is written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry<T> {
    pub indicator: T,
    /// Index into its target's sources; 0 and meaningless in [`Allow`].
    pub source: u32,
    /// Line of that source, counted from 1; 0 where a line says nothing.
    pub line: u32,
}

/// How sure it is that an indicator stands for its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    Confirmed,
    Associated,
    Historical,
}

impl Confidence {
    /// As labels and tables show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Associated => "associated",
            Self::Historical => "historical",
        }
    }
}

/// An indicator as a parser read it, and what one should know about how it was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read<T> {
    indicator: T,
    remark: Option<&'static str>,
}

/// Why a text is no indicator. Reads on after the text: `is not …`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refused(Cow<'static, str>);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

const fn refused(why: &'static str) -> Refused {
    Refused(Cow::Borrowed(why))
}
