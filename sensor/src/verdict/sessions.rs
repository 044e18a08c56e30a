//! Who mines: what each side of a connection said, and when that is enough to say so.
//!
//! A word that nothing else says is enough where it cannot be a stranger's: anybody may send this host
//! a miner's request or a pool's job, from whatever port and address, even without a connection. So this
//! host serves miners only when it has answered as a pool, and mines only when it has spoken as a miner,
//! or listens to a pool on a connection that it was seen to open, which is known of those that are counted.
//! Two halves are enough when one side asks for the work that the other gives.

use sensor_ebpf::abi::{FlowKey, Side};

use super::bounded::Bounded;
use super::{Role, Sample};
use crate::inspect::{About, Mining, Signal, Speaker, Weight, Work};

/// Connections of which something is remembered; of more, the oldest go.
const CONNECTIONS_MAX: usize = 4096;
/// After so long a silence, what was said between two ends was another connection's: sooner, nobody opens
/// one on the same ports (RFC 9293, 3.6.1: twice the two minutes of a segment's life).
const SILENCE_NS: u64 = 240 * 1_000_000_000;
/// A connection that was heard to speak HTTP so lately may well go on; most are over soon.
const HTTP_GOES_ON_WITHIN_NS: u64 = 5 * 1_000_000_000;

pub(super) struct Sessions {
    heard: Bounded<FlowKey, Heard>,
    /// When each connection was last heard to speak HTTP.
    http: Bounded<FlowKey, u64>,
    /// Connections of which something was remembered, and had to go while it could still matter.
    pub(super) forgotten: u64,
}

/// What was said on a connection, by [`Side`].
#[derive(Clone, Debug, Default)]
struct Heard {
    last_ns: u64,
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

impl Default for Sessions {
    fn default() -> Self {
        let (heard, http) = (Bounded::new(CONNECTIONS_MAX), Bounded::new(CONNECTIONS_MAX));
        Self { heard, http, forgotten: 0 }
    }
}

impl Sessions {
    pub(super) fn note_http(&mut self, key: &FlowKey, at_ns: u64) {
        if let Some(last_ns) = self.http.get_mut(key) {
            *last_ns = at_ns;
        } else if let Some(last_ns) = self.http.insert(*key, at_ns) {
            self.forgotten += u64::from(at_ns.saturating_sub(last_ns) <= HTTP_GOES_ON_WITHIN_NS);
        }
    }

    pub(super) fn speaks_http(&self, key: &FlowKey, at_ns: u64) -> bool {
        self.http.get(key).is_some_and(|last_ns| !is_anothers(*last_ns, at_ns))
    }

    #[cfg(test)]
    pub(super) fn remembered(&self) -> [(usize, usize); 4] {
        let ([heard, heard_order], [http, http_order]) = (self.heard.remembered(), self.http.remembered());
        [heard, heard_order, http, http_order]
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
        if self.heard.get(&key).is_none() {
            let gone = self.heard.insert(key, Heard::default());
            self.forgotten += u64::from(gone.is_some_and(|gone| !gone.is_over(sample.header.at_ns)));
        }
        let heard = self.heard.get_mut(&key)?;
        if heard.is_over(sample.header.at_ns) {
            *heard = Heard::default();
        }
        heard.last_ns = sample.header.at_ns;
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

impl Heard {
    /// Halves may be far from one another; only that somebody played is not for ever.
    const fn is_over(&self, now_ns: u64) -> bool {
        self.is_muddled && is_anothers(self.last_ns, now_ns)
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

/// Was what was said then said on a connection before the one that speaks now?
const fn is_anothers(last_ns: u64, now_ns: u64) -> bool {
    now_ns.saturating_sub(last_ns) > SILENCE_NS
}
