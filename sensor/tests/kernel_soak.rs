//! A minute in the life of a host whose daemon has a hard time: killed, reloaded, replaced by another
//! version and killed again, while TCP and UDP go on. Every target counts what nftables counts.

mod support;

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::Signal;
use support::PinsDirectory;
use support::daemon::{Build, Daemon};
use support::namespace::Namespace;
use support::nft::Nft;
use support::patience;
use support::traffic::{Target, Traffic, assert_counted};

const STAR: &str = "175.45.176.9";
const UNICOM: &str = "210.52.109.7";
const SATGATE: &str = "77.94.35.5";
const OFFICE: &str = "198.51.100.9";

const TARGETS: [Target; 5] = [
    Target { name: "star-kp", counter: "star", address: STAR },
    Target { name: "inside", counter: "star", address: STAR },
    Target { name: "unicom", counter: "unicom", address: UNICOM },
    Target { name: "satgate", counter: "satgate", address: SATGATE },
    Target { name: "office", counter: "office", address: OFFICE },
];

const KILLS: u32 = 50;
const RELOADS: u32 = 50;
const LASTS: Duration = Duration::from_mins(1);

/// What is watched, in one of two orders, beside a list that comes and goes.
fn config(pins: &PinsDirectory, version: u32) -> String {
    let mut lists = [
        "[[watchlist]]\nname = \"inside\"\nprefixes = [\"175.45.176.0/24\"]\n".to_owned(),
        "[[watchlist]]\nname = \"office\"\nendpoints = [\"198.51.100.9:3333\", \"198.51.100.9:4444\"]\n"
            .to_owned(),
        format!("[[watchlist]]\nname = \"extra-{}\"\nprefixes = [\"203.0.113.0/24\"]\n", version % 7),
    ];
    lists.rotate_left(version as usize % 3);
    format!("interfaces = [\"eth0\"]\n[state]\npins = \"{}\"\n{}", pins.path().display(), lists.concat())
}

/// Moments that differ from run to run; the seed is printed, so that a failure can be looked into.
struct Moments(u32);

impl Moments {
    fn new() -> Self {
        let seed = SystemTime::UNIX_EPOCH.elapsed().expect("a clock").subsec_nanos() | 1;
        eprintln!("seed {seed}");
        Self(seed)
    }

    /// Some part of `most` (xorshift, Marsaglia 2003).
    fn within(&mut self, most: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        most * (self.0 % 1_000) / 1_000
    }
}

/// Has its config read again, and sees that it was.
fn reload(daemon: &Daemon, version: u32) {
    let reloads = || daemon.log().matches("reloaded").count();
    let before = reloads();
    fs::write(daemon.config(), config(&daemon.pins, version)).expect("a config");
    daemon.signal(Signal::HUP);
    let since = Instant::now();
    while reloads() == before {
        assert!(since.elapsed() < patience(), "no reload:\n{}", daemon.log());
        sleep(Duration::from_millis(5));
    }
}

/// Are there maps whose counts are still to be taken over?
fn is_half_done(pins: &PinsDirectory) -> bool {
    fs::read_dir(pins.path()).expect("pins").count() > 2
}

/// Waits until an upgrade has begun, or was done long ago; how long it may go on then.
fn await_upgrade(daemon: &Daemon) -> Duration {
    let since = Instant::now();
    while !is_half_done(&daemon.pins) && !daemon.log().contains("serving /metrics") {
        assert!(since.elapsed() < patience(), "it does not start:\n{}", daemon.log());
        sleep(Duration::from_millis(1));
    }
    Duration::from_millis(150)
}

#[test]
fn killed_fifty_times_reloaded_fifty_times_and_upgraded_once_it_counts_every_packet() {
    let (near, far) = Namespace::pair();
    near.without_offloads();
    far.without_offloads();
    let nft =
        Nft::count(&near, &[("star", STAR), ("unicom", UNICOM), ("satgate", SATGATE), ("office", OFFICE)]);
    let mut moments = Moments::new();
    let mut pins = PinsDirectory::new();
    let first = config(&pins, 0);
    let daemon = Daemon::spawn_build(&near, Build::This, pins, &first, &[]).ready();
    let traffic = Traffic::start(&near, &far, &[STAR, UNICOM, SATGATE, OFFICE]);
    let since = Instant::now();
    pins = daemon.kill().0;
    let (mut kills, mut reloads, mut during, mut half_way) = (1, 0, 0, 0);
    while kills < KILLS || since.elapsed() < LASTS {
        // Half-time: the upgrade, which six kills may hit. Then killed and reloaded as before.
        let upgrade = KILLS / 2 - 1..KILLS / 2 + 5;
        let build = if kills < upgrade.start { Build::This } else { Build::MadeUpUpgrade };
        let text = config(&pins, kills);
        let mut daemon = Daemon::spawn_build(&near, build, pins, &text, &[]);
        if kills % 2 == 0 || upgrade.contains(&kills) {
            // Dies while it takes over; at the upgrade, once it has set the old maps aside.
            let most =
                if upgrade.contains(&kills) { await_upgrade(&daemon) } else { Duration::from_millis(700) };
            sleep(moments.within(most));
            during += u32::from(!daemon.log().contains("serving /metrics"));
        } else {
            // Dies while it reads its config again.
            daemon = daemon.ready();
            for version in 1..=3 {
                reload(&daemon, kills + version);
                reloads += 1;
            }
            daemon.signal(Signal::HUP);
            sleep(moments.within(Duration::from_millis(30)));
        }
        pins = daemon.kill().0;
        half_way += u32::from(is_half_done(&pins));
        kills += 1;
        // The rest of the minute, evenly.
        sleep(LASTS.mul_f64(f64::from(kills) / f64::from(KILLS)).saturating_sub(since.elapsed()));
    }
    assert!(reloads >= RELOADS, "{reloads} reloads");
    assert!(during > 0 && half_way > 0, "{during} kills hit a takeover, {half_way} an upgrade: not proven");
    let text = config(&pins, kills);
    let daemon = Daemon::spawn_build(&near, Build::MadeUpUpgrade, pins, &text, &[]).ready();
    let opened = traffic.stop();
    // What ends a connection is on its way still.
    sleep(Duration::from_millis(300));
    eprintln!(
        "{kills} kills, {during} of them before it was ready, {half_way} of them with an upgrade half done; \
         {reloads} reloads; {opened:?}"
    );
    assert_counted(&daemon.metrics(), &nft, &TARGETS, &opened);
}
