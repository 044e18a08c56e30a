//! The pins directory: what outlives the daemon. One daemon a directory, locked; maps by name
//! in `maps/`, one entry a program attached in `links/`. Maps that another set took the place of lie
//! in `former-<n>/` until their counts were taken over ([`super::succession`]).

use std::fs::{self, DirBuilder, File};
use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::path::Arg;
use sensor_ebpf::abi::map;

use super::links::Links;

/// Magic number of a bpffs (`BPF_FS_MAGIC`, include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;
/// Where a bpffs is mounted by convention, and by systemd.
const BPF_FS: &str = "/sys/fs/bpf";

/// That of the packaged service, which may not write to the conventional one.
const SERVICES_BPF_FS: &str = "/run/poolwatch/bpf";

/// What the names of directories of former sets begin with; a number follows.
const FORMER: &str = "former-";

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// A pins directory, held by this process until it is dropped.
#[derive(Debug)]
pub struct Pins {
    root: PathBuf,
    lock: OwnedFd,
    /// It was made by this process, which has not yet decided to keep it.
    is_new: bool,
}

impl Pins {
    /// Opens the directory, makes what is missing of it, and locks it.
    ///
    /// # Errors
    /// When it is not on a bpffs, or another daemon holds it.
    pub fn open(root: &Path) -> Result<Self> {
        let is_new = !root.exists();
        make_all(root).map_err(|error| told_the_service(root, error))?;
        Self::lock(root, is_new, OFlags::empty())
    }

    /// Opens and locks a directory that a daemon left; `None` when there is none.
    pub fn open_existing(root: &Path) -> Result<Option<Self>> {
        if !root.try_exists().with_context(|| format!("state.pins: {}", root.display()))? {
            return Ok(None);
        }
        ensure_bpffs(root)?;
        // What is removed is removed in this directory, wherever its owner has the name lead meanwhile.
        Self::lock(root, false, OFlags::NOFOLLOW).map(Some)
    }

    fn lock(root: &Path, is_new: bool, more: OFlags) -> Result<Self> {
        let named = || format!("state.pins: {}", root.display());
        let directory = rustix::fs::open(root, DIRECTORY | more, Mode::empty()).with_context(named)?;
        match rustix::fs::flock(&directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { root: root.to_owned(), lock: directory, is_new }),
            Err(Errno::WOULDBLOCK) => {
                let holder = holder(root).ok().flatten();
                let holder = holder.map_or("another daemon".to_owned(), |pid| format!("process {pid}"));
                bail!("state.pins: {} is locked by {holder}: one daemon a directory", root.display());
            }
            Err(error) => Err(error).with_context(named),
        }
    }

    /// Where maps are pinned, by name.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Where links are pinned, and where it is noted what else was attached.
    pub fn links(&self) -> Result<Links> {
        self.open_directory("links").map(Links::new).context("state.pins: links")
    }

    /// One of this directory's own, and nothing behind a link: the owner of the pins need not be who uses them.
    fn open_directory(&self, name: impl Arg) -> rustix::io::Result<OwnedFd> {
        rustix::fs::openat(&self.lock, name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
    }

    fn links_path(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Is the directory still there, the one that was locked, and whole?
    ///
    /// # Errors
    /// When it is not, so that another daemon may come.
    pub fn check_in_place(&self) -> Result<()> {
        let named = || format!("state.pins: {}", self.root.display());
        ensure!(
            !self.is_removed(),
            "{} was removed while it was in use, or a part of it; start again",
            named()
        );
        let ours = rustix::fs::fstat(&self.lock).with_context(named)?;
        let there = fs::metadata(&self.root);
        if there.as_ref().is_ok_and(|there| (there.dev(), there.ino()) == (ours.st_dev, ours.st_ino)) {
            return Ok(());
        }
        let found = there.err().map_or_else(|| "it is another one".to_owned(), |error| error.to_string());
        bail!(
            "{}: {found}; the directory in use was moved, mounted over or closed, and what hangs by it goes on \
             counting: put it back and start again, or `poolwatch detach --pins DIR` where it is now",
            named()
        )
    }

    /// Was it removed, or a part of it, wherever its name leads by now? What cannot be looked at was not.
    pub fn is_removed(&self) -> bool {
        ["maps", "links"].into_iter().any(|part| matches!(self.open_directory(part), Err(Errno::NOENT)))
    }

    /// Directories of the sets of maps whose counts are still to be taken over, the oldest first.
    pub(super) fn former(&self) -> Result<Vec<PathBuf>> {
        let mut former = Vec::new();
        for entry in fs::read_dir(&self.root).with_context(|| format!("{}", self.root.display()))? {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            let number = file.strip_prefix(FORMER).and_then(|number| number.parse::<u64>().ok());
            former.extend(number.map(|number| (number, path)));
        }
        former.sort();
        Ok(former.into_iter().map(|(_, path)| path).collect())
    }

    /// Was anything attached from here, as far as is written down?
    pub(super) fn has_links(&self) -> Result<bool> {
        Ok(!self.links()?.names()?.is_empty())
    }

    pub(super) fn is_without_maps(&self) -> Result<bool> {
        is_empty(&self.maps())
    }

    /// Makes the set in use a former one, in one step: what is attached goes on counting in it.
    pub(super) fn set_aside(&self) -> Result<()> {
        let former = self.former()?.pop().unwrap_or_default();
        let last =
            former.file_name().and_then(|file| file.to_str()?.strip_prefix(FORMER)?.parse::<u64>().ok());
        let path = self.root.join(format!("{FORMER}{}", last.map_or(0, |last| last + 1)));
        fs::rename(self.maps(), &path).with_context(|| format!("{}", path.display()))?;
        make_directory(&self.maps())
    }

    /// Makes a former set the one in use; there is no other in its place.
    pub(super) fn put_in_place(&self, former: &Path) -> Result<()> {
        self.remove_directory(&self.maps())?;
        fs::rename(former, self.maps()).with_context(|| format!("{}", former.display()))
    }

    /// Removes what a daemon began and did not finish.
    pub(super) fn clear_maps(&self) -> Result<()> {
        self.remove_entries(&self.maps())
    }

    /// Removes sets whose counts were taken over.
    pub(super) fn remove_former(&self) -> Result<()> {
        for path in self.former()? {
            self.remove_entries(&path)?;
            self.remove_directory(&path)?;
        }
        Ok(())
    }

    /// Was it made by this process, and is nothing in it worth keeping yet?
    pub const fn is_new(&self) -> bool {
        self.is_new
    }

    /// From now on it outlives this process.
    pub const fn keep(&mut self) {
        self.is_new = false;
    }

    /// Is this a daemon's directory, if only the rest of one, and not one of others' pins, such as all of a
    /// bpffs? What a daemon's has and a removal that was killed took away is there again afterwards.
    ///
    /// # Errors
    /// When it holds what no daemon puts there, or maps that have none of our names.
    pub fn ensure_a_daemons(&self) -> Result<()> {
        let former = self.former()?;
        for entry in fs::read_dir(&self.root).with_context(|| format!("{}", self.root.display()))? {
            let entry = entry?;
            let path = entry.path();
            // Of the entry itself: behind a link its owner would have root remove what is somebody else's.
            let is_ours = entry.file_type()?.is_dir()
                && (path == self.links_path() || former.contains(&path) || path == self.maps());
            ensure!(
                is_ours && self.links_path().is_dir(),
                "state.pins: {} holds {}, which is no daemon's: nothing was removed",
                self.root.display(),
                path.file_name().unwrap_or_default().to_string_lossy()
            );
        }
        for set in [self.maps()].iter().chain(&former).filter(|set| set.is_dir()) {
            let entries = fs::read_dir(set).with_context(|| format!("{}", set.display()))?;
            let names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
            ensure!(
                names.is_empty() || names.iter().any(|name| map::ALL.iter().any(|ours| name == ours)),
                "state.pins: {} holds maps of somebody else's: nothing was removed",
                set.display()
            );
        }
        for name in ["maps", "links"] {
            match rustix::fs::mkdirat(&self.lock, name, Mode::RWXU) {
                Err(Errno::EXIST) => {}
                made => made.with_context(|| format!("state.pins: {name}"))?,
            }
        }
        Ok(())
    }

    /// Removes everything in it, and itself. Attached programs are detached by their pins' going.
    pub fn remove(&self) -> Result<()> {
        // Former sets first: without the one in use, the next daemon would take them for uncounted.
        self.remove_former()?;
        for directory in [self.links_path(), self.maps()] {
            self.remove_entries(&directory)?;
        }
        // By `links` it is told to be ours: it goes last.
        for directory in [self.maps(), self.links_path()] {
            self.remove_directory(&directory)?;
        }
        match fs::remove_dir(&self.root) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("{}", self.root.display()))
            }
            _ => Ok(()),
        }
    }

    /// Removes what is in a directory of this one.
    fn remove_entries(&self, path: &Path) -> Result<()> {
        let named = || format!("{}", path.display());
        let name = path.file_name().with_context(named)?;
        let directory = match self.open_directory(name) {
            Err(Errno::NOENT) => return Ok(()),
            opened => opened.with_context(named)?,
        };
        for entry in Dir::read_from(&directory).with_context(named)? {
            let entry = entry.with_context(named)?;
            if [c".", c".."].contains(&entry.file_name()) {
                continue;
            }
            let is_directory = entry.file_type() == FileType::Directory;
            let flags = if is_directory { AtFlags::REMOVEDIR } else { AtFlags::empty() };
            let removed = rustix::fs::unlinkat(&directory, entry.file_name(), flags);
            removed.with_context(|| {
                format!("{}", path.join(entry.file_name().to_string_lossy().as_ref()).display())
            })?;
        }
        Ok(())
    }

    /// Removes an empty directory of this one; one that is not there is as good as removed.
    fn remove_directory(&self, path: &Path) -> Result<()> {
        let named = || format!("{}", path.display());
        let name = path.file_name().with_context(named)?;
        match rustix::fs::unlinkat(&self.lock, name, AtFlags::REMOVEDIR) {
            Err(Errno::NOENT) => Ok(()),
            removed => removed.with_context(named),
        }
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if self.is_new
            && let Err(error) = self.remove()
        {
            tracing::warn!("{error:#}");
        }
    }
}

fn make_directory(path: &Path) -> Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("state.pins: {}", path.display()))
}

fn is_empty(directory: &Path) -> Result<bool> {
    let entries = fs::read_dir(directory).with_context(|| format!("{}", directory.display()))?;
    Ok(entries.count() == 0)
}

fn make_all(root: &Path) -> Result<()> {
    ensure_bpffs(root)?;
    [root.to_owned(), root.join("maps"), root.join("links")].iter().try_for_each(|path| make_directory(path))
}

/// Where there is a bpffs of the packaged service, most likely it was that which read the config.
fn told_the_service(root: &Path, error: anyhow::Error) -> anyhow::Error {
    if root.starts_with(SERVICES_BPF_FS) || !is_bpffs(Path::new(SERVICES_BPF_FS)).unwrap_or_default() {
        return error;
    }
    error.context(format!("the service wants pins = \"{SERVICES_BPF_FS}/pins\" in [state] of its config"))
}

/// A bpffs must be there. Where nothing is mounted at the conventional place, it is mounted, as
/// bpftool and libbpf users expect; anywhere else that is for the operator to do.
fn ensure_bpffs(root: &Path) -> Result<()> {
    ensure!(root.is_absolute(), "state.pins: {} is not an absolute path", root.display());
    let existing = root.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    if is_bpffs(existing)? {
        let mounted =
            rustix::fs::statvfs(existing).with_context(|| format!("state.pins: {}", root.display()))?;
        ensure!(
            !mounted.f_flag.contains(StatVfsMountFlags::RDONLY),
            "state.pins: {} is on a bpffs that is mounted read-only, and what counts there cannot be taken over; \
             `mount -o remount,rw` makes it writable",
            root.display()
        );
        return Ok(());
    }
    let remedy = format!("mount one with `mount -t bpf bpf {BPF_FS}`");
    if root.starts_with(BPF_FS) && existing == Path::new(BPF_FS) {
        let flags = rustix::mount::MountFlags::NOSUID
            | rustix::mount::MountFlags::NODEV
            | rustix::mount::MountFlags::NOEXEC;
        rustix::mount::mount("bpf", BPF_FS, "bpf", flags, c"mode=0700").map_err(|error| {
            anyhow!("state.pins: no bpffs at {BPF_FS}, and mounting it failed: {error}; {remedy}")
        })?;
        tracing::info!(path = BPF_FS, "mounted a bpffs");
        return Ok(());
    }
    bail!("state.pins: {} is not on a bpffs; {remedy} and choose a directory on it", root.display())
}

fn is_bpffs(path: &Path) -> Result<bool> {
    let found = rustix::fs::statfs(path).with_context(|| format!("state.pins: {}", path.display()))?;
    #[allow(
        clippy::cast_sign_loss,
        reason = "the magic number is 32 bits in a word whose sign varies by architecture"
    )]
    Ok(found.f_type as u64 & 0xffff_ffff == BPF_FS_MAGIC)
}

/// The process that holds the lock, from /proc/locks (proc(5)): "1: FLOCK ADVISORY WRITE pid maj:min:inode …";
/// `None` where there is no directory, or nobody holds it that can be seen from here.
///
/// # Errors
/// When the directory may not be looked at, or the kernel does not tell its locks.
pub fn holder(root: &Path) -> std::io::Result<Option<u32>> {
    let found = match fs::metadata(root) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        found => found?,
    };
    let (major, minor) = (rustix::fs::major(found.dev()), rustix::fs::minor(found.dev()));
    let locked = format!("{major:02x}:{minor:02x}:{}", found.ino());
    for line in BufReader::new(File::open("/proc/locks")?).lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        if let [_, "FLOCK", _, _, pid, what, ..] = words[..]
            && what == locked
        {
            return Ok(pid.parse().ok());
        }
    }
    Ok(None)
}
