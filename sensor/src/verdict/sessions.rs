//! Who mines: what each side of a connection said, and when that is enough to say so.
//!
//! A word that nothing else says is enough where it cannot be a stranger's: anybody may send this host
//! a miner's request or a pool's job, from whatever port and address, even without a connection. So this
//! host serves miners only when it has answered as a pool, and mines only when it has spoken as a miner,
//! or listens to a pool on a connection that it was seen to open. Two halves are enough when one side asks for the work that the other gives.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::RandomState;
use sensor_ebpf::abi::{FlowKey, Side};

use super::{Role, Sample};
use crate::inspect::{About, Mining, Signal, Speaker, Weight, Work};

/// Connections of which something is remembered; of more, the oldest go.
const CONNECTIONS_MAX: usize = 4096;
/// After so long a silence, what was said between two ends was another connection's: sooner, nobody opens
/// one on the same ports (RFC 9293, 3.6.1: twice the two minutes of a segment's life).
const SILENCE_NS: u64 = 240 * 1_000_000_000;

#[derive(Default)]
pub(super) struct Sessions {
    heard: Bounded<Heard>,
    http: Bounded<()>,
}

/// What was said on a connection, by [`Side`].
#[derive(Clone, Debug, Default)]
struct Heard {
    said: [Said; 2],
    signal: Option<Signal>,
    about: About,
    /// A side spoke as a miner and as a pool: nothing follows from it any more.
    is_muddled: bool,
}

/// What is certain of a connection.
pub(super) struct Concluded {
    pub(super) signal: Signal,
    pub(super) role: Role,
    pub(super) about: About,
    /// Which side serves the other.
    pub(super) pool: Side,
}

#[derive(Clone, Copy, Debug, Default)]
struct Said {
    speaks_as: Option<Speaker>,
    is_enough: bool,
    half: Option<Work>,
}

impl Sessions {
    pub(super) fn note_http(&mut self, key: &FlowKey, at_ns: u64) {
        self.http.entry(*key).last_ns = at_ns;
    }

    pub(super) fn speaks_http(&self, key: &FlowKey, at_ns: u64) -> bool {
        self.http.entries.get(key).is_some_and(|entry| !entry.is_anothers(at_ns))
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 4] {
        [
            (self.heard.entries.len(), CONNECTIONS_MAX),
            (self.heard.order.len(), CONNECTIONS_MAX),
            (self.http.entries.len(), CONNECTIONS_MAX),
            (self.http.order.len(), CONNECTIONS_MAX),
        ]
    }

    /// What is certain of the connection after this message. `has_host`: one end is this host.
    pub(super) fn conclude(
        &mut self,
        sample: &Sample<'_>,
        mining: Mining,
        initiator: Option<Side>,
        has_host: bool,
    ) -> Option<Concluded> {
        let (key, sender) = (sample.header.key, sample.sender());
        let entry = self.heard.entry(key);
        // Halves may be far from one another; only that somebody played is not for ever.
        if entry.of.is_muddled && entry.is_anothers(sample.header.at_ns) {
            entry.of = Heard::default();
        }
        entry.last_ns = sample.header.at_ns;
        let heard = &mut entry.of;
        let said = &mut heard.said[sender.index()];
        if said.speaks_as.is_some_and(|before| before != mining.speaker) {
            // Nobody is both: someone plays, or echoes.
            heard.is_muddled = true;
        }
        if heard.is_muddled {
            return None;
        }
        said.speaks_as = Some(mining.speaker);
        match mining.weight {
            Weight::Enough => said.is_enough = true,
            Weight::Half(work) => said.half = Some(work),
        }
        if heard.signal.is_none() || mining.weight == Weight::Enough {
            heard.signal = Some(mining.signal);
        }
        let about = std::mem::take(&mut heard.about);
        heard.about = about.or(mining.about);

        let [local, remote] = heard.said;
        let are_halves =
            local.half.is_some() && local.half == remote.half && local.speaks_as != remote.speaks_as;
        if !(local.is_enough || remote.is_enough || are_halves) {
            return None;
        }
        let miner = if mining.speaker == Speaker::Miner { sender } else { sender.other() };
        let role = role(heard.said, miner, initiator, has_host)?;
        let heard = self.heard.remove(&key)?;
        Some(Concluded { signal: heard.signal?, role, about: heard.about, pool: miner.other() })
    }
}

fn role(said: [Said; 2], miner: Side, initiator: Option<Side>, has_host: bool) -> Option<Role> {
    if !has_host {
        // The initiator's; miners open their connections, so where nobody saw who did, it was the miner.
        return Some(if initiator.is_some_and(|it| it != miner) { Role::Pool } else { Role::Miner });
    }
    let [local, remote] = said.map(|said| said.speaks_as);
    if local == remote {
        // An echo: who sent it first was no pool, and who sends it back no miner.
        return None;
    }
    match miner {
        Side::Local if local == Some(Speaker::Miner) || initiator == Some(Side::Local) => Some(Role::Miner),
        Side::Remote if local == Some(Speaker::Pool) => Some(Role::Pool),
        _ => None,
    }
}

/// Entries by connection, the oldest of which make room.
struct Bounded<T> {
    entries: HashMap<FlowKey, Entry<T>, RandomState>,
    /// As they came; may name such as are gone.
    order: VecDeque<FlowKey>,
}

#[derive(Default)]
struct Entry<T> {
    last_ns: u64,
    of: T,
}

impl<T> Entry<T> {
    /// Is this about a connection before the one that speaks now?
    fn is_anothers(&self, now_ns: u64) -> bool {
        now_ns.saturating_sub(self.last_ns) > SILENCE_NS
    }
}

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self { entries: HashMap::default(), order: VecDeque::new() }
    }
}

impl<T: Default> Bounded<T> {
    fn entry(&mut self, key: FlowKey) -> &mut Entry<T> {
        if !self.entries.contains_key(&key) {
            while self.order.len() >= CONNECTIONS_MAX {
                let oldest = self.order.pop_front();
                oldest.map(|oldest| self.entries.remove(&oldest));
            }
            self.order.push_back(key);
        }
        self.entries.entry(key).or_default()
    }

    fn remove(&mut self, key: &FlowKey) -> Option<T> {
        self.entries.remove(key).map(|entry| entry.of)
    }
}
