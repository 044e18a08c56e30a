//! A Debian that is to be booted: a small system by debootstrap, kept from run to run, and a copy of it with
//! the packages and the operator in it.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{cargo, kernels::archive, root::Root};

/// A system that boots, with what the operator calls.
const PACKAGES: &str = "systemd,systemd-sysv,curl,iproute2,bpftool,procps,man-db,bash-completion";

const OPERATOR: &str = include_str!("operator.sh");

/// Runs once everything else is up, and ends the machine whatever comes of it. `speaks`: where to.
fn service(speaks: &str) -> String {
    format!(
        "[Unit]
Description=what an operator does with poolwatch
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/deploy/operator.sh
ExecStopPost=/usr/bin/systemctl --force --force poweroff
{speaks}
[Install]
WantedBy=multi-user.target
"
    )
}

/// Makes it; `packages`: the one to upgrade to, and the one to begin with.
pub(super) fn make(
    release: &str,
    packages: &[PathBuf; 2],
    speaks: &str,
    place: &Path,
    root: &Root,
) -> Result<PathBuf> {
    let system = system(release, place, root)?;
    let tree = place.join(format!("{release}-tree"));
    run(root, "rm", &["-rf", utf8(&tree)?])?;
    run(root, "cp", &["-a", utf8(&system)?, utf8(&tree)?])?;
    let own = place.join("own");
    if own.exists() {
        fs::remove_dir_all(&own).context("cannot clear what is ours")?;
    }
    fs::create_dir_all(&own).context("cannot make room")?;
    fs::write(own.join("operator.sh"), OPERATOR)?;
    for (package, name) in packages.iter().zip(["poolwatch_next.deb", "poolwatch.deb"]) {
        fs::copy(package, own.join(name)).with_context(|| format!("cannot copy {}", package.display()))?;
    }
    let unit = own.join("deploy.service");
    fs::write(&unit, service(speaks))?;
    let script = format!(
        "set -e; mkdir {tree}/deploy; cp {own}/operator.sh {own}/*.deb {tree}/deploy/; \
         chmod 755 {tree}/deploy/operator.sh; cp {unit} {tree}/etc/systemd/system/deploy.service; \
         ln -s ../deploy.service {tree}/etc/systemd/system/multi-user.target.wants/deploy.service; \
         echo deploy >{tree}/etc/hostname; \
         ln -sf /dev/null {tree}/etc/systemd/system/getty@tty1.service",
        tree = quoted(&tree)?,
        own = quoted(&own)?,
        unit = quoted(&unit)?,
    );
    run(root, "sh", &["-c", &script])?;
    Ok(tree)
}

/// The system itself. It is made under another name first: an interrupted call leaves no half of one.
fn system(release: &str, place: &Path, root: &Root) -> Result<PathBuf> {
    let system = place.join(release);
    if system.is_dir() {
        return Ok(system);
    }
    let half = place.join(format!("{release}-half"));
    run(root, "rm", &["-rf", utf8(&half)?])?;
    let targets = cargo::read(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
    let mirror = archive::mirror(&targets, "/debian", "http://deb.debian.org/debian");
    eprintln!("deploy: making a Debian {release} …");
    let include = format!("--include={PACKAGES}");
    run(root, "debootstrap", &["--variant=minbase", &include, release, utf8(&half)?, mirror])?;
    // Package lists and archives are of no use without a network.
    let script = format!("rm -rf {0}/var/cache/apt/archives/*.deb {0}/var/lib/apt/lists/*", quoted(&half)?);
    run(root, "sh", &["-c", &script])?;
    run(root, "mv", &[utf8(&half)?, utf8(&system)?])?;
    Ok(system)
}

pub(super) fn run(root: &Root, program: &str, arguments: &[&str]) -> Result<()> {
    let path = cargo::find_program(program).with_context(|| format!("no {program}"))?;
    let settings: [(&str, OsString); 1] = [("PATH", cargo::search_path())];
    let output = cargo::collect(root.command(&path, &settings).args(arguments))?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    let last: Vec<&str> = said.lines().rev().take(8).collect();
    let last: Vec<&str> = last.into_iter().rev().collect();
    ensure!(output.status.success(), "{program} failed ({}):\n{}", output.status, last.join("\n"));
    Ok(())
}

pub(super) fn utf8(path: &Path) -> Result<&str> {
    path.to_str().with_context(|| format!("{} is not in UTF-8", path.display()))
}

/// For the shell.
fn quoted(path: &Path) -> Result<String> {
    Ok(format!("'{}'", utf8(path)?.replace('\'', "'\\''")))
}
