//! The text of /metrics, from a made-up state: compared whole with a golden file, read by promtool,
//! and held against the contract, which stands here as a table. The operator's manual is held against
//! the golden file by `deploy_docs.rs`.
//!
//! `UPDATE_GOLDEN=1` writes tests/golden/metrics.txt anew; look at what changed before you keep it.

mod made_up;
mod tools;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use made_up::{INTERFACES, TARGETS, Told, WATCHLISTS};
use sensor::flows::View;
use sensor::metrics::{Process, text};
use sensor::state::{Interfaces, State};
use tools::PROMTOOL;

/// Name, type and labels of each metric, beside the process' own.
#[rustfmt::skip]
const CONTRACT: &[(&str, &str, &[&str])] = &[
    ("poolwatch_connections_total",             "counter", &["watchlist", "target", "initiator", "transport"]),
    ("poolwatch_connections_established_total", "counter", &["watchlist", "target", "initiator", "transport"]),
    ("poolwatch_connections_joined_total",      "counter", &["watchlist", "target"]),
    ("poolwatch_packets_total",                 "counter", &["watchlist", "target", "direction", "transport"]),
    ("poolwatch_bytes_total",                   "counter", &["watchlist", "target", "direction", "transport"]),
    ("poolwatch_detections_total",              "counter", &["watchlist", "target", "role"]),
    ("poolwatch_detection_signals_total",       "counter", &["signal"]),
    ("poolwatch_mining_sessions",               "gauge",   &["watchlist", "target", "role"]),
    ("poolwatch_dns_answers_total",             "counter", &["watchlist", "target", "result"]),
    ("poolwatch_learning_refused_total",        "counter", &["map"]),
    ("poolwatch_recognition_forgotten_total",   "counter", &["what"]),
    ("poolwatch_flows",                         "gauge",   &["watchlist", "target", "initiator", "established"]),
    ("poolwatch_peers",                         "gauge",   &["watchlist", "target"]),
    ("poolwatch_last_seen_timestamp_seconds",   "gauge",   &["watchlist", "target"]),
    ("poolwatch_target_info",                   "gauge",   &["watchlist", "target", "category", "confidence"]),
    ("poolwatch_interface_attached",            "gauge",   &["interface", "direction"]),
    ("poolwatch_interface_info",                "gauge",   &["interface", "hook"]),
    ("poolwatch_reattached_total",              "counter", &[]),
    ("poolwatch_undecoded_packets_total",       "counter", &["reason"]),
    ("poolwatch_packets_uncounted_total",       "counter", &["reason"]),
    ("poolwatch_samples_dropped_total",         "counter", &["kind", "reason"]),
    ("poolwatch_events_dropped_total",          "counter", &["reason"]),
    ("poolwatch_flows_evicted_total",           "counter", &[]),
    ("poolwatch_map_entries",                   "gauge",   &["map"]),
    ("poolwatch_map_capacity",                  "gauge",   &["map"]),
    ("poolwatch_watchlist_indicators",          "gauge",   &["watchlist", "kind"]),
    ("poolwatch_watchlist_updated_timestamp_seconds",          "gauge", &["watchlist"]),
    ("poolwatch_config_last_reload_successful",                "gauge", &[]),
    ("poolwatch_config_last_reload_success_timestamp_seconds", "gauge", &[]),
    ("poolwatch_program_runs_total",            "counter", &["program"]),
    ("poolwatch_program_run_seconds_total",     "counter", &["program"]),
    ("poolwatch_collector_success",             "gauge",   &["collector"]),
    ("poolwatch_collector_duration_seconds",    "gauge",   &["collector"]),
    ("poolwatch_build_info",                    "gauge",   &["version", "revision"]),
];

/// All values that a label may have. What a build calls itself is not listed.
const VALUES: &[(&str, &[&str])] = &[
    ("watchlist", &WATCHLISTS),
    ("target", &TARGETS),
    ("interface", &INTERFACES),
    ("initiator", &["local", "remote", "unknown"]),
    ("transport", &["tcp", "udp", "icmp", "other"]),
    ("direction", &["ingress", "egress"]),
    ("established", &["true", "false"]),
    ("category", &["mining", "sanctioned", "custom"]),
    ("confidence", &["confirmed", "associated", "historical"]),
    ("hook", &["tcx", "clsact"]),
    ("kind", &["prefixes", "endpoints", "domains", "json", "http", "tls", "dns", "binary"]),
    ("role", &["miner", "pool", "none"]),
    ("signal", &["sni", "stratum", "getwork"]),
    ("result", &["address", "none", "nxdomain", "sinkhole"]),
    ("what", &["message", "session", "query"]),
    ("map", &["TARGETS", "FLOWS", "LEARNED", "JUDGED", "PREFIXES_V4", "PREFIXES_V6", "ENDPOINTS"]),
    ("program", &["poolwatch_in", "poolwatch_out", "poolwatch_l3in", "poolwatch_l3out"]),
    ("collector", &["traffic", "recognition", "interfaces", "watchlists", "own", "programs"]),
    (
        "reason",
        &[
            "ip_version",
            "ip_header",
            "ip_length",
            "ip_extension",
            "tcp_header",
            "udp_header",
            "slot",
            "flow_table",
            "claim_table",
            "budget",
            "ring",
            "stream",
            "unreadable",
            "slow",
            "output",
            "rate",
        ],
    ),
];

fn busy() -> State {
    let state = made_up::state(made_up::busy(), made_up::interfaces(), made_up::flows());
    state.recognised.set(made_up::recognised());
    state.events_dropped.set(&[65, 66, 67]);
    state
}

fn exported(state: &State) -> String {
    text(state, &Process::default()).expect("an exposition")
}

/// A line that is a sample.
#[derive(Debug)]
struct Sample<'a> {
    name: &'a str,
    labels: Vec<(&'a str, &'a str)>,
    value: &'a str,
}

fn samples(text: &str) -> Vec<Sample<'_>> {
    text.lines().filter(|line| !line.starts_with('#')).map(sample).collect()
}

fn sample(line: &str) -> Sample<'_> {
    let (series, value) = line.rsplit_once(' ').expect("a sample has a value");
    let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
    let labels = labels.strip_suffix('}').expect("labels end").split(',').filter(|pair| !pair.is_empty());
    let pair = |pair| {
        let (label, value): (&str, &str) = str::split_once(pair, '=').expect("a label has a value");
        (label, value.trim_matches('"'))
    };
    Sample { name, labels: labels.map(pair).collect(), value }
}

/// Name and type of each family, in the order of the text.
fn families(text: &str) -> Vec<(&str, &str)> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// The text with what no two runs have in common replaced by what it stands for.
fn normalised(text: &str) -> String {
    const OF_THE_MOMENT: [&str; 3] =
        ["process_", "poolwatch_collector_duration_seconds", "poolwatch_last_seen_timestamp_seconds"];
    let mut normalised = String::new();
    for line in text.lines() {
        let line = match line.rsplit_once(' ') {
            Some((series, _)) if OF_THE_MOMENT.iter().any(|name| line.starts_with(name)) => {
                format!("{series} VALUE")
            }
            _ if line.starts_with("poolwatch_build_info{") => {
                "poolwatch_build_info{version=\"VERSION\",revision=\"REVISION\"} 1".to_owned()
            }
            _ => line.to_owned(),
        };
        writeln!(normalised, "{line}").expect("writing to a string");
    }
    normalised
}

/// What one text has and the other has not, a line each.
fn difference(expected: &str, found: &str) -> String {
    let [mut difference, order] = ["", "  (the same lines in another order)\n"].map(str::to_owned);
    for (mark, from, other) in [('-', expected, found), ('+', found, expected)] {
        let others: BTreeSet<&str> = other.lines().collect();
        for (number, line) in (1..).zip(from.lines()).filter(|(_, line)| !others.contains(line)) {
            writeln!(difference, "{mark} {number:>3} {line}").expect("writing to a string");
        }
    }
    if difference.is_empty() { order } else { difference }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt")
}

#[test]
fn the_whole_text_is_the_golden_file_s() {
    let found = normalised(&exported(&busy()));
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::write(golden(), &found).expect("the golden file can be written");
    }
    let expected = fs::read_to_string(golden()).unwrap_or_default();
    assert!(
        found == expected,
        "tests/golden/metrics.txt (-) and what is exported (+) differ:\n{}\
         UPDATE_GOLDEN=1 writes the file anew",
        difference(&expected, &found)
    );
}

#[test]
fn promtool_finds_nothing_wrong_with_the_text() {
    for state in [busy(), made_up::state(Told::default(), Interfaces::default(), View::default())] {
        let text = exported(&state);
        let verdict =
            PROMTOOL.ask_about(&text, &["check", "metrics"]).unwrap_or_else(|error| panic!("{error}"));
        assert!(verdict.success && verdict.said.is_empty(), "{}\n{text}", verdict.said);
    }
}

#[test]
fn promtool_finds_what_is_wrong_with_a_text() {
    let text = exported(&busy()).replace("poolwatch_packets_total", "poolwatch_packets");
    let verdict = PROMTOOL.ask_about(&text, &["check", "metrics"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(!verdict.success && verdict.said.contains("poolwatch_packets"), "{}", verdict.said);
}

#[test]
fn every_metric_has_the_type_and_the_labels_of_the_contract() {
    let text = exported(&busy());
    let own: Vec<_> = families(&text).into_iter().filter(|(name, _)| !name.starts_with("process_")).collect();
    let mut contract: Vec<_> = CONTRACT.iter().map(|&(name, kind, _)| (name, kind)).collect();
    contract.sort_unstable();
    assert_eq!(own, contract, "a busy sensor exports every metric, and no other");
    for sample in samples(&text).iter().filter(|sample| !sample.name.starts_with("process_")) {
        let labels: Vec<&str> = sample.labels.iter().map(|(label, _)| *label).collect();
        let (_, _, expected) = CONTRACT.iter().find(|(name, ..)| *name == sample.name).expect("a family");
        assert_eq!(labels, *expected, "{}", sample.name);
    }
}

#[test]
fn families_are_sorted_and_none_is_there_twice() {
    for state in [busy(), made_up::state(Told::default(), made_up::attached(), View::default())] {
        let text = exported(&state);
        let names: Vec<_> = families(&text).into_iter().map(|(name, _)| name).collect();
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
        let mut series: Vec<_> = text.lines().filter_map(|line| line.rsplit_once(' ')).collect();
        series.sort_unstable();
        assert!(series.is_sorted_by(|a, b| a.0 < b.0), "a series is there twice:\n{text}");
    }
}

#[test]
fn label_values_come_from_the_config_and_from_fixed_lists_alone() {
    let text = exported(&busy());
    let mut seen = BTreeSet::new();
    for sample in samples(&text).iter().filter(|sample| sample.name != "poolwatch_build_info") {
        for (label, value) in &sample.labels {
            let values = VALUES.iter().find(|(name, _)| name == label).expect("a label of the contract").1;
            assert!(values.contains(value), "{sample:?}");
            seen.insert((*label, *value));
        }
    }
    for name in TARGETS {
        assert!(seen.contains(&("target", name)), "{name}");
    }
}

#[test]
fn an_idle_target_has_what_alerts_ask_for_at_0_and_nothing_else() {
    let state = made_up::state(Told::default(), made_up::attached(), View::default());
    let text = exported(&state);
    for target in TARGETS {
        let own: Vec<_> =
            text.lines().filter(|line| line.contains(&format!("target=\"{target}\""))).collect();
        assert!(own.len() <= 12, "{own:#?}");
        let series = |metric: &str| {
            own.iter().filter(|line| line.starts_with(&format!("{metric}{{"))).copied().collect::<Vec<_>>()
        };
        let watchlist = if target == "office" || target == "firehol" { "office" } else { "dprk" };
        let expected = format!(
            "{{watchlist=\"{watchlist}\",target=\"{target}\",initiator=\"local\",transport=\"tcp\"}} 0"
        );
        for metric in ["poolwatch_connections_total", "poolwatch_connections_established_total"] {
            assert_eq!(series(metric), [format!("{metric}{expected}")]);
        }
        let expected = format!("{{watchlist=\"{watchlist}\",target=\"{target}\",role=\"miner\"}} 0");
        for metric in ["poolwatch_detections_total", "poolwatch_mining_sessions"] {
            assert_eq!(series(metric), [format!("{metric}{expected}")]);
        }
        assert_eq!(series("poolwatch_target_info").len(), 1);
        assert_eq!(own.len(), 5, "{own:#?}");
    }
}

#[test]
fn a_count_of_one_kind_brings_no_series_of_another() {
    // One scan from outside: a SYN that nobody answered.
    let text = exported(&busy());
    let own: Vec<_> = samples(&text)
        .into_iter()
        .filter(|sample| sample.labels.contains(&("target", "office")) && sample.value != "0")
        .map(|sample| (sample.name, sample.value))
        .filter(|(name, _)| *name != "poolwatch_last_seen_timestamp_seconds")
        .collect();
    assert_eq!(
        own,
        [
            ("poolwatch_bytes_total", "40"),
            ("poolwatch_connections_total", "1"),
            ("poolwatch_mining_sessions", "62"),
            ("poolwatch_packets_total", "1"),
            ("poolwatch_target_info", "1"),
        ]
    );
}

#[test]
fn a_sighting_is_told_by_the_clock_on_the_wall() {
    let text = exported(&busy());
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let seen: Vec<f64> = samples(&text)
        .iter()
        .filter(|sample| sample.name == "poolwatch_last_seen_timestamp_seconds")
        .map(|sample| sample.value.parse().expect("a number"))
        .collect();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen_s| (now_s - 60.0..=now_s + 1.0).contains(seen_s)), "{seen:?}, now {now_s}");
}

#[test]
fn a_collector_that_fails_says_so_and_the_others_still_export() {
    for (what, failing, gone, there) in [
        ("totals", "traffic", "poolwatch_connections_total", "poolwatch_undecoded_packets_total"),
        ("own", "own", "poolwatch_undecoded_packets_total", "poolwatch_connections_total"),
        ("costs", "programs", "poolwatch_program_runs_total", "poolwatch_connections_total"),
    ] {
        let kernel = Told { unreadable: vec![what], ..made_up::busy() };
        let text = exported(&made_up::state(kernel, made_up::interfaces(), made_up::flows()));
        let success: Vec<_> = samples(&text)
            .into_iter()
            .filter(|sample| sample.name == "poolwatch_collector_success")
            .map(|sample| (sample.labels[0].1, sample.value))
            .collect();
        let expected = ["traffic", "recognition", "interfaces", "watchlists", "own", "programs"];
        assert_eq!(success, expected.map(|name| (name, if name == failing { "0" } else { "1" })), "{what}");
        let names: BTreeSet<_> = samples(&text).iter().map(|sample| sample.name).collect();
        assert!(!names.contains(gone), "{what}: half of it would look like all of it");
        for name in [there, "poolwatch_interface_attached", "poolwatch_target_info"] {
            assert!(names.contains(name), "{what}: {name} is lost");
        }
    }
}
