//! The daemon between its events: what is watched, where the programs hang, what the flow table
//! says. Each method takes one event from start to end; the loop that calls them is
//! `commands::run`'s.

mod compile;
mod hearing;
mod reload;
mod synthetic;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result};
use tokio::sync::Mutex;

use crate::bpf::attach::{self, Hook};
use crate::bpf::carried::Carried;
use crate::bpf::interfaces::{Interface, Netlink};
use crate::bpf::pins::Pins;
use crate::bpf::tables::Tables;
use crate::bpf::{self, Earlier, Loaded};
use crate::clock::now_ns;
use crate::config::{Attach, Config};
use crate::events::{self, Events};
use crate::feeds::Feeds;
use crate::flows::{Slots, Sweeper, View};
use crate::recognition::Recognition;
use crate::selection::{Wanted, absent, select, stacked};
use crate::state::{Interfaces, Kernel as _, Reload, Shared, Standing, State};
use crate::watchlists::Watchlists;
use crate::web_config::Web;
use compile::{compile, targets};

/// Everything that a running daemon owns.
pub struct Daemon {
    pub state: Arc<State>,
    kernel: Arc<Loaded>,
    config_path: Option<PathBuf>,
    /// As it was written when the daemon started; its document is the one that was read last and holds.
    config: Config,
    pins: Pins,
    tables: Tables,
    netlink: Netlink,
    wanted: Vec<Wanted>,
    how: Attach,
    sweeper: Sweeper,
    recognition: Recognition,
    /// None before it serves.
    events: Option<Events>,
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
        web: Web,
    ) -> Result<Self> {
        let feeds = Feeds::of(config);
        let pins = Pins::open(&config.state.pins)?;
        let targets: Vec<_> =
            targets(&lists).map(|(list, target)| (list.name.as_str(), target.name.as_str())).collect();
        let (programs, mut maps) = bpf::load(&pins, &config.limits, &targets)?;
        let mut tables = Tables::take(&mut maps)?;
        let daemon = tables.daemon()?;
        let mut recognition = Recognition::new(&tables, &daemon)?;
        let watched = compile(&mut tables, &mut recognition, lists, config)?;
        bpf::copy_flows(&pins, &tables)?;
        bpf::copy_known(&pins, &mut tables)?;
        let carried = Carried::default();
        let sweeper = Sweeper::new(daemon, Slots::default());
        let dropped = Arc::new(events::Counts::default());
        let reload = Reload { successful: true, succeeded_at: SystemTime::now() };
        let kernel = Arc::new(Loaded { maps, programs: Mutex::new(programs), earlier: Shared::default() });
        let state = Arc::new(State {
            kernel: kernel.clone(),
            limits: config.limits.clone(),
            watched: Shared::new(watched),
            interfaces: Shared::new(Interfaces::default()),
            reattached: Shared::default(),
            flows: Shared::default(),
            recognised: Shared::default(),
            test_alert: Shared::default(),
            events_dropped: Arc::clone(&dropped),
            reload: Shared::new(reload),
            web: Shared::new(web),
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
            recognition,
            events: None,
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
        self.recognition.inherit(&mut self.tables)?;
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
        self.state.events_dropped.set(&counted.events_dropped);
        self.show_heard();
        self.state.flows.set(View { evicted: counted.flows_evicted, ..View::default() });
        Ok(())
    }

    /// What the daemon counts itself outlives it.
    fn keep_counted(&mut self) -> Result<()> {
        let mut counted = self.sweeper.counted();
        for reason in events::Dropped::ALL {
            counted.events_dropped[reason as usize] = self.state.events_dropped.get(reason);
        }
        let mut since = self.carried.without_daemon(counted);
        since.signals = self.recognition.recognised.signals;
        let refused = self.recognition.refused();
        since.refused = [refused.learned, refused.judged];
        let forgotten = self.recognition.forgotten();
        since.forgotten = [forgotten.messages, forgotten.sessions, forgotten.queries];
        self.tables.set_daemon(since)
    }

    /// Adds what was counted earlier to the slots of its targets, which may have got them just now.
    fn show_carried(&self) {
        let of_slot = |(slot, watchlist, target): (u32, &str, &str)| {
            Some((slot, self.carried.totals(watchlist, target)?))
        };
        let totals = self.tables.owners().filter_map(of_slot).collect();
        let of_slot = |(slot, watchlist, target): (u32, &str, &str)| {
            Some((slot, self.carried.findings(watchlist, target)?))
        };
        let findings = self.tables.owners().filter_map(of_slot).collect();
        let (own, daemon) = (self.carried.own(), self.carried.daemon());
        self.kernel.earlier.set(Earlier { totals, findings, own, daemon });
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
        for (part, whole) in stacked(selected) {
            let pair = (part.to_owned(), whole.to_owned());
            if !self.warned_of.contains(&pair) {
                tracing::warn!(
                    interface = part,
                    part_of = whole,
                    "both are watched: each counts the same packet"
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
        let (mut flows, created) = read.await.context("sweeping the flow table")??;
        let now_ns = now_ns();
        let alive = self.sweeper.keep(&flows, created, now_ns);
        self.recognition.sweep(&mut flows, now_ns, &mut self.tables)?;
        self.show_heard();
        self.state.flows.set(self.sweeper.view(&flows, alive, now_ns));
        self.keep_counted()
    }

    /// Is there something to go on with?
    ///
    /// # Errors
    /// When the pins directory is not there any more, so that another daemon may come. Where it was removed, the
    /// programs go with it; where it was moved, they can be found by it, and stay.
    pub async fn check_in_place(&self) -> Result<()> {
        let Err(removed) = self.pins.check_in_place() else { return Ok(()) };
        if !self.pins.is_removed() {
            return Err(removed);
        }
        let (mut programs, attached) =
            (self.kernel.programs.lock().await, self.state.interfaces.get().attached());
        match attach::detach_without_pins(&mut programs, &self.netlink, &attached).await {
            Ok(()) => Err(removed),
            Err(error) => Err(removed.context(format!("filters on clsact may be left ({error:#})"))),
        }
    }

    /// Tells of filters that no pins of ours know of, which count for another daemon, or for none.
    ///
    /// # Errors
    /// When the kernel does not say what is there.
    pub async fn warn_of_strays(&self) -> Result<()> {
        for stray in attach::strays(&self.netlink, Some(&self.pins.links()?)).await? {
            tracing::warn!("{stray}");
        }
        Ok(())
    }

    /// It runs: what it made in the pins directory stays.
    pub fn keep(&mut self) {
        self.pins.keep();
    }

    /// It could not start: takes back what it made. What an earlier daemon left goes on counting.
    pub async fn give_up(self) -> Result<()> {
        if self.pins.is_new() { self.remove().await } else { Ok(()) }
    }

    /// Takes everything off the interfaces and removes the pins, with all counts.
    pub async fn remove(self) -> Result<()> {
        attach::detach_all(&self.netlink, &self.pins).await?;
        self.pins.remove()
    }
}
