//! Feed files that change while packets flow: what is damaged never takes effect, what is whole
//! does, and no packet is lost with either.

mod support;

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ipnet::IpNet;
use rustix::fs::{CWD, FileType, mknodat};
use rustix::process::Signal;
use support::daemon::{Daemon, Metrics};
use support::datagrams::Datagrams;
use support::namespace::Namespace;
use support::nft::{Count, Nft};
use support::prefixes::{generated, write_feed};
use tempfile::TempDir;

const SUCCESSFUL: &str = "poolwatch_config_last_reload_successful";

struct Feed {
    directory: TempDir,
    path: PathBuf,
}

impl Feed {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("list.netset");
        fs::write(&path, text).expect("a feed");
        Self { directory, path }
    }

    fn config(&self) -> String {
        format!("[[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n", self.path.display())
    }

    /// Puts what `make` makes in its place, whatever is there.
    fn replace(&self, make: impl FnOnce(&Path)) {
        let new = self.directory.path().join("new");
        make(&new);
        if self.path.is_dir() {
            fs::remove_dir(&self.path).expect("a directory");
        } else if new.is_dir() {
            fs::remove_file(&self.path).expect("what was there");
        }
        fs::rename(new, &self.path).expect("it takes the old one's place");
    }
}

fn indicators(metrics: &Metrics) -> u64 {
    metrics.sum("poolwatch_watchlist_indicators", &[("watchlist", "list"), ("kind", "prefixes")])
}

fn text(content: &'static str) -> impl Fn(&Path) {
    move |path| fs::write(path, content).expect("a feed")
}

fn send(near: &Namespace, to: &str) {
    near.enter(|| UdpSocket::bind("10.77.0.1:0").expect("a socket").send_to(b"x", to).expect("it is sent"));
}

#[test]
fn a_damaged_feed_never_takes_effect_blocks_nothing_and_is_named_and_the_next_good_one_is_taken() {
    /// What is put there, and what the log says of it.
    type Damage<'a> = (&'a str, Box<dyn Fn(&Path) + 'a>, &'a str);
    let (near, _far) = Namespace::pair();
    let feed = Feed::new("198.51.100.0/24\n203.0.113.0/24\n");
    let daemon = Daemon::start(&near, &feed.config());
    let damages: [Damage; 9] = [
        ("empty", Box::new(text("")), "list.netset: an empty feed file is refused"),
        (
            "cut off",
            Box::new(text("192.0.2.0/24\n198.51.100.0/2")),
            "list.netset:2: the last line does not end",
        ),
        ("zeroes", Box::new(text("192.0.2.0/24\n\0\0\0\0\n")), "list.netset:2: the line holds a NUL byte"),
        ("a page", Box::new(text("192.0.2.0/24\n<html>\n")), "list.netset:2: \"<html>\" is not"),
        (
            "a directory",
            Box::new(|path| fs::create_dir(path).expect("a directory")),
            "list.netset: a directory is not a regular file",
        ),
        (
            "a fifo, which would wait for its writer",
            Box::new(|path| mknodat(CWD, path, FileType::Fifo, 0o600.into(), 0).expect("a fifo")),
            "list.netset: a device, fifo or socket is not a regular file",
        ),
        (
            "a link to nowhere",
            Box::new(|path| std::os::unix::fs::symlink("nowhere", path).expect("a link")),
            "list.netset: cannot be read",
        ),
        (
            "far too large",
            Box::new(|path| File::create(path).expect("a file").set_len(1 << 40).expect("a sparse one")),
            "list.netset: larger than 1024 MiB",
        ),
        // Without a signal, as the last: the daemon finds it out by itself.
        ("still empty", Box::new(text("")), "list.netset: an empty feed file is refused"),
    ];
    let good = text("198.51.100.0/24\n203.0.113.0/24\n192.0.2.0/24\n");
    for (what, damage, expected) in &damages {
        let said = daemon.log().matches(expected).count();
        feed.replace(damage);
        if !what.starts_with("still") {
            daemon.signal(Signal::HUP);
        }
        daemon.wait_for(what, |_| daemon.log().matches(expected).count() > said);
        let metrics = daemon.wait_for(what, |metrics| metrics.sum(SUCCESSFUL, &[]) == 0);
        assert_eq!(indicators(&metrics), 2, "{what}: the old list stays");
        assert_eq!(daemon.get("/healthz").expect("an answer").0, 200, "{what}");
    }
    send(&near, "203.0.113.1:9");
    feed.replace(&good);
    let metrics = daemon.wait_for("the good one", |metrics| metrics.sum(SUCCESSFUL, &[]) == 1);
    assert_eq!(indicators(&metrics), 3);
    send(&near, "203.0.113.1:9");
    let packets = [("target", "list"), ("direction", "egress")];
    assert_eq!(daemon.metrics().sum("poolwatch_packets_total", &packets), 2, "the count goes on");
    fs::remove_file(&feed.path).expect("it is there");
    daemon.wait_for("removed", |metrics| metrics.sum(SUCCESSFUL, &[]) == 0 && indicators(metrics) == 3);
    feed.replace(&good);
    daemon.wait_for("it is back", |metrics| metrics.sum(SUCCESSFUL, &[]) == 1);
}

#[test]
fn a_feed_that_is_written_in_place_takes_effect_when_it_is_whole() {
    const LINES: u64 = 40;
    let (near, _far) = Namespace::pair();
    let feed = Feed::new("198.51.100.0/24\n");
    let daemon = Daemon::start(&near, &feed.config());
    let path = feed.path.clone();
    // Whole lines, so that it could be taken for a shorter list at any moment, for longer than
    // it takes to look twice.
    let writer = thread::spawn(move || {
        let mut file = OpenOptions::new().write(true).truncate(true).open(path).expect("the feed");
        for line in 0..LINES {
            writeln!(file, "203.0.{line}.0/24").expect("a line");
            file.flush().expect("it is written");
            thread::sleep(Duration::from_millis(300));
        }
    });
    let seen = daemon.wait_for("the whole list", |metrics| {
        let seen = indicators(metrics);
        assert!(seen == 1 || seen == LINES, "{seen} of {LINES}\n{}", daemon.log());
        seen == LINES
    });
    assert_eq!(seen.sum(SUCCESSFUL, &[]), 1);
    assert!(writer.is_finished(), "before it was written");
    writer.join().expect("it wrote");
}

const SWAPS: usize = 20;
const PREFIXES: usize = 200_000;
const ALWAYS: &str = "203.0.113.9";

/// A list of its own length, of other prefixes than the one before, by which the address is
/// watched as a host or as a part of its network.
fn version(number: usize, prefixes: &[IpNet]) -> Vec<IpNet> {
    let mut version = prefixes[1000 * number..][..PREFIXES + number].to_vec();
    let always = if number.is_multiple_of(2) { "203.0.113.9/32" } else { "203.0.113.0/24" };
    version[PREFIXES / 2] = always.parse().expect("a prefix");
    version
}

/// A connection that says something and waits for its echo, until it is told to end, or two
/// minutes are over.
fn talk(near: &Namespace, is_over: &AtomicBool) {
    let since = Instant::now();
    near.enter(|| {
        let mut stream = TcpStream::connect((ALWAYS, 7)).expect("a connection");
        stream.set_read_timeout(Some(support::patience())).expect("a socket");
        let mut buffer = [0; 900];
        while !is_over.load(Ordering::Relaxed) && since.elapsed() < Duration::from_mins(2) {
            stream.write_all(&buffer).expect("it is sent");
            stream.read_exact(&mut buffer).expect("it comes back");
            // The daemon has work to do on the same CPUs.
            thread::sleep(Duration::from_millis(1));
        }
    });
}

#[test]
fn a_feed_of_two_hundred_thousand_prefixes_is_swapped_twenty_times_and_no_packet_is_miscounted() {
    let (near, far) = Namespace::pair();
    for namespace in [&near, &far] {
        namespace.without_offloads();
    }
    far.owns(ALWAYS);
    let _server = far.serve(&format!("{ALWAYS}:7"));
    let prefixes = generated(u32::try_from(PREFIXES + 1001 * (SWAPS + 1)).expect("fewer"));
    let feed = Feed::new("203.0.113.9\n");
    feed.replace(|path| write_feed(path, &version(0, &prefixes)).expect("a feed"));
    let daemon = Daemon::start(&near, &feed.config());
    assert_eq!(indicators(&daemon.metrics()), PREFIXES as u64);
    let nft = Nft::count(&near, &[("always", ALWAYS)]);

    let traffic = Datagrams::start(&near, &format!("{ALWAYS}:7"));
    let (started, over) = (Instant::now(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| talk(&near, &over));
        for number in 1..=SWAPS {
            feed.replace(|path| write_feed(path, &version(number, &prefixes)).expect("a feed"));
            daemon.signal(Signal::HUP);
            let expected = (PREFIXES + number) as u64;
            daemon.wait_for("the next list", |metrics| indicators(metrics) == expected);
            traffic.wait_for(10);
        }
        over.store(true, Ordering::Relaxed);
    });
    drop(traffic);

    let counted = |direction, transport| {
        let labels = [("target", "list"), ("direction", direction), ("transport", transport)];
        let metrics = daemon.metrics();
        let [packets, bytes] =
            ["packets", "bytes"].map(|what| metrics.sum(&format!("poolwatch_{what}_total"), &labels));
        Count { packets, bytes }
    };
    for transport in ["udp", "tcp"] {
        daemon.wait_for("what came back last", |_| {
            counted("ingress", transport) == nft.ingress("always", transport)
                && counted("egress", transport) == nft.egress("always", transport)
        });
        let seen = counted("egress", transport);
        assert!(seen.packets > 1000, "{transport}: {seen:?}");
        println!("{transport}: {seen:?} out in {:?}", started.elapsed());
    }
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("poolwatch_packets_uncounted_total", &[]), 0);
    assert_eq!(metrics.sum("poolwatch_connections_total", &[("target", "list")]), 2, "one of each kind");
    assert_eq!(metrics.sum("poolwatch_connections_joined_total", &[]), 0);
}
