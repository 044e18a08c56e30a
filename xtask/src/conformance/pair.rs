//! A veth pair in a network namespace of its own, silent but for what is sent, and a running
//! sensor on one end of it.
//!
//! The namespace has no name: it lives as long as a process in it that reads from us. Whatever
//! becomes of us, it ends, and takes the pair along.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, root::Root};

/// The end that the sensor watches.
pub(super) const NEAR: &str = "near0";
pub(super) const FAR: &str = "far0";
/// The most that a veth takes: captures made behind offloads hold aggregates.
pub(super) const MTU: u64 = 65_535;

const SET_UP: &str = "set -e
for which in all default; do echo 1 > /proc/sys/net/ipv6/conf/$which/disable_ipv6; done
ip link set lo up
ip link add \"$1\" type veth peer name \"$2\"
for end in \"$1\" \"$2\"; do ip link set \"$end\" mtu \"$3\" arp off multicast off up; done
echo $$
exec cat";

/// Where a daemon listens unless told otherwise. No tool of ours speaks HTTP; bash does.
const GET: &str = "exec 3<>/dev/tcp/127.0.0.1/9750
printf 'GET %s HTTP/1.1\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n' \"$1\" >&3
cat <&3";

/// How long the sensor may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(50);

pub(super) struct Pair<'a> {
    root: &'a Root,
    keeper: Child,
    namespace: String,
}

impl<'a> Pair<'a> {
    pub(super) fn new(root: &'a Root) -> Result<Self> {
        let mut command = as_root(root, "unshare")?;
        command.args(["--net", "sh", "-c", SET_UP, "set-up", NEAR, FAR, &MTU.to_string()]);
        let mut keeper = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{}`", cargo::describe(&command)))?;
        let mut pid = String::new();
        let out = keeper.stdout.take().context("its output is not piped")?;
        BufReader::new(out).read_line(&mut pid)?;
        if pid.is_empty() {
            bail!("a namespace with a veth pair could not be made ({})", keeper.wait()?);
        }
        let namespace = format!("--net=/proc/{}/ns/net", pid.trim());
        Ok(Self { root, keeper, namespace })
    }

    /// A program within.
    pub(super) fn command(&self, program: &str) -> Result<Command> {
        let mut command = as_root(self.root, "nsenter")?;
        command.args([&self.namespace, "--", program]);
        Ok(command)
    }
}

impl Drop for Pair<'_> {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Whether it ended well tells nothing: it only had to read.
        let _ = self.keeper.wait();
    }
}

fn as_root(root: &Root, program: &str) -> Result<Command> {
    let path = cargo::find_program(program)
        .with_context(|| format!("{program} is missing: on Debian, sudo apt-get install util-linux"))?;
    Ok(root.command(&path, &[("PATH", cargo::search_path())]))
}

/// `poolwatch run` on the near end, without anything left behind when it ends.
pub(super) struct Sensor<'a> {
    pair: &'a Pair<'a>,
    child: Child,
    log: PathBuf,
}

impl<'a> Sensor<'a> {
    /// Starts it, and waits until it is ready.
    pub(super) fn start(pair: &'a Pair<'a>, sensor: &Path, config: &Path, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = pair.command(&sensor.to_string_lossy())?;
        command.args(["run", "--detach-on-exit", "--config"]).arg(config);
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start `{}`", cargo::describe(&command)))?;
        let mut sensor = Self { pair, child, log: log.to_owned() };
        let since = Instant::now();
        while !sensor.get("/readyz").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 ")) {
            if let Some(status) = sensor.child.try_wait()? {
                bail!("the sensor ended ({status}):\n{}", sensor.log());
            }
            if since.elapsed() > PATIENCE {
                bail!("the sensor is not ready:\n{}", sensor.log());
            }
            thread::sleep(PAUSE);
        }
        Ok(sensor)
    }

    pub(super) fn metrics(&self) -> Result<String> {
        self.get("/metrics").with_context(|| format!("the sensor does not answer:\n{}", self.log()))
    }

    /// Head and body of an answer.
    fn get(&self, path: &str) -> Result<String> {
        cargo::read(self.pair.command("bash")?.args(["-c", GET, "get", path]))
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Ends it, as a service manager would.
    pub(super) fn stop(mut self) -> Result<()> {
        self.terminate()
    }

    fn terminate(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        cargo::read(self.pair.command("sh")?.args(["-c", "kill -TERM \"$1\"", "kill", &pid]))?;
        let since = Instant::now();
        loop {
            match self.child.try_wait()? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("the sensor ended with {status}:\n{}", self.log()),
                None if since.elapsed() > PATIENCE => bail!("the sensor does not end:\n{}", self.log()),
                None => thread::sleep(PAUSE),
            }
        }
    }
}

impl Drop for Sensor<'_> {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // What went wrong before is what is reported.
            let _ = self.terminate();
        }
    }
}
