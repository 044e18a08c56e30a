//! Mining is recognised as it goes over a wire: names are resolved by a real name server, sessions spoken
//! over real sockets, hellos sent by openssl.

mod support;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use rustix::process::Signal;
use serde_json::Value;
use support::daemon::{Build, Daemon, Metrics};
use support::mining::{AGENT, Miner, NameServer, WALLET, resolve, serve_pool, serve_silence};
use support::namespace::{Namespace, run};
use support::{PinsDirectory, patience};
use tempfile::TempDir;

const SERVER: &str = "10.77.0.2";
/// What `pool.supportxmr.com` resolves to here.
const POOL: &str = "203.0.113.50";
const UNKNOWN: &str = "203.0.113.60";
const STAR: &str = "175.45.176.9";
const UNKNOWN_V6: &str = "2001:db8:60::1";

/// Two namespaces, of which the second has the pools.
fn wired() -> (Namespace, Namespace) {
    let (near, far) = Namespace::pair();
    for address in [POOL, UNKNOWN, STAR, UNKNOWN_V6] {
        far.owns(address);
    }
    (near, far)
}

/// Where events are read from, and the config that has them written there.
struct Written(TempDir);

impl Written {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn config(&self, more: &str) -> String {
        format!("[events]\noutput = \"{}/events.json\"\n{more}", self.0.path().display())
    }

    /// Waits until there are `count` events of this action, and returns them.
    fn wait_for(&self, action: &str, count: usize) -> Vec<Value> {
        let since = Instant::now();
        loop {
            let text = fs::read_to_string(self.0.path().join("events.json")).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON a line"));
            let found: Vec<Value> = lines.filter(|it: &Value| it["event"]["action"] == action).collect();
            if found.len() >= count {
                assert_eq!(found.len(), count, "{text}");
                return found;
            }
            assert!(since.elapsed() < patience(), "{} of {count} {action} events:\n{text}", found.len());
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
}

fn detections(metrics: &Metrics, target: &str, role: &str) -> u64 {
    metrics.sum("poolwatch_detections_total", &[("target", target), ("role", role)])
}

fn sessions(metrics: &Metrics, target: &str) -> u64 {
    metrics.sum("poolwatch_mining_sessions", &[("target", target), ("role", "miner")])
}

#[test]
fn a_pool_whose_name_was_resolved_counts_under_its_operator_on_a_port_that_nobody_lists() {
    let (near, far) = wired();
    serve_pool(&far, &[&format!("{POOL}:7777")]);
    let _names = NameServer::start(&far, SERVER, &[("pool.supportxmr.com", POOL)]);
    let written = Written::new();
    let daemon = Daemon::start(&near, &written.config(""));

    assert_eq!(resolve(&near, SERVER, "pool.supportxmr.com"), Some(POOL.parse().expect("an address")));
    let own = ("target", "supportxmr");
    daemon
        .wait_for("answered", |it| it.sum("poolwatch_dns_answers_total", &[own, ("result", "address")]) == 1);
    let mut miner = Miner::connect(&near, &format!("{POOL}:7777"));
    miner.log_in();
    daemon.wait_for("detected", |it| detections(it, "supportxmr", "miner") == 1);
    let metrics = daemon.wait_for("alive", |it| sessions(it, "supportxmr") == 1);
    for name in ["poolwatch_connections_total", "poolwatch_connections_established_total"] {
        assert_eq!(metrics.sum(name, &[own, ("initiator", "local"), ("transport", "tcp")]), 1, "{name}");
    }
    assert!(metrics.sum("poolwatch_bytes_total", &[own, ("transport", "tcp")]) > 400, "{}", metrics.0);
    assert_eq!(metrics.sum("poolwatch_detection_signals_total", &[("signal", "stratum")]), 1);
    assert_eq!(detections(&metrics, "unlisted", "miner"), 0, "a list names it");

    let lookup = &written.wait_for("dns-lookup", 1)[0];
    assert_eq!(lookup["poolwatch"]["target"], "supportxmr");
    assert_eq!(lookup["dns"]["question"]["name"], "pool.supportxmr.com");
    assert_eq!(lookup["dns"]["resolved_ip"][0], POOL);
    let event = &written.wait_for("detection", 1)[0];
    for (pointer, expected) in [
        ("/event/kind", "alert"),
        ("/poolwatch/watchlist", "mining"),
        ("/poolwatch/target", "supportxmr"),
        ("/poolwatch/role", "miner"),
        ("/poolwatch/agent", AGENT),
        ("/poolwatch/coin", "rx/0"),
        ("/poolwatch/wallet", WALLET),
        ("/rule/name", "stratum"),
        ("/destination/ip", POOL),
        ("/source/ip", "10.77.0.1"),
        ("/network/direction", "egress"),
        ("/observer/ingress/interface/name", "eth0"),
    ] {
        assert_eq!(event.pointer(pointer).and_then(Value::as_str), Some(expected), "{pointer}: {event}");
    }
    let (_, found) = daemon.get("/api/v1/detections").expect("the daemon answers");
    assert!(found.contains(AGENT) && found.contains("\"supportxmr\""), "{found}");
}

#[test]
fn a_session_with_an_address_that_no_list_names_counts_as_unlisted_and_inside_a_watched_prefix_there_too() {
    let (near, far) = wired();
    let pools = [format!("{UNKNOWN}:5555"), format!("{STAR}:14444"), format!("[{UNKNOWN_V6}]:1")];
    serve_pool(&far, &pools.each_ref().map(String::as_str));
    let written = Written::new();
    let daemon = Daemon::start(&near, &written.config("wallets = false\n"));
    let mut miners = Vec::new();
    for (number, pool) in pools.iter().enumerate() {
        let mut miner = Miner::connect(&near, pool);
        miner.log_in();
        daemon.wait_for("detected", |it| detections(it, "unlisted", "miner") == number as u64 + 1);
        // Counting begins with what follows.
        miner.submit();
        miners.push(miner);
    }
    let metrics =
        daemon.wait_for("alive", |it| sessions(it, "unlisted") == 3 && sessions(it, "star-kp") == 1);
    assert_eq!(detections(&metrics, "star-kp", "miner"), 1);
    assert_eq!(metrics.sum("poolwatch_connections_joined_total", &[("target", "unlisted")]), 3);
    assert_eq!(
        metrics.sum("poolwatch_connections_total", &[("target", "star-kp"), ("initiator", "local")]),
        1
    );
    let events = written.wait_for("detection", 4);
    assert!(events.iter().all(|event| event["poolwatch"]["wallet"].is_null()), "{events:?}");
    drop(miners);
    daemon.wait_for("over", |it| sessions(it, "unlisted") == 0);
}

#[test]
fn a_hello_that_names_a_pool_is_found_and_one_that_names_another_site_frees_its_connection() {
    let (near, far) = wired();
    let _server = far.serve(&format!("{POOL}:443"));
    let _other = far.serve(&format!("{UNKNOWN}:443"));
    let _names = NameServer::start(&far, SERVER, &[("pool.supportxmr.com", POOL)]);
    let daemon = Daemon::start(&near, "");
    let hello = |address: &str, name: &str| {
        let mut client = near.command("openssl");
        client.args(["s_client", "-connect", &format!("{address}:443"), "-servername", name]);
        client.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        client.spawn().expect("openssl is installed")
    };
    let mut client = hello(UNKNOWN, "pool.hashvault.pro");
    let metrics = daemon.wait_for("named", |it| detections(it, "hashvault", "none") == 1);
    assert_eq!(metrics.sum("poolwatch_detection_signals_total", &[("signal", "sni")]), 1);
    let _ = client.kill();
    client.wait().expect("a child");

    resolve(&near, SERVER, "pool.supportxmr.com");
    daemon.wait_for("answered", |it| it.has("poolwatch_dns_answers_total", &[("target", "supportxmr")]));
    let bytes = |it: &Metrics| it.sum("poolwatch_bytes_total", &[("target", "supportxmr")]);
    let mut client = hello(POOL, "www.example.org");
    daemon.wait_for("seen", |it| bytes(it) > 0);
    // The echo of the hello is no answer, so that openssl gives up: packets that are not counted.
    client.wait().expect("a child");
    let metrics = daemon.metrics();
    let _ = client.kill();
    assert_eq!(detections(&metrics, "supportxmr", "none"), 0);
    assert_eq!(metrics.sum("poolwatch_map_entries", &[("map", "LEARNED")]), 1);
    daemon.wait_for("freed", |it| it.sum("poolwatch_map_entries", &[("map", "JUDGED")]) > 0);
    daemon.wait_for("no flow of it", |it| it.sum("poolwatch_flows", &[("target", "supportxmr")]) == 0);
}

#[test]
fn a_session_that_was_open_before_the_sensor_came_is_found_and_counted_once_whatever_becomes_of_the_daemon() {
    let (near, far) = wired();
    serve_pool(&far, &[&format!("{UNKNOWN}:5555")]);
    let mut miner = Miner::connect(&near, &format!("{UNKNOWN}:5555"));
    miner.log_in();
    let daemon = Daemon::start(&near, "");
    miner.submit();
    daemon.wait_for("detected", |it| detections(it, "unlisted", "miner") == 1);
    // At once: what was shown is written down.
    let (pins, _) = daemon.kill();
    let daemon = Daemon::start_on(&near, pins, "interfaces = [\"eth0\"]", "", &[]);
    miner.submit();
    let metrics = daemon.wait_for("alive", |it| sessions(it, "unlisted") == 1);
    assert_eq!(detections(&metrics, "unlisted", "miner"), 1, "it is the same connection");
    assert_eq!(metrics.sum("poolwatch_detection_signals_total", &[("signal", "stratum")]), 1);
}

#[test]
fn what_was_learned_is_put_together_with_the_lists_of_each_reload() {
    let (near, far) = wired();
    serve_pool(&far, &[&format!("{UNKNOWN}:53")]);
    let daemon = Daemon::start(&near, "");
    // At the port of name servers, of all ports.
    let mut miner = Miner::connect(&near, &format!("{UNKNOWN}:53"));
    miner.log_in();
    daemon.wait_for("detected", |it| detections(it, "unlisted", "miner") == 1);
    let config = fs::read_to_string(daemon.config()).expect("the config");
    let reload = |more: &str, is: &dyn Fn(&Metrics) -> bool| {
        fs::write(daemon.config(), format!("{config}{more}")).expect("the config");
        daemon.signal(Signal::HUP);
        daemon.wait_for(more, is)
    };
    let packets = |it: &Metrics, target: &str| it.sum("poolwatch_packets_total", &[("target", target)]);

    let office = format!("[[watchlist]]\nname = \"office\"\nprefixes = [\"{UNKNOWN}/24\"]\n");
    reload(&office, &|it| it.has("poolwatch_target_info", &[("target", "office")]));
    miner.submit();
    let metrics = daemon.wait_for("both", |it| packets(it, "office") > 0);
    assert!(packets(&metrics, "unlisted") > 0, "{}", metrics.0);

    let pool =
        format!("[[watchlist]]\nname = \"pools\"\ncategory = \"mining\"\nendpoints = [\"{UNKNOWN}:53\"]\n");
    reload(&pool, &|it| it.has("poolwatch_target_info", &[("target", "pools")]));
    let before = packets(&daemon.metrics(), "unlisted");
    miner.submit();
    let metrics = daemon.wait_for("the list's", |it| packets(it, "pools") > 0);
    assert_eq!(packets(&metrics, "unlisted"), before, "a list names it now");

    let allow = format!("[allow]\nprefixes = [\"{UNKNOWN}/32\"]\n");
    reload(&format!("{allow}{pool}"), &|it| it.sum("poolwatch_map_entries", &[("map", "JUDGED")]) == 0);
    daemon.wait_for("no session", |it| it.sum("poolwatch_mining_sessions", &[]) == 0);
    let before = packets(&daemon.metrics(), "pools");
    miner.submit();
    assert_eq!(packets(&daemon.metrics(), "pools"), before, "it is allowed now");
}

#[test]
fn an_upgrade_takes_along_what_was_learned_and_who_was_recognised() {
    let (near, far) = wired();
    serve_pool(&far, &[&format!("{POOL}:7777"), &format!("{UNKNOWN}:5555")]);
    let _names = NameServer::start(&far, SERVER, &[("pool.supportxmr.com", POOL)]);
    let mut pins = PinsDirectory::new();
    let config = format!("interfaces = [\"eth0\"]\n[state]\npins = \"{}\"\n", pins.path().display());
    let mut miners: Option<[Miner; 2]> = None;
    for (round, build) in [Build::This, Build::MadeUpUpgrade, Build::This].into_iter().enumerate() {
        let daemon = Daemon::spawn_build(&near, build, pins, &config, &[]).ready();
        let miners = miners.get_or_insert_with(|| {
            resolve(&near, SERVER, "pool.supportxmr.com");
            daemon.wait_for("answered", |it| {
                it.has("poolwatch_dns_answers_total", &[("target", "supportxmr")])
            });
            [format!("{POOL}:7777"), format!("{UNKNOWN}:5555")].map(|pool| Miner::connect(&near, &pool))
        });
        for miner in miners.iter_mut() {
            if round == 0 { miner.log_in() } else { miner.submit() }
        }
        let metrics = daemon.wait_for("detected", |it| {
            detections(it, "supportxmr", "miner") == 1 && detections(it, "unlisted", "miner") == 1
        });
        for (target, name) in [("supportxmr", "connections_total"), ("unlisted", "connections_joined_total")]
        {
            let counted = metrics.sum(&format!("poolwatch_{name}"), &[("target", target)]);
            // Whether a packet came between learning and looking is nobody's to say in the first round.
            let is_certain = target == "supportxmr" || round > 0;
            assert!(counted == 1 || counted == 0 && !is_certain, "{target} in round {round}: {counted}");
        }
        daemon.wait_for("alive", |it| {
            sessions(it, "supportxmr") == 1 && (round == 0 || sessions(it, "unlisted") == 1)
        });
        pins = daemon.stop().1;
    }
}

#[test]
fn what_is_not_to_be_inspected_is_not_and_an_allowed_address_is_no_pool() {
    let (near, far) = wired();
    serve_pool(&far, &[&format!("{UNKNOWN}:5555"), &format!("{STAR}:5555")]);
    let _names = NameServer::start(&far, SERVER, &[("pool.supportxmr.com", POOL)]);
    let config = format!("[inspect]\ndns = false\n[allow]\nprefixes = [\"{UNKNOWN}/32\"]\n");
    let daemon = Daemon::start_on(&near, PinsDirectory::new(), "interfaces = [\"eth0\"]", &config, &[]);
    resolve(&near, SERVER, "pool.supportxmr.com");
    for pool in [UNKNOWN, STAR] {
        Miner::connect(&near, &format!("{pool}:5555")).log_in();
    }
    let metrics = daemon.wait_for("detected", |it| detections(it, "star-kp", "miner") == 1);
    assert_eq!(detections(&metrics, "unlisted", "miner"), 1, "the one inside star-kp");
    assert!(!metrics.has("poolwatch_dns_answers_total", &[]));
}

#[test]
fn far_beyond_the_budget_each_sample_is_either_heard_or_counted_as_dropped_and_the_daemon_answers() {
    const CONNECTIONS: u64 = 400;
    let (near, far) = wired();
    serve_silence(&far, &format!("{UNKNOWN}:5555"));
    // One line in an eighth of a second and CPU.
    let daemon = Daemon::start(&near, "[events]\noutput = \"none\"\n[inspect]\nsamples_per_second = 10\n");
    let resident = || {
        let status = fs::read_to_string(format!("/proc/{}/status", daemon.id())).expect("the daemon runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("it is resident");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number")
    };
    let before = resident();
    let mut miners = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut miner = Miner::connect(&near, &format!("{UNKNOWN}:5555"));
        miner.log_in_in_vain();
        miners.push(miner);
    }
    let dropped = |it: &Metrics| it.sum("poolwatch_samples_dropped_total", &[("kind", "json")]);
    let metrics = daemon
        .wait_for("all accounted for", |it| detections(it, "unlisted", "miner") + dropped(it) == CONNECTIONS);
    assert!(dropped(&metrics) > CONNECTIONS / 10, "{} dropped", dropped(&metrics));
    assert!(detections(&metrics, "unlisted", "miner") > 0);
    assert!(resident() < before + 8 * 1024, "{before} KiB, then {}", resident());
}

/// A disk of one page.
struct SmallDisk(TempDir);

impl SmallDisk {
    fn mount() -> Self {
        let disk = Self(TempDir::new().expect("a directory"));
        let mut mount = Command::new("mount");
        run(mount.args(["-t", "tmpfs", "-o", "size=4k", "tmpfs"]).arg(disk.0.path()));
        disk
    }

    fn events(&self) -> PathBuf {
        self.0.path().join("events.json")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn events_that_a_full_disk_does_not_take_are_counted_and_those_that_it_took_are_whole() {
    // As many as one target may tell at once, but one.
    const SESSIONS: u64 = 19;
    let (near, far) = wired();
    let (disk, pool) = (SmallDisk::mount(), format!("{UNKNOWN}:5555"));
    serve_pool(&far, &[&pool]);
    let daemon = Daemon::start(&near, &format!("[events]\noutput = \"{}\"\n", disk.events().display()));
    let log_in = || {
        let mut miner = Miner::connect(&near, &pool);
        miner.log_in();
        miner
    };
    let mut miners: Vec<Miner> = (0..SESSIONS).map(|_| log_in()).collect();
    let read = || fs::read_to_string(disk.events()).unwrap_or_default();
    let lines = || read().lines().count() as u64;
    let unwritten = |it: &Metrics| it.sum("poolwatch_events_dropped_total", &[("reason", "output")]);
    let metrics = daemon.wait_for("each event written or counted", |it| {
        detections(it, "unlisted", "miner") == SESSIONS && lines() + unwritten(it) == SESSIONS
    });
    assert!(lines() > 0, "the disk took none");
    assert!(unwritten(&metrics) > 0, "the disk took them all");
    let whole = |line: &str| serde_json::from_str::<Value>(line).is_ok();
    assert!(read().lines().all(whole), "{}", read());

    fs::remove_file(disk.events()).expect("there is room again");
    miners.push(log_in());
    daemon.wait_for("the next event in a file of its own", |_| lines() == 1);
    assert!(read().lines().all(whole), "{}", read());
    assert_eq!(unwritten(&daemon.metrics()), unwritten(&metrics));
    let complaints = daemon.log().lines().filter(|line| line.contains("events.output")).count();
    assert!((1..=3).contains(&complaints), "{}", daemon.log());
}
