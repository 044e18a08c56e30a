//! What was counted, as a map from a series (a metric's name and its labels) to its value,
//! so that what a daemon counted and what replay counts of the same packets can be compared
//! whole. Only counters of traffic; what is 0 is left out.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const COUNTERS: [&str; 7] = [
    "poolwatch_packets_total",
    "poolwatch_bytes_total",
    "poolwatch_connections_total",
    "poolwatch_connections_established_total",
    "poolwatch_connections_joined_total",
    "poolwatch_undecoded_packets_total",
    "poolwatch_packets_uncounted_total",
];

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series(BTreeMap<String, u64>);

impl Series {
    /// Of the text of /metrics.
    pub fn of_metrics(text: &str) -> Self {
        let mut series = Self::default();
        for line in text.lines() {
            let Some((name, rest)) = line.split_once('{') else { continue };
            let Some((labels, value)) = rest.split_once("} ") else { continue };
            if !COUNTERS.contains(&name) {
                continue;
            }
            let labels = labels.split(',').filter_map(|pair| pair.split_once('='));
            let labels: Vec<_> = labels.map(|(label, value)| (label, value.trim_matches('"'))).collect();
            series.add(name, &labels, value.parse().unwrap_or_else(|_| panic!("{line}: no counter")));
        }
        series
    }

    /// Of the `summary` object of `poolwatch replay --format json`.
    pub fn of_replay(summary: &Value) -> Self {
        let mut series = Self::default();
        for target in summary["targets"].as_array().into_iter().flatten() {
            let text = |key: &str| target[key].as_str().expect("a name");
            let own = [("watchlist", text("watchlist")), ("target", text("target"))];
            for (key, outer) in [
                ("packets", "direction"),
                ("bytes", "direction"),
                ("connections", "initiator"),
                ("connections_established", "initiator"),
            ] {
                for (outer_value, by_transport) in members(&target[key]) {
                    for (transport, count) in members(by_transport) {
                        let labels = [own[0], own[1], (outer, outer_value), ("transport", transport)];
                        series.add(&format!("poolwatch_{key}_total"), &labels, number(count));
                    }
                }
            }
            series.add("poolwatch_connections_joined_total", &own, number(&target["connections_joined"]));
        }
        for (key, name) in [
            ("undecoded_reasons", "poolwatch_undecoded_packets_total"),
            ("uncounted_reasons", "poolwatch_packets_uncounted_total"),
        ] {
            for (reason, count) in members(&summary[key]) {
                series.add(name, &[("reason", reason)], number(count));
            }
        }
        series
    }

    pub fn add(&mut self, name: &str, labels: &[(&str, &str)], count: u64) {
        if count == 0 {
            return;
        }
        let labels: BTreeSet<String> =
            labels.iter().map(|(label, value)| format!("{label}=\"{value}\"")).collect();
        let labels = Vec::from_iter(labels).join(",");
        *self.0.entry(format!("{name}{{{labels}}}")).or_default() += count;
    }

    /// What was added to an earlier reading.
    pub fn since(&self, before: &Self) -> Self {
        let gained = self.0.iter().map(|(name, now)| {
            let before = before.0.get(name).copied().unwrap_or(0);
            (name.clone(), now.checked_sub(before).unwrap_or_else(|| panic!("{name} went down")))
        });
        Self(gained.filter(|(_, gained)| *gained > 0).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A line for each series that is another there.
    pub fn differences(&self, expected: &Self) -> Vec<String> {
        let names: BTreeSet<&String> = self.0.keys().chain(expected.0.keys()).collect();
        let of = |series: &Self, name: &String| series.0.get(name).copied().unwrap_or(0);
        names
            .into_iter()
            .map(|name| (name, of(self, name), of(expected, name)))
            .filter(|(_, counted, expected)| counted != expected)
            .map(|(name, counted, expected)| format!("{name}: {counted}, expected {expected}"))
            .collect()
    }
}

fn members(object: &Value) -> impl Iterator<Item = (&str, &Value)> {
    object.as_object().into_iter().flatten().map(|(key, value)| (key.as_str(), value))
}

fn number(value: &Value) -> u64 {
    value.as_u64().expect("a count")
}
