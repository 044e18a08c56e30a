//! The daemon between its events: what is watched, where the programs hang, what the flow table
//! says. Each method takes one event from start to end; the loop that calls them is
//! `commands::run`'s.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use sensor_ebpf::abi::numbered;
use tokio::sync::Mutex;

use crate::bpf::attach::{self, Hook};
use crate::bpf::carried::Carried;
use crate::bpf::interfaces::{Interface, Netlink};
use crate::bpf::pins::Pins;
use crate::bpf::tables::Tables;
use crate::bpf::{self, Earlier, Loaded};
use crate::clock::now_ns;
use crate::config::{Attach, Config};
use crate::feeds::Feeds;
use crate::flows::{Slots, Sweeper, View};
use crate::selection::{Wanted, absent, select, stacked};
use crate::state::{Interfaces, Kernel as _, Reload, Shared, Slot, Standing, State, Watched};
use crate::watchlists::{Compiled, Target, Watchlist, Watchlists};

/// So many looks at a feed that is being written to are a failed reload.
const LOOKS_IN_VAIN_MAX: u32 = 12;

/// Everything that a running daemon owns.
pub struct Daemon {
    pub state: Arc<State>,
    kernel: Arc<Loaded>,
    config_path: Option<PathBuf>,
    /// As it was written when the daemon started.
    config: Config,
    pins: Pins,
    tables: Tables,
    netlink: Netlink,
    wanted: Vec<Wanted>,
    how: Attach,
    sweeper: Sweeper,
    /// What was counted before the maps in use were made.
    carried: Carried,
    feeds: Feeds,
    /// How often in a row a changed feed was found being written to.
    looks_in_vain: u32,
    warned_of: Vec<(String, String)>,
}

impl Daemon {
    /// Loads the kernel half and what it is to watch. Nothing is attached yet.
    ///
    /// # Errors
    /// When the pins directory cannot be had, the kernel refuses, or the lists do not fit.
    pub fn load(
        config_path: Option<PathBuf>,
        config: &Config,
        wanted: Vec<Wanted>,
        lists: Watchlists,
    ) -> Result<Self> {
        let feeds = Feeds::of(config);
        let pins = Pins::open(&config.state.pins)?;
        let targets: Vec<_> =
            targets(&lists).map(|(list, target)| (list.name.as_str(), target.name.as_str())).collect();
        let (programs, mut maps) = bpf::load(&pins, &config.limits, &targets)?;
        let mut tables = Tables::take(&mut maps)?;
        let watched = compile(&mut tables, lists, config)?;
        bpf::copy_flows(&pins, &tables)?;
        let carried = Carried::default();
        let sweeper = Sweeper::new(tables.daemon()?, Slots::default());
        let reload = Reload { successful: true, succeeded_at: SystemTime::now() };
        let kernel = Arc::new(Loaded { maps, programs: Mutex::new(programs), earlier: Shared::default() });
        let state = Arc::new(State {
            kernel: kernel.clone(),
            limits: config.limits.clone(),
            watched: Shared::new(watched),
            interfaces: Shared::new(Interfaces::default()),
            reattached: Shared::default(),
            flows: Shared::default(),
            reload: Shared::new(reload),
        });
        let netlink = Netlink::open()?;
        let how = config.attach;
        Ok(Self {
            state,
            kernel,
            config_path,
            config: config.clone(),
            pins,
            tables,
            netlink,
            wanted,
            how,
            sweeper,
            carried,
            feeds,
            looks_in_vain: 0,
            warned_of: Vec::new(),
        })
    }

    /// Attaches to what is wanted and there, detaches from what is not wanted any more, and
    /// forgets what is gone. Whether what was attached still is, the kernel is asked.
    ///
    /// # Errors
    /// When the kernel does not say what interfaces there are. That an interface cannot be attached
    /// is its [`Standing`].
    pub async fn reconcile(&mut self) -> Result<()> {
        let present = self.interfaces().await?;
        let selected = select(&self.wanted, &present);
        self.warn_of_stacked(&selected);
        for index in attach::attached(&self.pins)? {
            if !selected.iter().any(|interface| interface.index == index) {
                let found = present.iter().find(|interface| interface.index == index);
                tracing::info!(index, interface = found.map(|found| &*found.name), "detaching");
                // The others shall not wait for it.
                if let Err(error) = attach::detach(&self.netlink, &self.pins, index, found.is_some()).await {
                    tracing::error!(index, "detaching: {error:#}");
                }
            }
        }
        let before = self.state.interfaces.get();
        let mut standings = BTreeMap::new();
        for interface in &selected {
            let earlier = before.0.get(&interface.name);
            let standing = match earlier {
                Some(Standing::Attached { index, hook }) if *index == interface.index => {
                    self.attach_again_if_removed(interface, *hook).await?
                }
                earlier => self.attach(interface, earlier).await,
            };
            standings.insert(interface.name.clone(), standing);
        }
        for name in absent(&self.wanted, &present) {
            if before.0.get(name) != Some(&Standing::Absent) {
                tracing::warn!(interface = name, "not there; waiting for it");
            }
            standings.insert(name.to_owned(), Standing::Absent);
        }
        self.state.interfaces.set(Interfaces(standings));
        Ok(())
    }

    /// Takes over what was counted in maps that are not in use any more, once our programs are
    /// everywhere where those were that counted in them. Only then is there something to show.
    ///
    /// # Errors
    /// When earlier programs still hang somewhere, or what they counted cannot be read.
    pub fn inherit(&mut self) -> Result<()> {
        let (carried, owners) =
            bpf::inherit(&self.pins, &mut self.tables, &self.state.interfaces.get().attached())?;
        let of_ours = |(slot, (watchlist, target)): (u32, (String, String))| {
            Some((slot, self.tables.slot_of(&watchlist, &target)?))
        };
        let former = owners.into_iter().filter_map(of_ours).collect();
        let slots = Slots { numbering: self.tables.numbering(), former };
        self.sweeper = Sweeper::new(carried.with_daemon(self.tables.daemon()?), slots);
        self.carried = carried;
        self.show_carried();
        let counted = self.sweeper.counted();
        self.state.reattached.set(counted.reattached);
        self.state.flows.set(View { evicted: counted.flows_evicted, ..View::default() });
        Ok(())
    }

    /// What the daemon counts itself outlives it.
    fn keep_counted(&mut self) -> Result<()> {
        self.tables.set_daemon(self.carried.without_daemon(self.sweeper.counted()))
    }

    /// Adds what was counted earlier to the slots of its targets, which may have got them just now.
    fn show_carried(&self) {
        let of_slot = |(slot, watchlist, target): (u32, &str, &str)| {
            Some((slot, self.carried.totals(watchlist, target)?))
        };
        let totals = self.tables.owners().filter_map(of_slot).collect();
        self.kernel.earlier.set(Earlier { totals, own: self.carried.own() });
    }

    /// Looks after what is attached, since filters were removed somewhere. What could not be
    /// attached is not tried again: its own removal is such a change.
    ///
    /// # Errors
    /// As [`reconcile`](Self::reconcile).
    pub async fn mend(&mut self) -> Result<()> {
        let present = self.interfaces().await?;
        for interface in &present {
            if let Some(Standing::Attached { index, hook }) =
                self.state.interfaces.get().0.get(&interface.name)
                && *index == interface.index
                && !self.is_attached(interface, *hook).await?
            {
                return self.reconcile().await;
            }
        }
        Ok(())
    }

    /// What interfaces there are. A netlink connection that broke is opened anew.
    async fn interfaces(&mut self) -> Result<Vec<Interface>> {
        match self.netlink.interfaces().await {
            Ok(present) => Ok(present),
            Err(error) => {
                tracing::warn!("asking again: {error:#}");
                self.netlink = Netlink::open()?;
                self.netlink.interfaces().await
            }
        }
    }

    async fn is_attached(&self, interface: &Interface, hook: Hook) -> Result<bool> {
        let mut programs = self.kernel.programs.lock().await;
        attach::is_attached(&mut programs, &self.netlink, &self.pins, interface, hook).await
    }

    async fn attach_again_if_removed(&mut self, interface: &Interface, hook: Hook) -> Result<Standing> {
        let standing = Standing::Attached { index: interface.index, hook };
        match self.is_attached(interface, hook).await {
            Ok(false) => {}
            Ok(true) => return Ok(standing),
            Err(error) => {
                tracing::error!(interface = %interface.name, "is it attached? {error:#}");
                return Ok(standing);
            }
        }
        tracing::warn!(interface = %interface.name, hook = hook.name(), "something removed the programs; attaching them again");
        let standing = self.attach(interface, Some(&standing)).await;
        if matches!(standing, Standing::Attached { .. }) {
            self.sweeper.count_reattached();
            self.state.reattached.set(self.sweeper.counted().reattached);
            self.keep_counted()?;
        }
        Ok(standing)
    }

    async fn attach(&self, interface: &Interface, earlier: Option<&Standing>) -> Standing {
        let mut programs = self.kernel.programs.lock().await;
        match attach::attach(&mut programs, &self.netlink, &self.pins, interface, self.how).await {
            Ok(hook) => {
                tracing::info!(interface = %interface.name, index = interface.index, hook = Hook::name(hook), "attached");
                Standing::Attached { index: interface.index, hook }
            }
            Err(error) if self.is_gone(interface).await => {
                tracing::info!(interface = %interface.name, "it went while it was being attached: {error:#}");
                Standing::Absent
            }
            Err(error) => {
                let why = format!("{error:#}");
                if earlier != Some(&Standing::Failed(why.clone())) {
                    tracing::error!(interface = %interface.name, "{why}");
                }
                Standing::Failed(why)
            }
        }
    }

    /// Is it known to be there no more? What the kernel does not say is not known.
    async fn is_gone(&self, interface: &Interface) -> bool {
        let present = self.netlink.interfaces().await;
        present.is_ok_and(|present| !present.iter().any(|found| found.index == interface.index))
    }

    fn warn_of_stacked(&mut self, selected: &[&Interface]) {
        for (upper, lower) in stacked(selected) {
            let pair = (upper.to_owned(), lower.to_owned());
            if !self.warned_of.contains(&pair) {
                tracing::warn!(
                    upper,
                    lower,
                    "one interface lies above the other: each counts the same packet"
                );
                self.warned_of.push(pair);
            }
        }
    }

    /// Reads the flow table, on a thread of its own: a full one takes a while.
    pub async fn sweep(&mut self) -> Result<()> {
        let (kernel, limit) = (Arc::clone(&self.kernel), self.state.limits.flows as usize);
        let read = tokio::task::spawn_blocking(move || {
            let created = kernel.own()?.flows_created;
            anyhow::Ok((kernel.maps.flows(limit)?, created))
        });
        let (flows, created) = read.await.context("sweeping the flow table")??;
        let view = self.sweeper.sweep(&flows, created, now_ns());
        self.state.flows.set(view);
        self.keep_counted()
    }

    /// Reads config and lists again and watches what they say now; whatever is wrong with them
    /// leaves everything as it was. Interfaces, limits, pins and addresses are read at start only.
    pub fn reload(&mut self) {
        let read = self.read_and_compile();
        self.take_over(read);
    }

    fn take_over(&mut self, read: Result<Watched>) {
        self.looks_in_vain = 0;
        match read {
            Ok(watched) => {
                tracing::info!(targets = watched.slots.len(), "reloaded");
                self.show_carried();
                self.state.watched.set(watched);
                self.state.reload.set(Reload { successful: true, succeeded_at: SystemTime::now() });
            }
            Err(error) => {
                tracing::error!("reload failed, the old config stays: {error:#}");
                let before = *self.state.reload.get();
                self.state.reload.set(Reload { successful: false, ..before });
            }
        }
    }

    fn read_and_compile(&mut self) -> Result<Watched> {
        let config = Config::load(self.config_path.as_deref())?;
        // As they are before they are read: what changes meanwhile is a change.
        self.feeds = Feeds::of(&config);
        for key in self.config.read_at_start(&config) {
            tracing::warn!(key, "changed in the config; it takes effect at the next start");
        }
        let config = Config { limits: self.state.limits.clone(), ..config };
        let lists = Watchlists::load(&config)?;
        self.feeds.ensure_unchanged()?;
        compile(&mut self.tables, lists, &config)
    }

    /// Is there something to go on with?
    ///
    /// # Errors
    /// When the pins directory was removed: the programs went with it, and another daemon may come.
    pub fn check_in_place(&self) -> Result<()> {
        self.pins.check_in_place()
    }

    /// It runs: what it made in the pins directory stays.
    pub fn keep(&mut self) {
        self.pins.keep();
    }

    /// It could not start: takes back what it made. What an earlier daemon left goes on counting.
    pub async fn give_up(self) -> Result<()> {
        if self.pins.is_new() { self.remove().await } else { Ok(()) }
    }

    /// Reloads when a feed file is not what it was, and no one is writing to it any more. One that
    /// is never left alone would keep all lists old, which must show.
    pub fn reload_changed_feeds(&mut self) {
        if !self.feeds.have_changed() {
            return;
        }
        let Some(path) = self.feeds.restless() else {
            tracing::info!("a feed file changed");
            return self.reload();
        };
        self.looks_in_vain += 1;
        if self.looks_in_vain == LOOKS_IN_VAIN_MAX {
            let error = anyhow!("{}: it is being written to all the time", path.display());
            self.take_over(Err(error));
        }
    }

    /// Takes everything off the interfaces and removes the pins, with all counts.
    pub async fn remove(self) -> Result<()> {
        attach::detach_all(&self.netlink, &self.pins).await?;
        self.pins.remove()
    }
}

/// Lists to tables, and the tables to the kernel; whatever is wrong with them is found before
/// anything is written.
fn compile(tables: &mut Tables, lists: Watchlists, config: &Config) -> Result<Watched> {
    for note in &lists.notes {
        tracing::warn!("{note}");
    }
    let planned = tables.plan(targets(&lists).map(|(list, target)| (&*list.name, &*target.name)));
    // Asked for in this order, once a target.
    let mut asked = planned.iter().map(|slot| slot.map(|slot| numbered(slot, tables.numbering())));
    let compiled = Compiled::of_config(config, &lists, |_, _| asked.next().flatten())?;
    let mut slots = Vec::new();
    for ((list, target), index) in targets(&lists).zip(planned.iter().flatten()) {
        tables.assign(&list.name, &target.name, *index)?;
        slots.push(Slot {
            watchlist: list.name.clone(),
            target: target.name.clone(),
            category: list.category.name(),
            confidence: target.confidence.name(),
            index: *index,
        });
    }
    tables.switch_to(&compiled)?;
    Ok(Watched { lists, slots, slots_taken: tables.slots_taken(), compiled: compiled.sizes })
}

/// Every target, in the order of the lists.
fn targets(lists: &Watchlists) -> impl Iterator<Item = (&Watchlist, &Target)> {
    lists.lists.iter().flat_map(|list| list.targets.iter().map(move |target| (list, target)))
}
