//! The same Debian in systemd-nspawn: its own systemd, its own network, the running kernel.
//!
//! A container shares the kernel's programs with everybody else, so that the operator counts those of before.

use std::{fs, path::Path, process::Stdio};

use anyhow::{Context as _, Result};

use super::tree::{run, utf8};
use crate::{cargo, root::Root};

/// Into a file of the tree.
pub(super) const SPEAKS: &str = "StandardOutput=append:/deploy/transcript
StandardError=inherit";

const LIMIT_SECONDS: &str = "600";

/// What nspawn keeps from containers unless it is told otherwise, and the sensor takes.
const CALLS: &str = "--system-call-filter=bpf perf_event_open";

/// Boots the tree, waits for its end, removes it; returns what the operator said.
pub(super) fn run_to_its_end(tree: &Path, root: &Root) -> Result<String> {
    let timeout = cargo::find_program("timeout").context("no timeout")?;
    let mut command = root.command(&timeout, &[("PATH", cargo::search_path())]);
    command.args(["--kill-after=10", LIMIT_SECONDS, "systemd-nspawn", "--quiet", "--boot"]);
    command.args(["--register=no", "--private-network", "--capability=all", CALLS]);
    if !Path::new("/run/systemd/system").exists() {
        // Nobody there to be asked for a unit.
        command.arg("--keep-unit");
    }
    command.arg("--directory").arg(tree).stdin(Stdio::null()).stdout(Stdio::null());
    // How it ended says nothing: the transcript does.
    let output = command.output().context("cannot start systemd-nspawn")?;
    let said = fs::read_to_string(tree.join("deploy/transcript"));
    let said = said.with_context(|| {
        let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        format!("the container came to nothing ({}): {why}", output.status)
    })?;
    run(root, "rm", &["-rf", utf8(tree)?])?;
    Ok(said)
}
