//! What deploy/docs/fleet.md shows of Prometheus' configuration, read by promtool; and that it names files
//! and tests that are there. Its figures are `kernel_deployed`'s to hold.

mod deploy;
mod tools;

use std::fs;
use std::path::Path;

use tempfile::TempDir;
use tools::{PROMTOOL, Verdict};

const DOCUMENT: &str = "docs/fleet.md";

/// The text of each fenced block of this kind.
fn blocks<'a>(text: &'a str, kind: &str) -> Vec<&'a str> {
    let fence = format!("```{kind}\n");
    text.split(&fence).skip(1).map(|rest| rest.split("```").next().expect("an end")).collect()
}

fn check(block: &str) -> Verdict {
    let directory = TempDir::new().expect("a directory");
    fs::create_dir(directory.path().join("hosts")).expect("a directory");
    let config = directory.path().join("prometheus.yml");
    // Debian's build knows no Kubernetes: what is asked is the rest of that job.
    let known = block.replace(
        "kubernetes_sd_configs:\n      - role: pod",
        "file_sd_configs:\n      - files: [\"hosts/*.yml\"]",
    );
    fs::write(&config, known).expect("a config");
    let mut arguments = vec!["check", "config", "--lint=all", "--lint-fatal"];
    if block.starts_with("# agent\n") {
        arguments.push("--agent");
    }
    arguments.push(config.to_str().expect("UTF-8"));
    PROMTOOL.ask(&arguments).unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn promtool_accepts_each_configuration_that_the_document_shows() {
    let text = deploy::text(DOCUMENT);
    let blocks = blocks(&text, "yaml");
    assert_eq!(blocks.len(), 3);
    for block in blocks {
        let verdict = check(block);
        assert!(verdict.success, "{block}{}", verdict.said);
        let broken = check(
            &block.replacen("relabel_configs:", "relabel_confgs:", 1).replacen("file_sd_", "file_ds_", 1),
        );
        assert!(!broken.success, "a key that there is not goes unnoticed:\n{block}");
    }
}

#[test]
fn each_file_that_it_links_to_and_the_test_that_it_names_are_there() {
    let text = deploy::text(DOCUMENT);
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    let (inside, files): (Vec<&str>, Vec<&str>) = links.into_iter().partition(|link| link.starts_with('#'));
    assert_eq!(inside, ["#from-there"]);
    assert!(text.contains("\n## From there\n"));
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        assert!(deploy::path(&format!("docs/{file}")).is_file(), "{file}");
    }
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kernel_deployed.rs");
    let tests = fs::read_to_string(tests).expect("the tests");
    assert!(
        tests.contains("fn what_a_sensor_costs_prometheus")
            && text.contains("`what_a_sensor_costs_prometheus…`")
    );
}

#[test]
fn what_it_reckons_for_ten_thousand_hosts_follows_from_what_was_measured() {
    const HOSTS: f64 = 10_000.0;
    const INTERVAL_S: f64 = 30.0;
    const DAY_S: f64 = 86_400.0;
    let text = deploy::text(DOCUMENT);
    let row = |name: &str| -> Vec<f64> {
        let line = text.lines().find(|line| line.starts_with(&format!("| {name} |"))).expect(name);
        let cells = line.trim_matches('|').split('|').skip(1);
        cells
            .map(|cell| {
                cell.trim().replace(',', "").split(' ').next().and_then(|it| it.parse().ok()).expect(line)
            })
            .collect()
    };
    let (rest, busy) = (row("at rest"), row("mines everywhere"));
    let series = HOSTS * (rest[0] + 5.0);
    for (name, reckoned) in [
        ("active series", series / 1e6),
        ("samples a second", series / INTERVAL_S),
        ("read over the network, as the sensors send it", HOSTS * rest[1] / INTERVAL_S / 1e6),
        ("chunks on disk, a day", series / INTERVAL_S * DAY_S * rest[3] / 1e9),
    ] {
        let written = row(name)[0];
        assert!((written / reckoned - 1.0).abs() < 0.02, "{name}: {written}, reckoned: {reckoned}");
    }
    assert!(
        text.contains("adds at most 2,541 series") && (busy[0] - rest[0] - 2541.0).abs() < 0.5,
        "{busy:?}"
    );
}
