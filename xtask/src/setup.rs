//! `setup`: what building and checking need beyond a Rust toolchain and a C compiler, installed
//! where it can be, named exactly where not.
//!
//! A C compiler is not probed: rustc links through it, so xtask itself would not exist without
//! one. The programs of the operating system that tests and benchmark need are in `system_tools`. Everything
//! but rust-src goes under target/tools; when all is there, this takes a few hundredths of a second.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    cargo::{self, read},
    package::Arch,
    system_tools::{self, Driver},
};

/// bpf-linker reads the bitcode that rustc writes, so its LLVM must be rustc's.
struct Linker {
    llvm: u32,
    version: &'static str,
}

/// The last bpf-linker whose default features open this LLVM in rustc's own library directory.
const LINKERS: &[Linker] = &[Linker { llvm: 22, version: "0.10.4" }];

const CARGO_DENY_VERSION: &str = "0.20.2";
const CARGO_DEB_VERSION: &str = "3.8.0";
const CARGO_FUZZ_VERSION: &str = "0.13.2";

/// The verb: what building needs.
pub(crate) fn setup() -> Result<()> {
    for_building()?;
    println!("setup: all that building needs is there");
    Ok(())
}

/// What both halves need to build: the sources of `core`, and the linker of the kernel half.
pub(crate) fn for_building() -> Result<()> {
    let rustc = Rustc::probe()?;
    rust_src(&rustc)?;
    let linker = linker_for(&rustc)?;
    install("bpf-linker", linker.version, "about a minute")
}

pub(crate) fn for_checking() -> Result<()> {
    for_building()?;
    install("cargo-deny", CARGO_DENY_VERSION, "about two minutes")
}

/// What the tests need; `kernel` tells whether those that need root are among them.
pub(crate) fn for_testing(kernel: bool) -> Result<()> {
    for_building()?;
    let drivers = [Driver::Tests, Driver::KernelTests];
    system_tools::require(if kernel { &drivers } else { &drivers[..1] })
}

/// What packing for this architecture needs.
pub(crate) fn for_packaging(arch: Arch) -> Result<()> {
    for_building()?;
    target(&Rustc::probe()?, arch.target())?;
    system_tools::require(match arch {
        Arch::Amd64 => &[Driver::Packaging],
        Arch::Arm64 => &[Driver::Packaging, Driver::PackagingArm64],
    })?;
    install("cargo-deb", CARGO_DEB_VERSION, "about two minutes")
}

/// What builds the tests for arm64, and emulates it.
pub(crate) fn for_testing_on_arm64() -> Result<()> {
    for_building()?;
    target(&Rustc::probe()?, Arch::Arm64.target())?;
    system_tools::require(&[Driver::PackagingArm64, Driver::Arm64])
}

/// What boots a Debian with the package on it, in QEMU or in a container.
pub(crate) fn for_deploying(container: bool) -> Result<()> {
    for_packaging(Arch::Amd64)?;
    system_tools::require(&[Driver::Deploying, if container { Driver::Container } else { Driver::Guests }])
}

/// The standard library for another target than this machine's.
fn target(rustc: &Rustc, name: &str) -> Result<()> {
    if rustc.sysroot.join("lib/rustlib").join(name).join("lib").is_dir() {
        return Ok(());
    }
    eprintln!("setup: adding the target {name} to the toolchain of rustc {} …", rustc.release);
    cargo::succeed(Command::new("rustup").args(["target", "add", name]).current_dir(cargo::root()))
        .with_context(|| format!("the standard library for {name} is missing: rustup target add {name}"))
}

pub(crate) fn for_fuzzing() -> Result<()> {
    for_building()?;
    install("cargo-fuzz", CARGO_FUZZ_VERSION, "about a minute")
}

/// What conformance needs beyond the kernel tests' tools.
pub(crate) fn for_conformance() -> Result<()> {
    system_tools::require(&[Driver::Conformance])
}

pub(crate) fn for_measuring() -> Result<()> {
    for_building()?;
    system_tools::require(&[Driver::Bench])
}

/// What the kernel tests need on this kernel and, where `guests`, on others.
pub(crate) fn for_kernels(guests: bool) -> Result<()> {
    for_building()?;
    let drivers = [Driver::KernelTests, Driver::Guests];
    system_tools::require(if guests { &drivers } else { &drivers[..1] })
}

/// Tools are built more often, on each fresh machine, than they have to be fast: what takes long in them
/// is LLVM's, or the network's.
const UNOPTIMISED: [(&str, &str); 4] = [
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "0"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
];

/// The compiler that cargo will use.
struct Rustc {
    release: String,
    llvm: u32,
    sysroot: PathBuf,
}

impl Rustc {
    fn probe() -> Result<Self> {
        let version = read(Self::command().arg("-vV"))?;
        let sysroot = read(Self::command().args(["--print", "sysroot"]))?;
        Ok(Self {
            release: field(&version, "release").unwrap_or("?").to_owned(),
            llvm: llvm_major(&version).context("rustc -vV names no LLVM version")?,
            sysroot: PathBuf::from(sysroot.trim()),
        })
    }

    fn command() -> Command {
        let program = env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc"));
        let mut command = Command::new(program);
        // rust-toolchain.toml chooses the toolchain by directory.
        command.current_dir(cargo::root());
        command
    }
}

/// The value of one line of `rustc -vV`.
fn field<'a>(version: &'a str, name: &str) -> Option<&'a str> {
    version.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn llvm_major(version: &str) -> Option<u32> {
    field(version, "LLVM version")?.split('.').next()?.parse().ok()
}

fn linker_for(rustc: &Rustc) -> Result<&'static Linker> {
    if let Some(linker) = LINKERS.iter().find(|linker| linker.llvm == rustc.llvm) {
        return Ok(linker);
    }
    let known: Vec<String> = LINKERS
        .iter()
        .map(|linker| format!("LLVM {} with bpf-linker {}", linker.llvm, linker.version))
        .collect();
    bail!(
        "rustc {} is built on LLVM {}, for which no bpf-linker is known here (known: {}); use the \
         toolchain of rust-toolchain.toml, or add the pair to LINKERS in xtask/src/setup.rs",
        rustc.release,
        rustc.llvm,
        known.join(", ")
    );
}

/// The kernel's target has no precompiled `core`: it is built from the toolchain's sources.
fn rust_src(rustc: &Rustc) -> Result<()> {
    let core = rustc.sysroot.join("lib/rustlib/src/rust/library/core");
    if core.is_dir() {
        return Ok(());
    }
    eprintln!("setup: adding rust-src to the toolchain of rustc {} …", rustc.release);
    let refusal = match read(
        Command::new("rustup")
            .args(["component", "add", "rust-src"])
            .env_remove("RUST_BACKTRACE")
            .current_dir(cargo::root()),
    ) {
        Ok(_) if core.is_dir() => return Ok(()),
        Ok(_) => "rustup added it to another toolchain than the one of this rustc".to_owned(),
        Err(error) => format!("{error:#}"),
    };
    bail!(missing_sources(&rustc.release, &core, &refusal));
}

fn missing_sources(release: &str, core: &Path, refusal: &str) -> String {
    format!(
        "the kernel half is built with the standard library's sources, and those of rustc \
         {release} are missing: no {core}\n  \
         tried: {refusal}\n  \
         either: rustup component add rust-src --toolchain {release}\n  \
         or: a rustc of the distribution that comes with its sources, on Debian\n      \
         apt-get install rustc-web rust-web-src\n      \
         and then RUSTC=/usr/bin/rustc cargo xtask … (all verbs but check, whose clippy \
         needs the sources of its own toolchain)",
        core = core.display()
    )
}

/// Install a crate's programs under target/tools unless exactly this version is there.
fn install(name: &str, version: &str, duration: &str) -> Result<()> {
    let program = cargo::tools().join(name);
    if installed_version(&program).as_deref() == Some(version) {
        return Ok(());
    }
    eprintln!("setup: installing {name} {version} under target/tools, {duration} …");
    let target_tools = cargo::target().join("tools");
    let mut command = cargo::cargo(["install", name, "--version", version, "--locked", "--force"]);
    command.arg("--root").arg(target_tools);
    // With its own place on it, cargo does not advise to extend the PATH.
    command.env("PATH", cargo::search_path());
    // Cargo's own temporary directory, lest the pieces of a tool stay in target/ for good.
    command.env_remove("CARGO_TARGET_DIR");
    command.envs(UNOPTIMISED);
    cargo::succeed(&mut command).with_context(|| format!("{name} {version} could not be installed"))?;
    match installed_version(&program) {
        Some(found) if found == version => Ok(()),
        found => bail!(
            "{} was installed, but calls itself {}",
            program.display(),
            found.as_deref().unwrap_or("nothing: it does not start")
        ),
    }
}

/// The version a program tells: the last word of `NAME VERSION` or of `VERSION`.
fn installed_version(program: &Path) -> Option<String> {
    let said = read(Command::new(program).arg("--version")).ok()?;
    said.lines().next()?.split_whitespace().take(2).last().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUSTC: &str = "rustc 1.95.0 (59807616e 2026-04-14)\nbinary: rustc\n\
                         host: x86_64-unknown-linux-gnu\nrelease: 1.95.0\nLLVM version: 22.1.2\n";

    fn rustc(llvm: u32) -> Rustc {
        Rustc { release: "1.95.0".to_owned(), llvm, sysroot: PathBuf::from("/toolchain") }
    }

    #[test]
    fn the_llvm_version_is_read_from_what_rustc_tells() {
        assert_eq!(llvm_major(RUSTC), Some(22));
        assert_eq!(field(RUSTC, "release"), Some("1.95.0"));
        assert_eq!(llvm_major("rustc 1.95.0\nrelease: 1.95.0\n"), None);
        assert_eq!(llvm_major("LLVM version: unknown\n"), None);
    }

    #[test]
    fn each_llvm_has_its_linker() {
        assert_eq!(linker_for(&rustc(22)).unwrap().version, "0.10.4");
    }

    #[test]
    fn an_llvm_without_a_linker_is_refused_naming_both_and_the_known_ones() {
        let message = linker_for(&rustc(23)).err().unwrap().to_string();
        for part in ["rustc 1.95.0", "LLVM 23", "LLVM 22 with bpf-linker 0.10.4"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn missing_sources_are_named_with_both_ways_to_get_them() {
        let message = missing_sources("1.95.0", Path::new("/t/core"), "no network");
        for part in ["no /t/core", "no network", "--toolchain 1.95.0", "rust-web-src"] {
            assert!(message.contains(part), "{message}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_has_no_version() {
        assert_eq!(installed_version(Path::new("/nonexistent/tool")), None);
    }
}
