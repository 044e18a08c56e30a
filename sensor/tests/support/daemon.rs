//! A real daemon, started in a namespace from a config of its own and stopped by its process id,
//! and what it says at /metrics.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::namespace::Namespace;
use super::{PinsDirectory, patience};

pub const BINARY: &str = env!("CARGO_BIN_EXE_poolwatch");

/// Which build of poolwatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Build {
    /// The one under test.
    This,
    /// One that lays its counters out otherwise, which `cargo xtask test` builds (feature
    /// `made-up-upgrade`).
    MadeUpUpgrade,
}

impl Build {
    fn binary(self) -> PathBuf {
        match self {
            Self::This => BINARY.into(),
            Self::MadeUpUpgrade => {
                let path = PathBuf::from(format!("{BINARY}-made-up-upgrade"));
                assert!(path.exists(), "{} is not there: `cargo xtask test` builds it", path.display());
                path
            }
        }
    }
}
const LISTEN: &str = "127.0.0.1:9750";

/// A directory that holds this config, and will hold the log.
fn directory(config: &str) -> TempDir {
    let directory = TempDir::new().expect("a directory");
    // A daemon may run as a user of its own.
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
    fs::write(directory.path().join("poolwatch.toml"), config).expect("a config");
    directory
}

pub struct Daemon<'a> {
    namespace: &'a Namespace,
    child: Child,
    directory: TempDir,
    pub pins: PinsDirectory,
}

impl<'a> Daemon<'a> {
    /// Starts one on `eth0` and waits until it is ready. `config`: TOML that comes before the
    /// first table of the test's own.
    pub fn start(namespace: &'a Namespace, config: &str) -> Self {
        Self::start_on(namespace, PinsDirectory::new(), "interfaces = [\"eth0\"]", config, &[])
    }

    /// Starts one on these pins, and with these arguments.
    pub fn start_on(
        namespace: &'a Namespace,
        pins: PinsDirectory,
        top: &str,
        tables: &str,
        arguments: &[&str],
    ) -> Self {
        Self::spawn(namespace, pins, top, tables, arguments).ready()
    }

    /// Waits until it is ready.
    pub fn ready(mut self) -> Self {
        self.ready_at(LISTEN);
        self
    }

    /// The same of a daemon that listens elsewhere.
    pub fn ready_at(&mut self, listen: &str) {
        let since = Instant::now();
        while self.get_from(listen, "/readyz").is_none_or(|(code, _)| code != 200) {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the daemon ended: {status}\n{}", self.log());
            }
            assert!(since.elapsed() < patience(), "the daemon is not ready:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Starts one, ready or not.
    pub fn spawn(
        namespace: &'a Namespace,
        pins: PinsDirectory,
        top: &str,
        tables: &str,
        arguments: &[&str],
    ) -> Self {
        let config = format!("{top}\n[state]\npins = \"{}\"\n{tables}", pins.path().display());
        Self::spawn_with(namespace, pins, &config, arguments)
    }

    /// Starts one with this config, which says itself where the pins are.
    pub fn spawn_with(
        namespace: &'a Namespace,
        pins: PinsDirectory,
        config: &str,
        arguments: &[&str],
    ) -> Self {
        Self::spawn_build(namespace, Build::This, pins, config, arguments)
    }

    /// Starts this build with this config, which says itself where the pins are.
    pub fn spawn_build(
        namespace: &'a Namespace,
        build: Build,
        pins: PinsDirectory,
        config: &str,
        arguments: &[&str],
    ) -> Self {
        let directory = directory(config);
        let binary = build.binary();
        let mut command = namespace.command(binary.to_str().expect("a path in UTF-8"));
        command.arg("run").args(arguments);
        Self::wait_on(namespace, pins, directory, command)
    }

    /// Starts one through another program, which takes something away from it.
    pub fn spawn_through(namespace: &'a Namespace, through: &[&str], pins: PinsDirectory, top: &str) -> Self {
        let through = [through, &[BINARY, "run"]].concat();
        Self::spawn_by(namespace, &through, pins, top)
    }

    /// Starts one by a command line of the test's own, which ends in the binary and `run`.
    pub fn spawn_by(namespace: &'a Namespace, line: &[&str], pins: PinsDirectory, top: &str) -> Self {
        let directory = directory(&format!("{top}[state]\npins = \"{}\"\n", pins.path().display()));
        let mut command = namespace.command(line[0]);
        command.args(&line[1..]);
        Self::wait_on(namespace, pins, directory, command)
    }

    fn wait_on(
        namespace: &'a Namespace,
        pins: PinsDirectory,
        directory: TempDir,
        mut command: Command,
    ) -> Self {
        let log = fs::File::create(directory.path().join("log")).expect("a log");
        let child = command
            .arg("--config")
            .arg(directory.path().join("poolwatch.toml"))
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        Self { namespace, child, directory, pins }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("poolwatch.toml")
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }

    /// Another command of the same binary, with the same config, in the same namespace.
    pub fn command(&self, name: &str) -> Command {
        let mut command = self.namespace.command(BINARY);
        command.arg(name).arg("--config").arg(self.config());
        command
    }

    pub fn metrics(&self) -> Metrics {
        let (code, text) = self.get("/metrics").expect("the daemon answers");
        assert_eq!(code, 200, "{text}");
        Metrics(text)
    }

    /// Waits until what is measured is as expected; says what was measured last when it never is.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Metrics) -> bool) -> Metrics {
        let since = Instant::now();
        loop {
            let metrics = self.metrics();
            if is(&metrics) {
                return metrics;
            }
            assert!(since.elapsed() < patience(), "never {what}:\n{}\n{}", metrics.0, self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Status and body of an answer; `None` when nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        self.get_from(LISTEN, path)
    }

    /// The same of a daemon that listens elsewhere.
    pub fn get_from(&self, listen: &str, path: &str) -> Option<(u16, String)> {
        self.namespace.enter(|| {
            let mut stream = TcpStream::connect(listen).ok()?;
            stream.set_read_timeout(Some(patience())).ok()?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {listen}\r\nConnection: close\r\n\r\n").ok()?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).ok()?;
            let (head, body) = answer.split_once("\r\n\r\n")?;
            let code = head.split(' ').nth(1)?.parse().ok()?;
            Some((code, body.to_owned()))
        })
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).expect("the daemon runs");
    }

    /// SIGTERM, and the end that it came to; its pins stay.
    pub fn stop(mut self) -> (ExitStatus, PinsDirectory, String) {
        self.signal(Signal::TERM);
        let status = self.wait();
        let log = self.log();
        (status, std::mem::replace(&mut self.pins, PinsDirectory::new()), log)
    }

    /// SIGKILL; its pins stay.
    pub fn kill(mut self) -> (PinsDirectory, String) {
        self.signal(Signal::KILL);
        self.wait();
        let log = self.log();
        (std::mem::replace(&mut self.pins, PinsDirectory::new()), log)
    }

    /// Writes down what its programs hung on, where someone asks in `POOLWATCH_TEST_HOOKS`: a file.
    fn tell_hooks(&self) {
        let Some(file) = std::env::var_os("POOLWATCH_TEST_HOOKS") else { return };
        let Ok(log) = fs::read_to_string(self.directory.path().join("log")) else { return };
        let Ok(mut file) = fs::File::options().append(true).create(true).open(file) else { return };
        for hook in ["tcx", "clsact"] {
            if log.lines().any(|line| line.contains("attached") && line.contains(&format!("hook=\"{hook}\"")))
            {
                let _ = writeln!(file, "{hook}");
            }
        }
    }

    /// The end that it comes to by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(since.elapsed() < patience(), "the daemon does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.tell_hooks();
    }
}

/// The text of /metrics.
pub struct Metrics(pub String);

impl Metrics {
    /// The sum of the samples of a metric that carry all these labels; 0 when there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let value: f64 = self.samples(name, labels).sum();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        {
            value as u64
        }
    }

    pub fn has(&self, name: &str, labels: &[(&str, &str)]) -> bool {
        self.samples(name, labels).next().is_some()
    }

    fn samples<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = f64> + 'a {
        self.0.lines().filter_map(move |line| {
            let rest = line.strip_prefix(name)?;
            let (set, value) = match rest.strip_prefix('{') {
                Some(rest) => rest.split_once("} ")?,
                None => ("", rest.strip_prefix(' ')?),
            };
            let carries =
                |(key, value): &(&str, &str)| set.split(',').any(|pair| pair == format!("{key}=\"{value}\""));
            labels.iter().all(carries).then(|| value.parse().expect("a number"))
        })
    }
}
