//! `package`: a Debian package with everything that belongs to it, in target/package.
//!
//! The binary is linked statically with musl, so that one package serves every Debian from 11 on. Man pages
//! and completions come from the definition of the command line, and the config from the shipped example:
//! neither can drift from what the binary does.

mod stage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum as _;

use crate::{cargo, setup};

/// What a package may take on disk, in the archive and on the way to a host.
const SIZE_MAX_BYTES: u64 = 6 << 20;

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The hosts that it is for
    #[arg(long, value_enum, default_value_t = Arch::Amd64)]
    arch: Arch,
}

/// By Debian's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    pub(crate) const fn target(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64-unknown-linux-musl",
            Self::Arm64 => "aarch64-unknown-linux-musl",
        }
    }

    /// What compiles C for it, of which a library or two has a little.
    pub(crate) const fn c_compiler(self) -> &'static str {
        match self {
            Self::Amd64 => "musl-gcc",
            Self::Arm64 => "aarch64-linux-gnu-gcc",
        }
    }
}

/// Which build is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Build {
    Release,
    /// The version that upgrades are tried with: its counters are laid out otherwise.
    MadeUpUpgrade,
}

pub(crate) fn package(arguments: &Arguments) -> Result<()> {
    let package = make(arguments.arch, Build::Release)?;
    let size_bytes = fs::metadata(&package)?.len();
    println!("{} ({size_bytes} bytes)", package.display());
    ensure!(
        size_bytes < SIZE_MAX_BYTES,
        "{} has {size_bytes} bytes, and may have {SIZE_MAX_BYTES}",
        package.display()
    );
    Ok(())
}

/// Builds and packs; returns where the package is.
pub(crate) fn make(arch: Arch, build: Build) -> Result<PathBuf> {
    setup::for_packaging(arch)?;
    let target = arch.target();
    let mut command =
        cargo::cargo(["build", "--profile", "packed", "--package", "sensor", "--bin", "poolwatch"]);
    command.args(["--target", target]).envs(toolchain(arch));
    let version = match build {
        Build::Release => None,
        Build::MadeUpUpgrade => {
            command.args(["--features", "made-up-upgrade"]);
            Some(format!("{}+made-up-upgrade", env!("CARGO_PKG_VERSION")))
        }
    };
    cargo::succeed(&mut command)?;
    let place = cargo::target().join("package");
    stage::stage(&place.join("stage"))?;
    // Beside the package itself, so that `poolwatch_*_amd64.deb` is one.
    let place = if build == Build::Release { place } else { place.join("made-up-upgrade") };
    remove_earlier(&place, arch)?;
    pack(target, version.as_deref(), &place)
}

/// Packages of earlier versions.
fn remove_earlier(place: &Path, arch: Arch) -> Result<()> {
    fs::create_dir_all(place)?;
    let end = format!("_{}.deb", arch.to_possible_value().expect("none is skipped").get_name());
    for entry in fs::read_dir(place)? {
        let path = entry?.path();
        if path.to_string_lossy().ends_with(&end) {
            fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
        }
    }
    Ok(())
}

/// What cargo is told of a target beyond its name: who compiles C for it, and who links. `rust-lld` is the
/// toolchain's own, and links what it brings itself for musl.
pub(crate) fn toolchain(arch: Arch) -> Vec<(String, &'static str)> {
    let name = arch.target().replace('-', "_");
    let mut variables = vec![(format!("CC_{name}"), arch.c_compiler())];
    if arch == Arch::Arm64 {
        variables.push((format!("CARGO_TARGET_{}_LINKER", name.to_uppercase()), "rust-lld"));
    }
    variables
}

fn pack(target: &str, version: Option<&str>, place: &Path) -> Result<PathBuf> {
    let mut command = Command::new(cargo::tools().join("cargo-deb"));
    command.args(["--package", "sensor", "--profile", "packed", "--target", target]);
    command.args(["--no-build", "--no-strip", "--quiet", "--output"]).arg(place);
    command.args(version.map(|version| format!("--deb-version={version}")));
    command.current_dir(cargo::root()).env("CARGO_TARGET_DIR", cargo::target());
    let said = cargo::read(&mut command)?;
    let path = said.lines().map(Path::new).find(|path| path.extension().is_some_and(|it| it == "deb"));
    path.map(Path::to_owned).context("cargo-deb names no package")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sources of what is packed beside the binary and what is staged.
    fn shipped(manifest: &str) -> Vec<&str> {
        let sources =
            manifest.lines().filter_map(|line| line.trim().strip_prefix("[\"../")?.split('"').next());
        sources.filter(|source| !source.starts_with("target/")).collect()
    }

    #[test]
    fn everything_that_is_packed_is_there_and_everything_in_deploy_is_packed_or_known_not_to_be() {
        /// Other ways to install, and what is staged.
        const ELSEWHERE: [&str; 3] = ["deploy/container", "deploy/kubernetes", "deploy/poolwatch.toml"];
        let manifest = fs::read_to_string(cargo::root().join("sensor/Cargo.toml")).unwrap();
        let mut directories: Vec<PathBuf> = vec!["deploy/debian".into()];
        for source in shipped(&manifest) {
            let (directory, pattern) = source.rsplit_once('/').unwrap();
            let place = cargo::root().join(directory);
            let ending = pattern.trim_start_matches('*');
            let names = fs::read_dir(&place).unwrap_or_else(|error| panic!("{directory}: {error}"));
            let found =
                names.filter(|name| name.as_ref().unwrap().file_name().to_string_lossy().ends_with(ending));
            assert!(found.count() > 0, "{source}: there is none");
            directories.push(directory.into());
        }
        for entry in fs::read_dir(cargo::root().join("deploy")).unwrap() {
            let path = Path::new("deploy").join(entry.unwrap().file_name());
            let is_known =
                ELSEWHERE.iter().any(|known| Path::new(known) == path) || directories.contains(&path);
            assert!(is_known, "{} is not packed", path.display());
        }
    }

    #[test]
    fn each_architecture_is_told_its_compiler_and_a_foreign_one_its_linker() {
        let variables = toolchain(Arch::Arm64);
        assert_eq!(variables[0], ("CC_aarch64_unknown_linux_musl".to_owned(), "aarch64-linux-gnu-gcc"));
        assert_eq!(variables[1].0, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_LINKER");
        assert_eq!(toolchain(Arch::Amd64).len(), 1);
    }
}
