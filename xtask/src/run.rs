//! `run`: build, then become the sensor, as root, detaching when it ends.
//!
//! xtask replaces itself by the sensor (or by sudo, which passes signals on), so that Ctrl-C and
//! SIGTERM reach it directly.

use std::os::unix::process::CommandExt as _;

use anyhow::{Context as _, Result};

use crate::{build, cargo, root};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Handed on to `poolwatch run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub(crate) sensor: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let root = root::find("the sensor")?;
    build::build()?;
    let sensor = cargo::target().join("release/poolwatch");
    let error = root.command(&sensor, &[]).args(["run", "--detach-on-exit"]).args(&arguments.sensor).exec();
    Err(error).with_context(|| format!("cannot start {}", sensor.display()))
}
