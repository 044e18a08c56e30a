//! The tests of the sensor, built for arm64. What can be had without such a machine is run, under emulation:
//! the unit tests. The others start the binary itself, or need the kernel; that they compile is told of them.

use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

use super::Run;
use crate::{
    cargo,
    package::{self, Arch},
    setup,
    test_binaries::{self, TestBinary},
};

const EMULATOR: &str = "qemu-aarch64-static";

pub(super) fn test(harness: &[String]) -> Result<ExitCode> {
    setup::for_testing_on_arm64()?;
    let mut build =
        cargo::cargo(["test", "--package", "sensor", "--no-run", "--message-format=json-render-diagnostics"]);
    build.args(["--target", Arch::Arm64.target()]).envs(package::toolchain(Arch::Arm64));
    let (units, others): (Vec<_>, Vec<_>) =
        test_binaries::build(&mut build)?.into_iter().partition(TestBinary::is_of_units);
    let emulator = cargo::find_program(EMULATOR).with_context(|| format!("no {EMULATOR}"))?;
    let mut run = Run::default();
    for binary in &units {
        println!("\n── {}, emulated", binary.label());
        let mut command = Command::new(&emulator);
        command
            .arg(&binary.executable)
            .args(harness)
            .envs(binary.environment())
            .current_dir(binary.directory());
        run.without_privileges(test_binaries::run(&mut command, &binary.label())?);
    }
    let names: Vec<&str> = others.iter().map(|binary| binary.name.as_str()).collect();
    println!("\nbuilt and not run: {}\n{}", names.join(", "), run.report());
    Ok(run.verdict())
}
