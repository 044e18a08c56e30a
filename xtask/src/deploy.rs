//! `test-deploy`: the package on a booted Debian. A root made by debootstrap, a disk image of it, Debian's own
//! kernel in QEMU; inside, what an operator does, from apt to purge (`deploy/operator.sh`).
//!
//! Each step that held is a line, with its figure; the first that did not ends the run. Nothing is installed
//! on this machine but the programs that make and boot the image.

mod disk;

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
}

const LIMIT: Duration = Duration::from_mins(15);

/// What the disk, its file system, traffic and counting need.
const MODULES: &[&str] =
    &["virtio_pci", "virtio_blk", "crc32c_generic", "ext4", "veth", "sch_ingress", "cls_bpf"];

/// What the operator's script says, a line a step, and its last word.
const STEP: &str = "deploy: ";
const DONE: &str = "deploy: done";

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
    setup::for_deploying()?;
    // The upgrade first: what is left in target is then what is packed.
    let packages =
        [package::make(Arch::Amd64, Build::MadeUpUpgrade)?, package::make(Arch::Amd64, Build::Release)?];
    let place = cargo::target().join("deploy");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    for series in chosen {
        let kernel = archive::fetch(series, false)?;
        let image = disk::image(series.release, &packages, &place, &root)?;
        boot(series, &kernel, image, &place)?;
    }
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
    let (mut steps, mut is_done, since) = (0, false, Instant::now());
    let in_time = guest::run(&guest, |line| {
        is_done |= line == DONE;
        if let Some(step) = line.strip_prefix(STEP) {
            println!("{release}: {:4.0} s  {step}", since.elapsed().as_secs_f64());
            steps += 1;
        }
    })?;
    let log = guest.log.display();
    ensure!(in_time, "{release}: its {} minutes were over; {log}", LIMIT.as_secs() / 60);
    if !is_done {
        let said = fs::read_to_string(&guest.log).unwrap_or_default();
        let lines: Vec<&str> = said.lines().collect();
        let last = lines[lines.len().saturating_sub(30)..].join("\n  ");
        bail!("{release}: not all of it held; the last lines of {log}:\n  {last}");
    }
    println!("{release}: {steps} lines, all of it held; transcript in {log}");
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
    fn a_release_without_a_kernel_of_the_table_is_refused_naming_those_there_are() {
        assert_eq!(series("bullseye").unwrap().name, "5.10");
        let message = series("buster").unwrap_err().to_string();
        assert_eq!(message, "--release buster: there are bullseye, bookworm, trixie");
    }
}
