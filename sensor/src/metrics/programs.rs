//! What the programs cost, while the kernel measures that (sysctl `kernel.bpf_stats_enabled`).

use anyhow::Result;

use super::family::{Family, counter};
use crate::state::State;

pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let mut runs =
        counter("poolwatch_program_runs_total", "Runs of a program, while kernel.bpf_stats_enabled is on.");
    let mut seconds = counter(
        "poolwatch_program_run_seconds_total",
        "Time spent in a program, while kernel.bpf_stats_enabled is on.",
    );
    for cost in state.kernel.costs()?.iter().filter(|cost| cost.runs > 0) {
        runs.count(&[("program", cost.program)], cost.runs);
        seconds.add(&[("program", cost.program)], cost.time.as_secs_f64());
    }
    Ok(vec![runs, seconds])
}
