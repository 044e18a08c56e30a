//! The programs of the operating system that tests and benchmark drive: one table, installed by apt-get
//! where we may, named exactly where not.
//!
//! What comes as a service (promtool's package starts a server) is unpacked under target/tools
//! instead of installed, so that a test run never leaves a daemon behind.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{cargo, root};

/// How a Debian package is made ready.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    /// apt-get install
    Install,
    /// apt-get download, dpkg -x: for a program that stands alone in a package with a service
    Unpack,
}

/// What drives a tool.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Driver {
    Tests,
    KernelTests,
    Bench,
    /// What holds captures against other programs, beyond what kernel tests need.
    Conformance,
    /// What boots other kernels.
    Guests,
    /// What makes packages, and those for hosts of another architecture.
    Packaging,
    PackagingArm64,
    /// What runs programs for it.
    Arm64,
    /// What makes a Debian to install on.
    Deploying,
    /// What boots it on the running kernel.
    Container,
}

struct Tool {
    name: &'static str,
    /// And what it is of no use without, after a blank.
    package: &'static str,
    way: Way,
    drivers: &'static [Driver],
    purpose: &'static str,
}

const fn tool(
    name: &'static str,
    package: &'static str,
    way: Way,
    drivers: &'static [Driver],
    purpose: &'static str,
) -> Tool {
    Tool { name, package, way, drivers, purpose }
}

const TESTS: &[Driver] = &[Driver::Tests];
const KERNEL: &[Driver] = &[Driver::KernelTests];
const BENCH: &[Driver] = &[Driver::Bench];
const GUESTS: &[Driver] = &[Driver::Guests];
const CAPTURES: &[Driver] = &[Driver::Bench, Driver::Conformance];
const EDITING: &[Driver] = &[Driver::Conformance];
const OPENSSL: &[Driver] = &[Driver::Tests, Driver::KernelTests];
const BOTH: &[Driver] = &[Driver::KernelTests, Driver::Bench];

#[rustfmt::skip]
const TOOLS: &[Tool] = &[
    tool("promtool",        "prometheus",       Way::Unpack,  TESTS,  "checks the metrics and the alert rules"),
    tool("prometheus",      "prometheus",       Way::Unpack,  TESTS,  "scrapes the sensor and evaluates its alerts"),
    tool("prometheus-alertmanager", "prometheus-alertmanager", Way::Unpack, TESTS, "is told of the alerts"),
    tool("curl",            "curl",             Way::Install, TESTS,  "asks over TLS, and in ways that are refused"),
    tool("systemd-analyze", "systemd",          Way::Install, TESTS,  "verifies the unit"),
    tool("kubectl",         "kubernetes-client", Way::Unpack, TESTS,  "reads the manifest of the DaemonSet"),
    tool("ip",              "iproute2",         Way::Install, BOTH,   "makes namespaces and veth pairs"),
    tool("nft",             "nftables",         Way::Install, BOTH,   "counts the same traffic independently"),
    tool("ethtool",         "ethtool",          Way::Install, BOTH,   "turns offloads on and off"),
    tool("bpftool",         "bpftool",          Way::Install, KERNEL, "tells what is attached and in which order"),
    tool("tshark",          "tshark",           Way::Install, KERNEL, "counts packets and bytes of captures"),
    tool("capinfos",        "wireshark-common", Way::Install, KERNEL, "counts packets of captures"),
    tool("tcpreplay",       "tcpreplay",        Way::Install, KERNEL, "sends captures"),
    tool("tcpprep",         "tcpreplay",        Way::Install, KERNEL, "splits captures into their two sides"),
    tool("dnsmasq",         "dnsmasq-base",     Way::Install, KERNEL, "answers queries for names"),
    tool("openssl",         "openssl",          Way::Install, OPENSSL, "makes certificates, and talks over TLS"),
    tool("htpasswd",        "apache2-utils",    Way::Install, TESTS,  "hashes passwords"),
    tool("ipset",           "ipset",            Way::Install, BENCH,  "matches the same prefixes"),
    tool("iptables-legacy", "iptables",         Way::Install, BENCH,  "asks ipset about each packet"),
    tool("iperf3",          "iperf3",           Way::Install, BENCH,  "sends as much as goes through"),
    tool("perf",            "linux-perf",       Way::Install, BENCH,  "tells where the time goes"),
    tool("ndpiReader",      "libndpi-bin",      Way::Install, CAPTURES, "reads the same captures"),
    tool("editcap",         "wireshark-common", Way::Install, EDITING, "writes any capture as pcap"),
    tool("nsenter",         "util-linux",       Way::Install, KERNEL, "enters namespaces"),
    tool("setpriv",         "util-linux",       Way::Install, KERNEL, "takes capabilities away"),
    tool("tc",              "iproute2",         Way::Install, KERNEL, "tells what is on clsact"),
    tool("wg",              "wireguard-tools",  Way::Install, KERNEL, "lays out a tunnel"),
    tool("qemu-system-x86_64", "qemu-system-x86", Way::Install, GUESTS, "emulates the machine of another kernel"),
    tool("cpio",            "cpio",             Way::Install, GUESTS, "packs its file system"),
    tool("busybox",         "busybox-static",   Way::Install, GUESTS, "is its shell"),
    tool("dpkg",            "dpkg",             Way::Install, GUESTS, "unpacks kernel packages"),
    tool("debootstrap",     "debootstrap",      Way::Install, &[Driver::Deploying], "makes a Debian"),
    tool("systemd-nspawn",  "systemd-container", Way::Install, &[Driver::Container], "boots it on the running kernel"),
    tool("mke2fs",          "e2fsprogs",        Way::Install, &[Driver::Deploying], "makes its disk"),
    tool("musl-gcc",        "musl-tools",       Way::Install, &[Driver::Packaging], "compiles what is linked statically"),
    tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross", Way::Install, &[Driver::PackagingArm64], "the same for arm64"),
    tool("qemu-aarch64-static", "qemu-user-static", Way::Unpack, &[Driver::Arm64], "runs programs for arm64"),
];

/// They bring 160 MiB of libraries, and hold captures against other programs, which takes no other kernel.
const AT_HOME: &[&str] = &["tshark", "capinfos"];

/// Without its configuration openssl makes no certificate.
pub(crate) const OPENSSL_CONFIG: &str = "/usr/lib/ssl/openssl.cnf";

/// See that the tools of all these drivers are there.
pub(crate) fn require(drivers: &[Driver]) -> Result<()> {
    let missing = missing(drivers);
    if missing.is_empty() {
        return Ok(());
    }
    if cargo::find_program("apt-get").is_some() {
        install(&missing);
    }
    let still_missing = self::missing(drivers);
    if still_missing.is_empty() {
        return Ok(());
    }
    bail!(name_missing(&still_missing));
}

/// The programs that the kernel tests call, for a file system of their own.
pub(crate) fn called_by_kernel_tests() -> Vec<PathBuf> {
    TOOLS
        .iter()
        .filter(|tool| tool.drivers.contains(&Driver::KernelTests) && !AT_HOME.contains(&tool.name))
        .filter_map(|tool| cargo::find_program(tool.name))
        .collect()
}

fn missing(drivers: &[Driver]) -> Vec<&'static Tool> {
    TOOLS
        .iter()
        .filter(|tool| tool.drivers.iter().any(|driver| drivers.contains(driver)))
        .filter(|tool| cargo::find_program(tool.name).is_none())
        .collect()
}

/// Do what we may; what it did not achieve shows in a second look at what is missing.
fn install(missing: &[&Tool]) {
    let may_install = root::is_root().unwrap_or(false);
    let packages = packages(missing, Way::Install);
    if may_install {
        report(apt_get(&["update", "-qq"]), "the package lists could not be updated");
    }
    if may_install && !packages.is_empty() {
        eprintln!("setup: installing {} …", packages.join(", "));
        let mut arguments = vec!["install", "-y", "-qq", "--no-install-recommends"];
        arguments.extend(packages.iter().flat_map(|packages| packages.split(' ')));
        report(apt_get(&arguments), "apt-get did not install everything");
    }
    for tool in missing.iter().filter(|tool| tool.way == Way::Unpack) {
        eprintln!("setup: unpacking {} from the package {} …", tool.name, tool.package);
        report(unpack(tool), "it could not be unpacked");
    }
}

fn report(result: Result<()>, what: &str) {
    if let Err(error) = result {
        eprintln!("setup: {what}: {error:#}");
    }
}

fn apt_get(arguments: &[&str]) -> Result<()> {
    cargo::succeed(
        Command::new("apt-get")
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            // In the runlevel of a rescue shell no init script is started by a new package.
            .env("RUNLEVEL", "1"),
    )
}

/// One program out of a package, into target/tools, without installing the package.
fn unpack(tool: &Tool) -> Result<()> {
    let place = cargo::target().join("tools").join(tool.package);
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    cargo::read(Command::new("apt-get").args(["download", "-qq", tool.package]).current_dir(&place))?;
    let archive = newest_archive(&place)?;
    cargo::read(Command::new("dpkg").arg("-x").arg(&archive).arg(&place))?;
    fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
    let program = place.join("usr/bin").join(tool.name);
    let link = cargo::tools().join(tool.name);
    fs::create_dir_all(cargo::tools())?;
    if link.is_symlink() {
        fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
    }
    symlink(&program, &link).with_context(|| format!("cannot link {}", link.display()))
}

fn newest_archive(place: &Path) -> Result<PathBuf> {
    let entries = fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .max()
        .with_context(|| format!("apt-get left no package in {}", place.display()))
}

/// The packages of these tools, each once.
fn packages(tools: &[&Tool], way: Way) -> Vec<&'static str> {
    let mut packages = Vec::new();
    for tool in tools.iter().filter(|tool| tool.way == way) {
        if !packages.contains(&tool.package) {
            packages.push(tool.package);
        }
    }
    packages
}

fn name_missing(missing: &[&Tool]) -> String {
    let mut packages = packages(missing, Way::Install);
    packages.extend(self::packages(missing, Way::Unpack));
    let tools: Vec<String> =
        missing.iter().map(|tool| format!("  {} ({})", tool.name, tool.purpose)).collect();
    format!(
        "programs are missing:\n{}\n  \
         on Debian: sudo apt-get install --no-install-recommends {}",
        tools.join("\n"),
        packages.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_tool_is_named_once() {
        for (position, tool) in TOOLS.iter().enumerate() {
            let first = TOOLS.iter().position(|other| other.name == tool.name);
            assert_eq!(first, Some(position), "{} is there twice", tool.name);
        }
    }

    #[test]
    fn each_driver_has_tools_and_each_tool_a_driver() {
        for driver in [Driver::Tests, Driver::KernelTests, Driver::Bench, Driver::Guests] {
            assert!(TOOLS.iter().any(|tool| tool.drivers.contains(&driver)), "{driver:?}");
        }
        assert!(TOOLS.iter().all(|tool| !tool.drivers.is_empty()));
    }

    #[test]
    fn a_package_of_two_tools_is_installed_once() {
        let both: Vec<&Tool> = TOOLS.iter().filter(|tool| tool.package == "tcpreplay").collect();
        assert_eq!(both.len(), 2);
        assert_eq!(packages(&both, Way::Install), ["tcpreplay"]);
        assert!(packages(&both, Way::Unpack).is_empty());
    }

    #[test]
    fn what_is_missing_is_named_with_its_purpose_and_package() {
        let all: Vec<&Tool> = TOOLS.iter().collect();
        let message = name_missing(&all);
        for tool in TOOLS {
            assert!(message.contains(&format!("\n  {} ({})", tool.name, tool.purpose)));
            assert!(message.contains(&format!(" {}", tool.package)));
        }
    }
}
