//! The daemon's half of recognising: hears samples, keeps what they taught in step with the kernel's
//! maps, and counts what was found where it outlives the daemon.
//!
//! Deciding is `verdict`'s; what is written where, is decided here.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use anyhow::Result;
use foldhash::fast::RandomState;
use sensor_ebpf::abi::{
    Address, Daemon, EndpointKey, Findings, Flow, FlowKey, Judged, Learned, Side, TargetSet, Version,
    capacity, index_of,
};
use sensor_ebpf::classify;
use sensor_ebpf::flow::{initiator, is_over};
use sensor_ebpf::ranges::Found;

use crate::bpf::Loaded;
use crate::bpf::tables::Tables;
use crate::flows::ALIVE_NS;
use crate::inspect::Signal;
use crate::verdict::{Detection, Finding, Known, Overlaid, Role, Sample, Verdicts, Watching, World};
use crate::watchlists::Compiled;

/// Detections that people can be shown; of more, the oldest go.
pub const RECENT_MAX: usize = 256;
/// A connection that was recognised and of which no packet was counted within this time is over.
const UNSEEN_NS: u64 = 60 * 1_000_000_000;

/// What was recognised so far, for metrics and views.
#[derive(Clone, Debug, Default)]
pub struct Recognised {
    /// By index of the slot, on the maps in use.
    pub findings: HashMap<u32, Findings>,
    /// By signal.
    pub signals: [u64; 16],
    /// Sessions alive, by index of the slot and [`Role`].
    pub sessions: BTreeMap<(u32, u8), u64>,
    /// The newest first.
    pub recent: VecDeque<Detection>,
    /// Entries of LEARNED and JUDGED.
    pub learned: u64,
    pub judged: u64,
}

pub struct Recognition {
    verdicts: Verdicts,
    watching: Watching,
    compiled: Compiled,
    known: Known,
    pub recognised: Recognised,
    /// Something is to be shown that was not yet.
    pub has_news: bool,
}

impl Recognition {
    /// Goes on with what daemons before this one learned.
    ///
    /// # Errors
    /// When the maps cannot be read.
    pub fn new(tables: &Tables, daemon: &Daemon) -> Result<Self> {
        let mut findings = HashMap::new();
        for (index, ..) in tables.owners() {
            findings.insert(index, tables.findings(index)?);
        }
        let mut recognition = Self {
            verdicts: Verdicts::new(true),
            watching: Watching::default(),
            compiled: Compiled::default(),
            known: Known::default(),
            recognised: Recognised { findings, signals: daemon.signals, ..Recognised::default() },
            has_news: true,
        };
        recognition.know(tables)?;
        Ok(recognition)
    }

    /// Takes over what the maps in use know.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn know(&mut self, tables: &Tables) -> Result<()> {
        self.known.learned = tables.learned()?.into_iter().collect();
        self.known.judged = tables.judged()?.into_iter().collect();
        self.has_news = true;
        Ok(())
    }

    /// From now on these are watched. What was learned for targets that are not any more goes, and so
    /// does what was learned of addresses that are allowed by now.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn watch(&mut self, watching: Watching, compiled: Compiled, tables: &mut Tables) -> Result<()> {
        self.watching = watching;
        self.compiled = compiled;
        for (key, learned) in self.known.learned.clone() {
            let ip = key.address.to_ip(Version::of(key.version));
            let targets = self.watching.still_watched(learned.targets);
            if targets.is_empty() || self.watching.allows(ip, key.port) {
                self.unlearn(&key, tables)?;
            } else if targets != learned.targets {
                let learned = Learned { targets, ..learned };
                self.known.learned.insert(key, learned);
                tables.learn(key, learned)?;
            }
        }
        for (key, judged) in self.known.judged.clone() {
            let targets = self.watching.still_watched(judged.targets);
            let is_freed = judged.signal == Judged::FREED;
            let ip = key.remote.to_ip(Version::of(key.version));
            if self.watching.allows(ip, key.remote_port) || targets.is_empty() && !is_freed {
                self.known.judged.remove(&key);
                tables.unjudge(&key)?;
            } else if targets != judged.targets {
                let judged = Judged { targets, ..judged };
                self.known.judged.insert(key, judged);
                tables.judge(key, judged)?;
            }
        }
        Ok(())
    }

    /// Hears a sample and counts what follows from it.
    ///
    /// # Errors
    /// When the maps cannot be written; what was found is told all the same.
    pub fn hear(
        &mut self,
        sample: &Sample<'_>,
        tables: &mut Tables,
        kernel: &Loaded,
        tell: &mut impl FnMut(&Finding),
    ) -> Result<()> {
        let mut findings = Vec::new();
        let mut world = Host {
            compiled: &self.compiled,
            known: &mut self.known,
            tables: &mut *tables,
            kernel,
            failed: Ok(()),
        };
        self.verdicts.hear(sample, &self.watching, &mut world, &mut |finding| findings.push(finding));
        let failed = world.failed;
        let mut counted = Ok(());
        for finding in &findings {
            tell(finding);
            counted = counted.and(self.count(finding, tables));
        }
        failed.and(counted)
    }

    fn count(&mut self, finding: &Finding, tables: &mut Tables) -> Result<()> {
        self.has_news = true;
        let targets = match finding {
            Finding::Detection(detection) => {
                self.recognised.signals[detection.signal as usize] += 1;
                self.recognised.recent.truncate(RECENT_MAX - 1);
                self.recognised.recent.push_front(detection.clone());
                detection.targets
            }
            Finding::Answer(answer) => answer.targets,
            Finding::Freed(_) => return Ok(()),
        };
        for slot in targets.slots() {
            let counted = self.recognised.findings.entry(index_of(slot)).or_default();
            match finding {
                Finding::Detection(detection) => counted.detections[detection.role as usize] += 1,
                Finding::Answer(answer) => counted.answers[answer.outcome as usize] += 1,
                Finding::Freed(_) => {}
            }
            tables.set_findings(index_of(slot), *counted)?;
        }
        Ok(())
    }

    /// What is not so any more, as the flow table shows: what was learned is over when its time is up
    /// and nobody is connected there; what was judged when the connection is. The rest of `flows` is
    /// what concerns someone.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn sweep(
        &mut self,
        flows: &mut Vec<(FlowKey, Flow)>,
        now_ns: u64,
        tables: &mut Tables,
    ) -> Result<()> {
        if self.known.is_empty() {
            return Ok(());
        }
        let is_alive = |flow: &Flow| !is_over(flow) && now_ns.saturating_sub(flow.last_ns) <= ALIVE_NS;
        let by_key: HashMap<&FlowKey, &Flow, RandomState> =
            flows.iter().map(|(key, flow)| (key, flow)).collect();
        let mut sessions = BTreeMap::new();
        let mut over = Vec::new();
        for (key, judged) in &self.known.judged {
            let flow = by_key.get(key);
            let is_done = match flow {
                Some(flow) => is_over(flow),
                // A freed connection is not counted: it is as long as there is something to free it of.
                None if judged.signal == Judged::FREED => !self.has_learned(key),
                None => now_ns.saturating_sub(judged.at_ns) > UNSEEN_NS,
            };
            if is_done {
                over.push(*key);
            } else if judged.role != Role::None as u8 && flow.is_some_and(|flow| is_alive(flow)) {
                for slot in judged.targets.slots() {
                    *sessions.entry((index_of(slot), judged.role)).or_default() += 1;
                }
            }
        }
        let mut connected: HashSet<(u8, Address), RandomState> = HashSet::default();
        let expired: Vec<_> =
            self.known.learned.iter().filter(|(_, it)| it.expires_ns < now_ns).map(|(key, _)| *key).collect();
        if !expired.is_empty() {
            let alive = flows.iter().filter(|(_, flow)| is_alive(flow));
            connected.extend(alive.map(|(key, _)| (key.version, key.remote)));
        }
        self.has_news |= sessions != self.recognised.sessions || !over.is_empty() || !expired.is_empty();
        self.recognised.sessions = sessions;
        for key in over {
            self.known.judged.remove(&key);
            tables.unjudge(&key)?;
        }
        for key in expired {
            if !connected.contains(&(key.version, key.address)) {
                self.unlearn(&key, tables)?;
            }
        }
        flows.retain(
            |(key, _)| !matches!(self.known.judged.get(key), Some(judged) if judged.targets.is_empty()),
        );
        Ok(())
    }

    fn has_learned(&self, key: &FlowKey) -> bool {
        [0, key.remote_port].into_iter().any(|port| {
            let key = EndpointKey { address: key.remote, port, version: key.version, reserved: 0 };
            self.known.learned.contains_key(&key)
        })
    }

    fn unlearn(&mut self, key: &EndpointKey, tables: &mut Tables) -> Result<()> {
        self.known.learned.remove(key);
        tables.unlearn(key)
    }

    /// What there is to show now.
    pub fn show(&mut self) -> Recognised {
        self.has_news = false;
        self.recognised.learned = self.known.learned.len() as u64;
        self.recognised.judged = self.known.judged.len() as u64;
        self.recognised.clone()
    }
}

/// The kernel's maps, with the daemon's own copy of what it wrote there.
struct Host<'a> {
    compiled: &'a Compiled,
    known: &'a mut Known,
    tables: &'a mut Tables,
    kernel: &'a Loaded,
    failed: Result<()>,
}

impl Host<'_> {
    fn overlaid(&self) -> Overlaid<'_, Compiled> {
        Overlaid { tables: self.compiled, known: self.known }
    }
}

impl classify::Tables for Host<'_> {
    /// The filter is only quicker, and not kept here.
    fn covers(&self, _: Version, _: &Address) -> bool {
        true
    }

    fn listed(&self, version: Version, remote: &Address, port: Option<u16>) -> Found {
        self.overlaid().listed(version, remote, port)
    }

    fn may_know(&self, remote: &Address) -> bool {
        self.overlaid().may_know(remote)
    }

    fn learned(&self, key: &EndpointKey) -> Option<TargetSet> {
        self.overlaid().learned(key)
    }

    fn judged(&self, key: &FlowKey) -> Option<TargetSet> {
        self.overlaid().judged(key)
    }
}

impl World for Host<'_> {
    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        if self.known.learned.len() >= capacity::LEARNED as usize && !self.known.learned.contains_key(&key) {
            return;
        }
        // An answer with a short life does not shorten what another one said.
        let before = self.known.learned.get(&key).filter(|before| before.targets == learned.targets);
        let expires_ns = before.map_or(0, |before| before.expires_ns).max(learned.expires_ns);
        let learned = Learned { expires_ns, ..learned };
        if self.failed.is_ok() {
            self.failed = self.tables.learn(key, learned);
        }
        self.known.learned.insert(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) {
        if self.known.judged.len() >= capacity::JUDGED as usize && !self.known.judged.contains_key(&key) {
            return;
        }
        if self.failed.is_ok() {
            self.failed = self.tables.judge(key, judged);
        }
        self.known.judged.insert(key, judged);
    }

    fn judgement(&self, key: &FlowKey) -> Option<Judged> {
        self.known.judged.get(key).copied()
    }

    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)> {
        let flow = self.kernel.maps.flow(key).ok().flatten()?;
        Some((flow.opened_ns, initiator(&flow)))
    }
}

/// The signal of this number, as the daemon counts them.
pub fn signal(number: usize) -> Option<Signal> {
    Signal::ALL.into_iter().find(|signal| *signal as usize == number)
}
