//! The init of a guest, a shell script: mounts, modules, then one group of tests after another, with
//! lines between them that [`super::transcript`] reads, and power off.
//!
//! Nothing is mounted on /tmp: the checkout, whose paths the guest has, may lie there.
//! The kernel speaks on the first serial line, the tests on the second, so that neither breaks into
//! the other's lines.

use std::{ffi::OsString, fmt::Write as _, path::Path};

use super::{
    initramfs,
    modules::Module,
    transcript::{BEGIN, DONE, END, HOOKS, STDERR},
};
use crate::test_binaries::TestBinary;

/// One test binary, and what is handed to its harness.
#[derive(Clone)]
pub(crate) struct Group<'a> {
    pub(crate) binary: &'a TestBinary,
    pub(crate) harness: Vec<String>,
}

/// How long one group may take, so that one that hangs does not take the others with it.
const GROUP_SECONDS: u32 = 1500;

/// In the guest.
const HOOKS_FILE: &str = "/run/hooks";

const PRELUDE: &str = "#!/bin/busybox sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin:/applets HOME=/tmp
/bin/busybox mkdir -p /proc /sys /dev /tmp /run /etc /applets
/bin/busybox --install -s /applets
mount -t devtmpfs dev /dev
exec </dev/null >/dev/ttyS1 2>&1
stty -F /dev/ttyS1 -opost
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
chmod 1777 /tmp
echo 'root:x:0:0::/tmp:/bin/sh' >/etc/passwd
echo 'root:x:0:' >/etc/group
ip link set lo up
";

pub(crate) fn script(modules: &[Module], groups: &[Group], patience: u32) -> String {
    let mut script = PRELUDE.to_owned();
    let mut line = |text: String| writeln!(script, "{text}").expect("writing to a string");
    for module in modules {
        let path = initramfs::module_path(module);
        line(format!("insmod {path} || echo 'cannot load {path}'", path = path.display()));
    }
    line(format!("export POOLWATCH_TEST_PATIENCE={patience} POOLWATCH_TEST_HOOKS={HOOKS_FILE}"));
    for group in groups {
        line(run(group));
    }
    line(format!("echo '{DONE}'"));
    line("poweroff -f".to_owned());
    script
}

fn run(group: &Group) -> String {
    let name = &group.binary.name;
    let mut environment = String::new();
    for (key, value) in group.binary.environment() {
        if key != "PATH" {
            write!(environment, " {key}={}", quoted(&value)).expect("writing to a string");
        }
    }
    let mut arguments = String::new();
    for argument in &group.harness {
        write!(arguments, " {}", quoted(&argument.into())).expect("writing to a string");
    }
    format!(
        "echo '{BEGIN} {name}'\n\
         : >{HOOKS_FILE}\n\
         cd {directory}\n\
         env{environment} timeout -s KILL {GROUP_SECONDS} {executable} --test-threads=1{arguments} 2>/tmp/stderr\n\
         status=$?\n\
         sed 's/^/{STDERR} /' /tmp/stderr\n\
         echo {HOOKS} $(sort -u {HOOKS_FILE})\n\
         echo {END} {name} $status",
        directory = quoted(&group.binary.directory().into()),
        executable = quoted(&group.binary.executable.clone().into()),
    )
}

/// Whether a group has tests that wait until the machine has been up for some minutes.
pub(crate) fn waits(group: &str) -> bool {
    group == "kernel_packets"
}

/// For the shell.
fn quoted(text: &OsString) -> String {
    format!("'{}'", Path::new(text).display().to_string().replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn example() -> String {
        let modules = ["nf_tables", "veth"].map(|name| Module { name: name.to_owned(), bytes: vec![] });
        let binary = TestBinary::made_up("kernel_attach");
        let harness = vec!["--skip".to_owned(), "it's".to_owned()];
        script(&modules, &[Group { binary: &binary, harness }], 15)
    }

    #[test]
    fn a_shell_can_read_it() {
        let read = Command::new("sh").args(["-n", "-c", &example()]).output().unwrap();
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    }

    #[test]
    fn modules_come_before_groups_and_the_end_comes_last() {
        let script = example();
        let at = |part: &str| script.find(part).unwrap_or_else(|| panic!("no {part:?} in\n{script}"));
        let parts = [
            "insmod /modules/nf_tables.ko",
            "insmod /modules/veth.ko",
            "echo 'guest: begin kernel_attach'",
            "cd '/a checkout/sensor'",
            "'/a checkout/target/release/deps/kernel_attach-1' --test-threads=1 '--skip' 'it'\\''s'",
            "echo guest: end kernel_attach $status",
            "echo 'guest: done'",
            "poweroff -f",
        ];
        assert!(parts.map(at).is_sorted(), "{script}");
    }
}
