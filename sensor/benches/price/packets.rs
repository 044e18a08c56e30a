//! What one packet costs: `BPF_PROG_TEST_RUN` of the shipped programs against an empty one, in
//! the same frame, alternately. Destinations rotate over 65,536, so that no table is in the first
//! cache by repetition alone, and counters prove that every packet took the path of its case.
//!
//! What `TEST_RUN` refuses (payload outside the linear part, tags in metadata) is not here.

mod cases;
mod listed;
mod trial;

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, bail};
use sensor_ebpf::abi::program;

use crate::Plan;
use crate::figure::{About, Report};
use crate::support::wire::stay_on_one_cpu;
use cases::{CASES, Case, State};
use listed::Listed;
use trial::{OnTrial, ROUND, Trial};

const PART: &str = "packet";
/// Instructions that the verifier walks of one program; it is willing to walk a million.
const WALKED_AT_MOST: u64 = 200_000;
/// Rounds over all destinations in one run of a full measurement.
const ROUNDS: u32 = 3;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let Some(object) = &plan.rotate else {
        bail!("packets: --rotate FILE names the object that `cargo xtask bench` builds");
    };
    thread::scope(|scope| {
        let thread = scope.spawn(|| {
            // Of this thread alone: the parts that follow use all CPUs.
            stay_on_one_cpu();
            measure_here(plan, object, report)
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

fn measure_here(plan: &Plan, object: &Path, report: &mut Report) -> Result<()> {
    for (index, &prefixes) in plan.prefixes.iter().enumerate() {
        let listed = Listed::new(prefixes)?;
        let mut trial = Trial::load(object, &listed.compiled)?;
        if index == 0 {
            programs(&mut trial, report)?;
            wrapper(plan, &mut trial, &listed, report)?;
        }
        for case in &CASES {
            let costs = price(case, plan, &mut trial, &listed)
                .with_context(|| format!("{} with {prefixes} prefixes", case.key))?;
            report.add(&about(case.key, case.what, "poolwatch", Some(prefixes)), &costs);
        }
    }
    Ok(())
}

const fn about<'a>(key: &'a str, what: &'a str, subject: &'a str, prefixes: Option<u32>) -> About<'a> {
    About { part: PART, key, what, subject, prefixes, unit: "ns" }
}

/// Sizes of the programs: the same in each run.
fn programs(trial: &mut Trial, report: &mut Report) -> Result<()> {
    for name in program::ETHERNET.into_iter().chain(program::IP) {
        let info = trial.programs.get(name)?.info()?;
        let walked =
            info.verified_instruction_count().context("before 5.16 no kernel says what it walked")?;
        report.judge(&format!("{name}: verified"), walked.into(), "instructions", WALKED_AT_MOST);
        let machine_code =
            About { unit: "bytes", ..about("machine_code", "machine code of the program", name, None) };
        report.add(&machine_code, &[f64::from(info.size_jitted())]);
    }
    Ok(())
}

/// What the wrapper itself costs over an empty program, which is in none of the other figures.
fn wrapper(plan: &Plan, trial: &mut Trial, listed: &Listed, report: &mut Report) -> Result<()> {
    let packet = CASES[0].packet();
    trial.aim(&CASES[0].connections(listed)?, &packet)?;
    let mut costs = Vec::with_capacity(plan.runs);
    for _ in 0..plan.runs {
        let bare = trial.run_empty(&packet, packets(plan))?;
        costs.push(trial.run(OnTrial::Empty, &packet, packets(plan))? - bare);
    }
    let what = "the wrapper that rotates destinations (subtracted from all others)";
    report.add(&about("wrapper", what, "rotate", None), &costs);
    Ok(())
}

const fn packets(plan: &Plan) -> u32 {
    if plan.quick { ROUND } else { ROUNDS * ROUND }
}

/// Nanoseconds over the empty program, a run each; the first of each kind warms up.
fn price(case: &Case, plan: &Plan, trial: &mut Trial, listed: &Listed) -> Result<Vec<f64>> {
    let connections = case.connections(listed)?;
    if case.state == State::Established {
        // Twice: entries of a table that has never been emptied lie in memory in the order in
        // which they came, which is how they are asked for, and as it is never again.
        for _ in 0..2 {
            trial.empty_flows()?;
            case.establish(trial, &connections)?;
        }
    }
    let packet = case.packet();
    trial.aim(&connections, &packet)?;
    // A connection is new but once: one round over all destinations, with the table emptied.
    let repeat = if case.state == State::New { ROUND } else { packets(plan) };
    let mut costs = Vec::with_capacity(plan.runs);
    for run in 0..=plan.runs {
        if case.state == State::New {
            trial.empty_flows()?;
        }
        let before = trial.counts()?;
        let empty = trial.run(OnTrial::Empty, &packet, repeat)?;
        let ours = trial.run(OnTrial::Poolwatch, &packet, repeat)?;
        trial.counts()?.hold_against(&before, &case.counts(repeat))?;
        if run > 0 {
            costs.push(ours - empty);
        }
    }
    Ok(costs)
}
