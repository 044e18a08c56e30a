//! One guest: QEMU under software emulation, its two serial lines into two logs, and its end, by
//! itself or when its time is over. It ends with us, however we end.

use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use crate::cargo;

const QEMU: &str = "qemu-system-x86_64";
const MEMORY_MIB: u32 = 3072;
const CPUS: u32 = 2;
/// A kernel that is locked up for two minutes ends, and says where.
const KERNEL_ARGUMENTS: &str =
    "console=ttyS0 loglevel=4 panic=-1 softlockup_panic=1 watchdog_thresh=60 random.trust_cpu=on";

/// What QEMU starts, and where it speaks.
pub(crate) struct Guest {
    pub(crate) image: PathBuf,
    pub(crate) initramfs: PathBuf,
    /// An image that is its disk; what it writes there is worth nothing if the machine crashes.
    pub(crate) disk: Option<PathBuf>,
    /// What the tests say.
    pub(crate) log: PathBuf,
    /// What the kernel says.
    pub(crate) console: PathBuf,
    pub(crate) limit: Duration,
}

/// Kills and reaps it, also when something else went wrong.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs it, handing each line of the tests on; false when its time was over first.
pub(crate) fn run(guest: &Guest, mut line: impl FnMut(&str)) -> Result<bool> {
    let mut log =
        File::create(&guest.log).with_context(|| format!("cannot write {}", guest.log.display()))?;
    let mut running = Running(command(guest).spawn().with_context(|| format!("cannot start {QEMU}"))?);
    let output = running.0.stdout.take().context("its serial line is not piped")?;
    let lines = lines(output);
    let end = Instant::now() + guest.limit;
    loop {
        match lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(text) => {
                writeln!(log, "{text}").context("cannot write the log")?;
                line(&text);
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(true),
            Err(RecvTimeoutError::Timeout) => return Ok(false),
        }
    }
}

fn command(guest: &Guest) -> Command {
    // setpriv has the kernel kill QEMU when we die, also of a signal that nobody can catch.
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", QEMU]);
    // KVM would be faster, and is not everywhere; what is emulated is the same on each machine.
    command.args(["-accel", "tcg", "-cpu", "max"]).arg("-smp").arg(CPUS.to_string());
    command.arg("-m").arg(MEMORY_MIB.to_string());
    command.args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]);
    command.arg("-kernel").arg(&guest.image).arg("-initrd").arg(&guest.initramfs);
    command.args(["-append", KERNEL_ARGUMENTS]);
    if let Some(disk) = &guest.disk {
        command.arg("-drive").arg(format!("file={},format=raw,if=virtio,cache=unsafe", disk.display()));
    }
    command.arg("-serial").arg(format!("file:{}", guest.console.display()));
    command.args(["-serial", "stdio"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).env("PATH", cargo::search_path());
    command
}

/// Each line as it comes, until QEMU closes its end.
fn lines(output: impl Read + Send + 'static) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim_end_matches('\r').to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

/// Did the emulated processors stop where no kernel does on hardware?
pub(crate) fn locked_up(console: &Path) -> bool {
    let bytes = std::fs::read(console).unwrap_or_default();
    String::from_utf8_lossy(&bytes).contains("soft lockup")
}

/// The last lines that a kernel said, for a guest that did not come to its end.
pub(crate) fn last_words(console: &Path) -> Vec<String> {
    const LINES: usize = 25;
    let bytes = std::fs::read(console).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let lines: Vec<&str> = text.lines().map(str::trim_end).collect();
    lines[lines.len().saturating_sub(LINES)..].iter().map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_emulator_dies_with_us_and_boots_what_it_was_given() {
        let guest = Guest {
            image: "/k/vmlinuz".into(),
            initramfs: "/k/5.10.cpio".into(),
            disk: Some("/k/disk".into()),
            log: "/k/5.10.log".into(),
            console: "/k/5.10.console.log".into(),
            limit: Duration::ZERO,
        };
        let line = cargo::describe(&command(&guest));
        assert!(line.starts_with("setpriv --pdeathsig KILL qemu-system-x86_64 -accel tcg "), "{line}");
        for part in [
            "-kernel /k/vmlinuz",
            "-initrd /k/5.10.cpio",
            "-drive file=/k/disk,format=raw",
            "-serial file:/k/5.10.console.log",
        ] {
            assert!(line.contains(part), "{line}");
        }
    }

    #[test]
    fn lines_come_without_their_ends_and_the_last_one_without_a_newline() {
        let lines: Vec<String> = lines(b"a\r\nb\nc".as_slice()).into_iter().collect();
        assert_eq!(lines, ["a", "b", "c"]);
    }
}
