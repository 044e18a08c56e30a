//! `poolwatch test-alert`: asks the running daemon for a test alert, by SIGUSR1. The daemon is whoever
//! holds the pins: it takes no orders over HTTP.
//!
//! Whoever would not survive the signal, such as a version that does not know it, is left alone.

use std::fs;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::status::reachable;
use crate::bpf::pins::holder;
use crate::config::{Config, Output};
use crate::test_alert::{NAME, SHOWN_FOR};

/// # Errors
/// When no daemon holds the pins, or it may not be signalled, or would not understand.
pub fn test_alert(config: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let config = Config::load(config)?;
    let process = signal_holder(&config.state.pins)?;
    let (minutes, address) = (SHOWN_FOR.as_secs() / 60, reachable(config.http.listen));
    let metrics = if config.http.web_config.as_os_str().is_empty() {
        format!("curl -s http://{address}/metrics | grep {NAME}")
    } else {
        let web_config = config.http.web_config.display();
        format!("lines with {NAME} in what Prometheus reads at {address}, by what {web_config} asks for")
    };
    let events = match &config.events.output {
        Output::None => "none, since events.output is \"none\"".to_owned(),
        Output::Stdout => {
            "one, tagged synthetic, on the daemon's stdout (as a service: journalctl -u poolwatch)".to_owned()
        }
        Output::File(path) => format!("one, tagged synthetic, in {}", path.display()),
    };
    writeln!(
        out,
        "process {process} shows a mining session that nobody has, as {NAME}/{NAME}, for {minutes} minutes\n\
         metrics: {metrics}\n\
         alert:   PoolwatchHostMines with watchlist=\"{NAME}\", after the next scrape and evaluation\n\
         event:   {events}\n\
         its end: `poolwatch status` lists {NAME}/{NAME} until the {minutes} minutes are over; the alert ends an hour \
         after that, since it tells what was in the last hour\n\
         Nothing real is counted: its series carry watchlist=\"{NAME}\", and it is not in the kernel's maps."
    )?;
    Ok(())
}

/// The process that was signalled.
fn signal_holder(pins: &Path) -> Result<u32> {
    let find = || -> Result<u32> {
        let found = holder(pins).with_context(|| format!("state.pins: {}", pins.display()))?;
        found.ok_or_else(|| anyhow!("no daemon holds state.pins, {} (is it running?)", pins.display()))
    };
    let process = find()?;
    let named = || format!("process {process}, which holds {}", pins.display());
    let pid = i32::try_from(process).ok().and_then(Pid::from_raw).with_context(named)?;
    let opened = pidfd_open(pid, PidfdFlags::empty()).with_context(named)?;
    // It may have ended, and its number be another's, before it was opened.
    ensure!(find()? == process, "{}, is changing places with another; try again", named());
    ensure!(
        catches(process, Signal::USR1).with_context(named)?,
        "{}, does not know test alerts: it is no daemon, an older one, or still starting",
        named()
    );
    match pidfd_send_signal(opened, Signal::USR1) {
        Ok(()) => Ok(process),
        Err(Errno::PERM) => bail!(
            "{}, may not be signalled: run this as root, or as the user that it runs as; root of few \
             capabilities needs CAP_KILL where that is another user",
            named()
        ),
        Err(error) => Err(error).with_context(named),
    }
}

/// Has the process a handler for this signal? (`SigCgt` in proc(5): bit 0 is signal 1.)
fn catches(process: u32, signal: Signal) -> Result<bool> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).context("it has no SigCgt")?;
    let mask = u64::from_str_radix(mask.trim(), 16)?;
    Ok(mask >> (signal.as_raw() - 1) & 1 == 1)
}
