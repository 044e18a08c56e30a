//! The dashboard of deploy/, as far as it can be judged without Grafana and Prometheus: that it can be
//! imported anywhere, and that what it asks for exists. `kernel_deployed` asks a real Prometheus.

mod deploy;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use deploy::dashboard::{panels, queries, read, substituted};
use serde_json::Value;

/// What Grafana 12 writes; it reads what is older, and says so of what is newer.
const SCHEMA: u64 = 41;
const DATASOURCE: &str = "${datasource}";

/// Names of metrics in an expression: ours, those of the client library, and `up`.
fn metrics(expression: &str) -> BTreeSet<&str> {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = expression.split(|c: char| !is_name(c));
    words
        .filter(|word| word.contains("poolwatch_") || word.starts_with("process_") || *word == "up")
        .collect()
}

/// What a sensor exports, by the golden file; what rules record; and what Prometheus itself adds.
fn known() -> BTreeSet<String> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/metrics.txt");
    let golden = fs::read_to_string(golden).expect("the golden file");
    let exported = golden.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let rules = ["rules", "trend.rules", "fleet.rules"];
    let rules = rules.map(|name| deploy::text(&format!("prometheus/poolwatch.{name}.yml"))).concat();
    let recorded = rules.lines().filter_map(|line| line.trim().strip_prefix("- record: "));
    exported.chain(recorded).chain(["up"]).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_a_panel_or_a_variable_asks_for_is_exported_or_recorded() {
    let (dashboard, known) = (read(), known());
    let queries = queries(&dashboard);
    assert!(queries.len() > 20, "{}", queries.len());
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let of_variables = variables.iter().filter_map(|variable| variable["query"]["query"].as_str());
    let of_panels = queries.iter().map(|query| query.expression.as_str());
    for expression in of_panels.chain(of_variables) {
        let named = metrics(expression);
        assert!(!named.is_empty(), "{expression}");
        for name in named {
            assert!(known.contains(name), "{name}: {expression}");
        }
    }
    assert_eq!(metrics("rate(poolwatch_no_such_total[5m]) / up"), ["poolwatch_no_such_total", "up"].into());
}

#[test]
fn each_panel_has_an_id_a_place_and_a_text_of_its_own() {
    let dashboard = read();
    let panels = panels(&dashboard);
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().expect("a title");
        assert!(ids.insert(panel["id"].as_u64().expect("an id")), "{title}: another panel has its id");
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap_or_else(|| panic!("{title}: {key}"));
        let (x, y, w, h) = (of("x"), of("y"), of("w"), of("h"));
        assert!(w > 0 && h > 0 && x + w <= 24, "{title}: the grid is 24 wide");
        for place in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(place), "{title} lies on another panel at {place:?}");
        }
        if panel["type"] != "row" {
            assert!(panel["description"].as_str().is_some_and(|text| text.ends_with('.')), "{title}");
            assert!(panel["targets"].as_array().is_some_and(|targets| !targets.is_empty()), "{title}");
        }
    }
}

#[test]
fn it_can_be_imported_anywhere_and_asks_only_the_prometheus_and_the_hosts_that_are_chosen() {
    let dashboard = read();
    assert_eq!(dashboard["schemaVersion"], SCHEMA);
    assert!(dashboard["id"].is_null(), "an id is one installation's");
    let variables = dashboard["templating"]["list"].as_array().expect("variables");
    let names: Vec<_> = variables.iter().map(|variable| (&variable["name"], &variable["type"])).collect();
    let text = |text: &str| Value::from(text);
    assert_eq!(
        names,
        [(&text("datasource"), &text("datasource")), (&text("instance"), &text("query"))],
        "the host is looked for in the Prometheus that is chosen"
    );
    for panel in panels(&dashboard).into_iter().filter(|panel| panel["type"] != "row") {
        let targets = panel["targets"].as_array().expect("targets");
        for source in targets.iter().chain([panel]).map(|it| &it["datasource"]) {
            assert_eq!(
                (&source["type"], &source["uid"]),
                (&text("prometheus"), &text(DATASOURCE)),
                "{panel}"
            );
        }
        let references: BTreeSet<_> = targets.iter().map(|target| target["refId"].as_str()).collect();
        assert_eq!(references.len(), targets.len(), "{}", panel["title"]);
    }
    for query in queries(&dashboard) {
        assert!(query.expression.contains("instance=~\"$instance\""), "{query:?}");
        assert!(!substituted(&query.expression, ".*").contains('$'), "an unknown variable: {query:?}");
    }
}
