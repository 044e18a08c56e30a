//! What keeps a daemon from starting, or a reload from taking effect: an error that names it,
//! exit 1, and nothing attached that was not before.

mod support;

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::daemon::{BINARY, Daemon};
use support::hooks::Ours;
use support::kernel;
use support::namespace::{Namespace, run};
use support::refusal::{nothing_is_attached, refuses};
use support::{PinsDirectory, patience};

const TOP: &str = "interfaces = [\"eth0\"]";

#[test]
fn a_busy_port_is_named() {
    let (near, _far) = Namespace::pair();
    let _busy = near.enter(|| TcpListener::bind("127.0.0.1:9750").expect("a port"));
    let daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, "", &[]);
    refuses(&near, daemon, "http.listen: 127.0.0.1:9750: Address already in use");
}

#[test]
fn a_pins_directory_that_is_not_on_a_bpffs_is_named() {
    let (near, _far) = Namespace::pair();
    let elsewhere = tempfile::TempDir::new().expect("a directory");
    let config = format!("{TOP}\n[state]\npins = \"{}\"\n", elsewhere.path().join("pins").display());
    let daemon = Daemon::spawn_with(&near, PinsDirectory::new(), &config, &[]);
    refuses(
        &near,
        daemon,
        "is not on a bpffs; mount one with `mount -t bpf bpf /sys/fs/bpf` and choose a directory on it",
    );
    assert_eq!(fs::read_dir(elsewhere.path()).expect("a directory").count(), 0);
}

#[test]
fn pins_of_a_running_daemon_are_refused_by_its_process_id() {
    let (near, _far) = Namespace::pair();
    let first = Daemon::start(&near, "");
    let config = fs::read_to_string(first.config()).expect("its config");
    let mut second =
        Daemon::spawn_with(&near, PinsDirectory::new(), &config, &["--listen", "127.0.0.1:9751"]);
    assert_eq!(second.wait().code(), Some(1));
    let expected = format!(
        "{} is locked by process {}: one daemon a directory",
        first.pins.path().display(),
        first.id()
    );
    assert!(second.log().contains(&expected), "{}\n{expected}", second.log());
    let detach = first.command("detach").output().expect("it runs");
    assert_eq!(detach.status.code(), Some(1), "nor are they detached under a daemon");
    assert!(String::from_utf8_lossy(&detach.stderr).contains("is locked by process"));
    assert_eq!(first.get("/readyz").expect("it answers").0, 200);
}

#[test]
fn an_interface_of_the_command_line_that_is_not_there_is_named() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, "", &["--interface", "eht0"]);
    refuses(&near, daemon, "--interface eht0: there is no such interface; there are lo, eth0");
}

/// The name is looked for before anything is touched: other limits would set the maps aside.
#[test]
fn an_interface_of_the_command_line_that_is_not_there_changes_nothing_of_what_counts() {
    let (near, _far) = Namespace::pair();
    let (_, pins, _) = Daemon::start(&near, "").stop();
    let arguments = ["--interface", "eht0"];
    let mut daemon = Daemon::spawn(&near, pins, TOP, "[limits]\nflows = 1000\n", &arguments);
    assert_eq!(daemon.wait().code(), Some(1));
    assert!(daemon.log().contains("there is no such interface"), "{}", daemon.log());
    assert!(!daemon.pins.path().join("former-0").exists(), "{}", daemon.log());
    assert_eq!(Ours::on(&near, "eth0").most(), 1);
}

#[test]
fn an_interface_that_cannot_be_attached_is_named_and_the_others_are_attached() {
    let (near, _far) = Namespace::pair();
    // The older form of clsact has no egress.
    run(near.command("tc").args(["qdisc", "add", "dev", "eth0", "ingress"]));
    near.ip("link add eth7 type veth peer name peth7");
    let top = "interfaces = [\"eth0\", \"eth7\"]\nattach = \"clsact\"";
    let daemon = Daemon::spawn(&near, PinsDirectory::new(), top, "", &[]);
    let since = Instant::now();
    while daemon.get("/readyz").is_none() && since.elapsed() < patience() {
        sleep(Duration::from_millis(20));
    }
    let (code, why) = daemon.get("/readyz").expect("it answers");
    let expected = "attaching poolwatch_in to eth0 by clsact: there is a qdisc of kind ingress";
    assert!(code == 503 && why.contains(expected), "{code}: {why}");
    let attached =
        |interface| daemon.metrics().sum("poolwatch_interface_attached", &[("interface", interface)]);
    assert_eq!((attached("eth0"), attached("eth7")), (0, 2), "{}", daemon.log());
    assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "not by halves");
    drop(daemon);

    near.ip("link delete eth7");
    let mut daemon = Daemon::spawn(&near, PinsDirectory::new(), top, "", &[]);
    assert_eq!(daemon.wait().code(), Some(1), "where none can be: {}", daemon.log());
    assert!(daemon.log().contains(expected), "{}", daemon.log());
}

#[test]
fn a_bad_list_attaches_nothing() {
    let (near, _far) = Namespace::pair();
    let lists = "[[watchlist]]\nname = \"bad\"\nprefixes = [\"10.0.0.0/33\"]\n";
    let daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, lists, &[]);
    refuses(&near, daemon, "poolwatch.toml:6: ");
}

#[test]
fn too_many_targets_attach_nothing() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::spawn(&near, PinsDirectory::new(), TOP, "[limits]\ntargets = 2\n", &[]);
    refuses(&near, daemon, "limits.targets");
}

#[test]
fn a_missing_capability_is_named_and_nothing_is_done_by_halves() {
    let (near, _far) = Namespace::pair();
    for (dropped, said) in [("bpf", "CAP_BPF"), ("net_admin", "CAP_NET_ADMIN"), ("perfmon", "CAP_PERFMON")] {
        // CAP_SYS_ADMIN stands for the two newer ones.
        let list = format!("-sys_admin,-{dropped}");
        let mut daemon = Daemon::spawn_through(
            &near,
            &["setpriv", "--bounding-set", &list, "--inh-caps", &list],
            PinsDirectory::new(),
            &format!("{TOP}\n"),
        );
        assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
        assert!(
            daemon.log().contains(&format!("poolwatch: missing {said}: run as root")),
            "{}",
            daemon.log()
        );
        nothing_is_attached(&near);
    }
}

#[test]
fn a_reload_adds_what_is_new_keeps_the_counts_and_refuses_what_is_wrong() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    let config = daemon.config();
    let before = fs::read_to_string(&config).expect("its config");
    let send = || {
        near.enter(|| {
            let socket = UdpSocket::bind("10.77.0.1:5000").expect("a socket");
            socket.send_to(b"x", "175.45.176.9:9").expect("it is sent");
        });
    };
    send();
    let write = |path: &Path, lists: &str| fs::write(path, format!("{before}\n{lists}")).expect("a config");
    let successful = "poolwatch_config_last_reload_successful";

    write(&config, "[[watchlist]]\nname = \"bad\"\nprefixes = [\"nonsense\"]\n");
    daemon.signal(Signal::HUP);
    let metrics = daemon.wait_for("a failed reload", |metrics| metrics.sum(successful, &[]) == 0);
    assert!(!metrics.0.contains("bad"));
    assert!(daemon.log().contains("\"nonsense\""), "{}", daemon.log());

    write(&config, "[[watchlist]]\nname = \"added\"\nprefixes = [\"175.45.176.0/24\"]\n");
    daemon.signal(Signal::HUP);
    daemon.wait_for("a reload", |metrics| metrics.sum(successful, &[]) == 1);
    send();
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("poolwatch_packets_total", &[("target", "star-kp")]), 2, "the old count goes on");
    assert_eq!(metrics.sum("poolwatch_packets_total", &[("target", "added")]), 1);
    assert_eq!(metrics.sum("poolwatch_connections_total", &[("target", "star-kp"), ("transport", "udp")]), 1);
}

#[test]
fn a_feed_file_that_changes_is_read_again_and_a_bad_one_leaves_the_old() {
    let (near, _far) = Namespace::pair();
    let directory = tempfile::TempDir::new().expect("a directory");
    let feed = directory.path().join("list.netset");
    fs::write(&feed, "198.51.100.0/24\n").expect("a feed");
    let lists =
        format!("[[watchlist]]\nname = \"list\"\n[[watchlist.feed]]\npath = \"{}\"\n", feed.display());
    let daemon = Daemon::start(&near, &lists);
    let prefixes = [("watchlist", "list"), ("kind", "prefixes")];
    let (indicators, successful) =
        ("poolwatch_watchlist_indicators", "poolwatch_config_last_reload_successful");
    assert_eq!(daemon.metrics().sum(indicators, &prefixes), 1);

    let replace = |text: &str| {
        let new = directory.path().join("new");
        fs::write(&new, text).expect("a feed");
        fs::rename(new, &feed).expect("it takes the old one's place");
    };
    replace("198.51.100.0/24\n203.0.113.0/24\n");
    daemon.wait_for("two prefixes", |metrics| metrics.sum(indicators, &prefixes) == 2);
    replace("");
    let metrics = daemon.wait_for("a refusal", |metrics| metrics.sum(successful, &[]) == 0);
    assert_eq!(metrics.sum(indicators, &prefixes), 2, "the old list stays");
    assert!(daemon.log().contains("list.netset"), "{}", daemon.log());
    replace("203.0.113.0/24\n");
    daemon.wait_for("one prefix", |metrics| metrics.sum(indicators, &prefixes) == 1);

    // Nor does it wait for the next one when it comes while the config does not hold.
    let config = fs::read_to_string(daemon.config()).expect("its config");
    fs::write(daemon.config(), "half of a [").expect("a config");
    replace("198.51.100.0/24\n203.0.113.0/24\n");
    daemon.wait_for("a refusal", |metrics| metrics.sum(successful, &[]) == 0);
    fs::write(daemon.config(), config).expect("the config");
    let metrics = daemon.wait_for("two again", |metrics| metrics.sum(indicators, &prefixes) == 2);
    assert_eq!(metrics.sum(successful, &[]), 1);
}

/// What counts is what was taken over last, not what there was at the start.
#[test]
fn a_config_that_was_written_after_the_start_is_missed_like_any_other() {
    let (near, _far) = Namespace::pair();
    // The pins are where they are by default, on a bpffs of its own.
    let prepare = "mount -t bpf bpf /sys/fs/bpf; for config; do :; done; : > \"$config\"; exec \"$@\"";
    let through = ["unshare", "--mount", "sh", "-c", prepare, "sh"];
    let daemon = Daemon::spawn_through(&near, &through, PinsDirectory::new(), TOP).ready();
    let (list, successful) = ([("watchlist", "list")], "poolwatch_config_last_reload_successful");
    let count = |expected| {
        daemon.wait_for(&format!("{expected} prefixes"), |metrics| {
            metrics.sum("poolwatch_watchlist_indicators", &list) == expected
        })
    };
    let write = |prefixes: &str| {
        let list = format!("[[watchlist]]\nname = \"list\"\nprefixes = [{prefixes}]\n");
        fs::write(daemon.config(), list).expect("a config");
    };
    write("\"198.51.100.0/24\"");
    daemon.signal(Signal::HUP);
    assert_eq!(count(1).sum(successful, &[]), 1);
    for is_gone in [false, true] {
        if is_gone { fs::remove_file(daemon.config()) } else { fs::write(daemon.config(), "") }
            .expect("nothing");
        daemon.signal(Signal::HUP);
        daemon.wait_for("a refusal", |metrics| metrics.sum(successful, &[]) == 0);
        count(1);
        // Mended, it is taken over though nobody says so.
        write("\"198.51.100.0/24\", \"203.0.113.0/24\"");
        assert_eq!(count(2).sum(successful, &[]), 1);
        write("\"198.51.100.0/24\"");
        daemon.signal(Signal::HUP);
        count(1);
    }
}

#[test]
fn a_daemon_whose_pins_are_removed_takes_its_programs_off_ends_and_says_so_and_a_removed_link_is_made_again()
{
    let (near, _far) = Namespace::pair();
    for hook in kernel::hooks() {
        let top = format!("{TOP}\nattach = \"{hook}\"");
        let mut daemon = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]);
        let links = daemon.pins.path().join("links");
        let count = || {
            let names = fs::read_dir(&links).expect("the directory").flatten();
            names.filter(|entry| !entry.file_name().to_string_lossy().ends_with("_qdisc")).count()
        };
        for link in fs::read_dir(&links).expect("the directory").flatten() {
            // A filter on clsact has no link to be pinned; its note is a directory.
            let removed = fs::remove_file(link.path()).or_else(|_| fs::remove_dir(link.path()));
            removed.expect("a link's pin");
        }
        daemon.wait_for("two links again", |_| count() == 2);
        assert_eq!(Ours::on(&near, "eth0"), Ours::once(hook), "not beside what lost its note");
        fs::remove_dir_all(daemon.pins.path()).expect("the pins");
        assert_eq!(daemon.wait().code(), Some(1));
        let log = daemon.log();
        assert!(
            log.lines().last().is_some_and(|last| last.contains("was removed while it was in use")),
            "{log}"
        );
        assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "{hook}");
    }
}

#[test]
fn a_daemon_that_is_stopped_as_soon_as_its_pins_are_removed_takes_its_programs_off_all_the_same() {
    let (near, _far) = Namespace::pair();
    for hook in kernel::hooks() {
        let top = format!("{TOP}\nattach = \"{hook}\"");
        let mut daemon = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]);
        fs::remove_dir_all(daemon.pins.path()).expect("the pins");
        daemon.signal(Signal::TERM);
        assert_eq!(daemon.wait().code(), Some(1));
        assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "{hook}");
    }
}

/// By the pins they are found again, wherever those are.
#[test]
fn a_daemon_whose_pins_are_moved_ends_and_leaves_its_programs_counting_and_detach_finds_them() {
    let (near, _far) = Namespace::pair();
    for hook in kernel::hooks() {
        let top = format!("{TOP}\nattach = \"{hook}\"");
        let mut daemon = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]);
        let moved = PinsDirectory::new();
        fs::rename(daemon.pins.path(), moved.path()).expect("the pins under another name");
        assert_eq!(daemon.wait().code(), Some(1));
        let log = daemon.log();
        assert!(log.lines().last().is_some_and(|last| last.contains("goes on counting")), "{log}");
        assert!(!log.contains("was removed"), "{log}");
        assert_eq!(Ours::on(&near, "eth0"), Ours::once(hook));
        run(near.command(BINARY).arg("detach").arg("--pins").arg(moved.path()));
        assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE, "{hook}");
    }
}

/// No note tells of them, but they count in these maps.
#[test]
fn filters_that_lost_their_notes_are_taken_off_with_their_pins() {
    let (near, _far) = Namespace::pair();
    let top = format!("{TOP}\nattach = \"clsact\"");
    let (pins, _) = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]).kill();
    for note in fs::read_dir(pins.path().join("links")).expect("the directory").flatten() {
        fs::remove_dir(note.path()).expect("a note");
    }
    let next = Daemon::start_on(&near, pins, &top, "", &[]);
    assert_eq!(next.log().matches("another poolwatch's, or left over").count(), 2, "{}", next.log());
    let (pins, _) = next.kill();
    let said = run(near.command(BINARY).arg("detach").arg("--pins").arg(pins.path()));
    assert!(!said.contains("left over"), "{said}");
    assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE);
}

/// Nobody is there who could take them off, and no pin goes with a filter.
#[test]
fn filters_whose_pins_were_removed_without_a_daemon_are_named_with_what_takes_them_off() {
    let (near, _far) = Namespace::pair();
    let top = format!("{TOP}\nattach = \"clsact\"");
    let (pins, _) = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]).kill();
    fs::remove_dir_all(pins.path()).expect("the pins");
    assert_eq!(Ours::on(&near, "eth0"), Ours::ON_CLSACT);

    let next = Daemon::start_on(&near, PinsDirectory::new(), &top, "", &[]);
    assert_eq!(next.log().matches("another poolwatch's, or left over").count(), 2, "{}", next.log());
    let (pins, _) = next.kill();
    let said = run(near.command(BINARY).arg("detach").arg("--pins").arg(pins.path()));
    let cures: Vec<&str> =
        said.lines().filter_map(|line| line.split_once("takes it off: tc ")).map(|it| it.1).collect();
    assert_eq!(cures.len(), 2, "{said}");
    for cure in cures {
        run(near.command("tc").args(cure.split(' ')));
    }
    assert_eq!(Ours::on(&near, "eth0"), Ours::NOWHERE);
}

#[test]
fn a_reload_names_the_keys_that_wait_for_the_next_start_and_keeps_to_the_old_ones() {
    let (near, _far) = Namespace::pair();
    let daemon = Daemon::start(&near, "");
    let before = fs::read_to_string(daemon.config()).expect("its config");
    let config = before.replace("eth0", "eth1");
    fs::write(daemon.config(), format!("{config}\n[limits]\ntargets = 2\n")).expect("a config");
    daemon.signal(Signal::HUP);
    daemon.wait_for("a reload", |_| daemon.log().contains("reloaded"));
    for key in ["interfaces", "limits"] {
        assert!(daemon.log().contains(&format!("key=\"{key}\"")), "{}", daemon.log());
    }
    assert!(!daemon.log().contains("key=\"attach\""), "{}", daemon.log());
    let metrics = daemon.metrics();
    assert_eq!(metrics.sum("poolwatch_config_last_reload_successful", &[]), 1);
    assert_eq!(metrics.sum("poolwatch_interface_attached", &[("interface", "eth0")]), 2);
}
