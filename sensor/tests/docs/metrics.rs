//! metrics.md against what /metrics says: the golden file, which `metrics.rs` holds equal to it. The
//! same metrics, each with its type, its unit, its labels and the values that those may have.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use sensor::watchlists::Category;
use sensor_ebpf::abi::program;

use super::{page, rows, with_fault};

/// Their values are names of the config or of the build.
const FREE: [&str; 5] = ["watchlist", "target", "interface", "version", "revision"];

/// A metric as it is exported.
#[derive(Debug, Default)]
struct Metric {
    kind: String,
    /// Labels in their order.
    labels: Vec<String>,
    values: BTreeMap<String, BTreeSet<String>>,
}

fn golden() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
    fs::read_to_string(path).expect("the golden file")
}

fn exported(text: &str) -> BTreeMap<String, Metric> {
    let mut metrics: BTreeMap<String, Metric> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            metrics.insert(name.to_owned(), Metric { kind: kind.to_owned(), ..Metric::default() });
            continue;
        }
        let Some((series, _)) = line.rsplit_once(' ').filter(|_| !line.starts_with('#')) else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
        let metric = metrics.get_mut(name).expect("a type before the samples");
        let pairs = labels.trim_end_matches('}').split(',').filter_map(|pair| pair.split_once('='));
        metric.labels = pairs.clone().map(|(label, _)| label.to_owned()).collect();
        for (label, value) in pairs {
            let value = value.trim_matches('"').to_owned();
            metric.values.entry(label.to_owned()).or_default().insert(value);
        }
    }
    // What the made-up host of the golden file has none of.
    let categories = [Category::Mining, Category::Sanctioned, Category::Custom].map(Category::name);
    for (name, label, others) in [
        ("poolwatch_target_info", "category", &categories[..]),
        ("poolwatch_program_runs_total", "program", &[program::ETHERNET, program::IP].concat()),
        ("poolwatch_program_run_seconds_total", "program", &[program::ETHERNET, program::IP].concat()),
    ] {
        let values = metrics.get_mut(name).and_then(|metric| metric.values.get_mut(label)).expect(name);
        values.extend(others.iter().map(|&value| value.to_owned()));
    }
    metrics
}

/// Labels and their values, in the order of the cell: `a` (`b`, `c`), `d`.
fn labels(cell: &str) -> Vec<(&str, BTreeSet<String>)> {
    let mut found: Vec<(&str, BTreeSet<String>)> = Vec::new();
    let mut is_inside = false;
    for (number, part) in cell.split('`').enumerate() {
        if number % 2 == 0 {
            is_inside = (is_inside || part.contains('(')) && !part.contains(')');
        } else if is_inside {
            found.last_mut().expect("a label before its values").1.insert(part.to_owned());
        } else {
            found.push((part, BTreeSet::new()));
        }
    }
    found
}

/// The unit that Prometheus' naming rules put into a name, where they do.
fn unit(name: &str) -> Option<&'static str> {
    let name = name.trim_end_matches("_total");
    if name.ends_with("_timestamp_seconds") || name.ends_with("_start_time_seconds") {
        Some("seconds since 1970")
    } else if name.ends_with("_seconds") {
        Some("seconds")
    } else if name.ends_with("_bytes") {
        Some("bytes")
    } else if name.ends_with("_info") {
        Some("1")
    } else {
        None
    }
}

/// Everything that the page gets wrong.
fn faults(text: &str) -> Vec<String> {
    let exported = exported(&golden());
    let mut faults = Vec::new();
    let mut documented = BTreeSet::new();
    for row in rows(text, "metric") {
        let name = row.subject();
        if !documented.insert(name) {
            faults.push(format!("{name}: is there twice"));
        }
        let Some(metric) = exported.get(name) else {
            faults.push(format!("{name}: there is no such metric"));
            continue;
        };
        if row.cell("type") != metric.kind {
            faults.push(format!("{name}: is a {}", metric.kind));
        }
        let said = row.cell("unit");
        if said.is_empty() || unit(name).is_some_and(|unit| unit != said) {
            faults.push(format!("{name}: its unit is {}", unit(name).unwrap_or("not said")));
        }
        if row.cell("meaning").is_empty() {
            faults.push(format!("{name}: does not say what it means"));
        }
        let labels = labels(row.cell("labels"));
        if !labels.iter().map(|(label, _)| label).eq(&metric.labels) {
            faults.push(format!("{name}: its labels are {:?}", metric.labels));
            continue;
        }
        for (label, values) in labels {
            let expected = if FREE.contains(&label) { &BTreeSet::new() } else { &metric.values[label] };
            if values != *expected {
                faults.push(format!("{name}: values of {label} are {expected:?}"));
            }
        }
    }
    let missing = exported.keys().filter(|name| !documented.contains(name.as_str()));
    faults.extend(missing.map(|name| format!("{name}: is not described")));
    faults
}

#[test]
fn every_metric_is_described_with_its_type_its_unit_its_labels_and_their_values() {
    assert_eq!(faults(&page("metrics.md")), Vec::<String>::new());
}

#[test]
fn a_cell_of_labels_is_read_with_the_values_behind_each() {
    let set = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect::<BTreeSet<_>>();
    let cell = "`a`, `b` (`c`, `d`), `e` (`f`)";
    assert_eq!(labels(cell), [("a", set(&[])), ("b", set(&["c", "d"])), ("e", set(&["f"]))]);
    assert_eq!(labels(""), []);
}

#[test]
fn each_fault_put_into_the_description_of_a_metric_is_found() {
    let page = page("metrics.md");
    let line = |name: &str| {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{name}` ")));
        row.unwrap_or_else(|| panic!("no row {name}")).to_owned() + "\n"
    };
    let bytes = line("poolwatch_bytes_total");
    #[rustfmt::skip]
    let table = [
        ("a metric is missing", bytes.clone(), String::new(), "poolwatch_bytes_total: is not described"),
        ("one of the process is missing", line("process_threads"), String::new(), "process_threads: is not described"),
        ("a metric is there twice", bytes.clone(), bytes.repeat(2), "poolwatch_bytes_total: is there twice"),
        ("a metric that is none", bytes.clone(), bytes.clone() + &bytes.replace("bytes_total", "octets_total"), "poolwatch_octets_total: there is no such metric"),
        ("another type", bytes.clone(), bytes.replace("counter", "gauge"), "poolwatch_bytes_total: is a counter"),
        ("another unit", bytes.clone(), bytes.replace("| bytes |", "| bits |"), "poolwatch_bytes_total: its unit is bytes"),
        ("a label is missing", bytes.clone(), bytes.replace("`target`, ", ""), "poolwatch_bytes_total: its labels are [\"watchlist\", \"target\", \"direction\", \"transport\"]"),
        ("a label that is none", line("poolwatch_peers"), line("poolwatch_peers").replace("`target`", "`target`, `peer`"), "poolwatch_peers: its labels are [\"watchlist\", \"target\"]"),
        ("a value is missing", bytes.clone(), bytes.replace("`icmp`, ", ""), "poolwatch_bytes_total: values of transport are {\"icmp\", \"other\", \"tcp\", \"udp\"}"),
        ("a value that is none", "`nxdomain`, ".to_owned(), "`nxdomain`, `servfail`, ".to_owned(), "poolwatch_dns_answers_total: values of result are {\"address\", \"none\", \"nxdomain\", \"sinkhole\"}"),
        ("values of a name of the config", "| `watchlist` | File".to_owned(), "| `watchlist` (`dprk`) | File".to_owned(), "poolwatch_watchlist_updated_timestamp_seconds: values of watchlist are {}"),
        ("no meaning", "| Threads |".to_owned(), "| |".to_owned(), "process_threads: does not say what it means"),
    ];
    for (fault, right, wrong, expected) in table {
        let found = faults(&with_fault(&page, &right, &wrong));
        assert!(found.iter().any(|it| it == expected), "{fault}: {found:?}");
    }
}
