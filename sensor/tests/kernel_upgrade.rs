//! Another version takes over: one that lays its counters out otherwise and gives slots out in another
//! order, or the same one with other limits. Whatever was counted goes on, also for a connection that is
//! in the middle of it, and at whatever moment the daemon dies.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::Duration;

use aya::maps::{Array, Map, MapData};
use rustix::process::Signal;
use sensor::bpf::maps::Raw;
use sensor_ebpf::abi::{Settings, map};
use support::PinsDirectory;
use support::daemon::{Build, Daemon, Metrics};
use support::kernel;
use support::namespace::Namespace;
use support::nft::Nft;
use support::patience;
use support::traffic::{Target, Traffic, assert_counted};

const STAR: &str = "175.45.176.9";
const SATGATE: &str = "77.94.35.5";
const TARGETS: [Target; 3] = [
    Target { name: "star-kp", counter: "star", address: STAR },
    Target { name: "satgate", counter: "satgate", address: SATGATE },
    Target { name: "inside", counter: "star", address: STAR },
];
const INSIDE: &str = "[[watchlist]]\nname = \"inside\"\nprefixes = [\"175.45.176.0/24\"]\n";

fn config(pins: &PinsDirectory, attach: &str, tables: &str) -> String {
    let pins = pins.path().display();
    format!("interfaces = [\"eth0\"]\nattach = \"{attach}\"\n[state]\npins = \"{pins}\"\n{INSIDE}{tables}")
}

/// A pair without offloads, so that each packet is one, and the independent count of it.
fn pair() -> (Namespace, Namespace) {
    let (near, far) = Namespace::pair();
    near.without_offloads();
    far.without_offloads();
    (near, far)
}

fn count(near: &Namespace) -> Nft<'_> {
    Nft::count(near, &[("star", STAR), ("satgate", SATGATE)])
}

/// One exchange over a connection that stays open, and one over a UDP flow that does.
struct Open {
    tcp: TcpStream,
    udp: UdpSocket,
}

impl Open {
    fn new(near: &Namespace) -> Self {
        near.enter(|| {
            let udp = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            udp.connect((STAR, 3333)).expect("an address");
            udp.set_read_timeout(Some(patience())).expect("a socket");
            Self { tcp: TcpStream::connect((STAR, 3333)).expect("a connection"), udp }
        })
    }

    fn exchange(&mut self) {
        let mut back = [0; 100];
        self.tcp.write_all(&[1; 100]).expect("it is sent");
        self.tcp.read_exact(&mut back).expect("the echo");
        self.udp.send(&[1; 100]).expect("it is sent");
        self.udp.recv(&mut back).expect("the echo");
    }
}

/// The open connection and flow counted once, were answered, and are still alive.
fn assert_one_of_each(metrics: &Metrics, what: &str) {
    for target in ["star-kp", "inside"] {
        for transport in ["tcp", "udp"] {
            let labels = [("target", target), ("initiator", "local"), ("transport", transport)];
            for name in ["poolwatch_connections_total", "poolwatch_connections_established_total"] {
                assert_eq!(
                    metrics.sum(name, &labels),
                    1,
                    "{what}: {target} {transport} {name}\n{}",
                    metrics.0
                );
            }
        }
    }
    assert_eq!(metrics.sum("poolwatch_connections_joined_total", &[]), 0, "{what}");
}

fn all_packets(metrics: &Metrics) -> u64 {
    metrics.sum("poolwatch_packets_total", &[("target", "star-kp")])
}

#[test]
fn an_upgrade_and_the_way_back_take_over_every_count_and_the_flows_that_are_open() {
    for attach in kernel::hooks() {
        let (near, far) = pair();
        far.owns(STAR);
        let _server = far.serve(&format!("{STAR}:3333"));
        let nft = Nft::count(&near, &[("star", STAR)]);
        let mut pins = PinsDirectory::new();
        let mut open = None;
        let mut before = 0;
        for build in [Build::This, Build::MadeUpUpgrade, Build::MadeUpUpgrade, Build::This] {
            let text = config(&pins, attach, "");
            let daemon = Daemon::spawn_build(&near, build, pins, &text, &[]).ready();
            let metrics = daemon.metrics();
            assert!(all_packets(&metrics) >= before, "{attach} {build:?}: a counter went down");
            let open = open.get_or_insert_with(|| Open::new(&near));
            for _ in 0..10 {
                open.exchange();
            }
            let metrics = daemon.wait_for("one flow alive of each kind", |metrics| {
                metrics.sum("poolwatch_flows", &[("target", "star-kp"), ("established", "true")]) == 2
            });
            assert_one_of_each(&metrics, &format!("{attach} {build:?}"));
            before = all_packets(&metrics);
            assert!(
                fs::read_dir(daemon.pins.path()).expect("pins").count() == 2,
                "nothing of before is left"
            );
            pins = daemon.stop().1;
            // While no daemon is there.
            open.exchange();
        }
        drop(open);
        std::thread::sleep(Duration::from_millis(200));
        let text = config(&pins, attach, "");
        let daemon = Daemon::spawn_build(&near, Build::MadeUpUpgrade, pins, &text, &[]).ready();
        let metrics = daemon.metrics();
        for transport in ["tcp", "udp"] {
            let (sent, received) = (nft.egress("star", transport), nft.ingress("star", transport));
            for target in ["star-kp", "inside"] {
                let labels = [("target", target), ("transport", transport)];
                let bytes = metrics.sum("poolwatch_bytes_total", &labels);
                assert_eq!(bytes, sent.bytes + received.bytes, "{attach} {target} {transport}");
            }
        }
    }
}

#[test]
fn other_limits_take_over_every_count_and_the_flows_that_are_open() {
    let (near, far) = pair();
    far.owns(STAR);
    let _server = far.serve(&format!("{STAR}:3333"));
    let mut pins = PinsDirectory::new();
    let mut open = None;
    let mut before = 0;
    for limits in ["", "flows = 1000", "flows = 1000\ntargets = 400", "targets = 2000"] {
        let text = config(&pins, "auto", &format!("[limits]\n{limits}\n"));
        let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
        assert!(all_packets(&daemon.metrics()) >= before, "{limits}: a counter went down");
        open.get_or_insert_with(|| Open::new(&near)).exchange();
        let metrics = daemon.metrics();
        assert_one_of_each(&metrics, limits);
        before = all_packets(&metrics);
        pins = daemon.stop().1;
    }
}

/// Connections say nothing while so many sets of maps come and go that their numbers begin anew, other
/// targets get the slots that theirs had, and at last the flows are copied.
#[test]
fn connections_that_are_silent_over_many_takeovers_stay_their_targets() {
    const ROUNDS: u32 = 7;
    let (near, far) = pair();
    far.owns(STAR);
    let _servers = [far.serve(&format!("{STAR}:3333")), far.serve("10.77.0.2:3333")];
    let list = |name, prefix| format!("[[watchlist]]\nname = \"{name}\"\nprefixes = [\"{prefix}\"]\n");
    let mut pins = PinsDirectory::new();
    let mut open = None;
    for round in 0..ROUNDS {
        // Before the other, whose slot it takes.
        let first = match round {
            0 => list("gone", "10.77.0.2/32"),
            4 => list("new", "203.0.113.0/24"),
            _ => String::new(),
        };
        let flows = if round == ROUNDS - 1 { "flows = 1000\n" } else { "" };
        let text = format!(
            "interfaces = [\"eth0\"]\n[state]\npins = \"{}\"\n[limits]\n{flows}targets = {}\n{first}{INSIDE}",
            pins.path().display(),
            900 + round % 2
        );
        let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
        let (open, _) = open.get_or_insert_with(|| {
            let gone = near.enter(|| TcpStream::connect("10.77.0.2:3333").expect("a connection"));
            (Open::new(&near), gone)
        });
        if round == 0 || round == 4 {
            open.exchange();
        }
        let what = format!("takeover {round}");
        let alive = |metrics: &Metrics, target| metrics.sum("poolwatch_flows", &[("target", target)]);
        let metrics = daemon.wait_for(&what, |metrics| alive(metrics, "inside") == 2);
        assert_one_of_each(&metrics, &what);
        assert_eq!(alive(&metrics, "new"), 0, "{what}: {}", metrics.0);
        pins = daemon.stop().1;
    }
}

/// Whose slots flows name that say nothing outlives the daemon that took them over.
#[test]
fn flows_that_are_silent_over_an_upgrade_and_one_more_restart_are_still_their_targets() {
    let (near, far) = pair();
    far.owns(STAR);
    let _server = far.serve(&format!("{STAR}:3333"));
    let mut pins = PinsDirectory::new();
    let mut open = None;
    for build in [Build::MadeUpUpgrade, Build::This, Build::This] {
        let text = config(&pins, "auto", "");
        let daemon = Daemon::spawn_build(&near, build, pins, &text, &[]).ready();
        open.get_or_insert_with(|| {
            let mut open = Open::new(&near);
            open.exchange();
            open
        });
        for target in ["star-kp", "inside"] {
            let labels = [("target", target), ("established", "true")];
            daemon.wait_for(&format!("two flows of {target}"), |metrics| {
                metrics.sum("poolwatch_flows", &labels) == 2
            });
        }
        pins = daemon.stop().1;
    }
}

#[test]
fn maps_that_do_not_say_what_they_hold_are_refused_while_programs_count_in_them() {
    let (near, _far) = pair();
    let pins = PinsDirectory::new();
    let text = config(&pins, "auto", "");
    let (_, pins, _) = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready().stop();
    let maps = pins.path().join("maps");
    fs::remove_file(maps.join(map::LAYOUT)).expect("LAYOUT is pinned");
    let mut daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]);
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(
        daemon.log().contains("and programs count in it; `poolwatch detach` removes"),
        "{}",
        daemon.log()
    );
    assert!(maps.join(map::TOTALS).exists());
}

#[test]
fn maps_of_a_schema_that_did_not_say_what_it_holds_are_taken_over_too() {
    let (near, far) = pair();
    far.owns(STAR);
    let _server = far.serve(&format!("{STAR}:3333"));
    let pins = PinsDirectory::new();
    let text = config(&pins, "auto", "");
    let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
    let mut open = Open::new(&near);
    open.exchange();
    let before = all_packets(&daemon.metrics());
    let (_, pins, _) = daemon.stop();
    let maps = pins.path().join("maps");
    let pinned = Map::Array(MapData::from_pin(maps.join(map::SETTINGS)).expect("SETTINGS is pinned"));
    let mut settings: Array<_, Raw<Settings>> = pinned.try_into().expect("SETTINGS is an array");
    settings.set(0, Raw(Settings { schema: 2, numbering: 0 }), 0).expect("SETTINGS takes it");
    fs::remove_file(maps.join(map::LAYOUT)).expect("LAYOUT is pinned");

    let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
    assert!(daemon.log().contains("the pinned maps are of schema 2"), "{}", daemon.log());
    assert_eq!(all_packets(&daemon.metrics()), before);
    open.exchange();
    assert_one_of_each(&daemon.metrics(), "schema 2");
}

/// The two moments around the commit, made by hand: what was taken over is still there, with the
/// document that says that it was, and without.
#[test]
fn a_kill_just_before_and_just_after_the_commit_loses_nothing_and_doubles_nothing() {
    for is_committed in [false, true] {
        let (near, far) = pair();
        far.owns(STAR);
        let _server = far.serve(&format!("{STAR}:3333"));
        let pins = PinsDirectory::new();
        let text = config(&pins, "auto", "");
        let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
        Open::new(&near).exchange();
        std::thread::sleep(Duration::from_millis(200));
        let before = all_packets(&daemon.metrics());
        let (_, pins, _) = daemon.stop();
        // The old maps live on in a second directory of pins.
        let kept = pins.path().join("kept");
        fs::create_dir(&kept).expect("a directory");
        for map in fs::read_dir(pins.path().join("maps")).expect("maps").flatten() {
            let pinned = MapData::from_pin(map.path()).expect("a map");
            pinned.pin(kept.join(map.file_name())).expect("it is pinned again");
        }
        let (_, pins, _) = Daemon::spawn_build(&near, Build::MadeUpUpgrade, pins, &text, &[]).ready().stop();
        fs::rename(&kept, pins.path().join("former-3")).expect("it is renamed");
        if !is_committed {
            fs::remove_file(pins.path().join("maps").join(map::CARRIED)).expect("it was committed");
        }
        let daemon = Daemon::spawn_build(&near, Build::MadeUpUpgrade, pins, &text, &[]).ready();
        assert_eq!(all_packets(&daemon.metrics()), before, "committed: {is_committed}");
        assert!(!daemon.pins.path().join("former-3").exists());
    }
}

#[test]
fn a_schema_that_nobody_knows_is_refused_and_goes_on_counting() {
    let (near, _far) = pair();
    let pins = PinsDirectory::new();
    let text = config(&pins, "auto", "");
    let (_, pins, _) = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready().stop();
    // Set aside by someone, and it does not say what it is.
    fs::rename(pins.path().join("maps"), pins.path().join("former-4")).expect("it is renamed");
    fs::remove_file(pins.path().join("former-4").join(map::LAYOUT)).expect("LAYOUT is pinned");
    let mut daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]);
    assert_eq!(daemon.wait().code(), Some(1));
    let log = daemon.log();
    assert!(log.contains("former-4 does not say what it holds; `poolwatch detach` removes it"), "{log}");
    assert!(daemon.pins.path().join("former-4").join(map::TOTALS).exists());
}

/// Slots of targets that left the config are free again at the next start, and their counts are kept.
#[test]
fn slots_that_nobody_needs_any_more_are_given_to_others_at_the_next_start() {
    let (near, far) = pair();
    far.owns(STAR);
    let start = |pins, lists: &str| {
        let pins: PinsDirectory = pins;
        let text = format!(
            "interfaces = [\"eth0\"]\nbuiltin.mining = false\n[state]\npins = \"{}\"\n[limits]\ntargets = 4\n{lists}",
            pins.path().display()
        );
        Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready()
    };
    let list = |name: &str| format!("[[watchlist]]\nname = \"{name}\"\nprefixes = [\"175.45.176.0/24\"]\n");
    let send = || {
        near.enter(|| {
            let socket = UdpSocket::bind("10.77.0.1:5000").expect("a socket");
            socket.send_to(b"x", (STAR, 9)).expect("it is sent");
        });
    };
    let daemon = start(PinsDirectory::new(), &list("one"));
    send();
    let (_, pins, _) = daemon.stop();
    let daemon = start(pins, &list("two"));
    send();
    let of = |daemon: &Daemon, target| {
        daemon.metrics().sum("poolwatch_packets_total", &[("target", target), ("direction", "egress")])
    };
    assert_eq!((of(&daemon, "star-kp"), of(&daemon, "two"), of(&daemon, "one")), (2, 1, 0));
    let (_, pins, _) = daemon.stop();
    let daemon = start(pins, &list("one"));
    send();
    assert_eq!((of(&daemon, "star-kp"), of(&daemon, "one"), of(&daemon, "two")), (3, 2, 0));
}

/// Between two builds, back and forth, dying each time a little later than the time before.
#[test]
fn an_upgrade_that_is_killed_at_whatever_moment_loses_nothing_and_doubles_nothing() {
    const KILLS: u32 = 36;
    for attach in kernel::hooks() {
        let (near, far) = pair();
        let nft = count(&near);
        let pins = PinsDirectory::new();
        let text = config(&pins, attach, "");
        let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
        let traffic = Traffic::start(&near, &far, &[STAR, SATGATE]);
        let started = std::time::Instant::now();
        let (mut pins, _) = daemon.kill();
        // How long a takeover lasts here: the kills are spread over it.
        let daemon = Daemon::spawn_build(&near, Build::MadeUpUpgrade, pins, &text, &[]).ready();
        let lasts = started.elapsed();
        pins = daemon.kill().0;
        let mut set_aside = 0;
        for kill in 0..KILLS {
            let build = if kill % 3 == 2 { Build::MadeUpUpgrade } else { Build::This };
            let daemon = Daemon::spawn_build(&near, build, pins, &text, &[]);
            // Some of them are given time to finish.
            std::thread::sleep(lasts.mul_f64(1.5 * f64::from(kill * 7 % KILLS) / f64::from(KILLS)));
            daemon.signal(Signal::HUP);
            pins = daemon.kill().0;
            let former = fs::read_dir(pins.path()).expect("pins").count() > 2;
            set_aside += u32::from(former);
        }
        assert!(set_aside > 0, "{attach}: no kill hit a takeover, so nothing is proven");
        let daemon = Daemon::spawn_build(&near, Build::This, pins, &text, &[]).ready();
        let opened = traffic.stop();
        eprintln!(
            "{attach}: a takeover lasts {lasts:?}; {set_aside} of {KILLS} kills left one half done; {opened:?}"
        );
        std::thread::sleep(Duration::from_millis(200));
        assert_counted(&daemon.metrics(), &nft, &TARGETS, &opened);
    }
}
