//! `check`: formatting, lints of both halves, dependencies, house rules. One line a step; all
//! steps run, so that one run shows everything that is wrong.
//!
//! Runs no tests. A step that could not be done is never reported as passed.

use std::{
    io::{self, Write as _},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, kernel_half, setup, tidy};

/// How a step ended that did not fail.
enum Outcome {
    Passed,
    /// Could not be done here, and why; counts neither as passed nor as failed.
    NotChecked(String),
}

struct Step {
    name: &'static str,
    run: fn() -> Result<Outcome>,
}

#[rustfmt::skip]
const STEPS: &[Step] = &[
    Step { name: "format",               run: format },
    Step { name: "clippy, host",         run: clippy_host },
    Step { name: "clippy, kernel half",  run: clippy_kernel },
    Step { name: "dependencies",         run: dependencies },
    Step { name: "advisories",           run: advisories },
    Step { name: "tidy",                 run: || tidy::check().map(|()| Outcome::Passed) },
];

/// How long the advisory database may take to arrive before it counts as out of reach.
const FETCH_LIMIT: Duration = Duration::from_mins(1);

pub(crate) fn check() -> Result<()> {
    setup::for_checking()?;
    let mut failed = Vec::new();
    let mut not_checked = Vec::new();
    for step in STEPS {
        print!("check: {:<22}", step.name);
        io::stdout().flush()?;
        let start = Instant::now();
        let result = (step.run)();
        let seconds = start.elapsed().as_secs_f64();
        match result {
            Ok(Outcome::Passed) => println!("ok      {seconds:6.1} s"),
            Ok(Outcome::NotChecked(why)) => {
                println!("NOT CHECKED: {why}");
                not_checked.push(step.name);
            }
            Err(error) => {
                println!("FAILED  {seconds:6.1} s\n{error:#}\n");
                failed.push(step.name);
            }
        }
    }
    if !failed.is_empty() {
        bail!("check failed: {}", failed.join("; "));
    }
    let passed = STEPS.len() - not_checked.len();
    if not_checked.is_empty() {
        println!("check: all {passed} steps passed");
    } else {
        println!("check: {passed} steps passed, NOT CHECKED: {}", not_checked.join("; "));
    }
    Ok(())
}

/// Run it with its output held back; what it said is the error when it fails.
fn quietly(command: &mut Command) -> Result<Outcome> {
    let output = cargo::collect(command)?;
    if output.status.success() {
        return Ok(Outcome::Passed);
    }
    let mut said = String::from_utf8_lossy(&output.stdout).into_owned();
    said.push_str(&String::from_utf8_lossy(&output.stderr));
    bail!("{}\n`{}` failed", said.trim_end(), cargo::describe(command));
}

fn format() -> Result<Outcome> {
    quietly(&mut cargo::cargo(["fmt", "--all", "--check"]))
}

fn clippy_host() -> Result<Outcome> {
    quietly(cargo::cargo(["clippy", "--workspace", "--all-targets"]).args(["--", "-D", "warnings"]))
}

fn clippy_kernel() -> Result<Outcome> {
    let mut command = kernel_half::command("clippy", &[kernel_half::SHIPPED, kernel_half::BENCH]);
    quietly(command.args(["--", "-D", "warnings"]))
}

fn cargo_deny() -> Command {
    let mut command = Command::new(cargo::tools().join("cargo-deny"));
    command.arg("--manifest-path").arg(cargo::root().join("Cargo.toml")).current_dir(cargo::root());
    command
}

fn dependencies() -> Result<Outcome> {
    quietly(cargo_deny().args(["check", "licenses", "bans", "sources"]))
}

/// Known vulnerabilities: the database comes from the network, which a builder may not have.
fn advisories() -> Result<Outcome> {
    let mut fetch = cargo_deny();
    let fetch = fetch
        .args(["fetch", "db"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot start cargo-deny")?;
    if let Some(why) = failure_within(fetch, FETCH_LIMIT)? {
        let why = format!("the advisory database could not be fetched ({why})");
        return Ok(Outcome::NotChecked(why));
    }
    quietly(cargo_deny().args(["check", "--disable-fetch", "advisories"]))
}

/// Wait for it, but not for ever; the reason in one line when it did not succeed.
fn failure_within(mut child: Child, limit: Duration) -> Result<Option<String>> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            return Ok(Some(format!("no answer within {} s", limit.as_secs())));
        }
        thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().rfind(|line| !line.trim().is_empty());
    Ok(Some(last.unwrap_or("no reason given").trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        Command::new("sh").args(["-c", script]).stderr(Stdio::piped()).spawn().unwrap()
    }

    #[test]
    fn a_fetch_that_fails_or_hangs_gives_its_reason_in_one_line() {
        let limit = Duration::from_secs(20);
        assert_eq!(failure_within(shell("exit 0"), limit).unwrap(), None);
        let failed = failure_within(shell("echo one >&2; echo no such host >&2; exit 1"), limit);
        assert_eq!(failed.unwrap().unwrap(), "no such host");
        let hung = failure_within(shell("exec sleep 60"), Duration::from_millis(100));
        assert!(hung.unwrap().unwrap().starts_with("no answer"));
    }

    #[test]
    fn a_failing_step_shows_what_it_said() {
        let result = quietly(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 1"]));
        let message = result.err().unwrap().to_string();
        assert!(message.contains("out\nerr"), "{message}");
    }
}
