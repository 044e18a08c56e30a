//! The daemon's half of recognising: hears samples, keeps what they taught in step with the kernel's
//! maps, and counts what was found where it outlives the daemon.
//!
//! Deciding is `verdict`'s; what is written where, is decided here.

mod aging;

use std::collections::{BTreeMap, HashMap, VecDeque};

use anyhow::Result;
use sensor_ebpf::abi::{
    Daemon, EndpointKey, Findings, Flow, FlowKey, Judged, Learned, Side, Version, capacity, index_of,
};
use sensor_ebpf::classify::Tables as _;
use sensor_ebpf::flow::initiator;
use sensor_ebpf::ranges::Found;

use self::aging::{Aged, aged};
use crate::bpf::Loaded;
use crate::bpf::tables::Tables;
use crate::inspect::Signal;
use crate::verdict::{Detection, Finding, Forgotten, Known, Refusals, Sample, Verdicts, Watching, World};
use crate::watchlists::Compiled;

/// Detections that people can be shown; of more, the oldest go.
pub const RECENT_MAX: usize = 256;

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
    /// What found no place there.
    pub refused: Refusals,
    /// What recognition had to forget to make room.
    pub forgotten: Forgotten,
}

impl Recognised {
    /// Sessions alive of the target that has this slot, whatever the role.
    pub fn sessions_of(&self, slot: u32) -> u64 {
        self.sessions.range((slot, 0)..=(slot, u8::MAX)).map(|(_, alive)| alive).sum()
    }
}

/// As many connections in JUDGED leave room for others until the next sweep. Of more, those go that were
/// freed or have been silent for long, and may be over without anybody having seen it.
const ROOMY: usize = capacity::JUDGED as usize / 2;

pub struct Recognition {
    verdicts: Verdicts,
    /// By daemons before this one.
    forgotten_before: Forgotten,
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
        let [messages, sessions, queries] = daemon.forgotten;
        let mut recognition = Self {
            verdicts: Verdicts::new(true),
            forgotten_before: Forgotten { messages, sessions, queries },
            watching: Watching::default(),
            compiled: Compiled::default(),
            known: Known::new(capacity::LEARNED as usize, capacity::JUDGED as usize),
            recognised: Recognised { findings, signals: daemon.signals, ..Recognised::default() },
            has_news: true,
        };
        recognition.read(tables)?;
        let [learned, judged] = daemon.refused;
        recognition.known.refused = Refusals { learned, judged };
        Ok(recognition)
    }

    /// Takes over what was learned in maps that are not in use any more, and copied from there.
    ///
    /// # Errors
    /// When the maps cannot be read or written.
    pub fn inherit(&mut self, tables: &mut Tables) -> Result<()> {
        self.read(tables)?;
        self.compose(&Watching::default(), tables)
    }

    fn read(&mut self, tables: &Tables) -> Result<()> {
        for (key, learned) in tables.learned()? {
            self.known.learn(key, learned);
        }
        for (key, judged) in tables.judged()? {
            self.known.judge(key, judged);
        }
        self.has_news = true;
        Ok(())
    }

    /// From now on these are watched.
    ///
    /// # Errors
    /// As [`compose`](Self::compose).
    pub fn watch(&mut self, watching: Watching, compiled: Compiled, tables: &mut Tables) -> Result<()> {
        let before = std::mem::replace(&mut self.watching, watching);
        self.compiled = compiled;
        self.compose(&before, tables)
    }

    /// Puts together anew what was learned and what the lists say now, which said `last` before. What was
    /// learned for targets or by names that are not watched any more goes, and so does what is known of
    /// addresses that are allowed by now.
    ///
    /// # Errors
    /// When the maps cannot be written.
    fn compose(&mut self, last: &Watching, tables: &mut Tables) -> Result<()> {
        self.has_news = true;
        for (key, before) in self.known.learned().clone() {
            let (version, port) = (Version::of(key.version), (key.port != 0).then_some(key.port));
            let listed = self.compiled.listed(version, &key.address, port);
            let mut own = self.watching.still_watched(before.own);
            // Whatever the port: a name taught it.
            if key.port == 0 {
                own = Watching::those(own, |slot| !self.watching.has_lost_names(last, slot));
            }
            let targets = self.watching.composed(own, listed);
            let adds = !Watching::without(targets, listed.targets).is_empty();
            if !adds || self.watching.allows(key.address.to_ip(version), key.port) {
                self.unlearn(&key, tables)?;
            } else if (targets, own) != (before.targets, before.own) {
                let learned = Learned { targets, own, ..before };
                self.known.learn(key, learned);
                tables.learn(key, learned)?;
            }
        }
        for (key, before) in self.known.judged().clone() {
            let version = Version::of(key.version);
            let listed = self.compiled.listed(version, &key.remote, Some(key.remote_port));
            let mut own = self.watching.still_watched(before.own);
            if before.signal == Signal::Sni as u8 {
                own = Watching::those(own, |slot| !self.watching.has_lost_names(last, slot));
            }
            // What a connection says of itself beats whatever is said of its address.
            let targets = self.watching.composed(own, Found { is_endpoint: false, ..listed });
            let is_nobodys = targets.is_empty() && before.signal != Judged::FREED;
            if is_nobodys || self.watching.allows(key.remote.to_ip(version), key.remote_port) {
                self.known.unjudge(&key);
                tables.unjudge(&key)?;
            } else if (targets, own) != (before.targets, before.own) {
                let judged = Judged { targets, own, ..before };
                self.known.judge(key, judged);
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
    /// and nobody is connected there who came before that; what was judged when the connection is. The
    /// rest of `flows` is what concerns someone.
    ///
    /// # Errors
    /// When the maps cannot be written.
    pub fn sweep(
        &mut self,
        flows: &mut Vec<(FlowKey, Flow)>,
        now_ns: u64,
        tables: &mut Tables,
    ) -> Result<()> {
        let Aged { sessions, over, expired } = aged(&self.known, flows, now_ns, ROOMY);
        // Not with each sample: a flood makes many forgotten.
        self.has_news |= self.forgotten() != self.recognised.forgotten;
        self.has_news |= sessions != self.recognised.sessions || !over.is_empty() || !expired.is_empty();
        self.recognised.sessions = sessions;
        for key in over {
            self.known.unjudge(&key);
            tables.unjudge(&key)?;
        }
        for key in expired {
            self.unlearn(&key, tables)?;
        }
        flows.retain(
            |(key, _)| !matches!(self.known.judged().get(key), Some(judged) if judged.targets.is_empty()),
        );
        Ok(())
    }

    fn unlearn(&mut self, key: &EndpointKey, tables: &mut Tables) -> Result<()> {
        self.known.unlearn(key);
        tables.unlearn(key)
    }

    /// What found no place in LEARNED and JUDGED.
    pub const fn refused(&self) -> Refusals {
        self.known.refused
    }

    /// What had to be forgotten to make room.
    pub const fn forgotten(&self) -> Forgotten {
        self.forgotten_before.plus(self.verdicts.forgotten())
    }

    /// What there is to show now.
    pub fn show(&mut self) -> Recognised {
        self.has_news = false;
        self.recognised.learned = self.known.learned().len() as u64;
        self.recognised.judged = self.known.judged().len() as u64;
        self.recognised.refused = self.known.refused;
        self.recognised.forgotten = self.forgotten();
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

impl World for Host<'_> {
    type Lists = Compiled;

    fn lists(&self) -> &Compiled {
        self.compiled
    }

    fn known(&self) -> &Known {
        self.known
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        if let Some(learned) = self.known.learn(key, learned)
            && self.failed.is_ok()
        {
            self.failed = self.tables.learn(key, learned);
        }
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        let has_room = self.known.judge(key, judged);
        if has_room && self.failed.is_ok() {
            self.failed = self.tables.judge(key, judged);
        }
        has_room
    }

    fn opened(&self, key: &FlowKey) -> Option<(u64, Option<Side>)> {
        let flow = self.kernel.maps.flow(key).ok().flatten()?;
        Some((flow.opened_ns, initiator(&flow)))
    }
}
