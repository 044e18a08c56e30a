//! The file system of a guest: test binaries at the paths where they were built, the programs that
//! they call, the libraries of both, and per kernel its modules and the init.
//!
//! Staged under target/kernels and packed by cpio, uncompressed: unpacking is what an emulated
//! processor is worst at. The modules are an archive of their own behind the common one (the kernel
//! reads one after another, Documentation/driver-api/early-userspace/buffer-format.rst).

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use super::modules::Module;
use crate::cargo;

/// A directory that becomes `/`.
pub(crate) struct Staged(PathBuf);

impl Staged {
    /// An empty one.
    pub(crate) fn new(place: PathBuf) -> Result<Self> {
        if place.exists() {
            fs::remove_dir_all(&place).with_context(|| format!("cannot remove {}", place.display()))?;
        }
        fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
        Ok(Self(place))
    }

    pub(crate) fn directory(&self, path: &Path) -> Result<()> {
        let inside = self.inside(path);
        fs::create_dir_all(&inside).with_context(|| format!("cannot create {}", inside.display()))
    }

    /// A file of ours.
    pub(crate) fn write(&self, path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
        let inside = self.room_for(path)?;
        fs::write(&inside, bytes).with_context(|| format!("cannot write {}", inside.display()))?;
        fs::set_permissions(&inside, fs::Permissions::from_mode(mode))?;
        Ok(())
    }

    /// A file of this machine, at the path that it has here.
    pub(crate) fn copy(&self, path: &Path) -> Result<()> {
        self.copy_as(path, path)
    }

    fn copy_as(&self, from: &Path, to: &Path) -> Result<()> {
        let inside = self.room_for(to)?;
        fs::copy(from, &inside).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    /// A program with the libraries that it is linked with.
    pub(crate) fn program(&self, path: &Path) -> Result<()> {
        self.copy(path)?;
        for library in libraries(path)? {
            self.copy(&library)?;
        }
        Ok(())
    }

    fn room_for(&self, path: &Path) -> Result<PathBuf> {
        if let Some(parent) = path.parent() {
            self.directory(parent)?;
        }
        Ok(self.inside(path))
    }

    fn inside(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// One archive of all of it, appended to `archive`.
    pub(crate) fn pack(&self, archive: &mut File) -> Result<()> {
        let mut names = BTreeSet::new();
        list(&self.0, &self.0, &mut names)?;
        let mut command = Command::new("cpio");
        command
            .args(["--create", "--quiet", "--format=newc", "--owner=0:0", "--null"])
            .current_dir(&self.0)
            .stdin(Stdio::piped())
            .stdout(archive.try_clone().context("an archive")?);
        let mut cpio = command.spawn().context("cannot start cpio")?;
        let mut input = cpio.stdin.take().context("cpio takes no names")?;
        for name in &names {
            input.write_all(name.as_os_str().as_encoded_bytes())?;
            input.write_all(&[0])?;
        }
        drop(input);
        let status = cpio.wait().context("lost cpio")?;
        ensure!(status.success(), "cpio failed ({status})");
        Ok(())
    }
}

/// Every path below, relative, a directory before what is in it.
fn list(top: &Path, place: &Path, names: &mut BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))? {
        let path = entry?.path();
        names.insert(path.strip_prefix(top).unwrap_or(&path).to_path_buf());
        if path.is_dir() {
            list(top, &path, names)?;
        }
    }
    Ok(())
}

/// The shared libraries of a program, the dynamic linker among them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let output = cargo::collect(Command::new("ldd").arg(program))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(missing) = said.lines().find(|line| line.ends_with("not found")) {
        anyhow::bail!("{}: {}", program.display(), missing.trim());
    }
    Ok(library_paths(&said))
}

/// `libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x…)`, `/lib64/ld-linux-x86-64.so.2 (0x…)`; a static
/// program has none.
fn library_paths(said: &str) -> Vec<PathBuf> {
    said.lines()
        .filter_map(|line| {
            let (file, _address) = line.trim().rsplit_once(" (0x")?;
            let path = file.rsplit_once(" => ").map_or(file, |(_, path)| path);
            path.starts_with('/').then(|| PathBuf::from(path))
        })
        .collect()
}

/// What one kernel gets: the common archive, its own modules and its own init behind it.
pub(crate) fn assemble(common: &Path, own: &Staged, archive: &Path) -> Result<()> {
    let mut file = File::create(archive).with_context(|| format!("cannot write {}", archive.display()))?;
    let mut from = File::open(common).with_context(|| format!("cannot read {}", common.display()))?;
    io::copy(&mut from, &mut file).with_context(|| format!("cannot write {}", archive.display()))?;
    own.pack(&mut file)
}

/// Where the init finds a module.
pub(crate) fn module_path(module: &Module) -> PathBuf {
    Path::new("/modules").join(&module.name).with_extension("ko")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_libraries_of_a_program_are_read_from_ldd() {
        let said = "\tlinux-vdso.so.1 (0x00007ffd1)\n\
                    \tlibmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f6)\n\
                    \t/lib64/ld-linux-x86-64.so.2 (0x00007f6)\n";
        let expected = ["/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"];
        assert_eq!(library_paths(said), expected.map(PathBuf::from));
        assert_eq!(library_paths("\tnot a dynamic executable\n"), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_directory_is_listed_before_what_is_in_it() {
        let top = tempfile::tempdir().unwrap();
        let staged = Staged::new(top.path().join("root")).unwrap();
        staged.write(Path::new("/a/b/file"), b"x", 0o755).unwrap();
        let mut names = BTreeSet::new();
        list(&staged.0, &staged.0, &mut names).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["a", "a/b", "a/b/file"].map(PathBuf::from));
    }
}
