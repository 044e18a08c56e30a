//! The targets: what poolwatch wants to cost at most, as conditions on figures of one run.
//!
//! A target that is missed fails nothing. It is said, here and in the README.

use std::fmt;

use serde::Serialize;

use super::prices::Prices;

/// A value made of the medians of figures, by their ids.
enum Value {
    /// Of several figures the one that is furthest from the target.
    Worst(&'static [&'static str]),
    /// How many times the second is the first.
    Times(&'static str, &'static str),
}

enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

struct Target {
    what: &'static str,
    value: Value,
    bound: Bound,
    unit: &'static str,
}

const fn at_most(what: &'static str, most: f64, unit: &'static str, ids: &'static [&'static str]) -> Target {
    Target { what, value: Value::Worst(ids), bound: Bound::AtMost(most), unit }
}

const fn at_least(
    what: &'static str,
    least: f64,
    unit: &'static str,
    ids: &'static [&'static str],
) -> Target {
    Target { what, value: Value::Worst(ids), bound: Bound::AtLeast(least), unit }
}

#[rustfmt::skip]
const TARGETS: &[Target] = &[
    at_most("a packet outside the filter, TCP ACK or data, 3 prefixes", 12.0, "ns",
        &["packet/tcp_ack_outside/poolwatch/3", "packet/tcp_data_outside/poolwatch/3"]),
    at_most("the same, 1,000,000 prefixes", 25.0, "ns",
        &["packet/tcp_ack_outside/poolwatch/1000000", "packet/tcp_data_outside/poolwatch/1000000"]),
    at_most("a packet inside the filter, not listed, 1,000,000 prefixes", 120.0, "ns",
        &["packet/tcp_ack_inside/poolwatch/1000000", "packet/ipv6_inside/poolwatch/1000000"]),
    at_most("a packet counted with its flow, established, 3 prefixes", 80.0, "ns",
        &["packet/prefix_established/poolwatch/3", "packet/endpoint_established/poolwatch/3"]),
    at_most("the same, 1,000,000 prefixes", 80.0, "ns",
        &["packet/prefix_established/poolwatch/1000000", "packet/endpoint_established/poolwatch/1000000"]),
    Target {
        what: "nftables' set with a counter against poolwatch, 100,000 prefixes, by profile share",
        value: Value::Times("traffic/share_ns/poolwatch/100000", "traffic/share_ns/nftables/100000"),
        bound: Bound::AtLeast(10.0),
        unit: "times",
    },
    at_least("TCP throughput over veth, with against without", 98.0, "%", &["traffic/tcp_throughput_ratio/poolwatch"]),
    at_most("loading 1,000,000 prefixes", 2.0, "s", &["lists/load/poolwatch/1000000"]),
    at_most("swapping 1,000,000 prefixes under traffic", 3.0, "s", &["lists/swap/poolwatch/1000000"]),
    at_most("kernel memory for 1,000,000 prefixes, at rest", 128.0, "MiB", &["lists/kernel_memory_rest/poolwatch/1000000"]),
    at_most("kernel memory for 1,000,000 prefixes, while swapping", 256.0, "MiB", &["lists/kernel_memory_swap/poolwatch/1000000"]),
    at_most("the daemon, built-in lists only, resident", 20.0, "MiB", &["memory/daemon_resident/poolwatch"]),
    at_most("kernel maps, built-in lists only", 16.0, "MiB", &["memory/kernel_maps/poolwatch"]),
    at_most("/metrics with 300 targets", 10.0, "ms", &["scrape/latency/poolwatch/300"]),
    at_most("/metrics with 1,000 targets", 40.0, "ms", &["scrape/latency/poolwatch/1000"]),
    at_least("replay against ndpiReader, packets a second", 3.0, "times", &["replay/ratio/poolwatch"]),
    at_least("samples that say nothing, a second and core", 300_000.0, "samples/s",
        &["inspect/json/poolwatch", "inspect/http/poolwatch", "inspect/tls/poolwatch", "inspect/dns_query/poolwatch"]),
    at_most("10,000 segments of JSON a second that nobody watches", 3.0, "% of a core",
        &["inspect/core_share/poolwatch", "inspect/core_share_new/poolwatch"]),
];

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    Reached,
    Missed,
    NotMeasured,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Reached => "reached",
            Self::Missed => "missed",
            Self::NotMeasured => "not measured",
        })
    }
}

/// A target, held against the figures of one run.
#[derive(Debug, Serialize)]
pub(super) struct Reached {
    pub(super) what: &'static str,
    pub(super) bound: String,
    pub(super) unit: &'static str,
    pub(super) value: Option<f64>,
    pub(super) outcome: Outcome,
}

pub(super) fn judge(prices: &Prices) -> Vec<Reached> {
    TARGETS.iter().map(|target| judge_one(target, prices)).collect()
}

fn judge_one(target: &Target, prices: &Prices) -> Reached {
    let Target { what, value, bound, unit } = target;
    let value = measured(value, bound, prices);
    let (words, limit) = match bound {
        Bound::AtMost(most) => ("at most", most),
        Bound::AtLeast(least) => ("at least", least),
    };
    let outcome = match (value, bound) {
        (None, _) => Outcome::NotMeasured,
        (Some(value), Bound::AtMost(most)) if value <= *most => Outcome::Reached,
        (Some(value), Bound::AtLeast(least)) if value >= *least => Outcome::Reached,
        _ => Outcome::Missed,
    };
    Reached { what, bound: format!("{words} {limit} {unit}"), unit, value, outcome }
}

/// `None` unless every figure that it is made of was measured.
fn measured(value: &Value, bound: &Bound, prices: &Prices) -> Option<f64> {
    match value {
        Value::Worst(ids) => {
            let medians: Option<Vec<f64>> = ids.iter().map(|id| prices.median(id)).collect();
            medians?.into_iter().reduce(match bound {
                Bound::AtMost(_) => f64::max,
                Bound::AtLeast(_) => f64::min,
            })
        }
        Value::Times(first, second) => Some(prices.median(second)? / prices.median(first)?),
    }
}

#[cfg(test)]
mod tests {
    use super::super::prices::made_up;
    use super::*;

    fn judged(target: &Target) -> (Option<f64>, Outcome) {
        let reached = judge_one(target, &made_up());
        (reached.value, reached.outcome)
    }

    #[test]
    fn the_worst_of_several_figures_counts() {
        const BOTH: &[&str] = &["packet/tcp_ack_outside/poolwatch/3", "packet/tcp_data_outside/poolwatch/3"];
        assert_eq!(judged(&at_most("", 13.5, "ns", BOTH)), (Some(13.5), Outcome::Reached));
        assert_eq!(judged(&at_most("", 12.0, "ns", BOTH)), (Some(13.5), Outcome::Missed));
        assert_eq!(judged(&at_least("", 7.0, "ns", BOTH)), (Some(7.0), Outcome::Reached));
        assert_eq!(judged(&at_least("", 7.1, "ns", BOTH)), (Some(7.0), Outcome::Missed));
    }

    #[test]
    fn what_was_measured_in_part_was_not_measured() {
        const PART: &[&str] = &["packet/tcp_ack_outside/poolwatch/3", "packet/nothing"];
        assert_eq!(judged(&at_most("", 100.0, "ns", PART)), (None, Outcome::NotMeasured));
    }

    #[test]
    fn a_ratio_says_how_many_times_dearer_the_other_is() {
        let rows = judge(&made_up());
        let row = rows.iter().find(|row| row.what.starts_with("nftables")).unwrap();
        assert_eq!((row.value, row.outcome), (Some(12.8), Outcome::Reached));
        assert_eq!(row.bound, "at least 10 times");
    }

    #[test]
    fn outcomes_are_told_apart() {
        let rows = judge(&made_up());
        assert_eq!(rows.len(), TARGETS.len());
        assert_eq!(rows[0].outcome, Outcome::Missed);
        assert_eq!(rows[1].outcome, Outcome::NotMeasured);
    }
}
