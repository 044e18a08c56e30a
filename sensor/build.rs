//! Builds the kernel half for the bpf target and leaves it in `OUT_DIR` to be embedded.
//!
//! Not aya-build, for two reasons: the toolchain at hand is used whatever it is called, and all
//! profiles and `cargo xtask check` share one target directory, so that `core` is built once.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const TARGET: &str = "bpfel-unknown-none";
const OBJECT: &str = "poolwatch-kernel";

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            println!("cargo::error={message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let manifest = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().ok_or("sensor has no workspace around it")?;
    let tools = workspace.join("target/tools/bin");
    for path in ["sensor-ebpf/src", "sensor-ebpf/Cargo.toml", "Cargo.lock", "target/tools/bin/bpf-linker"] {
        println!("cargo::rerun-if-changed={}", workspace.join(path).display());
    }
    revision(workspace);
    probe(&tools)?;

    let target_dir = workspace.join("target/kernel");
    let status = Command::new(variable("CARGO")?)
        .current_dir(workspace)
        .args(["build", "--release", "--package", "sensor-ebpf", "--bin", OBJECT, "--target", TARGET])
        .args(["-Z", "build-std=core", "--target-dir"])
        .arg(&target_dir)
        .args(env::var_os("CARGO_FEATURE_MADE_UP_UPGRADE").map(|_| "--features=made-up-upgrade"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("PATH", path_with(&tools)?)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&variable("CARGO_CFG_TARGET_ARCH")?).join("\x1f"))
        // What cargo told this script about the host build is not for the kernel half.
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC_WRAPPER")
        .env_remove("CARGO_TARGET_DIR")
        .status()
        .map_err(|error| format!("cargo could not be started for the kernel half: {error}"))?;
    if !status.success() {
        return Err("the kernel half did not build: see above, and `cargo xtask setup`".into());
    }
    let object = target_dir.join(TARGET).join("release").join(OBJECT);
    let embedded = Path::new(&variable("OUT_DIR")?).join(OBJECT);
    std::fs::copy(&object, embedded).map_err(|error| format!("{}: {error}", object.display()))?;
    Ok(())
}

fn flags(arch: &str) -> [String; 3] {
    [format!("--cfg=bpf_target_arch=\"{arch}\""), "-Cdebuginfo=2".into(), "-Clink-arg=--btf".into()]
}

/// One clear sentence instead of a page of linker errors.
fn probe(tools: &Path) -> Result<(), String> {
    let rustc = variable("RUSTC")?;
    let sysroot = Command::new(&rustc)
        .args(["--print", "sysroot"])
        .output()
        .map_err(|error| format!("{rustc}: {error}"))?;
    let sysroot = PathBuf::from(String::from_utf8_lossy(&sysroot.stdout).trim().to_owned());
    let mut missing = Vec::new();
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        missing.push("the rust-src component");
    }
    let on_path = env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|directory| directory.join("bpf-linker").is_file()));
    if !tools.join("bpf-linker").is_file() && !on_path {
        missing.push("bpf-linker");
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!("building poolwatch's kernel half needs {}: run `cargo xtask setup`", missing.join(" and ")))
}

/// The commit that this is built from, for `poolwatch_build_info`; "unknown" outside of git.
fn revision(workspace: &Path) {
    let head =
        Command::new("git").arg("-C").arg(workspace).args(["rev-parse", "--short=12", "HEAD"]).output();
    let revision = match head {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown".to_owned(),
    };
    println!("cargo::rustc-env=POOLWATCH_REVISION={revision}");
    // Asked, since a work tree of its own keeps them elsewhere; what is not there would always have changed.
    for name in ["HEAD", "refs/heads"] {
        let place = Command::new("git")
            .arg("-C")
            .arg(workspace)
            .args(["rev-parse", "--path-format=absolute", "--git-path", name])
            .output();
        if let Ok(output) = place
            && output.status.success()
        {
            println!("cargo::rerun-if-changed={}", String::from_utf8_lossy(&output.stdout).trim());
        }
    }
}

fn path_with(tools: &Path) -> Result<OsString, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = std::iter::once(tools.to_owned()).chain(env::split_paths(&path));
    env::join_paths(directories).map_err(|error| error.to_string())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("{name}: {error}"))
}
