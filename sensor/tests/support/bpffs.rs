//! A bpffs of the test's own, mounted in a temporary directory and unmounted when it is dropped.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::PinsDirectory;
use super::namespace::run;

pub struct Bpffs(TempDir);

impl Bpffs {
    /// Its root directory belongs to this user, and to others it is as `mode` says.
    pub fn mount(user: u32, mode: u32) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("a directory");
        let bpffs = Self(directory);
        fs::create_dir(bpffs.path()).expect("a directory");
        run(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(bpffs.path()));
        chown(bpffs.path(), Some(user), Some(user)).expect("it belongs to the user");
        fs::set_permissions(bpffs.path(), fs::Permissions::from_mode(mode)).expect("a mode");
        bpffs
    }

    pub fn path(&self) -> PathBuf {
        self.0.path().join("bpf")
    }

    /// A directory on it that is not there yet.
    pub fn pins(&self) -> PinsDirectory {
        PinsDirectory::at(self.path().join("poolwatch"))
    }

    /// Beside it, and open to all.
    pub fn beside(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// `ro` or `rw`.
    pub fn remount(&self, how: &str) {
        run(Command::new("mount").arg("-o").arg(format!("remount,{how}")).arg(self.path()));
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.path()).output();
    }
}
