//! `test`: every test of the workspace, built once as the user; those named `kernel_*` run as
//! root, one at a time, all others without privileges.
//!
//! Nothing is skipped in silence: `--no-kernel` names what it leaves out, an ignored test is an
//! error, and so is a run of no test at all.

mod arm64;

use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{
    cargo,
    libtest::{Lacking, Summary, Tally},
    package::Arch,
    root::{self, Root},
    setup,
    test_binaries::{self, TestBinary},
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Leave out the tests that need root; they are named
    #[arg(long, conflicts_with = "arch")]
    pub(crate) no_kernel: bool,

    /// Build all tests for hosts of this architecture, and run under emulation what needs nothing else of them
    #[arg(long, value_enum, value_name = "ARCH", default_value_t = Arch::Amd64)]
    arch: Arch,

    /// Handed on to the test harness: a part of a test's name, --nocapture, …
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) harness: Vec<String>,
}

const NEEDS_ROOT: &str = "the tests named kernel_* (--no-kernel leaves them out)";

/// The last line printed is the sum, whatever the outcome: what is wrong stands above it.
pub(crate) fn test(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.arch == Arch::Arm64 {
        return arm64::test(&arguments.harness);
    }
    let kernel = !arguments.no_kernel;
    // Asked for first: to learn after minutes of building that there is no root is too late.
    let root =
        if kernel { Some(root::find("loading programs into the kernel").context(NEEDS_ROOT)?) } else { None };
    setup::for_testing(kernel)?;
    if kernel {
        made_up_upgrade(Profile::Debug)?;
    }
    let (privileged, plain): (Vec<_>, Vec<_>) = binaries()?.into_iter().partition(TestBinary::needs_root);

    let mut run = Run::default();
    for binary in &plain {
        run.without_privileges(unprivileged(binary, &arguments.harness)?);
    }
    run.without_privileges(doc_tests(&arguments.harness)?);
    match &root {
        Some(root) => {
            for binary in &privileged {
                run.with_root(as_root(root, binary, &arguments.harness, &[])?);
            }
        }
        None => run.left_out = privileged.into_iter().map(|binary| binary.name).collect(),
    }
    println!("\n{}", run.report());
    Ok(run.verdict())
}

/// The version that the test of upgrades upgrades to, beside the one under test. Built first, since cargo
/// gives both the same name.
pub(crate) fn made_up_upgrade(profile: Profile) -> Result<PathBuf> {
    let build = ["build", "--package", "sensor", "--bin", "poolwatch", "--features", "made-up-upgrade"];
    let (option, place) = match profile {
        Profile::Debug => (None, "debug"),
        Profile::Release => (Some("--release"), "release"),
    };
    cargo::succeed(cargo::cargo(build).args(option))?;
    let binary = cargo::target().join(place).join("poolwatch");
    let kept = binary.with_file_name("poolwatch-made-up-upgrade");
    fs::copy(&binary, &kept)
        .with_context(|| format!("cannot copy {} to {}", binary.display(), kept.display()))?;
    Ok(kept)
}

/// How the tests are built.
#[derive(Clone, Copy)]
pub(crate) enum Profile {
    Debug,
    Release,
}

fn binaries() -> Result<Vec<TestBinary>> {
    test_binaries::build(&mut cargo::cargo([
        "test",
        "--workspace",
        "--no-run",
        "--message-format=json-render-diagnostics",
    ]))
}

fn unprivileged(binary: &TestBinary, harness: &[String]) -> Result<Summary> {
    println!("\n── {}", binary.label());
    let mut command = Command::new(&binary.executable);
    command.args(harness).envs(binary.environment()).current_dir(binary.directory());
    test_binaries::run(&mut command, &binary.label())
}

fn doc_tests(harness: &[String]) -> Result<Summary> {
    println!("\n── doc tests");
    let mut command = cargo::cargo(["test", "--doc", "--workspace", "--"]);
    test_binaries::run(command.args(harness), "doc tests")
}

/// One test at a time: they share the kernel, and the machine's view of its interfaces.
pub(crate) fn as_root(
    root: &Root,
    binary: &TestBinary,
    harness: &[String],
    settings: &[(&'static str, OsString)],
) -> Result<Summary> {
    println!("\n── {}, as root", binary.label());
    let environment = [&binary.environment(), settings].concat();
    let mut command = root.command(&binary.executable, &environment);
    command.arg("--test-threads=1").args(harness).current_dir(binary.directory());
    test_binaries::run(&mut command, &binary.label())
}

/// What all the test binaries said.
#[derive(Default)]
struct Run {
    plain: Tally,
    privileged: Tally,
    red: Vec<String>,
    left_out: Vec<String>,
    lacking: Vec<Lacking>,
}

impl Run {
    fn without_privileges(&mut self, summary: Summary) {
        self.plain += summary.tally;
        self.red.extend(summary.red);
    }

    fn with_root(&mut self, summary: Summary) {
        self.privileged += summary.tally;
        self.red.extend(summary.red);
        self.lacking.extend(summary.lacking);
    }

    fn all(&self) -> Tally {
        let mut all = self.plain;
        all += self.privileged;
        all
    }

    /// The last lines of the run, the total last of all.
    fn report(&self) -> String {
        let mut lines = Vec::new();
        for name in &self.red {
            lines.push(format!("FAILED {name}"));
        }
        if !self.left_out.is_empty() {
            lines.push(format!("left out, they need root: {}", self.left_out.join(", ")));
        }
        for Lacking { test, since, what } in &self.lacking {
            lines.push(format!("not on this kernel: {test} (since Linux {since}: {what})"));
        }
        let all = self.all();
        if all.ignored > 0 {
            lines.push(format!("tests that are ignored: {}; finish or delete them", all.ignored));
        }
        if all == Tally::default() {
            lines.push("no test ran".to_owned());
        }
        lines.push(format!(
            "{} tests passed without privileges, {} with root",
            self.plain.passed, self.privileged.passed
        ));
        lines.push(format!("{} passed, {} failed", all.passed, all.failed));
        lines.join("\n")
    }

    fn verdict(&self) -> ExitCode {
        if self.is_good() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn is_good(&self) -> bool {
        let all = self.all();
        all.failed == 0 && all.ignored == 0 && all.passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(passed: u64, failed: u64, ignored: u64) -> Tally {
        Tally { passed, failed, ignored }
    }

    #[test]
    fn the_report_ends_with_the_sum_of_both_kinds() {
        let run = Run { plain: tally(100, 0, 0), privileged: tally(23, 0, 0), ..Run::default() };
        assert_eq!(run.report(), "100 tests passed without privileges, 23 with root\n123 passed, 0 failed");
        assert!(run.is_good());
    }

    #[test]
    fn what_failed_and_what_was_left_out_is_named_above_it() {
        let run = Run {
            plain: tally(3, 1, 0),
            red: vec!["a::b".to_owned()],
            left_out: vec!["kernel_tc".to_owned(), "kernel_veth".to_owned()],
            ..Run::default()
        };
        assert_eq!(
            run.report(),
            "FAILED a::b\n\
             left out, they need root: kernel_tc, kernel_veth\n\
             3 tests passed without privileges, 0 with root\n\
             3 passed, 1 failed"
        );
        assert!(!run.is_good());
    }

    #[test]
    fn only_a_run_with_tests_and_without_ignored_ones_is_good() {
        for (what, plain, good) in [
            ("all passed", tally(1, 0, 0), true),
            ("one failed", tally(5, 1, 0), false),
            ("one ignored", tally(5, 0, 1), false),
            ("none ran", tally(0, 0, 0), false),
        ] {
            let run = Run { plain, ..Run::default() };
            assert_eq!(run.is_good(), good, "{what}");
        }
    }
}
