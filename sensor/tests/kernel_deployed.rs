//! The whole way, with the real programs and the shipped files: a miner mines, a sensor hears it,
//! Prometheus scrapes it and evaluates deploy/'s rules, Alertmanager has the alert. What Prometheus answers is shown as it is (`--nocapture`).
//!
//! `cargo xtask kernels` leaves this out: Prometheus is 100 MB, and no kernel makes a difference to it.

mod deploy;
mod deployed;
mod support;
mod tools;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use deploy::dashboard::{self, Query, queries};
use deployed::cost::{Block, Exposition, mine_everywhere};
use deployed::hosts::{fleet, fleet_without_rules};
use deployed::monitoring::{Monitoring, eventually, scraping};
use deployed::{Estate, address, has, panels};
use serde_json::Value;
use support::bpffs::Bpffs;
use support::daemon::{BINARY, Daemon, Metrics};
use support::mining::Miner;
use support::namespace::{Namespace, run};
use tempfile::TempDir;

const SCRAPE: &str = "prometheus/scrape.yml";
const ONE_HOST: &str = "- targets: [\"127.0.0.1:9750\"]";

/// Prometheus and Alertmanager for the host of number 1, which they call web1.
fn monitoring(estate: &Estate) -> Monitoring<'_> {
    let host = format!("- targets: [\"{}\"]\n        labels: {{instance: web1}}", address(1));
    Monitoring::start(&estate.hub, &scraping(SCRAPE, (ONE_HOST, &host)), |_, rules| rules)
}

#[test]
fn a_host_that_mines_is_an_alert_at_alertmanager_which_says_who_where_and_what_to_do() {
    let estate = Estate::of(1);
    let monitoring = monitoring(&estate);
    let sensor = estate.sensor(1, "");
    monitoring.wait_for("up == 1", |found| found.len() == 1);
    monitoring.no_alert("PoolwatchHostMines");
    let _miner = estate.mine(1, &sensor);

    let alert = monitoring.alert("PoolwatchHostMines", ("target", "supportxmr"));
    has(
        &alert,
        "labels",
        &[
            ("instance", "web1"),
            ("job", "poolwatch"),
            ("watchlist", "mining"),
            ("target", "supportxmr"),
            ("category", "mining"),
            ("severity", "critical"),
        ],
    );
    has(
        &alert,
        "annotations",
        &[
            ("summary", "web1 mines, at supportxmr"),
            ("description", "In the last hour web1 spoke a mining protocol with a pool: mining/supportxmr."),
            ("runbook_url", "file:///usr/share/poolwatch/docs/runbook.md#poolwatchhostmines"),
        ],
    );
    assert_eq!(alert["status"]["state"], "active");
    let alert = monitoring.alert("PoolwatchPoolConnection", ("target", "supportxmr"));
    has(&alert, "labels", &[("instance", "web1"), ("severity", "warning")]);
    assert_eq!(monitoring.alerts("PoolwatchMiningInWatchedPrefix"), Ok(vec![]));
}

/// Counts and gauges, without those that are of the moment.
fn lasting(metrics: &Metrics) -> BTreeSet<String> {
    let of_the_moment = ["process_", "poolwatch_collector_duration", "poolwatch_program_", "#"];
    let lines = metrics.0.lines().filter(|line| !of_the_moment.iter().any(|it| line.starts_with(it)));
    lines.map(str::to_owned).collect()
}

/// `poolwatch COMMAND` with the daemon's config; what it printed.
fn command(daemon: &Daemon, name: &str) -> String {
    let said = run(&mut daemon.command(name));
    println!("$ poolwatch {name}\n{said}");
    said
}

#[test]
fn a_test_alert_goes_the_same_way_is_marked_moves_no_real_count_and_ends_with_the_daemon() {
    let estate = Estate::of(1);
    let monitoring = monitoring(&estate);
    let written = TempDir::new().expect("a directory");
    let events = written.path().join("events.json");
    let config = format!("[events]\noutput = \"{}\"\n", events.display());
    let sensor = estate.sensor(1, &config);
    let before = lasting(&sensor.metrics());

    let said = command(&sensor, "test-alert");
    assert!(said.starts_with(&format!("process {} shows a mining session", sensor.id())), "{said}");
    assert!(said.contains(&format!("in {}", events.display())), "{said}");
    let alert = monitoring.alert("PoolwatchHostMines", ("watchlist", "test-alert"));
    has(&alert, "labels", &[("instance", "web1"), ("target", "test-alert"), ("severity", "critical")]);
    has(&alert, "annotations", &[("summary", "web1 mines, at test-alert")]);
    assert_eq!(monitoring.alerts("PoolwatchHostMines").map(|alerts| alerts.len()), Ok(1), "no other");
    assert_eq!(monitoring.alerts("PoolwatchPoolConnection"), Ok(vec![]), "nobody connected");
    assert!(command(&sensor, "status").contains("test-alert/test-alert: 0 connections"));

    command(&sensor, "test-alert");
    let labels = [("watchlist", "test-alert"), ("role", "miner")];
    let metrics = sensor.wait_for("two", |it| it.sum("poolwatch_detections_total", &labels) == 2);
    assert_eq!(metrics.sum("poolwatch_mining_sessions", &labels), 1);
    let after = lasting(&metrics);
    let gone: Vec<_> = before.difference(&after).collect();
    assert!(gone.is_empty(), "these counts moved: {gone:#?}");
    assert!(after.difference(&before).all(|line| line.contains("watchlist=\"test-alert\"")), "{after:#?}");
    let text = eventually(
        "two events",
        || fs::read_to_string(&events).unwrap_or_default(),
        |text| text.lines().count() == 2,
    );
    for line in text.lines() {
        println!("event: {line}");
        let event: Value = serde_json::from_str(line).expect("JSON a line");
        assert_eq!(
            (&event["event"]["action"], &event["tags"][0]),
            (&"detection".into(), &"synthetic".into())
        );
    }

    let (pins, _) = sensor.kill();
    let listen = ["--listen", "0.0.0.0:9750"];
    let next = Daemon::start_on(estate.host(1), pins, "interfaces = [\"eth0\"]", &config, &listen);
    assert!(!next.metrics().0.contains("test-alert"), "it was nowhere but in the daemon");
}

/// The user that owns nothing (`nobody`).
const USER: u32 = 65_534;

#[test]
fn a_daemon_of_another_user_is_signalled_by_root_with_cap_kill_and_who_may_not_is_told_so() {
    const THREE: &str = "-all,+bpf,+net_admin,+perfmon";
    let (near, _far) = Namespace::pair();
    // Others may look up what lies in it.
    let bpffs = Bpffs::mount(USER, 0o711);
    let binary = bpffs.beside("poolwatch");
    fs::copy(BINARY, &binary).expect("a copy");
    fs::set_permissions(&binary, fs::Permissions::from_mode(0o755)).expect("a mode");
    let binary = binary.to_str().expect("UTF-8");
    let user = format!("{USER}");
    let as_user = ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups", "--inh-caps", THREE];
    let line =
        [&as_user[..], &["--ambient-caps", THREE, "--bounding-set", THREE, "--", binary, "run"]].concat();
    let daemon = Daemon::spawn_by(&near, &line, bpffs.pins(), "interfaces = [\"eth0\"]\n").ready();

    let ask = |through: &[&str]| {
        let mut command = Command::new(through[0]);
        command.args(&through[1..]).args([binary, "test-alert", "--config"]).arg(daemon.config());
        let output = command.output().expect("setpriv is installed");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let count = || daemon.metrics().sum("poolwatch_detections_total", &[("watchlist", "test-alert")]);
    let refused = format!(
        "poolwatch: process {}, which holds {}, may not be signalled: run this as root, ",
        daemon.id(),
        daemon.pins.path().display()
    );
    let without = "-kill";
    let powerless = ["setpriv", "--bounding-set", without, "--inh-caps", without, "--"];
    let stranger = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups", "--"];
    for who in [&powerless[..], &stranger] {
        let (code, said) = ask(who);
        assert!(code == Some(1) && said.starts_with(&refused), "{who:?}: {said}");
    }
    assert_eq!(count(), 0);
    for (so_many, who) in (1..).zip([&["env"][..], &["setpriv", "--reuid", &user, "--clear-groups", "--"]]) {
        assert_eq!(ask(who), (Some(0), String::new()), "{who:?}");
        daemon.wait_for("asked", |it| {
            it.sum("poolwatch_detections_total", &[("watchlist", "test-alert")]) == so_many
        });
    }
}

#[test]
fn each_query_of_the_dashboard_is_answered_by_prometheus_with_what_the_hosts_did() {
    let estate = Estate::of(2);
    let (monitoring, _hosts) = fleet(&estate, &["web1", "web2"], |_, rules| rules);
    let (first, _second) = (estate.sensor(1, ""), estate.sensor(2, ""));
    monitoring.wait_for("up == 1", |found| found.len() == 2);
    let mut miners = (estate.mine(1, &first), estate.reach_routes(1), estate.reach_routes(2));
    let queries = queries(&dashboard::read());
    // Of all hosts, of two that were chosen, and of one.
    for instance in [".*", "(web1|web2)", "web1"] {
        for query in &queries {
            // A rate takes counts that go on after they were first seen.
            miners.0.submit();
            miners.1[0].submit();
            let found = eventually(
                &query.panel,
                || panels::ask(&monitoring, query, instance),
                |found| found.as_ref().map_or(true, |series| *series > 0),
            );
            println!("{instance}: {}: {} series", query.panel, found.expect("a sound query"));
        }
    }
    let broken = Query { panel: "broken".to_owned(), expression: "sum(".to_owned(), is_instant: true };
    assert!(panels::ask(&monitoring, &broken, ".*").is_err(), "an error is told from an empty answer");
    for query in &queries {
        let of_nobody = panels::ask(&monitoring, query, "no such host").expect("a sound query");
        // Where `or vector(0)` says that there is none.
        assert!(of_nobody <= usize::from(query.expression.ends_with("or vector(0)")), "{query:?}");
    }
}

/// What docs/fleet.md says of a host: series, bytes of /metrics, bytes a sample.
fn documented(row: &str) -> [f64; 3] {
    let text = deploy::text("docs/fleet.md");
    let line = text.lines().find(|line| line.starts_with(&format!("| {row} |"))).expect(row);
    let cells: Vec<&str> = line.split('|').map(str::trim).collect();
    [cells[2], cells[3], cells[5]].map(|cell| cell.replace(',', "").parse().expect(line))
}

#[test]
#[allow(clippy::cast_precision_loss, reason = "series and bytes of a host")]
fn what_a_sensor_costs_prometheus_is_what_the_documentation_says_at_rest_and_at_its_busiest() {
    let estate = Estate::of(2);
    // Nobody asks for hundreds of names in a second but this test.
    let all = "[inspect]\nsamples_per_second = 1000000\n";
    let (idle, busy) = (estate.sensor(1, ""), estate.sensor(2, all));
    let mut miners = mine_everywhere(&estate, 2, &busy);
    let mut series = 0;
    for (row, sensor) in [("at rest", &idle), ("mines everywhere", &busy)] {
        let found = Exposition::of(&sensor.metrics());
        let block = Block::of(sensor, |scrape| {
            if row == "mines everywhere" {
                // Each hands a share in every other minute.
                miners.iter_mut().skip(scrape % 4).step_by(4).for_each(Miner::submit);
            }
        });
        let (a_sample, a_series) = (block.bytes_a_sample(), block.index_bytes_a_series());
        println!(
            "a host that is {row}: {found:?}, {block:?}: {a_sample:.2} bytes a sample, {a_series:.0} of index a series"
        );
        let measured = [found.series as f64, found.bytes as f64, a_sample];
        for ((documented, measured), off) in documented(row).iter().zip(measured).zip([0.1, 0.1, 0.4]) {
            let ratio = measured / documented;
            assert!((ratio - 1.0).abs() < off, "docs/fleet.md, {row}: {documented}, measured: {measured}");
        }
        series += found.series;
    }
    // What Prometheus adds about each scrape: `up` and four more.
    let (monitoring, _hosts) = fleet_without_rules(&estate);
    let expected = series as u64 + 2 * 5;
    let head = || Metrics(monitoring.prometheus.own_metrics()).sum("prometheus_tsdb_head_series", &[]);
    monitoring.wait_for("up == 1", |found| found.len() == 2);
    println!(
        "prometheus_tsdb_head_series: {}, for both hosts",
        eventually("all series", head, |head| *head == expected)
    );
}
