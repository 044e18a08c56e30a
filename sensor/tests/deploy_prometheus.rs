//! The scrape example and the alerts of deploy/, checked with the program that will read them,
//! promtool: what it accepts, which alerts fire, and what each tells whom it wakes.
//!
//! Not here: whether an alert reaches Alertmanager. That takes real servers (`kernel_deployed`).

mod deploy;
mod tools;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::thread;

use tempfile::TempDir;
use tools::{PROMTOOL, Tool, Verdict};

const RULES: [&str; 3] = [
    "prometheus/poolwatch.rules.yml",
    "prometheus/poolwatch.trend.rules.yml",
    "prometheus/poolwatch.fleet.rules.yml",
];
/// Each with the place of the rules in [`RULES`] that it tries.
const CASES: [(&str, usize); 4] = [
    ("prometheus/poolwatch.rules.test.yml", 0),
    ("prometheus/poolwatch.mining.test.yml", 0),
    ("prometheus/poolwatch.trend.test.yml", 1),
    ("prometheus/poolwatch.fleet.test.yml", 2),
];
/// Each configuration of Prometheus, and how many of [`RULES`] it loads: sums over hosts are for many.
const SCRAPES: [(&str, usize); 2] = [("prometheus/scrape.yml", 2), ("prometheus/fleet.yml", 3)];
const RUNBOOK: &str = "docs/runbook.md";

fn utf8(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

#[test]
fn a_missing_tool_is_an_error_that_names_its_package() {
    let absent = Tool { name: "poolwatch-no-such-tool", package: "prometheus" };
    let error = absent.ask(&[]).err().expect("an error");
    assert_eq!(error, "poolwatch-no-such-tool is not installed; the Debian package prometheus has it");
}

#[test]
fn promtool_accepts_the_alert_rules() {
    for rules in RULES {
        PROMTOOL.approve(&["check", "rules", "--lint=all", "--lint-fatal", utf8(&deploy::path(rules))]);
    }
}

#[test]
fn promtool_accepts_the_scrape_examples_with_their_rules() {
    for (scrape, loaded) in SCRAPES {
        PROMTOOL.approve(&["check", "config", "--lint=all", "--lint-fatal", utf8(&deploy::path(scrape))]);
        let scrape = deploy::text(scrape);
        for (number, rules) in RULES.map(file_name).into_iter().enumerate() {
            assert_eq!(scrape.contains(&format!("- {rules}\n")), number < loaded, "{rules}:\n{scrape}");
        }
        // The rules on the sensor itself select by it.
        assert!(scrape.contains("job_name: poolwatch\n"), "{scrape}");
    }
}

#[test]
fn alerts_fire_and_stay_silent_as_their_cases_say() {
    for (cases, _) in CASES {
        PROMTOOL.approve(&["test", "rules", utf8(&deploy::path(cases))]);
    }
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(|name| name.to_str()).expect("a file's name")
}

/// Those of the cases that ask for one of the alerts, as a file of their own; `None`: no case does. Where
/// there is no alert, all of them: they ask for what is recorded.
fn cases_about(cases: &str, alerts: &[&str]) -> Option<String> {
    if alerts.is_empty() {
        return Some(cases.to_owned());
    }
    let mut cases = cases.split_inclusive('\n').fold(vec![String::new()], |mut cases, line| {
        if line.starts_with("  - name: ") {
            cases.push(String::new());
        }
        cases.last_mut().expect("a case, or the file's head").push_str(line);
        cases
    });
    let asks = |case: &String| alerts.iter().any(|alert| case.contains(&format!("- alertname: {alert}\n")));
    let head = cases.remove(0);
    cases.retain(asks);
    (!cases.is_empty()).then(|| head + &cases.concat())
}

/// Runs cases on other rules than they were shipped with.
fn run_on(cases: &str, of: usize, rules: &str) -> Verdict {
    let directory = TempDir::new().expect("a temporary directory");
    fs::write(directory.path().join(file_name(RULES[of])), rules).expect("rules written");
    let copy = directory.path().join("cases.yml");
    fs::write(&copy, cases).expect("cases written");
    PROMTOOL.ask(&["test", "rules", utf8(&copy)]).unwrap_or_else(|error| panic!("{error}"))
}

/// What the rules would do wrong, what they say, what they would say then.
#[rustfmt::skip]
const RULE_FAULTS: &[(&str, &str, &str)] = &[
    ("counts connections that the other side opened",
     r#"established_total{initiator="local"}"#,
     "established_total"),
    ("takes flows that the other side opened",
     r#"poolwatch_flows{initiator="local", "#,
     "poolwatch_flows{"),
    ("takes joined flows for the host's own",
     r#"poolwatch_flows{initiator="local", "#,
     r#"poolwatch_flows{initiator!="remote", "#),
    ("takes flows that nobody answered", r#", established="true"}"#, "}"),
    ("counts attempts",
     "poolwatch_connections_established_total",
     "poolwatch_connections_total"),
    ("forgets the counter",
     "poolwatch_connections_established_total",
     "poolwatch_no_such_total"),
    ("forgets the gauge", "poolwatch_flows{", "poolwatch_no_such{"),
    ("compares a counter with 0 in place of its growth",
     "increase(poolwatch_connections_established_total",
     "max_over_time(poolwatch_connections_established_total"),
    ("takes every category",
     r#"poolwatch_target_info{category="sanctioned"}"#,
     "poolwatch_target_info"),
    ("ends with the sensor",
     r#"max_over_time(poolwatch_target_info{category="sanctioned"}[1h])"#,
     r#"poolwatch_target_info{category="sanctioned"}"#),
    ("joins hosts with one another",
     "and ignoring (category, confidence)",
     "and on (watchlist, target)"),
    ("joins targets with one another",
     "and ignoring (category, confidence)",
     "and on (instance, watchlist)"),
    ("joins lists with one another",
     "and ignoring (category, confidence)",
     "and on (instance, target)"),
    ("pages for what is only associated",
     r#"{{ if eq $labels.confidence "confirmed" }}critical{{ else }}warning{{ end }}"#,
     "critical"),
    ("waits for no restart", "for: 3m", "for: 0s"),
    ("waits for an absent sensor too long", "for: 3m", "for: 10m"),
    ("takes other jobs for the sensor", r#"up{job="poolwatch"} == 0"#, "up == 0"),
    ("misses a job without targets",
     r#"absent(up{job="poolwatch"})"#,
     r#"up{job="poolwatch"} == 2"#),
    ("is content with one direction", "min without (direction)", "max without (direction)"),
    ("waits for no interface", "for: 5m", "for: 0s"),
    ("waits for an absent interface too long", "for: 5m", "for: 6m"),
    ("asks a sensor that is down",
     r#"up{job="poolwatch"} == 1 unless"#,
     r#"up{job="poolwatch"} unless"#),
    ("takes one host's interfaces for another's",
     "unless ignoring (interface, direction)",
     "unless on (job)"),
    ("takes a pool for a miner",
     r#"increase(poolwatch_detections_total{role="miner"}[1h])"#,
     r#"increase(poolwatch_detections_total{role!="none"}[1h])"#),
    ("takes a name in a hello for mining",
     r#"increase(poolwatch_detections_total{role="miner"}[1h])"#,
     r#"increase(poolwatch_detections_total{role!="pool"}[1h])"#),
    ("forgets that a session lasts", "max_over_time(poolwatch_mining_sessions", "max_over_time(poolwatch_no_such"),
    ("forgets sessions that ended", "increase(poolwatch_detections_total", "increase(poolwatch_no_such_total"),
    ("misses pools in a watched prefix",
     r#"poolwatch_mining_sessions{role=~"miner|pool"}"#,
     r#"poolwatch_mining_sessions{role=~"miner"}"#),
    ("takes names for mining in a watched prefix", r#"{role=~"miner|pool"}"#, r#"{role=~"miner|pool|none"}"#),
    ("serves and mines at once", r#"mining_sessions{role="pool"}"#, r#"mining_sessions{role="miner"}"#),
    ("says twice that nobody's pool was reached", r#", target!="unlisted"}"#, "}"),
    ("counts each attempt as too many", ") > 3\n", ") > 0\n"),
    ("takes attempts of others", r#"poolwatch_connections_total{initiator="local"}[1h]"#, "poolwatch_connections_total[1h]"),
    ("takes attempts at lists that only count", r#"category=~"mining|sanctioned""#, r#"category=~".*""#),
    ("takes half a success for none",
     r#"            unless
              sum without (initiator, transport) (
                increase(poolwatch_connections_established_total{initiator="local"}[1h])
              ) > 0
"#,
     ""),
    ("forgets who has been connected for long",
     r"            unless
              sum without (initiator, established) (",
     r"            unless
              sum without (initiator, established, target) ("),
    ("rises by eight", "> 10 * poolwatch:bytes:daily13d", "> 5 * poolwatch:bytes:daily13d"),
    ("rises by twenty", "> 10 * poolwatch:bytes:daily13d", "> 20 * poolwatch:bytes:daily13d"),
    ("connects by eight", "> 10 * poolwatch:connections:daily13d", "> 5 * poolwatch:connections:daily13d"),
    ("has no floor for bytes", "increase1d > 1e7", "increase1d > 0"),
    ("has no floor for connections", "increase1d > 100", "increase1d > 0"),
    ("compares with nothing", "(max_over_time(poolwatch_bytes_total[1d] offset 7d)) > 0", "(poolwatch_bytes_total)"),
    ("connects compared with nothing",
     "(max_over_time(poolwatch_connections_total[1d] offset 7d)) > 0",
     "(poolwatch_connections_total)"),
    ("compares today with today", "poolwatch_bytes_total[13d] offset 1d", "poolwatch_bytes_total[13d]"),
    ("complains of what is left out on purpose", "budget|ring|unreadable", "budget|ring|stream"),
    ("complains of a burst of payload", "rate(poolwatch_samples_dropped_total{reason=~\"budget|ring|unreadable\"}[5m])",
     "rate(poolwatch_samples_dropped_total{reason=~\"budget|ring|unreadable\"}[30m])"),
    ("complains of a burst of forgetting", "rate(poolwatch_recognition_forgotten_total[5m])", "rate(poolwatch_recognition_forgotten_total[30m])"),
    ("complains of a burst of flows", "rate(poolwatch_flows_evicted_total[5m])", "rate(poolwatch_flows_evicted_total[30m])"),
    ("complains of a target that says too much", r#"reason=~"slow|output""#, r#"reason=~"slow|output|rate""#),
    ("misses a slow reader", r#"reason=~"slow|output""#, r#"reason="output""#),
    ("takes a reload that went well for one that failed", "reload_successful == 0", "reload_successful == 1"),
    ("counts a sensor that is down as up", r#"sum by (job) (up{job="poolwatch"})"#, r#"count by (job) (up{job="poolwatch"})"#),
    ("counts as known what is up", r#"count by (job) (up{job="poolwatch"})"#, r#"count by (job) (up{job="poolwatch"} == 1)"#),
    ("counts other jobs", r#"sum by (job) (up{job="poolwatch"})"#, "sum by (job) (up)"),
    ("counts a host once a pool", "sum by (job, instance) (poolwatch_mining_sessions", "sum by (job, instance, target) (poolwatch_mining_sessions"),
    ("counts who serves miners as one", r#"poolwatch_mining_sessions{role="miner", watchlist!="test-alert"}"#, r#"poolwatch_mining_sessions{watchlist!="test-alert"}"#),
    ("takes a test for mining", r#"poolwatch_mining_sessions{role="miner", watchlist!="test-alert"}"#, r#"poolwatch_mining_sessions{role="miner"}"#),
    ("sums up tests", r#"(poolwatch_mining_sessions{watchlist!="test-alert"})"#, "(poolwatch_mining_sessions)"),
    ("counts tests as detections", r#"poolwatch_detections_total{watchlist!="test-alert"}"#, "poolwatch_detections_total"),
    ("has holes where nobody mines", "          or 0 * job:up:count\n", ""),
    ("counts connections as hosts", "count by (job, watchlist, target) (\n            sum by (job, instance", "sum by (job, watchlist, target) (\n            sum by (job, instance"),
    ("counts hosts that others reached", r#"poolwatch_flows{initiator="local", established="true"}
            ) > 0"#, r#"poolwatch_flows{established="true"}
            ) > 0"#),
    ("mixes up who connected", "sum by (job, watchlist, target, initiator) (rate", "sum by (job, watchlist, target) (rate"),
    ("takes attempts for connections", "rate(poolwatch_connections_established_total[5m])", "rate(poolwatch_connections_total[5m])"),
    ("mixes up directions", "sum by (job, watchlist, target, direction) (rate", "sum by (job, watchlist, target) (rate"),
    ("hides which kind is dropped", "sum by (job, kind, reason)", "sum by (job, reason)"),
    ("hides why events are dropped", "sum by (job, reason) (rate(poolwatch_events", "sum by (job) (rate(poolwatch_events"),
    ("takes the worst host for all", "sum by (job) (rate(poolwatch_flows_evicted", "max by (job) (rate(poolwatch_flows_evicted"),
    ("takes feeds for built in", "> 14 * 86400", "> 400 * 86400"),
    ("takes what is built in for feeds", "> 400 * 86400", "> 500 * 86400"),
];

#[test]
fn each_fault_put_into_the_rules_turns_a_case_red() {
    // The slowest part of all tests here, and each fault is one process.
    let (first, second) = RULE_FAULTS.split_at(RULE_FAULTS.len() / 2);
    thread::scope(|scope| {
        for faults in [first, second] {
            scope.spawn(move || faults.iter().for_each(turns_red));
        }
    });
}

fn turns_red((fault, right, wrong): &(&str, &str, &str)) {
    let is_red = |(cases, of): (&str, usize)| {
        let rules = deploy::text(RULES[of]);
        let is_faulty = |rule: &Rule| rule.lines.join("\n").contains(right);
        // What a recording rule says concerns them all.
        let mut alerts = rules_of(&rules);
        if alerts.iter().any(is_faulty) {
            alerts.retain(is_faulty);
        }
        let alerts: Vec<&str> = alerts.iter().map(|rule| rule.alert).collect();
        let Some(cases) = cases_about(&deploy::text(cases), &alerts).filter(|_| rules.contains(right)) else {
            return false;
        };
        let verdict = run_on(&cases, of, &rules.replace(right, wrong));
        // A rule that promtool cannot read would be red as well, and prove nothing.
        !verdict.success && verdict.said.contains("FAILED") && verdict.said.contains("got:")
    };
    assert!(RULES.map(deploy::text).concat().contains(right), "{fault}: the rules lack {right}");
    assert!(CASES.into_iter().any(is_red), "{fault}, and no case shows it");
}

/// One alert as its rule is written: name, and the lines up to the next rule or group.
struct Rule<'a> {
    alert: &'a str,
    lines: Vec<&'a str>,
}

impl Rule<'_> {
    /// A key's text, or of folded text the first line; empty where the key or its text is missing.
    fn value(&self, key: &str) -> &str {
        let indent = |line: &str| line.len() - line.trim_start().len();
        let mut lines = self.lines.iter();
        let Some((depth, value)) = lines.find_map(|line| {
            let value = line.trim_start().strip_prefix(key)?.strip_prefix(':')?;
            Some((indent(line), value.trim()))
        }) else {
            return "";
        };
        if value != ">-" {
            return value.trim_matches(['"', '\'']);
        }
        lines.next().filter(|line| indent(line) > depth).map_or("", |line| line.trim())
    }
}

fn rules_of(text: &str) -> Vec<Rule<'_>> {
    let mut rules: Vec<Rule> = Vec::new();
    for line in text.lines().filter(|line| !line.trim().starts_with('#')) {
        if let Some(alert) = line.trim().strip_prefix("- alert: ") {
            rules.push(Rule { alert, lines: Vec::new() });
        } else if let Some(rule) = rules.last_mut() {
            rule.lines.push(line);
        }
    }
    rules
}

/// The runbook's sections that are about alerts: its headings of the second level.
fn sections(runbook: &str) -> BTreeSet<&str> {
    runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect()
}

/// Everything an alert would leave its reader without.
fn lacks(rules: &str, runbook: &str) -> Vec<String> {
    let sections = sections(runbook);
    let rules = rules_of(rules);
    let mut lacks = Vec::new();
    for rule in &rules {
        let alert = rule.alert;
        for key in ["severity", "summary", "description", "runbook_url"] {
            if rule.value(key).is_empty() {
                lacks.push(format!("{alert} has no {key}"));
            }
        }
        let link = format!("/{RUNBOOK}#{}", alert.to_lowercase());
        if !rule.value("runbook_url").ends_with(&link) {
            lacks.push(format!("{alert} does not link to {link}"));
        }
        if !sections.contains(alert) {
            lacks.push(format!("{alert} has no section in the runbook"));
        }
    }
    for section in sections {
        if !rules.iter().any(|rule| rule.alert == section) {
            lacks.push(format!("{section} is in the runbook and no alert"));
        }
    }
    lacks
}

#[test]
fn every_alert_says_how_bad_what_and_what_to_do() {
    let rules = RULES.map(deploy::text).concat();
    assert!(!rules_of(&rules).is_empty(), "no alert found");
    assert_eq!(lacks(&rules, &deploy::text(RUNBOOK)), Vec::<String>::new());
}

#[test]
fn an_alert_without_severity_text_or_runbook_section_is_named() {
    let alert = "PoolwatchSensorDown";
    let complete = format!(
        "      - alert: {alert}
        labels:
          severity: warning
        annotations:
          summary: \"It is down\"
          description: >-
            It is down.
          runbook_url: file:///usr/share/poolwatch/{RUNBOOK}#poolwatchsensordown
"
    );
    let runbook = format!("# Runbook\n\n## {alert}\n");
    assert_eq!(lacks(&complete, &runbook), Vec::<String>::new());
    let table = [
        (complete.replace("severity", "level"), "has no severity"),
        (complete.replace("\"It is down\"", ""), "has no summary"),
        (complete.replace("            It is down.\n", ""), "has no description"),
        (complete.replace("description", "text"), "has no description"),
        (complete.replace("runbook_url", "link"), "has no runbook_url"),
        (complete.replace("#poolwatchsensordown", "#other"), "does not link to"),
    ];
    for (rules, expected) in table {
        let found = lacks(&rules, &runbook).join("\n");
        assert!(found.contains(expected), "{expected}: {found:?}\n{rules}");
    }
    assert_eq!(
        lacks(&complete, "# Runbook\n\n## PoolwatchOther\n"),
        [
            "PoolwatchSensorDown has no section in the runbook",
            "PoolwatchOther is in the runbook and no alert",
        ]
    );
}

#[test]
fn every_alert_has_a_case_in_which_it_fires_and_one_in_which_it_must_not() {
    let cases = CASES.map(|(cases, _)| deploy::text(cases)).concat();
    let mut seen: BTreeMap<&str, BTreeSet<bool>> = BTreeMap::new();
    for case in cases.split("- alertname: ").skip(1) {
        let (alert, rest) = case.split_once('\n').expect("lines after an alert's name");
        let fires = rest.lines().any(|line| line.trim_start().starts_with("exp_alerts:"));
        seen.entry(alert).or_default().insert(fires);
    }
    let rules = RULES.map(deploy::text).concat();
    for rule in rules_of(&rules) {
        assert_eq!(
            seen.get(rule.alert),
            Some(&BTreeSet::from([false, true])),
            "{}: whether it fires in its cases",
            rule.alert
        );
    }
}
