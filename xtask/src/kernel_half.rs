//! Cargo for the kernel half: target, flags and place as sensor/build.rs has them, since with
//! others everything below target/kernel would be built twice.
//!
//! What is shipped is built by sensor/build.rs; this lints it, and builds what only measures it.

use std::{env, path::PathBuf, process::Command};

use anyhow::Result;

use crate::cargo;

const TARGET: &str = "bpfel-unknown-none";

/// What is shipped, and what it is measured with.
pub(crate) const SHIPPED: &str = "poolwatch-kernel";
pub(crate) const BENCH: &str = "poolwatch-bench";

/// A cargo command on these objects of the kernel half.
pub(crate) fn command(verb: &str, objects: &[&str]) -> Command {
    let mut command = cargo::cargo([verb, "--release", "--package", "sensor-ebpf"]);
    for object in objects {
        command.args(["--bin", object]);
    }
    command
        .args(["--target", TARGET, "-Z", "build-std=core", "--target-dir"])
        .arg(target())
        .env("PATH", cargo::search_path())
        .env("CARGO_ENCODED_RUSTFLAGS", flags())
        // A stable compiler builds `core` from source only when asked like this.
        .env("RUSTC_BOOTSTRAP", "1");
    command
}

/// Build one object and say where it is.
pub(crate) fn build(object: &str) -> Result<PathBuf> {
    cargo::succeed(&mut command("build", &[object]))?;
    Ok(target().join(TARGET).join("release").join(object))
}

fn target() -> PathBuf {
    cargo::target().join("kernel")
}

fn flags() -> String {
    [format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH).as_str(), "-Cdebuginfo=2", "-Clink-arg=--btf"]
        .join("\x1f")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn the_kernel_half_is_linted_with_the_flags_it_is_built_with() {
        let build_script = fs::read_to_string(cargo::root().join("sensor/build.rs")).unwrap();
        for flag in flags().split('\x1f') {
            let name = flag.split_once("=\"").map_or(flag, |(name, _value)| name);
            assert!(build_script.contains(name), "sensor/build.rs does not set {flag}");
        }
    }

    #[test]
    fn every_object_of_the_kernel_half_is_known_here() {
        let manifest = fs::read_to_string(cargo::root().join("sensor-ebpf/Cargo.toml")).unwrap();
        assert_eq!(manifest.matches("[[bin]]").count(), 2);
        for object in [SHIPPED, BENCH] {
            assert!(manifest.contains(&format!("name = \"{object}\"")), "no {object}");
        }
    }
}
