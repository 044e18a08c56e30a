//! What this process may do. It checks that it has what it needs, and lays down the rest in two
//! steps: before it reads a file, all but what starting takes; before it serves, all but three
//! capabilities, and by Landlock every place to write but its pins. Nothing comes back.
//!
//! All of it is a thread's own and inherited by the threads that it starts, so both steps come
//! before there is a second one.
//!
//! Deliberately without seccomp: a list of system calls that allocator, runtime and C library
//! must keep to is a guess with each of their versions; the systemd unit filters by systemd's sets.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set, clear_ambient_capability_set,
    remove_capability_from_bounding_set, set_capabilities, set_no_new_privs,
};

use crate::config::{Config, Output};

/// What the daemon needs for as long as it runs, and what it says when one is missing.
/// `CAP_SYS_ADMIN` stands for none of them: before Linux 5.8 it did.
const NEEDED: [(CapabilitySet, &str); 3] = [
    (CapabilitySet::BPF, "CAP_BPF"),
    (CapabilitySet::NET_ADMIN, "CAP_NET_ADMIN"),
    (CapabilitySet::PERFMON, "CAP_PERFMON"),
];

/// What starting takes beyond that, where it was given: to mount a bpffs, to raise
/// `RLIMIT_MEMLOCK`, to listen on a port below 1024.
const TO_START: CapabilitySet =
    CapabilitySet::SYS_ADMIN.union(CapabilitySet::SYS_RESOURCE).union(CapabilitySet::NET_BIND_SERVICE);

/// The restrictions that are asked for; an older kernel enforces those of them that it has.
const LANDLOCK: ABI = ABI::V6;

/// Refuses to start halfway: every capability is there, or those that are not are named.
pub fn check_capabilities() -> Result<()> {
    let held = held()?.effective;
    let missing: Vec<_> =
        NEEDED.iter().filter(|(needed, _)| !held.contains(*needed)).map(|(_, name)| *name).collect();
    ensure!(
        missing.is_empty(),
        "missing {}: run as root, through the systemd unit, or give the binary its capabilities \
         (setcap cap_bpf,cap_net_admin,cap_perfmon+ep)",
        missing.join(", ")
    );
    Ok(())
}

/// Lays down what is not for starting, before the config is read: so that what can be read now can
/// be read at each reload, and `check` finds what cannot.
///
/// # Errors
/// When the kernel refuses, which it does for no capability that this process has.
pub fn before_reading() -> Result<()> {
    lay_down_to(needed().union(TO_START))
}

/// The same for who looks after a daemon that runs as a user of its own, and whose pins are closed to
/// others: root may still go there, and remove what is that user's (the root of a bpffs is sticky).
///
/// # Errors
/// As [`before_reading`].
pub fn before_looking_after() -> Result<()> {
    lay_down_to(needed().union(TO_START).union(CapabilitySet::DAC_OVERRIDE).union(CapabilitySet::FOWNER))
}

fn lay_down_to(kept: CapabilitySet) -> Result<()> {
    set_no_new_privs(true).context("no_new_privs")?;
    bound()?;
    keep(kept)
}

/// The same for a command that signals a daemon, which may be another user's and have its pins closed to
/// others: to find it and to signal it is all that it may still do.
///
/// # Errors
/// As [`before_reading`].
pub fn before_signalling() -> Result<()> {
    lay_down_to(CapabilitySet::KILL.union(CapabilitySet::DAC_READ_SEARCH))
}

/// Lays down everything but the three capabilities, and every place to write but the pins and the
/// directory of an events file. From now on no TCP connection is opened and no port taken.
///
/// # Errors
/// When the kernel refuses, or there is a second thread, which would keep what it has.
pub fn before_serving(config: &Config) -> Result<()> {
    let threads = fs::read_dir("/proc/self/task").context("counting threads")?.count();
    ensure!(threads == 1, "{threads} threads run before the privileges of the first are laid down");
    let abi = confine(config)?;
    tracing::info!("{}", enforced(abi));
    Ok(())
}

/// The second step, of the calling thread alone; returns by which ABI of Landlock it is restricted,
/// 0 where the kernel has none.
pub fn confine(config: &Config) -> Result<i32> {
    keep(needed())?;
    restrict(config).context("Landlock")
}

fn needed() -> CapabilitySet {
    NEEDED.iter().fold(CapabilitySet::empty(), |all, (needed, _)| all.union(*needed))
}

fn held() -> Result<CapabilitySets> {
    capabilities(None).context("reading this process' capabilities")
}

/// Of the capabilities that are held, these alone stay.
fn keep(kept: CapabilitySet) -> Result<()> {
    clear_ambient_capability_set().context("laying down ambient capabilities")?;
    let held = held()?;
    let sets = CapabilitySets {
        effective: held.effective.intersection(kept),
        permitted: held.permitted.intersection(kept),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, sets).context("laying down capabilities")
}

/// Takes all but the three from what a program that is executed could gain. Only who has
/// `CAP_SETPCAP` may; to others, `no_new_privs` does the same.
fn bound() -> Result<()> {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !needed().contains(capability) => {}
            Ok(_) => continue,
            // Above the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error).context("reading the bounding set"),
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) => {}
            Err(Errno::PERM) => break,
            Err(error) => return Err(error).context("bounding capabilities"),
        }
    }
    Ok(())
}

/// Reading stays allowed everywhere: a feed may come from anywhere.
fn restrict(config: &Config) -> Result<i32> {
    let writes = AccessFs::from_write(LANDLOCK);
    let mut ruleset = Ruleset::default()
        .handle_access(writes | AccessFs::Execute)?
        .handle_access(AccessNet::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?;
    for (directory, allowed) in writable(config) {
        let opened = PathFd::new(directory).with_context(|| directory.display().to_string())?;
        ruleset = ruleset.add_rule(PathBeneath::new(opened, allowed))?;
    }
    let status = ruleset.restrict_self()?;
    let is_enforced = status.ruleset != RulesetStatus::NotEnforced;
    Ok(if is_enforced { ABI::from(status.landlock) as i32 } else { 0 })
}

/// Directories beneath which something may still be made or removed, and what.
fn writable(config: &Config) -> Vec<(&Path, BitFlags<AccessFs>)> {
    let pins: &Path = &config.state.pins;
    // A pin is made as a file is (`security_path_mknod` in kernel/bpf/inode.c), and renamed.
    let mut writable = vec![(
        pins,
        AccessFs::MakeReg | AccessFs::MakeDir | AccessFs::RemoveFile | AccessFs::RemoveDir | AccessFs::Refer,
    )];
    // The directory itself is removed with the last pin, which is a matter of the one above it.
    writable.extend(pins.parent().map(|above| (above, AccessFs::RemoveDir.into())));
    if let Output::File(path) = &config.events.output
        && let Some(directory) = path.parent().filter(|directory| directory.is_dir())
    {
        let appended = AccessFs::WriteFile | AccessFs::MakeReg | AccessFs::RemoveFile | AccessFs::Truncate;
        writable.push((directory, appended));
    }
    writable
}

/// One line that says what holds.
fn enforced(abi: i32) -> String {
    let files = match abi {
        0 => return "three capabilities kept; this kernel has no Landlock, or it is off".to_owned(),
        ..4 => "nothing is written but pins",
        4.. => "nothing is written but pins and no TCP connection opened",
    };
    format!("three capabilities kept; by Landlock (ABI {abi}) {files}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_enforced_is_said_as_far_as_the_kernel_has_it() {
        for (abi, said) in [
            (0, "this kernel has no Landlock, or it is off"),
            (1, "(ABI 1) nothing is written but pins"),
            (3, "(ABI 3) nothing is written but pins"),
            (4, "(ABI 4) nothing is written but pins and no TCP connection opened"),
            (6, "(ABI 6) nothing is written but pins and no TCP connection opened"),
        ] {
            assert_eq!(
                enforced(abi),
                format!("three capabilities kept; {}{said}", if abi == 0 { "" } else { "by Landlock " })
            );
        }
    }

    #[test]
    fn only_the_pins_and_the_directory_of_an_events_file_stay_writable() {
        let mut config = Config::default();
        let paths = |config: &Config| -> Vec<_> {
            writable(config).into_iter().map(|(path, _)| path.display().to_string()).collect()
        };
        assert_eq!(paths(&config), ["/sys/fs/bpf/poolwatch", "/sys/fs/bpf"]);
        assert_eq!(writable(&config)[1].1, AccessFs::RemoveDir);
        config.events.output = Output::File("/tmp/events.json".into());
        assert_eq!(paths(&config), ["/sys/fs/bpf/poolwatch", "/sys/fs/bpf", "/tmp"]);
        config.events.output = Output::File("/nowhere/events.json".into());
        assert_eq!(paths(&config).len(), 2, "a directory that is not there is no place to write");
    }
}
