//! `links/` of the pins directory: what is attached is written down in it, as pinned links and as empty
//! directories (notes). It is used by its handle, so that nothing is removed but in it, wherever its owner has
//! its name lead meanwhile.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::io::Errno;

/// The directory, open.
pub struct Links {
    directory: OwnedFd,
}

impl Links {
    pub(super) const fn new(directory: OwnedFd) -> Self {
        Self { directory }
    }

    /// Names of all that is in it.
    pub(super) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.directory).context("state.pins: links")? {
            let entry = entry.context("state.pins: links")?;
            let name = entry.file_name().to_str().ok().filter(|name| ![".", ".."].contains(name));
            names.extend(name.map(str::to_owned));
        }
        Ok(names)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// For bpf(2), which takes paths only.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }

    /// The entry itself, be it a link that leads to somebody else's; `None` when there is none.
    pub(super) fn open(&self, name: &str) -> Result<Option<OwnedFd>> {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.directory, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => Ok(None),
            opened => opened.map(Some).with_context(|| named(name)),
        }
    }

    pub(super) fn remove(&self, name: &str) -> Result<()> {
        rustix::fs::unlinkat(&self.directory, name, AtFlags::empty()).with_context(|| named(name))
    }

    /// Writes a name down; one that is there already is as good.
    pub(super) fn note(&self, name: &str) -> Result<()> {
        match rustix::fs::mkdirat(&self.directory, name, Mode::RWXU) {
            Err(Errno::EXIST) => Ok(()),
            made => made.with_context(|| named(name)),
        }
    }

    pub(super) fn remove_note(&self, name: &str) -> Result<()> {
        rustix::fs::unlinkat(&self.directory, name, AtFlags::REMOVEDIR).with_context(|| named(name))
    }
}

/// As errors name an entry.
pub(super) fn named(name: &str) -> String {
    format!("state.pins: links/{name}")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn nothing_is_removed_behind_a_link_that_took_the_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (root, victim) = (folder.path().join("links"), folder.path().join("victim"));
        for directory in [&root, &victim] {
            fs::create_dir_all(directory.join("2_qdisc")).expect("a directory");
            fs::write(directory.join("2_ingress"), "").expect("a file");
        }
        let links = Links::new(fs::File::open(&root).expect("it opens").into());
        fs::rename(&root, folder.path().join("moved")).expect("it moves");
        std::os::unix::fs::symlink(&victim, &root).expect("a link");

        links.remove("2_ingress").expect("it is removed");
        links.remove_note("2_qdisc").expect("it is removed");
        assert!(links.names().expect("it is read").is_empty());
        assert_eq!(fs::read_dir(&victim).expect("it is there").count(), 2);
    }
}
