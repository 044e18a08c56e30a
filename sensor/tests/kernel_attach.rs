//! Where the programs hang: first on TCX where the kernel has it, beside others on clsact; what
//! outlives a daemon, who takes it over, and that nothing is left once it is detached.

mod support;

use std::fs;
use std::net::UdpSocket;
use std::time::Duration;

use aya::programs::{SchedClassifier, TcAttachType};
use rustix::process::Signal;
use support::PinsDirectory;
use support::daemon::{BINARY, Daemon, Metrics};
use support::kernel::{self, Since};
use support::namespace::{Namespace, run};
use support::patiently;

const WATCHED: &str = "175.45.176.9:9";
const TCX: &str = "interfaces = [\"eth0\"]\nattach = \"tcx\"";
const CLSACT: &str = "interfaces = [\"eth0\"]\nattach = \"clsact\"";

/// The hooks that this kernel has, the one that it is given by default first.
fn hooks() -> &'static [&'static str] {
    if kernel::has(Since::Tcx) { &[TCX, CLSACT] } else { &[CLSACT] }
}

/// Sends datagrams to a watched address, whether they arrive or not.
fn send(near: &Namespace, count: usize) {
    near.enter(|| {
        let socket = UdpSocket::bind("10.77.0.1:5000").expect("a socket");
        for _ in 0..count {
            socket.send_to(b"x", WATCHED).expect("it is sent");
        }
    });
}

fn sent(metrics: &Metrics) -> u64 {
    metrics.sum(
        "poolwatch_packets_total",
        &[("target", "star-kp"), ("direction", "egress"), ("transport", "udp")],
    )
}

fn start<'a>(near: &'a Namespace, pins: PinsDirectory, top: &str, arguments: &[&str]) -> Daemon<'a> {
    Daemon::start_on(near, pins, top, "", arguments)
}

/// The programs on a hook of TCX, in the order in which they run.
fn on_tcx(near: &Namespace, direction: TcAttachType) -> Vec<String> {
    if !kernel::has(Since::Tcx) {
        return Vec::new();
    }
    near.enter(|| {
        let (_, programs) = SchedClassifier::query_tcx("eth0", direction).expect("TCX can be asked");
        programs.iter().map(|program| program.name_as_str().expect("a name").to_owned()).collect()
    })
}

fn filters(near: &Namespace) -> String {
    ["ingress", "egress"]
        .map(|hook| run(near.command("tc").args(["filter", "show", "dev", "eth0", hook])))
        .concat()
}

fn qdiscs(near: &Namespace) -> String {
    run(near.command("tc").args(["qdisc", "show", "dev", "eth0"]))
}

fn tc(near: &Namespace, arguments: &str) {
    run(near.command("tc").args(arguments.split_whitespace()));
}

/// Direct-action results of a classic BPF program: what comes next decides, or the packet is dropped.
const GO_ON: u32 = u32::MAX;
const DROP: u32 = 2;

/// Someone else's filter on egress.
fn filter(near: &Namespace, priority: u32, result: u32) {
    let priority = priority.to_string();
    let program = format!("1,6 0 0 {result}");
    let arguments =
        ["filter", "add", "dev", "eth0", "egress", "pref", &priority, "bpf", "da", "bytecode", &program];
    run(near.command("tc").args(arguments));
}

fn ours_on_clsact(near: &Namespace) -> usize {
    filters(near).lines().filter(|line| line.contains("poolwatch_") && line.contains("handle")).count()
}

/// Our programs on both hooks, in both directions.
fn ours(near: &Namespace) -> usize {
    let on_tcx = [TcAttachType::Ingress, TcAttachType::Egress].map(|direction| on_tcx(near, direction).len());
    on_tcx.iter().sum::<usize>() + ours_on_clsact(near)
}

/// Sends one datagram; does it come out at the other end?
fn arrives(near: &Namespace, far: &Namespace) -> bool {
    far.ip("address replace 175.45.176.9 dev lo");
    let receiver = far.enter(|| UdpSocket::bind(WATCHED).expect("a socket"));
    receiver.set_read_timeout(Some(patiently(Duration::from_millis(500)))).expect("a socket");
    send(near, 1);
    receiver.recv(&mut [0; 8]).is_ok()
}

fn detach(daemon: &Daemon) -> String {
    run(&mut daemon.command("detach"))
}

#[test]
fn both_programs_are_attached_on_tcx_or_else_on_clsact_and_metrics_say_so() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    let hook = if kernel::has(Since::Tcx) {
        assert_eq!(on_tcx(&near, TcAttachType::Ingress), ["poolwatch_in"]);
        assert_eq!(on_tcx(&near, TcAttachType::Egress), ["poolwatch_out"]);
        assert_eq!(ours_on_clsact(&near), 0, "{}", filters(&near));
        "tcx"
    } else {
        assert_eq!(ours_on_clsact(&near), 2, "{}", filters(&near));
        "clsact"
    };
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("poolwatch_interface_attached", &[("interface", "eth0")]), 2);
    assert!(metrics.has("poolwatch_interface_info", &[("interface", "eth0"), ("hook", hook)]));
}

#[test]
fn another_program_before_ours_on_tcx_and_one_after_ours_on_clsact_run_and_decide_as_before() {
    if kernel::lacks(Since::Tcx) {
        return;
    }
    let (near, far) = Namespace::pair();
    let ours = start(&near, PinsDirectory::new(), TCX, &[]);
    // Attached later, at the head as well: it runs before.
    let listen = ["--listen", "127.0.0.1:9751"];
    let theirs = Daemon::spawn(&near, PinsDirectory::new(), TCX, "", &listen);
    let both = ["poolwatch_out", "poolwatch_out"];
    ours.wait_for("two programs", |_| on_tcx(&near, TcAttachType::Egress) == both);
    assert!(arrives(&near, &far), "nobody drops it");
    tc(&near, "qdisc add dev eth0 clsact");
    filter(&near, 2, DROP);
    assert!(!arrives(&near, &far), "the program after us drops it");
    assert_eq!(sent(&ours.metrics()), 2);
    let (_, text) = theirs.get_from("127.0.0.1:9751", "/metrics").expect("the other daemon answers");
    assert_eq!(sent(&Metrics(text)), 2);
}

#[test]
fn a_clsact_qdisc_that_was_there_stays_and_so_do_the_filters_on_it_before_and_after_ours() {
    let (near, far) = Namespace::pair();
    assert!(arrives(&near, &far), "nobody drops it, and the neighbour is known from now on");
    tc(&near, "qdisc add dev eth0 clsact");
    filter(&near, 1, GO_ON);
    filter(&near, 2, DROP);
    let before = filters(&near);
    let daemon = start(&near, PinsDirectory::new(), CLSACT, &[]);
    assert_eq!(ours_on_clsact(&near), 2, "{}", filters(&near));
    assert!(daemon.metrics().has("poolwatch_interface_info", &[("hook", "clsact")]));
    assert!(!arrives(&near, &far), "the program after us drops it");
    assert_eq!(sent(&daemon.metrics()), 1);

    daemon.signal(Signal::KILL);
    let mut daemon = daemon;
    daemon.wait();
    detach(&daemon);
    assert_eq!(filters(&near), before);
    assert!(qdiscs(&near).contains("clsact"), "{}", qdiscs(&near));
}

#[test]
fn a_clsact_qdisc_of_ours_goes_with_us_unless_someone_else_uses_it() {
    for someone_else in [false, true] {
        let (near, _far) = Namespace::pair();
        let daemon = start(&near, PinsDirectory::new(), CLSACT, &["--detach-on-exit"]);
        assert!(qdiscs(&near).contains("clsact"));
        if someone_else {
            filter(&near, 7, GO_ON);
        }
        let (status, pins, log) = daemon.stop();
        assert!(status.success(), "{log}");
        assert!(!pins.path().exists());
        assert_eq!(qdiscs(&near).contains("clsact"), someone_else);
        assert_eq!(ours_on_clsact(&near), 0);
    }
}

#[test]
fn after_sigterm_the_programs_count_on_and_the_next_daemon_takes_them_over() {
    for top in hooks() {
        let (near, _far) = Namespace::pair();
        let daemon = start(&near, PinsDirectory::new(), top, &[]);
        send(&near, 10);
        assert_eq!(sent(&daemon.metrics()), 10, "{top}");
        let (status, pins, log) = daemon.stop();
        assert!(status.success(), "{log}");
        assert_eq!(ours(&near), 2, "{top}");
        send(&near, 10);

        let daemon = start(&near, pins, top, &[]);
        assert_eq!(sent(&daemon.metrics()), 20, "{top}: what came while nobody was there counts");
        assert_eq!(ours(&near), 2, "{top}: once in each direction");
        send(&near, 10);
        let metrics = daemon.metrics();
        assert_eq!(sent(&metrics), 30, "{top}");
        assert_eq!(
            metrics.sum("poolwatch_connections_total", &[("transport", "udp")]),
            1,
            "{top}: one flow all along"
        );

        daemon.signal(Signal::KILL);
        let mut daemon = daemon;
        daemon.wait();
        let said = detach(&daemon);
        assert!(said.contains("detached from 1 interface"), "{said}");
        assert_eq!(ours(&near), 0, "{top}: nothing is left");
        assert!(!daemon.pins.path().exists(), "{top}");
        let said = detach(&daemon);
        assert!(said.contains("nothing is left"), "{said}");
    }
}

#[test]
fn an_edited_config_never_credits_the_wrong_target() {
    const LISTS: [&str; 2] = [
        "[[watchlist]]\nname = \"first\"\nprefixes = [\"198.51.100.0/24\"]\n",
        "[[watchlist]]\nname = \"second\"\nprefixes = [\"203.0.113.0/24\"]\n",
    ];
    let (near, _far) = Namespace::pair();
    let top = "interfaces = [\"eth0\"]";
    let daemon = Daemon::start_on(&near, PinsDirectory::new(), top, &LISTS.concat(), &[]);
    near.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
        for address in ["198.51.100.1:9", "198.51.100.2:9", "203.0.113.1:9"] {
            socket.send_to(b"x", address).expect("it is sent");
        }
    });
    let packets = |metrics: &Metrics, target| metrics.sum("poolwatch_packets_total", &[("target", target)]);
    let metrics = daemon.metrics();
    assert_eq!((packets(&metrics, "first"), packets(&metrics, "second")), (2, 1));
    let (_, pins, _) = daemon.stop();

    let daemon = Daemon::start_on(&near, pins, top, LISTS[1], &[]);
    let metrics = daemon.metrics();
    assert_eq!((packets(&metrics, "first"), packets(&metrics, "second")), (0, 1), "{}", metrics.0);
    assert!(!metrics.0.contains("first"), "a target that left the config is not shown");
    let (_, pins, _) = daemon.stop();

    let swapped = format!("{}{}", LISTS[1], LISTS[0]);
    let daemon = Daemon::start_on(&near, pins, top, &swapped, &[]);
    let metrics = daemon.metrics();
    assert_eq!((packets(&metrics, "first"), packets(&metrics, "second")), (2, 1), "it kept its counts");
}

#[test]
fn a_reload_that_is_refused_takes_no_slots() {
    let (near, _far) = Namespace::pair();
    let top = "interfaces = [\"eth0\"]\nbuiltin.mining = false";
    let daemon = Daemon::start_on(&near, PinsDirectory::new(), top, "[limits]\ntargets = 4\n", &[]);
    let config = fs::read_to_string(daemon.config()).expect("its config");
    let watch = |names: &[&str]| {
        let list =
            |name: &&str| format!("[[watchlist]]\nname = \"{name}\"\nprefixes = [\"198.51.100.0/24\"]\n");
        let lists: String = names.iter().map(list).collect();
        fs::write(daemon.config(), format!("{config}\n{lists}")).expect("a config");
        daemon.signal(Signal::HUP);
    };
    let successful = "poolwatch_config_last_reload_successful";
    watch(&["one", "two"]);
    daemon.wait_for("five targets refused", |metrics| metrics.sum(successful, &[]) == 0);
    assert_eq!(daemon.metrics().sum("poolwatch_map_entries", &[("map", "TARGETS")]), 3);
    watch(&["three"]);
    let metrics = daemon.wait_for("four targets", |metrics| metrics.sum(successful, &[]) == 1);
    assert_eq!(metrics.sum("poolwatch_map_entries", &[("map", "TARGETS")]), 4);
    // It left the config and keeps its slot, so that there is none for another.
    watch(&["four"]);
    daemon.wait_for("another refused", |metrics| metrics.sum(successful, &[]) == 0);
    assert!(daemon.log().contains("no slot is free for four/four"), "{}", daemon.log());
}

/// As it is when a package is removed whose config does not hold.
#[test]
fn detach_needs_no_config_where_it_is_told_the_pins_and_takes_nothing_but_a_daemons() {
    let (near, _far) = Namespace::pair();
    for top in hooks() {
        let (status, pins, log) = start(&near, PinsDirectory::new(), top, &[]).stop();
        assert!(status.success(), "{log}");
        let detach =
            || near.command(BINARY).arg("detach").arg("--pins").arg(pins.path()).output().expect("it runs");

        let others = pins.path().join("others");
        fs::create_dir(&others).expect("a directory on the bpffs");
        let refused = detach();
        assert_eq!(refused.status.code(), Some(1), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(said.contains("holds others, which is no daemon's: nothing was removed"), "{said}");
        assert_eq!(ours(&near), 2, "{top}");

        fs::remove_dir(&others).expect("it is empty");
        let done = detach();
        assert!(done.status.success(), "{done:?}");
        assert_eq!(ours(&near), 0, "{top}");
        assert!(!pins.path().exists());

        // What a removal that was killed leaves, is removed; maps of somebody else's are not.
        fs::create_dir(pins.path()).expect("a directory on the bpffs");
        assert!(detach().status.success());
        assert!(!pins.path().exists());
        fs::create_dir_all(pins.path().join("maps")).expect("a directory on the bpffs");
        assert_eq!(detach().status.code(), Some(1));
        assert!(pins.path().join("maps").exists());
        let elsewhere = tempfile::TempDir::new().expect("a directory");
        fs::write(elsewhere.path().join("file"), "").expect("a file");
        std::os::unix::fs::symlink(elsewhere.path(), pins.path().join("links")).expect("a link");
        assert_eq!(detach().status.code(), Some(1));
        assert!(elsewhere.path().join("file").exists(), "nothing behind a link");
        fs::remove_file(pins.path().join("links")).expect("it is there");
        fs::create_dir(pins.path().join("links")).expect("a directory on the bpffs");
        fs::create_dir(pins.path().join("maps/theirs")).expect("an entry of others'");
        assert_eq!(detach().status.code(), Some(1));
        assert!(pins.path().join("maps/theirs").exists());
        fs::create_dir(pins.path().join("maps/TOTALS")).expect("an entry");
        assert!(detach().status.success(), "one of ours");
    }
}

/// Interfaces and handles have the same numbers in each: what hangs there is another sensor's.
#[test]
fn detach_in_another_namespace_removes_nothing_there_and_says_where_to_run_it() {
    let ((here, _far), (elsewhere, _beyond)) = (Namespace::pair(), Namespace::pair());
    let (_, ours_pins, _) = start(&here, PinsDirectory::new(), CLSACT, &[]).stop();
    let (_, others_pins, _) = start(&elsewhere, PinsDirectory::new(), CLSACT, &[]).stop();
    let detach = |namespace: &Namespace, pins: &PinsDirectory| {
        namespace.command(BINARY).arg("detach").arg("--pins").arg(pins.path()).output().expect("it runs")
    };
    let refused = detach(&elsewhere, &ours_pins);
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("counts in another network namespace: run this there"), "{said}");
    assert_eq!((ours(&here), ours(&elsewhere)), (2, 2));

    assert!(detach(&here, &ours_pins).status.success());
    assert_eq!((ours(&here), ours(&elsewhere)), (0, 2));
    // Where somebody removed the filters, there is nothing to refuse for.
    tc(&elsewhere, "qdisc del dev eth0 clsact");
    assert!(detach(&elsewhere, &others_pins).status.success());
}

/// Its owner need not be who runs `detach`.
#[test]
fn detach_takes_nothing_off_that_a_link_among_the_pins_leads_to() {
    if kernel::lacks(Since::Tcx) {
        return;
    }
    let (near, _far) = Namespace::pair();
    let (_, others, _) = start(&near, PinsDirectory::new(), TCX, &[]).stop();
    let pins = PinsDirectory::new();
    for directory in ["maps", "links"] {
        fs::create_dir_all(pins.path().join(directory)).expect("a directory on the bpffs");
    }
    for entry in fs::read_dir(others.path().join("links")).expect("it is there") {
        let entry = entry.expect("it is read");
        let link = pins.path().join("links").join(entry.file_name());
        std::os::unix::fs::symlink(entry.path(), link).expect("a link");
    }
    let refused =
        near.command(BINARY).arg("detach").arg("--pins").arg(pins.path()).output().expect("it runs");
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    assert_eq!(ours(&near), 2);
}
