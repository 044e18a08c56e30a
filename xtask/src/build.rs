//! `build`: the release binary, with the kernel half inside.
//!
//! The kernel half itself is built by the build script of `sensor`; this only sees to its tools.

use anyhow::Result;

use crate::{cargo, setup};

pub(crate) fn build() -> Result<()> {
    setup::for_building()?;
    cargo::succeed(&mut cargo::cargo(["build", "--release", "--package", "sensor", "--bin", "poolwatch"]))
}
