//! What others do to our programs, and what a kill leaves: put back, taken over, never there
//! twice.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use std::fs;
use std::net::UdpSocket;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use packets::build::from;
use packets::{HOST, STAR};
use rustix::process::Signal;
use support::PinsDirectory;
use support::daemon::{Daemon, Metrics};
use support::hooks::{Ours, handles};
use support::kernel::{self, Since};
use support::namespace::{Namespace, run};
use support::wire::Wire;
use support::{patience, patiently};

const REATTACHED: &str = "poolwatch_reattached_total";
/// The daemon looks every 10 s by itself; what is announced, it looks at well before.
const PROMPT: Duration = Duration::from_secs(5);

fn config(hook: &str) -> String {
    format!("interfaces = [\"eth0\"]\nattach = \"{hook}\"")
}

fn tc(near: &Namespace, arguments: &str) {
    run(near.command("tc").args(arguments.split_whitespace()));
}

/// Waits until both programs hang there, each once, and not anywhere else.
fn until(near: &Namespace, expected: Ours, within: Duration, log: impl Fn() -> String) {
    let since = Instant::now();
    loop {
        let ours = Ours::on(near, "eth0");
        if ours == expected {
            return;
        }
        assert!(ours.most() <= 1, "twice: {ours:?}\n{}", log());
        assert!(since.elapsed() < within, "{ours:?} after {within:?}\n{}", log());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn send(near: &Namespace, count: usize) {
    near.enter(|| {
        let socket = UdpSocket::bind("10.77.0.1:5000").expect("a socket");
        for _ in 0..count {
            socket.send_to(b"x", "175.45.176.9:9").expect("it is sent");
        }
    });
}

fn sent(metrics: &Metrics) -> u64 {
    metrics.sum("poolwatch_packets_total", &[("target", "star-kp"), ("direction", "egress")])
}

/// What the daemon wrote into its pins directory about interfaces.
fn written(pins: &PinsDirectory) -> Vec<PathBuf> {
    let mut written: Vec<_> =
        fs::read_dir(pins.path().join("links")).expect("it").flatten().map(|entry| entry.path()).collect();
    written.sort();
    written
}

fn notes(pins: &PinsDirectory) -> Vec<PathBuf> {
    let is_note = |path: &PathBuf| path.display().to_string().contains("_clsact_");
    written(pins).into_iter().filter(is_note).collect()
}

/// A kill, and the end of the process.
fn kill(mut daemon: Daemon) -> PinsDirectory {
    daemon.signal(Signal::KILL);
    daemon.wait();
    std::mem::replace(&mut daemon.pins, PinsDirectory::new())
}

#[test]
fn filters_that_someone_removes_are_put_back_at_once_and_counted_for_good() {
    let (near, _far) = Namespace::pair();
    let mut daemon = Daemon::start_on(&near, PinsDirectory::new(), &config("clsact"), "", &[]);
    let removals = [
        "qdisc delete dev eth0 clsact",
        "filter delete dev eth0 ingress pref 1 handle 0x706f6f6c bpf",
        "filter delete dev eth0 egress",
        "qdisc delete dev eth0 clsact",
    ];
    for (count, removal) in (1..).zip(removals) {
        tc(&near, removal);
        until(&near, Ours::ON_CLSACT, patiently(PROMPT), || daemon.log());
        let metrics = daemon.wait_for("the count", |metrics| metrics.sum(REATTACHED, &[]) == count);
        let before = sent(&metrics);
        send(&near, 5);
        assert_eq!(sent(&daemon.metrics()), before + 5, "after {removal}");
    }
    let log = daemon.log();
    assert_eq!(log.matches("something removed the programs").count(), removals.len(), "{log}");
    assert!(log.contains("WARN") && !log.contains("ERROR"), "{log}");

    let (_, pins, _) = daemon.stop();
    daemon = Daemon::start_on(&near, pins, &config("clsact"), "", &["--detach-on-exit"]);
    assert_eq!(daemon.metrics().sum(REATTACHED, &[]), 4, "the next daemon goes on counting");
    daemon.stop();
    assert_eq!(
        run(near.command("tc").args(["qdisc", "show", "dev", "eth0", "clsact"])),
        "",
        "nothing is left"
    );
}

#[test]
fn links_that_someone_detaches_are_put_back_and_counted() {
    if kernel::lacks(Since::Tcx) {
        return;
    }
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start_on(&near, PinsDirectory::new(), &config("tcx"), "", &[]);
    let links = written(&daemon.pins);
    run(Command::new("bpftool").args(["link", "detach", "pinned"]).arg(&links[0]));
    until(&near, Ours::ON_TCX, patience(), || daemon.log());
    daemon.wait_for("the count", |metrics| metrics.sum(REATTACHED, &[]) == 1);
    for link in written(&daemon.pins) {
        fs::remove_file(link).expect("a link's pin");
    }
    daemon.wait_for("the count", |metrics| metrics.sum(REATTACHED, &[]) == 2);
    until(&near, Ours::ON_TCX, Duration::ZERO, || daemon.log());
    assert_eq!(written(&daemon.pins), links);
    send(&near, 5);
    assert_eq!(sent(&daemon.metrics()), 5);
}

#[test]
fn a_handle_that_someone_else_took_is_theirs_and_another_is_ours() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start_on(&near, PinsDirectory::new(), &config("clsact"), "", &["--detach-on-exit"]);
    assert_eq!(handles(&near, "eth0", "egress"), ["0x706f6f6c"]);
    daemon.signal(Signal::STOP);
    tc(&near, "filter delete dev eth0 egress");
    run(near
        .command("tc")
        .args("filter add dev eth0 egress pref 1 handle 0x706f6f6c bpf da bytecode".split(' '))
        .arg("1,6 0 0 4294967295"));
    let theirs = || run(near.command("tc").args(["filter", "show", "dev", "eth0", "egress"]));
    let before = theirs();
    daemon.signal(Signal::CONT);
    until(&near, Ours::ON_CLSACT, patiently(PROMPT), || daemon.log());
    assert_eq!(handles(&near, "eth0", "egress"), ["0x706f6f6d"]);
    assert_eq!(notes(&daemon.pins).len(), 2, "one a direction");
    let (status, _, log) = daemon.stop();
    assert!(status.success(), "{log}");
    assert_eq!(theirs(), before);
}

#[test]
fn a_kill_between_the_note_and_the_filter_leaves_what_the_next_daemon_completes() {
    let (near, _far) = Namespace::pair();
    let top = config("clsact");
    let pins = kill(Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]));
    let before = notes(&pins);
    // As if it had died before the second of them, and then before either.
    for removal in ["filter delete dev eth0 egress", "qdisc delete dev eth0 clsact"] {
        tc(&near, removal);
    }
    let daemon = Daemon::start_on(&near, pins, &top, "", &[]);
    assert_eq!(Ours::on(&near, "eth0"), Ours::ON_CLSACT);
    assert_eq!(notes(&daemon.pins), before, "at the handles that were noted");
    let (_, pins, _) = daemon.stop();
    tc(&near, "filter delete dev eth0 egress");
    let daemon = Daemon::start_on(&near, pins, &top, "", &["--detach-on-exit"]);
    assert_eq!(Ours::on(&near, "eth0"), Ours::ON_CLSACT);
    assert_eq!(daemon.metrics().sum(REATTACHED, &[]), 0, "nobody took anything from a running daemon");
    daemon.stop();
    assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE);
}

#[test]
fn kills_while_it_attaches_never_leave_a_program_twice_nor_one_that_nobody_knows() {
    for hook in kernel::hooks() {
        let (near, _far) = Namespace::pair();
        let (top, mut pins) = (config(hook), PinsDirectory::new());
        for round in 0..10 {
            let daemon = Daemon::spawn(&near, pins, &top, "", &[]);
            // Killed at the sight of the first program, or a moment later.
            let since = Instant::now();
            while Ours::on_one(&near, "eth0", hook).most() == 0 && since.elapsed() < patience() {}
            std::thread::sleep(Duration::from_micros(300 * (round % 4)));
            pins = kill(daemon);
            assert!(Ours::on(&near, "eth0").most() <= 1, "{hook}: {:?}", Ours::on(&near, "eth0"));
            if round % 3 == 2 {
                // From nothing again, and by what is known alone.
                let daemon = Daemon::start_on(&near, pins, &top, "", &[]);
                assert_eq!(Ours::on(&near, "eth0"), Ours::once(hook), "{hook}");
                pins = kill(daemon);
                let daemon = Daemon::start_on(&near, pins, &top, "", &["--detach-on-exit"]);
                let (status, gone, log) = daemon.stop();
                assert!(status.success(), "{log}");
                assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "{hook}");
                pins = gone;
            }
        }
    }
}

#[test]
fn a_config_that_asks_for_the_other_hook_moves_the_programs_and_leaves_nothing_on_the_first() {
    if kernel::lacks(Since::Tcx) {
        return;
    }
    let (near, _far) = Namespace::pair();
    let mut pins = PinsDirectory::new();
    let steps = [
        ("tcx", Ours::ON_TCX),
        ("clsact", Ours::ON_CLSACT),
        ("auto", Ours::ON_CLSACT),
        ("tcx", Ours::ON_TCX),
    ];
    for (round, (how, expected)) in (1..).zip(steps) {
        let daemon = Daemon::start_on(&near, pins, &config(how), "", &[]);
        assert_eq!(Ours::on(&near, "eth0"), expected, "{how}");
        send(&near, 10);
        assert_eq!(sent(&daemon.metrics()), 10 * round, "{how}: each once");
        assert_eq!(
            daemon.log().contains("moving to another hook"),
            round == 2 || round == 4,
            "{}",
            daemon.log()
        );
        pins = daemon.stop().1;
    }
    assert_eq!(notes(&pins), Vec::<PathBuf>::new());
    assert_eq!(written(&pins).len(), 2, "the two links");
}

/// An interface that is not watched any more, and whose programs cannot be taken off it: what they
/// count is still to be taken over, and so nothing is.
#[test]
fn a_detach_that_fails_keeps_what_is_still_being_counted_from_being_taken_over() {
    for attach in kernel::hooks() {
        let (near, _far) = Namespace::pair();
        near.ip("link add eth7 type veth peer name peth7");
        near.ip("link set eth7 up");
        let mut pins = PinsDirectory::new();
        let text = |pins: &PinsDirectory, interfaces, flows| {
            format!(
                "interfaces = [{interfaces}]\nattach = \"{attach}\"\n[state]\npins = \"{}\"\n[limits]\n\
                 flows = {flows}\n",
                pins.path().display()
            )
        };
        let first = text(&pins, "\"eth0\", \"eth7\"", 2000);
        pins = Daemon::spawn_with(&near, pins, &first, &[]).ready().stop().1;
        let wire = Wire::open(&near, "eth7");
        let send_one = || wire.send(&from(HOST, STAR).bytes());
        send_one();

        let links = pins.path().join("links");
        let mount = |arguments: &[&str]| run(Command::new("mount").args(arguments).arg(&links));
        mount(&["--bind", links.to_str().expect("UTF-8")]);
        mount(&["-o", "remount,bind,ro"]);
        let second = text(&pins, "\"eth0\"", 1000);
        let mut daemon = Daemon::spawn_with(&near, pins, &second, &[]);
        let (status, log) = (daemon.wait(), daemon.log());
        run(Command::new("umount").arg(&links));
        assert_eq!(status.code(), Some(1), "{attach}: {log}");
        assert!(log.contains("earlier programs still count on the interface with index"), "{attach}: {log}");
        assert!(daemon.pins.path().join("former-0").exists(), "{attach}: {log}");
        let is_counting = Ours::on(&near, "eth7").most() == 1;
        assert!(is_counting || *attach == "clsact", "{attach}: {log}");
        send_one();

        pins = std::mem::replace(&mut daemon.pins, PinsDirectory::new());
        drop(daemon);
        let daemon = Daemon::spawn_with(&near, pins, &second, &[]).ready();
        assert_eq!(sent(&daemon.metrics()), 1 + u64::from(is_counting), "{attach}: {}", daemon.log());
    }
}

#[test]
fn programs_on_both_hooks_of_an_interface_become_those_of_one() {
    if kernel::lacks(Since::Tcx) {
        return;
    }
    for (how, expected) in [("auto", Ours::ON_TCX), ("clsact", Ours::ON_CLSACT)] {
        let (near, _far) = Namespace::pair();
        let tcx = Daemon::start_on(&near, PinsDirectory::new(), &config("tcx"), "", &[]).stop().1;
        let clsact = Daemon::start_on(&near, PinsDirectory::new(), &config("clsact"), "", &[]).stop().1;
        for note in written(&clsact) {
            let there = tcx.path().join("links").join(note.file_name().expect("a name"));
            fs::rename(note, there).expect("the note of one as the other's");
        }
        assert_eq!(Ours::on(&near, "eth0"), Ours { tcx: [1; 2], clsact: [1; 2] });
        let daemon = Daemon::start_on(&near, tcx, &config(how), "", &["--detach-on-exit"]);
        assert_eq!(Ours::on(&near, "eth0"), expected, "{how}");
        send(&near, 10);
        assert_eq!(sent(&daemon.metrics()), 10, "{how}: each once");
        daemon.stop();
        assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "{how}");
    }
}
