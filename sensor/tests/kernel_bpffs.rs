//! A bpffs that is not there, not writable, or not writable any more: what may be mended is, and what
//! may not is named, with nothing attached by halves.

#[path = "../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod support;

use packets::build::from;
use packets::{HOST, STAR};
use rustix::process::Signal;
use support::PinsDirectory;
use support::bpffs::Bpffs;
use support::daemon::Daemon;
use support::hooks::Ours;
use support::namespace::{Namespace, run};
use support::refusal::refuses;
use support::wire::Wire;

const TOP: &str = "interfaces = [\"eth*\"]\n";

fn packets(daemon: &Daemon) -> u64 {
    daemon.metrics().sum("poolwatch_packets_total", &[("target", "star-kp"), ("direction", "egress")])
}

/// A shell line in a mount namespace of its own, before the daemon takes its place.
fn after(prepare: &str) -> [&str; 6] {
    ["unshare", "--mount", "sh", "-c", prepare, "sh"]
}

#[test]
fn where_no_bpffs_is_mounted_root_mounts_one_and_who_may_not_is_told_how() {
    let (near, _far) = Namespace::pair();
    let mounted = "umount -l /sys/fs/bpf 2> /dev/null; exec \"$@\"";
    let daemon = Daemon::spawn_through(&near, &after(mounted), PinsDirectory::new(), TOP).ready();
    assert!(daemon.log().contains("mounted a bpffs"), "{}", daemon.log());
    assert_eq!(daemon.get("/readyz").expect("it answers").0, 200);
    drop(daemon);

    // Elsewhere: filters on clsact outlive the bpffs that they were noted on.
    let (near, _far) = Namespace::pair();
    // By its path: a shell of busybox has a poorer one of its own.
    let admin = ["/usr/bin/setpriv", "--bounding-set", "-sys_admin", "--inh-caps", "-sys_admin"];
    let through = [after(mounted).as_slice(), &admin].concat();
    let daemon = Daemon::spawn_through(&near, &through, PinsDirectory::new(), TOP);
    refuses(&near, daemon, "no bpffs at /sys/fs/bpf, and mounting it failed: Operation not permitted");
}

#[test]
fn a_bpffs_that_is_read_only_is_named_and_nothing_is_attached() {
    let (near, _far) = Namespace::pair();
    let prepare = "mountpoint -q /sys/fs/bpf || mount -t bpf bpf /sys/fs/bpf; \
                   mount -o remount,bind,ro /sys/fs/bpf; exec \"$@\"";
    let daemon = Daemon::spawn_through(&near, &after(prepare), PinsDirectory::new(), TOP);
    let expected = format!(
        "state.pins: {} is on a bpffs that is mounted read-only, and what counts there cannot be taken over; \
         `mount -o remount,rw` makes it writable",
        daemon.pins.path().display()
    );
    refuses(&near, daemon, &expected);
}

#[test]
fn a_pins_directory_that_may_not_be_written_is_named_even_to_root() {
    let (near, _far) = Namespace::pair();
    let nobodys = Bpffs::mount(65_534, 0o755);
    let daemon = Daemon::spawn(&near, nobodys.pins(), TOP, "", &[]);
    let expected = format!("state.pins: {}: Permission denied", daemon.pins.path().display());
    refuses(&near, daemon, &expected);
}

#[test]
fn a_bpffs_that_becomes_read_only_keeps_what_counts_counting_and_is_said_to_be_why_others_wait() {
    let (near, _far) = Namespace::pair();
    let bpffs = Bpffs::mount(0, 0o700);
    let daemon = Daemon::start_on(&near, bpffs.pins(), TOP, "", &[]);
    let attached = |count| {
        daemon.wait_for(&format!("{count} hooks"), |metrics| {
            metrics.sum("poolwatch_interface_attached", &[]) == count
        });
    };
    attached(2);
    bpffs.remount("ro");
    near.ip("link add eth7 type veth peer name peth7");
    near.ip("link set eth7 up");
    let wire = Wire::open(&near, "eth0");
    daemon.wait_for("a complaint", |_| daemon.get("/readyz").is_some_and(|(code, _)| code == 503));
    let (_, why) = daemon.get("/readyz").expect("it answers");
    assert!(why.contains("eth7") && why.contains("Read-only file system"), "{why}");
    wire.send(&from(HOST, STAR).bytes());
    assert_eq!(packets(&daemon), 1);
    bpffs.remount("rw");
    attached(4);
    wire.send(&from(HOST, STAR).bytes());
    assert_eq!(packets(&daemon), 2);
    assert_eq!(daemon.get("/readyz").expect("it answers").0, 200);
}

/// What mends need not write, it does not: the qdisc is someone else's, and our filters are noted.
#[test]
fn a_filter_that_someone_removes_comes_back_on_a_bpffs_that_became_read_only() {
    let (near, _far) = Namespace::pair();
    let bpffs = Bpffs::mount(0, 0o700);
    let tc = |arguments: &str| run(near.command("tc").args(arguments.split_whitespace()));
    tc("qdisc add dev eth0 clsact");
    let top = "interfaces = [\"eth0\"]\nattach = \"clsact\"\n";
    let daemon = Daemon::start_on(&near, bpffs.pins(), top, "", &[]);
    bpffs.remount("ro");
    tc("filter delete dev eth0 egress");
    let until = |expected| daemon.wait_for("it", |_| Ours::on(&near, "eth0") == expected);
    until(Ours::ON_CLSACT);
    assert!(!daemon.log().contains("ERROR"), "{}", daemon.log());

    // Someone else's filter is where ours was, so that there must be another note.
    daemon.signal(Signal::STOP);
    tc("filter delete dev eth0 egress");
    run(near
        .command("tc")
        .args("filter add dev eth0 egress pref 1 handle 0x706f6f6c bpf da bytecode".split(' '))
        .arg("1,6 0 0 4294967295"));
    daemon.signal(Signal::CONT);
    daemon.wait_for("a complaint", |_| daemon.get("/readyz").is_some_and(|(code, _)| code == 503));
    let (_, why) = daemon.get("/readyz").expect("it answers");
    assert!(why.contains("poolwatch_out") && why.contains("Read-only file system"), "{why}");
    assert_eq!(Ours::on(&near, "eth0"), Ours { clsact: [1, 0], ..Ours::NOWHERE }, "ingress counts on");
    bpffs.remount("rw");
    until(Ours::ON_CLSACT);
}

#[test]
fn a_bpffs_that_is_read_only_at_a_start_over_what_counts_is_named_with_the_remedy() {
    let (near, _far) = Namespace::pair();
    let bpffs = Bpffs::mount(0, 0o700);
    let (_, pins, _) = Daemon::start_on(&near, bpffs.pins(), TOP, "", &[]).stop();
    bpffs.remount("ro");
    let mut daemon = Daemon::spawn(&near, pins, TOP, "", &[]);
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.log().contains("`mount -o remount,rw` makes it writable"), "{}", daemon.log());
    assert_eq!(Ours::on(&near, "eth0").most(), 1, "it counts on");
    bpffs.remount("rw");
}
