//! /metrics: one collector a file, each reading its source when it is asked. A collector that
//! fails says so in `poolwatch_collector_success`; it never leaves silence behind.

mod family;
mod interfaces;
mod own;
mod programs;
mod recognition;
mod traffic;
mod watchlists;

use std::time::Instant;

use anyhow::{Context, Result};
use prometheus::TextEncoder;
use prometheus::core::Collector as _;
use prometheus::process_collector::ProcessCollector;

use crate::state::State;
use family::{Family, gauge};

/// Room for the process' own metrics, in bytes.
const PROCESS_BYTES: usize = 4096;

/// What it collects, by the label value of `poolwatch_collector_*`.
type Collector = (&'static str, fn(&State) -> Result<Vec<Family>>);

const COLLECTORS: [Collector; 6] = [
    ("traffic", traffic::collect),
    ("recognition", recognition::collect),
    ("interfaces", interfaces::collect),
    ("watchlists", watchlists::collect),
    ("own", own::collect),
    ("programs", programs::collect),
];

/// The process' own metrics, from the client library.
pub struct Process(ProcessCollector);

impl Default for Process {
    fn default() -> Self {
        Self(ProcessCollector::for_self())
    }
}

/// The whole of /metrics, in the text format.
pub fn text(state: &State, process: &Process) -> Result<String> {
    let mut success = gauge("poolwatch_collector_success", "Whether the collector could read its source.");
    let mut duration = gauge("poolwatch_collector_duration_seconds", "How long the collector took.");
    let mut families = Vec::new();
    for (name, collect) in COLLECTORS {
        let started = Instant::now();
        let collected = collect(state);
        duration.add(&[("collector", name)], started.elapsed().as_secs_f64());
        success.add(&[("collector", name)], f64::from(u8::from(collected.is_ok())));
        match collected {
            Ok(collected) => families.extend(collected),
            Err(error) => tracing::error!(collector = name, "{error:#}"),
        }
    }
    families.extend([success, duration]);
    families.sort_by_key(Family::name);
    let mut text = String::with_capacity(PROCESS_BYTES + families.iter().map(Family::len).sum::<usize>());
    for family in &families {
        family.push_to(&mut text);
    }
    // `process_…`: behind all of ours.
    let mut process = process.0.collect();
    process.sort_by(|a, b| a.name().cmp(b.name()));
    TextEncoder::new().encode_utf8(&process, &mut text).context("encoding the metrics")?;
    Ok(text)
}
