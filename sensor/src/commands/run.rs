//! `poolwatch run`: the daemon's event loop. It starts with exactly what `check` validates, then
//! the port, then the pins, then the kernel; only then is anything attached, and what privileges
//! are left over by then are laid down.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{FutureExt, StreamExt};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use crate::bpf::interfaces::{self, Change, Netlink};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::http;
use crate::notify::{self, Service};
use crate::privileges;
use crate::selection::{Wanted, absent};
use crate::watchlists::Watchlists;
use crate::web_config::Web;

/// How long after a change of a link or a route the interfaces are looked at, so that a burst
/// of changes is one look.
const SETTLE: Duration = Duration::from_millis(20);
/// They are looked at this often whatever netlink says.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How often the flow table is swept, and the files are looked at that may change.
const SWEEP_EVERY: Duration = Duration::from_secs(5);
/// Samples that are heard before others have their turn.
const SAMPLES_AT_ONCE: usize = 256;
/// Once all were heard, the next ones may wait as long: those that come meanwhile wake nobody, and are
/// heard at one go.
const REST: Duration = Duration::from_millis(5);
/// How long a shutdown waits for HTTP answers that are under way.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// What the command line adds to the config.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub config: Option<PathBuf>,
    /// Instead of the config's, and each must be there.
    pub interfaces: Vec<String>,
    pub listen: Option<SocketAddr>,
    pub detach_on_exit: bool,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// Whatever keeps it from starting; then nothing is left attached that was not before.
pub async fn run(options: Options) -> Result<()> {
    let config = Config::load(options.config.as_deref())?;
    let interfaces = if options.interfaces.is_empty() { &config.interfaces } else { &options.interfaces };
    let wanted = interfaces.iter().map(|text| Wanted::parse(text)).collect::<Result<Vec<_>>>()?;
    let lists = Watchlists::load(&config)?;
    let web = Web::load(&config)?;
    privileges::check_capabilities()?;
    require_named(&options.interfaces).await?;

    let listen = options.listen.unwrap_or(config.http.listen);
    let listener = TcpListener::bind(listen).await.with_context(|| format!("http.listen: {listen}"))?;
    let mut terminate = signal(SignalKind::terminate()).context("signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("signals")?;
    let mut hangup = signal(SignalKind::hangup()).context("signals")?;
    let mut test = signal(SignalKind::user_defined1()).context("signals")?;

    let mut daemon = Daemon::load(options.config, &config, wanted, lists, web)?;
    let mut changes = interfaces::changes()?;
    let started = start(&mut daemon).await.and_then(|()| privileges::before_serving(&config));
    if let Err(error) = started {
        report(daemon.give_up().await);
        return Err(error);
    }
    daemon.keep();
    let mut samples = daemon.listen()?;
    let (stop, stopped) = watch::channel(false);
    let server = tokio::spawn(http::serve(listener, Arc::clone(&daemon.state), stopped));
    let web = daemon.state.web.get();
    web.report();
    tracing::info!(address = %listen, secured_by = web.secured_by(), "serving /metrics");
    if !listen.ip().is_loopback() && web.secures_nothing() {
        tracing::warn!("whoever reaches {listen} is answered, in plain text; http.web_config secures it");
    }
    let mut service = Service::default();
    service.ready(&daemon.state);

    let mut look = interval(LOOK_EVERY);
    let mut sweep = interval(SWEEP_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = hangup.recv() => {
                notify::reloading();
                daemon.reload();
                service.ready(&daemon.state);
            }
            _ = test.recv() => daemon.show_test_alert(),
            change = changes.next() => {
                let Some(change) = change else {
                    // It broke; the next look is at all of them.
                    changes = interfaces::changes()?;
                    look.reset_immediately();
                    continue;
                };
                let widest = settle(change, &mut changes).await;
                daemon.check_in_place().await?;
                report(match widest {
                    Change::Interfaces => daemon.reconcile().await,
                    Change::Filters => daemon.mend().await,
                });
            }
            ready = samples.ready() => {
                ready.context("waiting for samples")?;
                let drained = samples.drain(SAMPLES_AT_ONCE, |sample| daemon.hear(sample));
                daemon.show_heard();
                if drained.context("reading samples")? {
                    sleep(REST).await;
                }
            }
            _ = look.tick() => {
                daemon.check_in_place().await?;
                report(daemon.reconcile().await);
            }
            _ = sweep.tick() => {
                report(daemon.sweep().await);
                daemon.reload_changed_files();
                service.alive(&daemon.state);
            }
        }
    }
    tracing::info!(detach = options.detach_on_exit, "stopping");
    notify::stopping();
    // An error means that the server is gone already.
    let _ = stop.send(true);
    let _ = tokio::time::timeout(SHUTDOWN, server).await;
    // Who removes the pins and then stops the daemon does so faster than it looks.
    daemon.check_in_place().await?;
    if options.detach_on_exit { daemon.remove().await } else { Ok(()) }
}

/// Interfaces that the command line names must be there.
///
/// # Errors
/// When one is not, or the kernel does not say what interfaces there are.
async fn require_named(names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let present = Netlink::open()?.interfaces().await?;
    let wanted: Vec<_> = names.iter().map(|text| Wanted::parse(text)).collect::<Result<_>>()?;
    if let [missing, ..] = absent(&wanted, &present)[..] {
        let names: Vec<_> = present.iter().map(|interface| interface.name.as_str()).collect();
        bail!("--interface {missing}: there is no such interface; there are {}", names.join(", "));
    }
    Ok(())
}

/// The first look at the interfaces: where none of them can be attached, that is an error, not a log
/// line. Then what earlier programs counted is ours.
async fn start(daemon: &mut Daemon) -> Result<()> {
    daemon.reconcile().await?;
    let interfaces = daemon.state.interfaces.get();
    if interfaces.attached().is_empty()
        && let Some(why) = interfaces.failures().next()
    {
        bail!("{why}");
    }
    daemon.inherit()?;
    report(daemon.warn_of_strays().await);
    if interfaces.0.is_empty() {
        tracing::warn!("no interface is there yet that the config means; waiting for one");
    }
    Ok(())
}

/// Waits a little and swallows what came meanwhile: one look answers it all, the one that the
/// widest of the changes asks for.
async fn settle(first: Change, changes: &mut (impl StreamExt<Item = Change> + Unpin)) -> Change {
    sleep(SETTLE).await;
    let mut widest = first;
    while let Some(Some(change)) = changes.next().now_or_never() {
        widest = widest.max(change);
    }
    widest
}

fn report(result: Result<()>) {
    if let Err(error) = result {
        tracing::error!("{error:#}");
    }
}
