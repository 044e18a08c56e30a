//! `bench`: build the benchmark and what it measures with, run it as root, and make of its figures
//! tables, a price list in JSON and a picture.
//!
//! Measures nothing itself (sensor/benches/price does) and judges no timing: machines differ.
//! What is deterministic is judged by the benchmark, whose failure is ours.

mod machine;
mod plot;
mod prices;
mod reach;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use anyhow::{Context as _, Result, bail};
use serde::Serialize;

use crate::{
    cargo, kernel_half,
    root::{self, Root},
    setup,
    test_binaries::{self, TestBinary},
};
use machine::Machine;
use prices::{Figure, Judged, Prices};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Fewer runs and smaller lists: whether it works, not what it costs
    #[arg(long)]
    quick: bool,

    /// Where the figures go [default: target/bench/price.json]
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Only this part; may be given several times
    #[arg(long, value_name = "PART")]
    only: Vec<String>,

    /// A directory of captures to replay
    #[arg(long, value_name = "DIR")]
    captures: Option<PathBuf>,

    /// Where the picture goes [default: target/bench/price.svg]
    #[arg(long, value_name = "FILE")]
    plot: Option<PathBuf>,
}

/// All that one run of the benchmark says.
#[derive(Serialize)]
struct PriceList<'a> {
    machine: &'a Machine,
    quick: bool,
    figures: &'a [Figure],
    judged: &'a [Judged],
    reach: Vec<reach::Reached>,
}

pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    // Asked for first: to learn after minutes of building that there is no root is too late.
    let root = root::find("loading programs into the kernel")?;
    setup::for_measuring()?;
    let rotate = kernel_half::build(kernel_half::BENCH)?;
    let binary = build()?;
    let place = cargo::target().join("bench");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;

    let figures = place.join("figures.json");
    let ended = measure(&root, &binary, arguments, &rotate, &figures)?;
    let Some(prices) = prices::read(&figures)? else {
        bail!("the benchmark failed ({ended}) before it had figures: see above");
    };
    let machine = Machine::probe()?;
    let list = PriceList {
        machine: &machine,
        quick: arguments.quick,
        figures: &prices.figures,
        judged: &prices.judged,
        reach: reach::judge(&prices),
    };
    let json = arguments.json.clone().unwrap_or_else(|| place.join("price.json"));
    write(&json, &(serde_json::to_string_pretty(&list)? + "\n"))?;
    let picture = arguments.plot.clone().unwrap_or_else(|| place.join("price.svg"));
    let is_drawn = plot::draw(&prices, &picture)?;

    println!("\n{}", report(&list, &prices));
    println!("figures: {}", json.display());
    if is_drawn {
        println!("picture: {}", picture.display());
    }
    if !ended.success() {
        bail!("the benchmark failed ({ended}): see above");
    }
    Ok(())
}

fn build() -> Result<TestBinary> {
    let built = test_binaries::build(
        cargo::cargo(["build", "--release", "--package", "sensor", "--bench", "price"])
            .arg("--message-format=json-render-diagnostics"),
    )?;
    built.into_iter().find(|binary| binary.name == "price").context("cargo built no benchmark")
}

/// Run the benchmark to its end; `figures` is where it writes.
fn measure(
    root: &Root,
    binary: &TestBinary,
    arguments: &Arguments,
    rotate: &Path,
    figures: &Path,
) -> Result<ExitStatus> {
    // Ours before root writes into it, so that it stays ours; empty until there are figures.
    write(figures, "")?;
    let mut command = root.command(&binary.executable, &binary.environment());
    command.arg("--json").arg(figures).arg("--rotate").arg(rotate);
    if arguments.quick {
        command.arg("--quick");
    }
    for part in &arguments.only {
        command.arg("--only").arg(part);
    }
    if let Some(captures) = &arguments.captures {
        // The benchmark runs elsewhere.
        command.arg("--captures").arg(std::path::absolute(captures)?);
    }
    command.current_dir(binary.directory());
    command.status().with_context(|| format!("cannot start `{}`", cargo::describe(&command)))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Everything, as Markdown.
fn report(list: &PriceList<'_>, prices: &Prices) -> String {
    let mut parts = vec![list.machine.to_string()];
    if list.quick {
        parts.push("A quick run: whether it works, not what it costs.".to_owned());
    }
    parts.extend(prices.parts().map(|part| table::of_part(part, prices)));
    parts.push(table::of_judged(list.judged));
    parts.push(table::of_reach(&list.reach));
    parts.retain(|part| !part.is_empty());
    parts.join("\n\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_report_has_a_table_for_each_part_and_what_is_reached() {
        let machine = machine::made_up();
        let prices = prices::made_up();
        let list = PriceList {
            machine: &machine,
            quick: true,
            figures: &prices.figures,
            judged: &prices.judged,
            reach: reach::judge(&prices),
        };
        let report = report(&list, &prices);
        for text in
            ["Toaster 3000", "A quick run", "**packet**", "**traffic**", "| instructions |", "not measured"]
        {
            assert!(report.contains(text), "no {text:?} in\n{report}");
        }
    }

    #[test]
    fn the_price_list_in_json_holds_everything() {
        let machine = machine::made_up();
        let prices = prices::made_up();
        let list = PriceList {
            machine: &machine,
            quick: false,
            figures: &prices.figures,
            judged: &prices.judged,
            reach: reach::judge(&prices),
        };
        let json = serde_json::to_value(&list).unwrap();
        assert_eq!(json["machine"]["cpu"], "Toaster 3000");
        assert_eq!(json["figures"][0]["id"], "packet/tcp_ack_outside/poolwatch/3");
        assert_eq!(json["judged"][0]["at_most"], 100_000);
        assert_eq!(json["reach"].as_array().unwrap().len(), list.reach.len());
    }
}
