//! What the daemon may do once it runs: three capabilities, its pins, and no more; and that
//! everything it has to do goes on working with that, as root and as a user of its own.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;
use std::process::Command;
use std::thread;

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use sensor::config::Config;
use sensor::privileges;
use support::PinsDirectory;
use support::bpffs::Bpffs;
use support::daemon::{BINARY, Daemon};
use support::namespace::Namespace;
use tempfile::TempDir;

const TOP: &str = "interfaces = [\"eth*\"]\n";
const STAR: &str = "175.45.176.9:9";
/// `CAP_NET_ADMIN` is 12, `CAP_PERFMON` 38, `CAP_BPF` 39 (include/uapi/linux/capability.h).
const THREE: u64 = 1 << 12 | 1 << 38 | 1 << 39;
/// The user that owns nothing (`nobody`).
const USER: u32 = 65_534;

/// What /proc says of each thread of a process.
fn threads(process: u32) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("it runs");
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let lines = |text: String| {
        let pairs = text.lines().filter_map(|line| line.split_once(":\t"));
        pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    };
    tasks.flatten().filter_map(status).map(lines).collect()
}

/// It may do what it has to, and can never do more.
fn has_three_capabilities(daemon: &Daemon) {
    let threads = threads(daemon.id());
    assert!(threads.len() > 1, "a scrape has a thread of its own");
    for thread in threads {
        let set = |name: &str| u64::from_str_radix(&thread[name], 16).expect("a mask");
        let sets = ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(set);
        assert_eq!(sets, [0, THREE, THREE, THREE, 0], "{}", thread["Name"]);
        assert_eq!(thread["NoNewPrivs"], "1", "{}", thread["Name"]);
    }
}

fn send_one(near: &Namespace) {
    near.enter(|| {
        let socket = UdpSocket::bind("10.77.0.1:5000").expect("a socket");
        socket.send_to(b"x", STAR).expect("it is sent");
    });
}

fn packets(daemon: &Daemon) -> u64 {
    daemon.metrics().sum("poolwatch_packets_total", &[("target", "star-kp"), ("direction", "egress")])
}

/// Another interface comes, is attached, and goes.
fn follows_an_interface(near: &Namespace, daemon: &Daemon, name: &str) {
    let attached = |count| {
        let labels = [("interface", name)];
        daemon.wait_for(&format!("{count} hooks on {name}"), |metrics| {
            metrics.sum("poolwatch_interface_attached", &labels) == count
        });
    };
    near.ip(&format!("link add {name} type veth peer name p{name}"));
    near.ip(&format!("link set {name} up"));
    attached(2);
    near.ip(&format!("link delete {name}"));
    attached(0);
}

/// A list that the config gets while the daemon runs.
fn reloads(daemon: &Daemon) {
    let before = fs::read_to_string(daemon.config()).expect("its config");
    let added = "[[watchlist]]\nname = \"added\"\nprefixes = [\"198.51.100.0/24\"]\n";
    fs::write(daemon.config(), format!("{before}{added}")).expect("a config");
    daemon.signal(Signal::HUP);
    daemon.wait_for("the new list", |metrics| metrics.0.contains("watchlist=\"added\""));
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("poolwatch_config_last_reload_successful", &[]), 1, "{}", daemon.log());
}

#[test]
fn every_thread_of_a_daemon_that_root_started_keeps_three_capabilities_and_can_gain_none() {
    let (near, _far) = Namespace::pair();
    // A port that takes a fourth one.
    let listen = "127.0.0.1:750";
    let mut daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, "", &["--listen", listen]);
    daemon.ready_at(listen);
    assert_eq!(daemon.get_from(listen, "/metrics").expect("it answers").0, 200);
    has_three_capabilities(&daemon);
    assert!(daemon.log().contains("three capabilities kept; "), "{}", daemon.log());
}

#[test]
fn with_what_it_keeps_it_attaches_reloads_is_taken_over_and_detaches() {
    for attach in ["auto", "clsact"] {
        let (near, _far) = Namespace::pair();
        let top = format!("{TOP}attach = \"{attach}\"\n");
        let daemon = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]);
        send_one(&near);
        follows_an_interface(&near, &daemon, "eth7");
        reloads(&daemon);
        has_three_capabilities(&daemon);
        let (status, pins, log) = daemon.stop();
        assert!(status.success(), "{log}");
        send_one(&near);
        let mut next = Daemon::start_on(&near, pins, &top, "", &["--detach-on-exit"]);
        send_one(&near);
        assert_eq!(packets(&next), 3, "{attach}: before, between and after");
        has_three_capabilities(&next);
        next.signal(Signal::TERM);
        assert!(next.wait().success(), "{}", next.log());
        assert!(!next.pins.path().exists(), "{attach}: nothing is left:\n{}", next.log());
    }
}

#[test]
fn as_a_user_of_its_own_with_three_ambient_capabilities_it_lives_a_whole_life() {
    const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon";
    // As the unit does: before Linux 5.11 maps count against it, and the user may not raise it. Where
    // root may not either, and it matters, the daemon says so.
    let _ = setrlimit(Resource::Memlock, Rlimit { current: None, maximum: None });
    let (near, _far) = Namespace::pair();
    // As the kernel makes its root (bpf_fill_super in kernel/bpf/inode.c): sticky.
    let bpffs = Bpffs::mount(USER, 0o1700);
    // Where the user may execute it.
    let binary = bpffs.beside("poolwatch");
    fs::copy(BINARY, &binary).expect("a copy");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("a mode");
    let user = format!("{USER}");
    let start = |pins, arguments: &[&str]| {
        let line = [
            &["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"],
            &["--inh-caps", CAPABILITIES, "--ambient-caps", CAPABILITIES, "--bounding-set", CAPABILITIES],
            &["--", binary.to_str().expect("UTF-8"), "run"][..],
            arguments,
        ]
        .concat();
        Daemon::spawn_by(&near, &line, pins, TOP).ready()
    };
    let daemon = start(bpffs.pins(), &[]);
    send_one(&near);
    follows_an_interface(&near, &daemon, "eth7");
    reloads(&daemon);
    has_three_capabilities(&daemon);
    assert!(threads(daemon.id()).iter().all(|thread| thread["Uid"].starts_with(&user)));
    let (status, pins, log) = daemon.stop();
    assert!(status.success(), "{log}");
    send_one(&near);
    let mut next = start(pins, &["--detach-on-exit"]);
    send_one(&near);
    assert_eq!(packets(&next), 3, "before, between and after");
    next.signal(Signal::TERM);
    assert!(next.wait().success(), "{}", next.log());
    assert!(!next.pins.path().exists(), "nothing is left:\n{}", next.log());

    // What it leaves, root may remove, though the directory is closed to all others.
    let mut last = start(bpffs.pins(), &[]);
    last.signal(Signal::TERM);
    assert!(last.wait().success(), "{}", last.log());
    assert!(last.pins.path().exists(), "it leaves its pins");
    let detached = last.command("detach").output().expect("it runs");
    assert!(detached.status.success(), "{detached:?}");
    assert!(!last.pins.path().exists(), "nothing is left: {detached:?}");
}

#[test]
fn cap_sys_admin_stands_for_none_of_the_three() {
    let (near, _far) = Namespace::pair();
    let mut daemon = Daemon::spawn_through(
        &near,
        &["setpriv", "--bounding-set", "-bpf,-perfmon", "--inh-caps", "-bpf,-perfmon"],
        PinsDirectory::new(),
        TOP,
    );
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(
        daemon.log().contains("poolwatch: missing CAP_BPF, CAP_PERFMON: run as root"),
        "{}",
        daemon.log()
    );
}

#[test]
fn a_feed_that_only_another_user_may_read_is_refused_at_the_start_and_by_check_not_first_at_a_reload() {
    let (near, _far) = Namespace::pair();
    let directory = TempDir::new().expect("a directory");
    let feed = directory.path().join("feed.netset");
    fs::write(&feed, "198.51.100.0/24\n").expect("a feed");
    let lists =
        format!("[[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n", feed.display());
    let refused = format!("{}: cannot be read, though by root: ", feed.display());
    let owned_by = |user, mode| {
        chown(&feed, Some(user), Some(user)).expect("an owner");
        fs::set_permissions(&feed, fs::Permissions::from_mode(mode)).expect("a mode");
    };

    owned_by(USER, 0o600);
    let mut daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, &lists, &[]);
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    assert!(daemon.log().contains(&refused), "{}", daemon.log());
    for command in ["check", "lists"] {
        let refusal = daemon.command(command).output().expect("it runs");
        assert_eq!(refusal.status.code(), Some(1), "{command}");
        assert!(String::from_utf8_lossy(&refusal.stderr).contains(&refused), "{command}");
    }
    chown(daemon.config(), Some(USER), Some(USER)).expect("an owner");
    fs::set_permissions(daemon.config(), fs::Permissions::from_mode(0o600)).expect("a mode");
    for command in ["check", "lists", "status"] {
        let refusal = daemon.command(command).output().expect("it runs");
        assert!(
            String::from_utf8_lossy(&refusal.stderr).contains("cannot be read"),
            "{command}: {refusal:?}"
        );
    }
    // It looks after daemons of other users as well.
    assert!(daemon.command("detach").status().expect("it runs").success());
    chown(daemon.config(), Some(0), Some(0)).expect("an owner");

    for (user, mode) in [(USER, 0o644), (0, 0o600)] {
        owned_by(user, mode);
        let check = daemon.command("check").output().expect("it runs");
        assert!(check.status.success(), "{user} {mode:o}: {check:?}");
        drop(Daemon::start_on(&near, PinsDirectory::new(), TOP, &lists, &[]));
    }
}

/// Does something on a thread that is confined like a daemon with these pins; also says by which
/// ABI of Landlock.
fn confined<R: Send>(pins: &Path, inside: impl FnOnce(i32) -> R + Send) -> R {
    let mut config = Config::default();
    pins.clone_into(&mut config.state.pins);
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            privileges::before_reading().expect("the first step");
            inside(privileges::confine(&config).expect("the second step"))
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn nothing_can_be_written_anywhere_but_beneath_the_pins() {
    let directory = TempDir::new().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let pins = path("pins");
    fs::create_dir(&pins).expect("a directory");
    fs::write(path("file"), "content").expect("a file");
    confined(&pins, |abi| {
        // Kernels without Landlock have the capabilities alone.
        let expected = (abi > 0).then_some(ErrorKind::PermissionDenied);
        for (what, result) in
            [("read", fs::read(path("file")).map(drop)), ("list", fs::read_dir(directory.path()).map(drop))]
        {
            assert!(result.is_ok(), "{what}: {result:?}");
        }
        for (what, result) in [
            ("overwrite", fs::write(path("file"), "other")),
            ("make a file", fs::write(path("new"), "")),
            ("make a directory", fs::create_dir(path("directory"))),
            ("link", std::os::unix::fs::symlink("file", path("link"))),
            (
                "rename",
                fs::rename(path("file"), path("file2"))
                    .and_then(|()| fs::rename(path("file2"), path("file"))),
            ),
            ("remove", fs::remove_file(path("file"))),
            ("execute", Command::new(BINARY).arg("--version").output().map(drop)),
        ] {
            assert_eq!(result.as_ref().err().map(std::io::Error::kind), expected, "{what}: {result:?}");
        }
        let (old, new) = (pins.join("old"), pins.join("new"));
        for (what, result) in [
            ("make directories", fs::create_dir(&old).and_then(|()| fs::create_dir(&new))),
            ("rename one within another", fs::rename(&old, &new)),
            ("remove it", fs::remove_dir(&new)),
            ("remove the pins", fs::remove_dir(&pins)),
        ] {
            assert!(result.is_ok(), "{what}: {result:?}");
        }
    });
}

#[test]
fn no_connection_is_opened_and_no_port_taken_and_yet_clients_are_answered() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let directory = TempDir::new().expect("a directory");
    confined(directory.path(), |abi| {
        let expected = (abi >= 4).then_some(ErrorKind::PermissionDenied);
        let connected = TcpStream::connect(address).map(drop);
        let bound = TcpListener::bind("127.0.0.1:0").map(drop);
        assert_eq!(connected.err().map(|error| error.kind()), expected);
        assert_eq!(bound.err().map(|error| error.kind()), expected);
        let client = thread::spawn(move || ());
        client.join().expect("threads can be started");
    });
    let client = TcpStream::connect(address).expect("others may");
    confined(directory.path(), |_| drop(listener.accept().expect("it is taken")));
    drop(client);
}

#[test]
fn the_second_step_is_refused_while_another_thread_would_keep_what_it_has() {
    let refused = privileges::before_serving(&Config::default());
    // The test harness is such a thread.
    let error = refused.expect_err("there are two threads").to_string();
    assert!(error.contains("threads run before the privileges"), "{error}");
}
