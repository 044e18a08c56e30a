//! `test-deploy`: the package on a booted Debian. A root made by debootstrap, a disk image of it, Debian's own
//! kernel in QEMU; or in a container on the running kernel. Inside, what an operator does, from apt to purge
//! (`deploy/operator.sh`).
//!
//! Each step that held is a line, with its figure; the first that did not ends the run. Nothing is installed
//! on this machine but the programs that make and boot the image.

mod container;
mod disk;
mod tree;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{
    cargo,
    kernels::{
        archive::{self, Kernel},
        guest::{self, Guest},
        initramfs::{self, Staged},
        modules,
        series::{SERIES, Series},
    },
    package::{self, Arch, Build},
    root, setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Debian's releases to install on, each with its own kernel
    #[arg(long, value_name = "RELEASE", value_delimiter = ',', default_value = "bookworm")]
    release: Vec<String>,

    /// In systemd-nspawn on the running kernel: a minute and a half, and times that mean something
    #[arg(long)]
    container: bool,
}

const LIMIT: Duration = Duration::from_mins(15);

/// What the disk, its file system, traffic and counting need.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "veth", "sch_ingress", "cls_bpf"];

/// What the operator's script says, a line a step, and its last word.
const STEP: &str = "deploy: ";
const DONE: &str = "deploy: done";

/// The second serial line, on which a guest is listened to.
const SPEAKS: &str = "StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS1";

/// Finds the disk, and makes Debian's init the init.
const INIT: &str = "#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /disk /applets
/bin/busybox --install -s /applets
export PATH=/applets
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
for module in $(cat /modules/order); do insmod \"$module\" || echo \"cannot load $module\"; done
for attempt in 1 2 3 4 5 6 7 8 9 10; do
    mount -t ext4 /dev/vda /disk && break
    sleep 1
done
umount /sys /proc /dev
exec switch_root /disk /sbin/init
";

pub(crate) fn test_deploy(arguments: &Arguments) -> Result<()> {
    let root = root::find("debootstrap")?;
    let chosen = arguments.release.iter().map(|release| series(release)).collect::<Result<Vec<_>>>()?;
    setup::for_deploying(arguments.container)?;
    // The upgrade first: what is left in target is then what is packed.
    let packages =
        [package::make(Arch::Amd64, Build::MadeUpUpgrade)?, package::make(Arch::Amd64, Build::Release)?];
    let place = cargo::target().join("deploy");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    for series in chosen {
        let release = series.release;
        if arguments.container {
            println!("{release}: booting in a container …");
            let tree = tree::make(release, &packages, container::SPEAKS, &place, &root)?;
            let said = container::run_to_its_end(&tree, &root)?;
            let log = place.join(format!("{release}.container.log"));
            fs::write(&log, &said).with_context(|| format!("cannot write {}", log.display()))?;
            steps(&said).for_each(|step| println!("{release}: {step}"));
            judge(release, &said, &log)?;
        } else {
            let kernel = archive::fetch(series, false)?;
            let tree = tree::make(release, &packages, SPEAKS, &place, &root)?;
            let image = disk::image(&tree, &place.join(format!("{release}.ext4")), &root)?;
            boot(series, &kernel, image, &place)?;
        }
    }
    Ok(())
}

/// What the operator's script says of each step that held, or of the one that did not.
fn steps(said: &str) -> impl Iterator<Item = &str> {
    said.lines().filter_map(|line| line.strip_prefix(STEP))
}

/// Did it come to its end? `log`: where the transcript is.
fn judge(release: &str, said: &str, log: &Path) -> Result<()> {
    const LAST_LINES: usize = 30;
    let lines: Vec<&str> = said.lines().collect();
    if !lines.contains(&DONE) {
        let last = lines[lines.len().saturating_sub(LAST_LINES)..].join("\n  ");
        bail!("{release}: not all of it held; the last lines of {}:\n  {last}", log.display());
    }
    println!("{release}: {} lines, all of it held; transcript in {}", steps(said).count(), log.display());
    Ok(())
}

fn series(release: &str) -> Result<&'static Series> {
    let Some(series) = SERIES.iter().find(|series| series.release == release) else {
        let known: Vec<&str> = SERIES.iter().map(|series| series.release).collect();
        bail!("--release {release}: there are {}", known.join(", "));
    };
    Ok(series)
}

fn boot(series: &Series, kernel: &Kernel, disk: PathBuf, place: &Path) -> Result<()> {
    let release = series.release;
    let guest = Guest {
        image: kernel.image()?,
        initramfs: initramfs(kernel, place)?,
        disk: Some(disk),
        log: place.join(format!("{release}.log")),
        console: place.join(format!("{release}.console.log")),
        limit: LIMIT,
    };
    println!("{release}: booting {} …", kernel.version);
    let since = Instant::now();
    let in_time = guest::run(&guest, |line| {
        if let Some(step) = line.strip_prefix(STEP) {
            println!("{release}: {:4.0} s  {step}", since.elapsed().as_secs_f64());
        }
    })?;
    ensure!(in_time, "{release}: its {} minutes were over; {}", LIMIT.as_secs() / 60, guest.log.display());
    judge(release, &fs::read_to_string(&guest.log).context("its transcript")?, &guest.log)?;
    fs::remove_file(guest.disk.context("it had a disk")?).context("cannot remove the disk image")
}

/// The modules that bring the disk, and the init that finds it.
fn initramfs(kernel: &Kernel, place: &Path) -> Result<PathBuf> {
    let staged = Staged::new(place.join("initramfs"))?;
    let busybox = cargo::find_program("busybox").context("no busybox")?;
    staged.write(Path::new("/bin/busybox"), &fs::read(busybox)?, 0o755)?;
    let mut order = Vec::new();
    for module in modules::wanted(&kernel.modules()?, MODULES)? {
        let path = initramfs::module_path(&module);
        staged.write(&path, &module.bytes, 0o644)?;
        order.push(path.display().to_string());
    }
    staged.write(Path::new("/modules/order"), order.join("\n").as_bytes(), 0o644)?;
    staged.write(Path::new("/init"), INIT.as_bytes(), 0o755)?;
    let archive = place.join("initramfs.cpio");
    let mut file =
        fs::File::create(&archive).with_context(|| format!("cannot write {}", archive.display()))?;
    staged.pack(&mut file)?;
    Ok(archive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transcript_without_its_last_word_is_a_failure_that_shows_its_last_lines() {
        let log = Path::new("/t/log");
        judge("bookworm", "noise\ndeploy: one\ndeploy: done\n", log).unwrap();
        let message = judge("bookworm", "deploy: one\ndeploy: FAILED: two\n", log).unwrap_err().to_string();
        assert!(message.contains("/t/log:\n  deploy: one\n  deploy: FAILED: two"), "{message}");
        assert_eq!(steps("noise\ndeploy: one\n").collect::<Vec<_>>(), ["one"]);
    }

    #[test]
    fn a_release_without_a_kernel_of_the_table_is_refused_naming_those_there_are() {
        assert_eq!(series("bullseye").unwrap().name, "5.10");
        let message = series("buster").unwrap_err().to_string();
        assert_eq!(message, "--release buster: there are bullseye, bookworm, trixie");
    }
}
