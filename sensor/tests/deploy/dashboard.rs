//! The dashboard of deploy/grafana as tests read it: its panels, their queries, and what Grafana makes
//! of those before it sends them.

use serde_json::Value;

use super::text;

pub const FILE: &str = "grafana/poolwatch.json";

/// One query of a panel.
#[derive(Debug)]
pub struct Query {
    pub panel: String,
    pub expression: String,
    /// One moment is asked for, not a range.
    pub is_instant: bool,
}

pub fn read() -> Value {
    serde_json::from_str(&text(FILE)).unwrap_or_else(|error| panic!("{FILE}: {error}"))
}

/// Panels, with those inside collapsed rows.
pub fn panels(dashboard: &Value) -> Vec<&Value> {
    let mut found: Vec<&Value> = dashboard["panels"].as_array().expect("panels").iter().collect();
    let inside: Vec<&Value> = found
        .iter()
        .filter(|panel| panel["type"] == "row")
        .flat_map(|row| row["panels"].as_array().into_iter().flatten())
        .collect();
    found.extend(inside);
    found
}

pub fn queries(dashboard: &Value) -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in panels(dashboard) {
        for target in panel["targets"].as_array().into_iter().flatten() {
            queries.push(Query {
                panel: panel["title"].as_str().expect("a title").to_owned(),
                expression: target["expr"].as_str().expect("an expression").to_owned(),
                is_instant: target["instant"] == true,
            });
        }
    }
    queries
}

/// As Grafana sends it for these hosts (of several it makes a pattern), for a panel over a minute of a
/// Prometheus that scrapes every second: `$__rate_interval` is four scrapes at least.
pub fn substituted(expression: &str, instance: &str) -> String {
    expression
        .replace("$__rate_interval", "15s")
        .replace("$__range", "60s")
        .replace("$__interval", "1s")
        .replace("$instance", instance)
}
