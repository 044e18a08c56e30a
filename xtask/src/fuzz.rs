//! `fuzz`: what reads strangers' bytes, under libFuzzer, which searches for inputs that reach new code.
//!
//! cargo-fuzz builds the targets of sensor/fuzz; `RUSTC_BOOTSTRAP` lets the stable compiler instrument
//! them. Without a sanitizer: they are safe Rust, and panics are what is looked for. Where they cannot
//! be built, the same entries run as property tests for as long, which measure no coverage.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, setup};

/// The targets, as sensor/fuzz/Cargo.toml has them.
const TARGETS: [&str; 8] = ["classifier", "verdict", "dns", "tls", "stratum", "http", "lists", "config"];

/// Longest input that is made up, in bytes.
const LEN_MAX: u32 = 8192;
/// An input that takes longer hangs, in seconds; one that takes more memory has no bound, in MiB.
const TIMEOUT_SECONDS: u32 = 10;
const MEMORY_MAX_MIB: u32 = 1024;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 600)]
    seconds: u64,
    /// Only this target; may be given several times
    #[arg(long, value_name = "TARGET", value_parser = TARGETS)]
    only: Vec<String>,
    /// As property tests, without libFuzzer
    #[arg(long)]
    as_tests: bool,
}

/// How a target fared.
struct Report {
    target: String,
    executions: u64,
    /// Edges of the program that were reached.
    coverage: u64,
    /// Inputs that broke it, kept as regressions.
    found: Vec<PathBuf>,
    is_well: bool,
}

pub(crate) fn fuzz(arguments: &Arguments) -> Result<()> {
    let names: Vec<String> =
        if arguments.only.is_empty() { TARGETS.map(str::to_owned).to_vec() } else { arguments.only.clone() };
    if arguments.as_tests {
        return as_tests(arguments.seconds);
    }
    setup::for_fuzzing()?;
    if let Err(error) = build() {
        eprintln!("fuzz: no libFuzzer here ({error:#}): the same entries run as property tests");
        return as_tests(arguments.seconds);
    }
    let at_once = thread::available_parallelism().map_or(1, usize::from);
    let mut reports = Vec::new();
    for names in names.chunks(at_once) {
        let running: Vec<_> = names
            .iter()
            .map(|name| {
                let (name, seconds) = (name.clone(), arguments.seconds);
                thread::spawn(move || run(&name, seconds))
            })
            .collect();
        for target in running {
            reports.push(target.join().expect("it does not panic")?);
        }
    }
    show(&reports)
}

fn directory() -> PathBuf {
    cargo::target().join("fuzz")
}

fn build() -> Result<()> {
    let mut command = cargo::cargo(["fuzz", "build", "--fuzz-dir", "sensor/fuzz", "--sanitizer", "none"]);
    command.arg("--target-dir").arg(directory());
    command.env("PATH", cargo::search_path()).env("RUSTC_BOOTSTRAP", "1").env_remove("CARGO_TARGET_DIR");
    cargo::succeed(&mut command)
}

fn run(target: &str, seconds: u64) -> Result<Report> {
    let host = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let program = directory().join(host).join("release").join(target);
    let [corpus, seeds, artifacts] =
        ["corpus", "seeds", "artifacts"].map(|kind| directory().join(kind).join(target));
    for directory in [&corpus, &seeds, &artifacts] {
        fs::create_dir_all(directory).with_context(|| format!("making {}", directory.display()))?;
    }
    let mut command = Command::new(program);
    command.arg(format!("-max_total_time={seconds}")).arg(format!("-max_len={LEN_MAX}"));
    command.arg(format!("-timeout={TIMEOUT_SECONDS}")).arg(format!("-rss_limit_mb={MEMORY_MAX_MIB}"));
    command.arg("-print_final_stats=1").arg(format!("-artifact_prefix={}/", artifacts.display()));
    command.arg(&corpus).arg(&seeds).env("POOLWATCH_FUZZ_SEEDS", &seeds);
    let output = cargo::collect(&mut command)?;
    let found = keep(target, &artifacts)?;
    Ok(report(target, &output, found))
}

/// Moves inputs that broke the target to the regressions, which a test reads.
fn keep(target: &str, artifacts: &Path) -> Result<Vec<PathBuf>> {
    let mut kept = Vec::new();
    for artifact in fs::read_dir(artifacts)? {
        let artifact = artifact?;
        let directory = cargo::root().join("sensor/fuzz/regressions").join(target);
        fs::create_dir_all(&directory)?;
        let place = directory.join(artifact.file_name());
        fs::copy(artifact.path(), &place)?;
        fs::remove_file(artifact.path())?;
        kept.push(place);
    }
    Ok(kept)
}

fn report(target: &str, output: &Output, found: Vec<PathBuf>) -> Report {
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprintln!("{said}");
    }
    let is_well = output.status.success() && found.is_empty();
    let executions = last_number(&said, "stat::number_of_executed_units:");
    Report { target: target.to_owned(), executions, coverage: last_number(&said, " cov:"), found, is_well }
}

/// The number behind the last `label`; 0 where there is none.
fn last_number(said: &str, label: &str) -> u64 {
    let behind = said.rsplit_once(label).map(|(_, behind)| behind);
    behind.and_then(|behind| behind.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn show(reports: &[Report]) -> Result<()> {
    println!("{:<12} {:>14} {:>10}  findings", "target", "executions", "edges");
    for Report { target, executions, coverage, found, .. } in reports {
        println!("{target:<12} {executions:>14} {coverage:>10}  {}", found.len());
        for place in found {
            println!("    {}", place.display());
        }
    }
    let broken: Vec<_> = reports.iter().filter(|it| !it.is_well).map(|it| it.target.as_str()).collect();
    if !broken.is_empty() {
        bail!("broken: {}", broken.join(", "));
    }
    Ok(())
}

fn as_tests(seconds: u64) -> Result<()> {
    let mut command = cargo::cargo(["test", "--package", "sensor", "--test", "hostile_bytes", "--release"]);
    command.args(["--", "--nocapture"]).env("POOLWATCH_FUZZ_SECONDS", seconds.to_string());
    cargo::succeed(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_fuzz_crate_is_known_here() {
        let manifest = fs::read_to_string(cargo::root().join("sensor/fuzz/Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), TARGETS.len());
        for target in TARGETS {
            assert!(manifest.contains(&format!("path = \"fuzz_targets/{target}.rs\"")), "no {target}");
        }
    }

    #[test]
    fn executions_and_coverage_are_read_from_what_libfuzzer_prints() {
        let said = "#2\tINITED cov: 35 ft: 36\n#900\tNEW    cov: 412 ft: 900 corp: 9/1b\nstat::number_of_executed_units: 123456\nstat::average";
        assert_eq!(last_number(said, "stat::number_of_executed_units:"), 123_456);
        assert_eq!(last_number(said, " cov:"), 412);
        assert_eq!(last_number("nothing", " cov:"), 0);
    }
}
