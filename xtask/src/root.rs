//! Root for one program at a time: directly when we are root, else through sudo.
//!
//! Cargo never runs as root through here, so that nothing under target/ changes its owner.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::cargo;

/// How root is to be had here.
#[derive(Debug, PartialEq)]
pub(crate) enum Root {
    Already,
    Sudo(PathBuf),
}

/// Whether this process is root.
pub(crate) fn is_root() -> Result<bool> {
    // The owner of /proc/self is the effective user; std has no other way to ask.
    let own = fs::metadata("/proc/self").context("/proc is not mounted")?;
    Ok(own.uid() == 0)
}

/// Find the way to root; without one, the error says what `purpose` would have needed.
pub(crate) fn find(purpose: &str) -> Result<Root> {
    if is_root()? {
        return Ok(Root::Already);
    }
    match cargo::find_program("sudo") {
        Some(sudo) => Ok(Root::Sudo(sudo)),
        None => bail!("{purpose} needs root: run this as root, or install sudo"),
    }
}

impl Root {
    /// A command that runs `program` as root with `environment` set, which sudo would drop.
    pub(crate) fn command(&self, program: &Path, environment: &[(&str, OsString)]) -> Command {
        match self {
            Self::Already => {
                let mut command = Command::new(program);
                command.envs(environment.iter().map(|(name, value)| (name, value)));
                command
            }
            Self::Sudo(sudo) => {
                let mut command = Command::new(sudo);
                command.arg("--");
                if !environment.is_empty() {
                    command.arg("env");
                }
                for (name, value) in environment {
                    let mut setting = OsString::from(name);
                    setting.push("=");
                    setting.push(value);
                    command.arg(setting);
                }
                command.arg(program);
                command
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sudo_runs_only_the_program_and_hands_it_the_environment() {
        let way = Root::Sudo("/usr/bin/sudo".into());
        let command = way.command(Path::new("/x/sensor"), &[("PATH", "/a:/b".into())]);
        assert_eq!(cargo::describe(&command), "sudo -- env PATH=/a:/b /x/sensor");
    }

    #[test]
    fn as_root_the_program_runs_directly() {
        let command = Root::Already.command(Path::new("/x/sensor"), &[("A", "b".into())]);
        assert_eq!(command.get_program(), "/x/sensor");
        assert_eq!(command.get_envs().count(), 1);
    }
}
