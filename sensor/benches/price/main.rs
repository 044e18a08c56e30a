//! What poolwatch costs: a packet, a list, a scrape, a capture, a sample. `cargo xtask bench` builds this,
//! runs it as root and makes a table and a plot of what it writes; `--json` is all it writes.
//!
//! Nothing here says whether a timing is good: machines differ. What does not differ from run to
//! run (instructions, memory, allocations) is held against a limit, and fails the run.

#[allow(dead_code, reason = "the tests build more kinds of packets")]
#[path = "../../../sensor-ebpf/tests/packets/build.rs"]
mod build;
mod figure;
mod inspect;
mod lists;
mod memory;
mod packets;
mod process;
mod replay;
mod scrape;
mod setting;
#[path = "../../tests/support/mod.rs"]
mod support;
mod traffic;

use std::fs::File;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, ValueEnum};

use figure::Report;
use support::prefixes;

#[derive(Parser)]
struct Arguments {
    /// Fewer runs and smaller lists: whether it works, not what it costs
    #[arg(long)]
    quick: bool,
    /// Where the figures go
    #[arg(long, value_name = "FILE")]
    json: PathBuf,
    /// Only these parts
    #[arg(long, value_name = "PART")]
    only: Vec<Part>,
    /// Captures to replay
    #[arg(long, value_name = "DIR")]
    captures: Option<PathBuf>,
    /// The object that sends each packet to another destination
    #[arg(long, value_name = "FILE")]
    rotate: Option<PathBuf>,
    /// Said by cargo to every benchmark
    #[arg(long, hide = true)]
    bench: bool,
}

/// The parts, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    Packets,
    Traffic,
    Lists,
    Memory,
    Scrape,
    Replay,
    Inspect,
}

impl Part {
    fn measure(self, plan: &Plan, report: &mut Report) -> Result<()> {
        match self {
            Self::Packets => packets::measure(plan, report),
            Self::Traffic => traffic::measure(plan, report),
            Self::Lists => lists::measure(plan, report),
            Self::Memory => memory::measure(plan, report),
            Self::Scrape => scrape::measure(plan, report),
            Self::Replay => replay::measure(plan, report),
            Self::Inspect => inspect::measure(plan, report),
        }
    }
}

/// How much of everything is measured.
pub struct Plan {
    pub quick: bool,
    /// Sizes of lists, in prefixes.
    pub prefixes: Vec<u32>,
    /// Runs of one figure, of which the median counts.
    pub runs: usize,
    pub captures: Option<PathBuf>,
    pub rotate: Option<PathBuf>,
}

impl Plan {
    fn new(arguments: &Arguments) -> Self {
        let (captures, rotate) = (arguments.captures.clone(), arguments.rotate.clone());
        if arguments.quick {
            Self { quick: true, prefixes: vec![3, 100_000], runs: 3, captures, rotate }
        } else {
            Self { quick: false, prefixes: vec![3, 1_000, 100_000, 1_000_000], runs: 21, captures, rotate }
        }
    }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let plan = Plan::new(&arguments);
    let parts: Vec<Part> = Part::value_variants()
        .iter()
        .copied()
        .filter(|part| arguments.only.is_empty() || arguments.only.contains(part))
        .collect();
    let mut report = Report::default();
    for part in parts {
        part.measure(&plan, &mut report)?;
    }
    let path = &arguments.json;
    let file = File::create(path).with_context(|| format!("{}", path.display()))?;
    serde_json::to_writer_pretty(file, &report).with_context(|| format!("{}", path.display()))?;
    let broken = report.broken();
    if !broken.is_empty() {
        bail!("over their limits:\n{}", broken.join("\n"));
    }
    Ok(())
}
