//! What a figure was measured on: without it no figure means anything.

use std::{env, fmt, fs, path::Path, process::Command, thread};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cargo;

const VULNERABILITIES: &str = "/sys/devices/system/cpu/vulnerabilities";

#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpu: String,
    cpus: usize,
    is_virtual: bool,
    memory_gib: f64,
    kernel: String,
    /// Names of what is mitigated, as the kernel calls them.
    mitigated: Vec<String>,
    rustc: String,
    /// The commit that was measured; `-dirty` where the tree is not that.
    commit: String,
}

impl Machine {
    pub(super) fn probe() -> Result<Self> {
        let cpu = read("/proc/cpuinfo")?;
        let memory = read("/proc/meminfo")?;
        Ok(Self {
            cpu: field(&cpu, "model name").unwrap_or(env::consts::ARCH).to_owned(),
            cpus: thread::available_parallelism().map_or(1, usize::from),
            is_virtual: field(&cpu, "flags")
                .is_some_and(|flags| flags.split(' ').any(|it| it == "hypervisor")),
            memory_gib: gib(&memory).context("/proc/meminfo has no MemTotal")?,
            kernel: read("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            mitigated: mitigated(Path::new(VULNERABILITIES)),
            rustc: cargo::read(Command::new(program("RUSTC", "rustc")).arg("--version"))?.trim().to_owned(),
            commit: commit().unwrap_or_else(|_| "unknown".to_owned()),
        })
    }
}

fn program(variable: &str, otherwise: &str) -> String {
    env::var(variable).unwrap_or_else(|_| otherwise.to_owned())
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {path}"))
}

/// The value of the first line `name : value`.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn gib(meminfo: &str) -> Option<f64> {
    let kib: f64 = field(meminfo, "MemTotal")?.strip_suffix(" kB")?.parse().ok()?;
    Some((kib / f64::from(1 << 20) * 10.0).round() / 10.0)
}

fn mitigated(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let is_mitigated = fs::read_to_string(&path).ok()?.starts_with("Mitigation");
            is_mitigated.then(|| path.file_name().map(|name| name.to_string_lossy().into_owned()))?
        })
        .collect();
    names.sort_unstable();
    names
}

fn commit() -> Result<String> {
    let git =
        |arguments: &[&str]| cargo::read(Command::new("git").args(arguments).current_dir(cargo::root()));
    let head = git(&["rev-parse", "--short=12", "HEAD"])?;
    let is_dirty = !git(&["status", "--porcelain"])?.trim().is_empty();
    Ok(format!("{}{}", head.trim(), if is_dirty { "-dirty" } else { "" }))
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} CPUs of {}{}, {} GiB; Linux {}; {}; commit {}; mitigations: {}",
            self.cpus,
            self.cpu,
            if self.is_virtual { " in a virtual machine" } else { "" },
            self.memory_gib,
            self.kernel,
            self.rustc,
            self.commit,
            if self.mitigated.is_empty() { "none".to_owned() } else { self.mitigated.join(", ") }
        )
    }
}

/// For tests: a machine that is not there.
#[cfg(test)]
pub(super) fn made_up() -> Machine {
    Machine {
        cpu: "Toaster 3000".to_owned(),
        cpus: 2,
        is_virtual: true,
        memory_gib: 7.8,
        kernel: "6.18".to_owned(),
        mitigated: vec!["spectre_v1".to_owned(), "spectre_v2".to_owned()],
        rustc: "rustc 1.95.0".to_owned(),
        commit: "abc".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_in_one_line() {
        assert_eq!(
            made_up().to_string(),
            "2 CPUs of Toaster 3000 in a virtual machine, 7.8 GiB; Linux 6.18; rustc 1.95.0; commit abc; \
             mitigations: spectre_v1, spectre_v2"
        );
    }

    #[test]
    fn memory_is_read_from_what_the_kernel_tells() {
        assert_eq!(gib("MemTotal:        8152096 kB\nMemFree: 1 kB\n"), Some(7.8));
        assert_eq!(gib("MemFree: 1 kB\n"), None);
    }

    #[test]
    fn only_what_is_mitigated_is_named() {
        let place = tempfile::tempdir().unwrap();
        for (name, text) in [("b", "Mitigation: barriers\n"), ("a", "Mitigation: x"), ("c", "Not affected\n")]
        {
            fs::write(place.path().join(name), text).unwrap();
        }
        assert_eq!(mitigated(place.path()), ["a", "b"]);
        assert!(mitigated(Path::new("/nonexistent")).is_empty());
    }
}
