//! Kernel packages out of Debian's security archive: read with apt and lists of our own, checked,
//! kept under target/kernels and unpacked there. Nothing is installed.
//!
//! The mirror is the one that this machine's own apt takes security updates from, if it takes any
//! from Debian.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::series::Series;
use crate::cargo;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DEFAULT_MIRROR: &str = "http://deb.debian.org/debian-security";

/// An unpacked kernel package.
pub(crate) struct Kernel {
    pub(crate) version: String,
    pub(crate) root: PathBuf,
    /// What is to be known about where it comes from.
    pub(crate) note: Option<String>,
}

impl Kernel {
    pub(crate) fn image(&self) -> Result<PathBuf> {
        only_entry(&self.root.join("boot"), "vmlinuz-")
    }

    /// The directory of its modules: a merged /usr or not.
    pub(crate) fn modules(&self) -> Result<PathBuf> {
        let place = ["usr/lib/modules", "lib/modules"].map(|place| self.root.join(place));
        let place = place.iter().find(|place| place.is_dir()).context("the kernel package has no modules")?;
        only_entry(place, "")
    }
}

fn only_entry(place: &Path, prefix: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(place).with_context(|| format!("cannot read {}", place.display()))?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| {
            path.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(prefix))
        })
        .with_context(|| format!("{} has no {prefix}*", place.display()))
}

/// One package at one version.
struct Package {
    name: String,
    version: String,
}

/// Take the kernel of the table, or the current one of its series, and unpack it.
pub(crate) fn fetch(series: &Series, current: bool) -> Result<Kernel> {
    let place = cargo::target().join("kernels").join("packages");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let pinned = Package { name: series.package.to_owned(), version: series.version.to_owned() };
    if current {
        let apt = Apt::update(series)?;
        let newest = apt.newest()?;
        let note = format!("{} is the current one; its checksum is apt's own", newest.version);
        return taken(&apt.download(&newest, &place)?, newest, Some(note));
    }
    let archive = place.join(file_name(&pinned));
    if archive.is_file() && sha256(&archive)? == series.sha256 {
        return taken(&archive, pinned, None);
    }
    let apt = Apt::update(series)?;
    if !apt.has(&pinned)? {
        let newest = apt.newest()?;
        let note = format!(
            "{} has left the archive; took {}, whose checksum is apt's own: update SERIES",
            pinned.version, newest.version
        );
        return taken(&apt.download(&newest, &place)?, newest, Some(note));
    }
    let archive = apt.download(&pinned, &place)?;
    let found = sha256(&archive)?;
    if found != series.sha256 {
        bail!("{} has the checksum {found}, and not {}", archive.display(), series.sha256);
    }
    taken(&archive, pinned, None)
}

/// As apt names what it downloads.
fn file_name(package: &Package) -> String {
    format!("{}_{}_amd64.deb", package.name, package.version.replace(':', "%3a"))
}

fn taken(archive: &Path, package: Package, note: Option<String>) -> Result<Kernel> {
    let root = archive.with_extension("");
    if !root.is_dir() {
        // Under another name first: an interrupted call leaves no half of a kernel.
        let half = archive.with_extension("half");
        if half.exists() {
            fs::remove_dir_all(&half).with_context(|| format!("cannot remove {}", half.display()))?;
        }
        cargo::read(Command::new("dpkg").arg("-x").arg(archive).arg(&half))?;
        fs::rename(&half, &root).with_context(|| format!("cannot rename {}", half.display()))?;
    }
    Ok(Kernel { version: package.version, root, note })
}

fn sha256(file: &Path) -> Result<String> {
    let said = cargo::read(Command::new("sha256sum").arg("--").arg(file))?;
    said.split(' ').next().map(str::to_owned).context("sha256sum says nothing")
}

/// apt with the lists of one series' archive, and none of the system's.
struct Apt {
    release: &'static str,
    place: PathBuf,
}

impl Apt {
    fn update(series: &Series) -> Result<Self> {
        if !Path::new(KEYRING).is_file() {
            bail!("no {KEYRING}, with which kernel packages are checked: it is in debian-archive-keyring");
        }
        let place = cargo::target().join("kernels").join("apt").join(series.release);
        for directory in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(place.join(directory)).context("cannot make room for package lists")?;
        }
        let targets = cargo::read(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]))?;
        let source = format!(
            "deb [signed-by={KEYRING} arch=amd64 target=Packages] {} {}-security main\n",
            mirror(&targets, "/debian-security", DEFAULT_MIRROR),
            series.release
        );
        let list = place.join("sources.list");
        fs::write(&list, source).with_context(|| format!("cannot write {}", list.display()))?;
        let apt = Self { release: series.release, place };
        cargo::read(apt.command("apt-get").args(["-qq", "-o", "APT::Update::Error-Mode=any", "update"]))
            .with_context(|| format!("the package list of {}-security", series.release))?;
        Ok(apt)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = self.place.display();
        for option in [
            format!("Dir::Etc::SourceList={place}/sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            format!("Dir::State::Lists={place}/lists"),
            format!("Dir::Cache={place}/cache"),
            "APT::Sandbox::User=root".to_owned(),
            "Acquire::Languages=none".to_owned(),
            // A release that gets no more updates stays as it is, and its lists expire.
            "Acquire::Check-Valid-Until=false".to_owned(),
        ] {
            command.args(["-o", &option]);
        }
        command
    }

    fn has(&self, package: &Package) -> Result<bool> {
        let listed = cargo::read(self.command("apt-cache").args(["madison", &package.name]))?;
        Ok(lists(&listed, &package.version))
    }

    /// What the metapackage of this archive's cloud kernels stands for.
    fn newest(&self) -> Result<Package> {
        let shown = cargo::read(self.command("apt-cache").args(["show", "linux-image-cloud-amd64"]))?;
        stands_for(&shown).with_context(|| format!("{}-security names no current kernel", self.release))
    }

    fn download(&self, package: &Package, place: &Path) -> Result<PathBuf> {
        let name = format!("{}={}", package.name, package.version);
        eprintln!("kernels: downloading {name} …");
        cargo::read(self.command("apt-get").args(["-qq", "download", &name]).current_dir(place))?;
        Ok(place.join(file_name(package)))
    }
}

/// Of the repositories that this machine's apt knows, the one whose address ends so.
pub(crate) fn mirror<'a>(targets: &'a str, end: &str, default: &'a str) -> &'a str {
    targets.lines().map(|uri| uri.trim_end_matches('/')).find(|uri| uri.ends_with(end)).unwrap_or(default)
}

/// `linux-image-6.1.0-56-cloud-amd64 | 6.1.192-2 | http://…`, a line a version.
fn lists(listed: &str, version: &str) -> bool {
    listed.lines().filter_map(|line| line.split('|').nth(1)).any(|found| found.trim() == version)
}

/// `Depends: linux-image-6.1.0-56-cloud-amd64 (= 6.1.192-2)`
fn stands_for(shown: &str) -> Option<Package> {
    let depends = shown.lines().find_map(|line| line.strip_prefix("Depends: "))?;
    let (name, version) = depends.split(',').next()?.trim().split_once(" (= ")?;
    Some(Package { name: name.to_owned(), version: version.strip_suffix(')')?.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mirror_is_the_one_of_this_machine_when_it_has_one() {
        let targets = "http://packages.example/apt/\nhttp://mirror.example/debian/\n\
                       http://mirror.example/debian-security/\n";
        let security = |targets| mirror(targets, "/debian-security", DEFAULT_MIRROR);
        assert_eq!(security(targets), "http://mirror.example/debian-security");
        assert_eq!(mirror(targets, "/debian", "none"), "http://mirror.example/debian");
        assert_eq!(security("http://archive.example/ubuntu/\n"), DEFAULT_MIRROR);
        assert_eq!(security(""), DEFAULT_MIRROR);
    }

    #[test]
    fn a_version_is_listed_or_has_left_the_archive() {
        let listed = " linux-image-x | 6.1.192-2 | http://mirror.example/debian-security main Packages\n";
        assert!(lists(listed, "6.1.192-2"));
        assert!(!lists(listed, "6.1.19"));
        assert!(!lists("", "6.1.192-2"));
    }

    #[test]
    fn the_metapackage_names_the_current_kernel() {
        let shown = "Package: linux-image-cloud-amd64\nVersion: 6.12.117-1\n\
                     Depends: linux-image-6.12.117+deb13-cloud-amd64 (= 6.12.117-1)\n";
        let package = stands_for(shown).unwrap();
        assert_eq!(package.name, "linux-image-6.12.117+deb13-cloud-amd64");
        assert_eq!(package.version, "6.12.117-1");
        assert_eq!(file_name(&package), "linux-image-6.12.117+deb13-cloud-amd64_6.12.117-1_amd64.deb");
        assert!(stands_for("Package: linux-image-cloud-amd64\n").is_none());
    }
}
