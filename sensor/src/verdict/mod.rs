//! From samples to verdicts: which connection mines, which names a watched site, which address an
//! answer gave for a watched name; and what the packet path is to know from now on.
//!
//! Portable, as the classifier is: the daemon and `replay` hand over samples in their order and a
//! [`World`] to ask and to change. Nothing here knows maps, files or clocks. What it remembers is
//! bounded; of a sample that says nothing, nothing is kept and nothing allocated.

mod bounded;
mod known;
mod names;
mod pieces;
mod queries;
mod sessions;
mod watching;

use std::net::IpAddr;

use sensor_ebpf::abi::{
    Direction, EndpointKey, FlowKey, Judged, Learned, SampleHeader, SampleKind, Side, TargetSet, Version,
};
use sensor_ebpf::classify::{self, Tables};
use sensor_ebpf::ranges::Found;

use crate::inspect::dns::Outcome;
use crate::inspect::{About, Mining, Payload, Signal, getwork, stratum, tls};
pub use known::{Known, Overlaid, Refusals};
use pieces::Pieces;
use queries::Queries;
use sessions::{Concluded, Sessions};
pub use watching::Watching;

/// What the packet path knows, and the flows that it has seen.
pub trait World {
    type Lists: Tables;

    fn lists(&self) -> &Self::Lists;
    fn known(&self) -> &Known;
    fn learn(&mut self, key: EndpointKey, learned: Learned);
    /// `false`: there was no room.
    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool;
    /// When a flow that is being counted was opened, and by whom.
    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)>;
}

/// Who this host is to the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// This host mines.
    Miner = 0,
    /// This host serves miners.
    Pool = 1,
    /// Nothing was mined.
    None = 2,
}

impl Role {
    pub const ALL: [Self; 3] = [Self::Miner, Self::Pool, Self::None];

    /// The label value.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Miner => "miner",
            Self::Pool => "pool",
            Self::None => "none",
        }
    }

    /// That of [`Judged::role`].
    pub fn of(number: u8) -> Self {
        Self::ALL.into_iter().find(|role| *role as u8 == number).unwrap_or(Self::None)
    }
}

/// A connection recognised by what it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detection {
    pub key: FlowKey,
    /// Whom it concerns from now on.
    pub targets: TargetSet,
    pub signal: Signal,
    pub role: Role,
    pub about: About,
    /// With [`Signal::Sni`].
    pub server_name: Option<String>,
    /// Likewise.
    pub indicators: Indicators,
    /// Index of the interface.
    pub interface: u32,
    pub at_ns: u64,
}

/// The domains of the lists by which targets were found, by slot.
pub type Indicators = Vec<(u32, String)>;

/// An answer to a query for a watched name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub key: FlowKey,
    pub query: String,
    pub outcome: Outcome,
    /// Those that the name concerns.
    pub targets: TargetSet,
    pub indicators: Indicators,
    pub addresses: Vec<IpAddr>,
    pub interface: u32,
    pub at_ns: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    Detection(Detection),
    Answer(Answer),
    /// A learned address, and yet another site.
    Freed(FlowKey),
}

/// A copied payload.
#[derive(Clone, Copy, Debug)]
pub struct Sample<'a> {
    pub header: SampleHeader,
    pub payload: &'a [u8],
}

impl Sample<'_> {
    fn direction(&self) -> Direction {
        if self.header.direction == Direction::Ingress as u8 { Direction::Ingress } else { Direction::Egress }
    }

    /// Who sent it.
    fn sender(&self) -> Side {
        self.direction().sender()
    }

    fn is_cut(&self) -> bool {
        self.header.payload > u32::from(self.header.captured)
    }
}

/// What was remembered, had not come to its end, and had to go to make room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// Begun messages that could have gone on.
    pub messages: u64,
    /// Connections that had said half of what is needed, or that they speak HTTP.
    pub sessions: u64,
    /// Queries whose answers could have come.
    pub queries: u64,
}

impl Forgotten {
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            messages: self.messages + other.messages,
            sessions: self.sessions + other.sessions,
            queries: self.queries + other.queries,
        }
    }
}

/// What is being listened to.
pub struct Verdicts {
    /// Is one of the ends this host? In a capture neither is.
    has_host: bool,
    pieces: Pieces,
    queries: Queries,
    sessions: Sessions,
}

impl Verdicts {
    pub fn new(has_host: bool) -> Self {
        Self {
            has_host,
            pieces: Pieces::default(),
            queries: Queries::default(),
            sessions: Sessions::default(),
        }
    }

    /// What had to go to make room.
    pub const fn forgotten(&self) -> Forgotten {
        Forgotten {
            messages: self.pieces.forgotten,
            sessions: self.sessions.forgotten,
            queries: self.queries.forgotten,
        }
    }

    /// How much is remembered in each place, and how much may be.
    #[cfg(test)]
    fn remembered(&self) -> Vec<(usize, usize)> {
        [&self.pieces.remembered()[..], &self.queries.remembered(), &self.sessions.remembered()].concat()
    }

    /// Hears one sample and tells what follows from it.
    pub fn hear(
        &mut self,
        sample: &Sample<'_>,
        watching: &Watching,
        world: &mut impl World,
        tell: &mut impl FnMut(Finding),
    ) {
        match SampleKind::of(sample.header.kind) {
            Some(SampleKind::Dns) => self.hear_dns(sample, watching, world, tell),
            Some(SampleKind::Tls) => {
                let hello = self.pieces.whole(sample, |bytes, is_cut| {
                    let hello = tls::inspect(Payload { bytes, is_cut });
                    let wants_more = hello.is_some_and(|it| it.wanted > 0 && it.server_name.is_none());
                    (hello, wants_more.then_some(0))
                });
                if let Some(name) = hello.and_then(|hello| hello.server_name) {
                    named(sample, name.as_str(), watching, world, tell);
                }
            }
            Some(SampleKind::Json) => {
                // A body that a web server sends is no line between miner and pool, whatever it says.
                let is_http = self.sessions.speaks_http(&sample.header.key, sample.header.at_ns);
                let mining = self.pieces.whole(sample, |bytes, is_cut| {
                    let payload = Payload { bytes, is_cut };
                    let mining = if is_http { getwork::inspect(payload) } else { stratum::inspect(payload) };
                    (mining, (!bytes.ends_with(b"\n")).then_some(0))
                });
                self.hear_mining(sample, mining, watching, world, tell);
            }
            Some(SampleKind::Http) => {
                self.sessions.note_http(&sample.header.key, sample.header.at_ns);
                let mining = self.pieces.whole(sample, |bytes, is_cut| {
                    let wants_more = !bytes.ends_with(b"\r\n\r\n");
                    (getwork::inspect(Payload { bytes, is_cut }), wants_more.then_some(0))
                });
                self.hear_mining(sample, mining, watching, world, tell);
            }
            Some(SampleKind::Binary) | None => {}
        }
    }

    fn hear_mining(
        &mut self,
        sample: &Sample<'_>,
        mining: Option<Mining>,
        watching: &Watching,
        world: &mut impl World,
        tell: &mut impl FnMut(Finding),
    ) {
        let Some(mining) = mining else { return };
        let key = sample.header.key;
        if watching.allows(remote_ip(&key), key.remote_port) {
            return;
        }
        let initiator = world.opened(&key).and_then(|(_, initiator)| initiator);
        let Some(concluded) = self.sessions.conclude(sample, mining, initiator, self.has_host) else {
            return;
        };
        let at_ns = sample.header.at_ns;
        if is_known(&key, at_ns, world) {
            return;
        }
        let before = concerned(&key, world);
        let targets = watching.with_mining(before);
        if targets.is_empty() {
            return;
        }
        let own = Watching::without(targets, listed(&key, world).targets);
        let Concluded { signal, role, about, pool } = concluded;
        let endpoint =
            EndpointKey { address: key.remote, port: key.remote_port, version: key.version, reserved: 0 };
        // Who comes back before the day is over keeps it known.
        let is_learned = world.known().learned().contains_key(&endpoint);
        if pool == Side::Remote && (targets != before || is_learned) {
            let expires_ns = at_ns.saturating_add(names::TTL_MAX_NS);
            world.learn(endpoint, Learned { targets, own, expires_ns });
        }
        let judged = Judged { targets, own, at_ns, signal: signal as u8, role: role as u8, reserved: [0; 6] };
        if world.judge(key, judged) {
            let (server_name, indicators) = (None, Indicators::new());
            let interface = sample.header.interface;
            let detection =
                Detection { key, targets, signal, role, about, server_name, indicators, interface, at_ns };
            tell(Finding::Detection(detection));
        }
    }
}

/// A client said whom it wants to talk to.
fn named(
    sample: &Sample<'_>,
    name: &str,
    watching: &Watching,
    world: &mut impl World,
    tell: &mut impl FnMut(Finding),
) {
    let key = sample.header.key;
    let at_ns = sample.header.at_ns;
    // What others ask of this host says nothing about whom it talks to.
    if sample.sender() != Side::Local || watching.allows(remote_ip(&key), key.remote_port) {
        return;
    }
    let listed = listed(&key, world).targets;
    let matches = watching.domains.find(name.as_bytes());
    let named = matches.targets();
    let (signal, role) = (Signal::Sni, Role::None);
    if named.is_empty() {
        let signal = Judged::FREED;
        let freed = Judged { targets: listed, own: named, at_ns, signal, role: role as u8, reserved: [0; 6] };
        if concerned(&key, world) != listed && world.judge(key, freed) {
            tell(Finding::Freed(key));
        }
        return;
    }
    if is_known(&key, at_ns, world) {
        return;
    }
    let targets = watching.joined(named, listed);
    let judged =
        Judged { targets, own: named, at_ns, signal: signal as u8, role: role as u8, reserved: [0; 6] };
    if world.judge(key, judged) {
        let (about, server_name) = (About::default(), Some(name.to_owned()));
        let indicators = matches.iter().map(|it| (it.slot, it.indicator.to_owned())).collect();
        let interface = sample.header.interface;
        let detection =
            Detection { key, targets, signal, role, about, server_name, indicators, interface, at_ns };
        tell(Finding::Detection(detection));
    }
}

/// Was this very connection recognised before? One whose opening was seen since then is another.
fn is_known(key: &FlowKey, at_ns: u64, world: &impl World) -> bool {
    let Some(judged) = world.known().judged().get(key).filter(|judged| judged.signal != Judged::FREED) else {
        return false;
    };
    let is_other = matches!(world.opened(key), Some((opened_ns, Some(_))) if opened_ns > judged.at_ns);
    !is_other && judged.at_ns <= at_ns
}

/// Whom the packet path takes a connection to concern.
fn concerned(key: &FlowKey, world: &impl World) -> TargetSet {
    let tables = Overlaid { tables: world.lists(), known: world.known() };
    classify::targets(Version::of(key.version), key.remote, Some(*key), &tables)
}

/// What the lists themselves say of its other end.
fn listed(key: &FlowKey, world: &impl World) -> Found {
    world.lists().listed(Version::of(key.version), &key.remote, Some(key.remote_port))
}

fn remote_ip(key: &FlowKey) -> IpAddr {
    key.remote.to_ip(Version::of(key.version))
}

#[cfg(test)]
mod tests;
