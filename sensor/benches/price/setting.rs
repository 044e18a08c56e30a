//! A kernel setting (sysctl) changed for as long as it is needed, and put back after.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

pub struct Setting {
    path: PathBuf,
    before: String,
}

impl Setting {
    /// `name`: as sysctl(8) knows it.
    pub fn set(name: &str, value: &str) -> Result<Self> {
        let path = PathBuf::from("/proc/sys").join(name.replace('.', "/"));
        let shown = || format!("{name}: {} (as root?)", path.display());
        let before = fs::read_to_string(&path).with_context(shown)?;
        fs::write(&path, value).with_context(shown)?;
        Ok(Self { path, before })
    }
}

impl Drop for Setting {
    fn drop(&mut self) {
        if let Err(error) = fs::write(&self.path, &self.before) {
            eprintln!("{} was not put back to {}: {error}", self.path.display(), self.before.trim_end());
        }
    }
}
