//! What a service manager is told, by one that listens in place of systemd: a datagram socket of the test's own
//! (`sd_notify(3)`).
//!
//! Not here: what systemd makes of it. `cargo xtask test-deploy` boots one.

mod support;

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use rustix::process::Signal;
use support::daemon::{BINARY, Daemon};
use support::namespace::Namespace;
use support::{PinsDirectory, patience};
use tempfile::TempDir;

/// A service manager, as far as it listens.
struct Manager {
    directory: TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(patience())).expect("a socket");
        Self { directory, socket }
    }

    fn setting(&self) -> String {
        format!("NOTIFY_SOCKET={}", self.directory.path().join("notify").display())
    }

    /// Reads on until a line says this; what was said until then.
    fn wait_for(&self, said: &str) -> String {
        let (mut all, since) = (String::new(), Instant::now());
        let mut datagram = [0; 4096];
        while !all.lines().any(|line| line.starts_with(said)) {
            assert!(since.elapsed() < patience(), "never {said}:\n{all}");
            let length = self.socket.recv(&mut datagram).expect("something is said");
            all.push_str(std::str::from_utf8(&datagram[..length]).expect("text"));
            all.push('\n');
        }
        all
    }
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_lives_reloads_and_stops() {
    let (near, _far) = Namespace::pair();
    let manager = Manager::new();
    let line = ["env", &manager.setting(), BINARY, "run"];
    let mut daemon = Daemon::spawn_by(&near, &line, PinsDirectory::new(), "interfaces = [\"eth0\"]\n");

    manager.wait_for("READY=1");
    // What systemd's Type=notify promises to those that come after.
    assert_eq!(daemon.get("/readyz").expect("it answers").0, 200);
    let said = manager.wait_for("STATUS=");
    assert!(said.contains("STATUS=watching eth0\n"), "{said}");
    manager.wait_for("WATCHDOG=1");

    let config = std::fs::read_to_string(daemon.config()).expect("its config");
    std::fs::write(daemon.config(), "no_such_key = 1\n").expect("a config");
    daemon.signal(Signal::HUP);
    let said = manager.wait_for("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    manager.wait_for("READY=1");
    manager.wait_for("STATUS=watching eth0; the last reload failed");
    std::fs::write(daemon.config(), config).expect("a config");
    daemon.signal(Signal::HUP);
    manager.wait_for("STATUS=watching eth0");

    daemon.signal(Signal::TERM);
    manager.wait_for("STOPPING=1");
    assert!(daemon.wait().success(), "{}", daemon.log());
}

#[test]
fn one_that_does_not_listen_any_more_is_no_reason_to_stop() {
    let (near, _far) = Namespace::pair();
    let manager = Manager::new();
    let line = ["env", &manager.setting(), BINARY, "run"];
    drop(manager);
    let daemon = Daemon::spawn_by(&near, &line, PinsDirectory::new(), "interfaces = [\"eth0\"]\n").ready();
    daemon.signal(Signal::HUP);
    daemon.wait_for("a scrape after a reload", |metrics| {
        metrics.sum("poolwatch_config_last_reload_successful", &[]) == 1
    });
}
