//! What the parts of a running daemon share: the event loop writes it, HTTP and the collectors
//! read it. Each field is replaced whole, so that a reader sees one moment of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::Result;
use sensor_ebpf::abi::{Daemon, Findings, Own, Totals};

use crate::bpf::attach::Hook;
use crate::config::Limits;
use crate::events;
use crate::flows::View;
use crate::recognition::Recognised;
use crate::test_alert::TestAlert;
use crate::watchlists::{Sizes, Watchlists};
use crate::web_config::Web;

/// Shared by everything that runs.
pub struct State {
    pub kernel: Arc<dyn Kernel>,
    pub limits: Limits,
    pub watched: Shared<Watched>,
    pub interfaces: Shared<Interfaces>,
    /// Times the programs were put back on an interface from which something had removed them.
    pub reattached: Shared<u64>,
    pub flows: Shared<View>,
    pub recognised: Shared<Recognised>,
    pub test_alert: Shared<TestAlert>,
    pub events_dropped: Arc<events::Counts>,
    pub reload: Shared<Reload>,
    /// How HTTP is secured.
    pub web: Shared<Web>,
}

/// What the kernel half tells of itself; tests tell it themselves.
pub trait Kernel: Send + Sync {
    /// The totals of one target, over all CPUs.
    fn totals(&self, slot: u32) -> Result<Totals>;
    /// The totals of all slots below `slots`, likewise.
    fn all_totals(&self, slots: u32) -> Result<Vec<Totals>> {
        (0..slots).map(|slot| self.totals(slot)).collect()
    }
    /// What it could not read or count, over all CPUs.
    fn own(&self) -> Result<Own>;
    /// What was recognised for one target, on earlier maps too.
    fn findings(&self, slot: u32, recognised: &Recognised) -> Findings {
        recognised.findings.get(&slot).copied().unwrap_or_default()
    }
    /// What daemons counted about themselves on earlier maps.
    fn earlier(&self) -> Daemon {
        Daemon::default()
    }
    /// What its programs cost, while the kernel measures that.
    fn costs(&self) -> Result<Vec<Cost>>;
}

/// What a program cost so far.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub program: &'static str,
    pub runs: u64,
    pub time: Duration,
}

/// What is being watched, and where it is counted.
#[derive(Debug, Default)]
pub struct Watched {
    pub lists: Watchlists,
    /// In the order of the lists and their targets.
    pub slots: Vec<Slot>,
    /// Slots of TOTALS that are taken, by targets that left the config as well.
    pub slots_taken: usize,
    pub compiled: Sizes,
}

/// One target and its place in TOTALS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    pub watchlist: String,
    pub target: String,
    pub category: &'static str,
    pub confidence: &'static str,
    pub index: u32,
}

/// How the interfaces that the config means stand, by name.
#[derive(Clone, Debug, Default)]
pub struct Interfaces(pub BTreeMap<String, Standing>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Both programs are attached.
    Attached { index: u32, hook: Hook },
    /// It is there, and this is why nothing is attached.
    Failed(String),
    /// The config names it, and it is not there.
    Absent,
}

impl Interfaces {
    /// The name of an interface that something is attached to.
    pub fn name(&self, index: u32) -> Option<&str> {
        let has_it =
            |standing: &Standing| matches!(standing, Standing::Attached { index: it, .. } if *it == index);
        self.0.iter().find(|(_, standing)| has_it(standing)).map(|(name, _)| name.as_str())
    }

    /// Indices of those that are attached.
    pub fn attached(&self) -> Vec<u32> {
        let index = |standing: &Standing| match standing {
            Standing::Attached { index, .. } => Some(*index),
            _ => None,
        };
        self.0.values().filter_map(index).collect()
    }

    /// Why others are not.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.0.values().filter_map(|standing| match standing {
            Standing::Failed(why) => Some(why.as_str()),
            _ => None,
        })
    }

    /// Why the sensor is not ready; empty when it is.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.0.values().any(|standing| matches!(standing, Standing::Attached { .. })) {
            complaints.push("no interface is attached".to_owned());
        }
        for (name, standing) in &self.0 {
            if let Standing::Failed(why) = standing {
                complaints.push(format!("interface {name}: {why}"));
            }
        }
        complaints
    }
}

/// How the last reload ended.
#[derive(Clone, Copy, Debug)]
pub struct Reload {
    pub successful: bool,
    pub succeeded_at: SystemTime,
}

/// A value that is replaced whole.
#[derive(Debug, Default)]
pub struct Shared<T>(Mutex<Arc<T>>);

impl<T> Shared<T> {
    pub fn new(value: T) -> Self {
        Self(Mutex::new(Arc::new(value)))
    }

    pub fn get(&self) -> Arc<T> {
        Arc::clone(&self.lock())
    }

    pub fn set(&self, value: T) {
        *self.lock() = Arc::new(value);
    }

    /// A panic elsewhere leaves a whole value behind, since values are only ever replaced.
    fn lock(&self) -> MutexGuard<'_, Arc<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
