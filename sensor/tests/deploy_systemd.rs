//! The unit of deploy/, checked with the program that will read it, systemd-analyze, and held
//! against what the design says of privileges, pins and stopping.
//!
//! Not here: whether the service runs. That takes a booted system, and `cargo xtask test-deploy` boots one.

mod deploy;
mod tools;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tempfile::TempDir;
use tools::{SYSTEMD_ANALYZE, Verdict};

const UNIT: &str = "systemd/poolwatch.service";
const MOUNT: &str = "systemd/run-poolwatch-bpf.mount";

/// Let systemd read a unit in a root of its own, where the files that the unit starts are programs
/// and the targets it is ordered by exist: what is left to complain about is the unit.
fn verify(unit: &str) -> Verdict {
    let root = TempDir::new().expect("a temporary directory");
    let write = |path: &str, content: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().expect("a file in a directory")).expect("a directory");
        fs::write(path, content).expect("a file written");
    };
    for program in ["usr/bin/poolwatch", "bin/kill", "bin/chown"] {
        write(program, "");
        make_executable(&root.path().join(program));
    }
    for target in ["sysinit", "basic", "shutdown", "network", "multi-user"] {
        write(
            &format!("usr/lib/systemd/system/{target}.target"),
            "[Unit]\nDescription=stands in for the system's own\n",
        );
    }
    write("etc/systemd/system/poolwatch.service", unit);
    write("etc/systemd/system/run-poolwatch-bpf.mount", &deploy::text(MOUNT));
    let root = format!("--root={}", root.path().display());
    SYSTEMD_ANALYZE
        .ask(&[&root, "verify", "--man=no", "poolwatch.service", "run-poolwatch-bpf.mount"])
        .unwrap_or_else(|error| panic!("{error}"))
}

fn make_executable(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("an executable file");
}

/// What a unit assigns to a key, in order.
fn assigned<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

#[test]
fn systemd_reads_the_unit_without_a_complaint() {
    // For a key it does not know systemd warns and still succeeds.
    let verdict = verify(&deploy::text(UNIT));
    assert!(verdict.success, "{}", verdict.said);
    assert_eq!(verdict.said, "");
}

#[test]
fn systemd_complains_about_a_fault_put_into_the_unit() {
    const FAULTS: &[(&str, &str, &str)] = &[
        ("an unknown key", "ReadWritePaths=", "ReadWritePath="),
        ("a value that is none", "PrivateTmp=yes", "PrivateTmp=perhaps"),
        (
            "a mount that is not there",
            "poolwatch/bpf\n# A sensor",
            "poolwatch/pins\nRequires=run-poolwatch-pins.mount\n# A sensor",
        ),
        ("a call nobody knows", "=bpf capset", "bpf perf_event_openn"),
        ("a program not there", "/usr/bin/poolwatch run", "/usr/bin/elsewhere run"),
    ];
    let unit = deploy::text(UNIT);
    for (fault, right, wrong) in FAULTS {
        assert!(unit.contains(right), "{fault}: the unit lacks {right}");
        let verdict = verify(&unit.replace(right, wrong));
        assert!(!verdict.said.is_empty(), "{fault} went unnoticed");
    }
}

#[test]
fn the_service_holds_the_three_capabilities_of_the_design_and_can_gain_no_other() {
    // Not systemd-analyze's to find: it passes over a capability that it does not know.
    let unit = deploy::text(UNIT);
    let three = ["CAP_BPF CAP_NET_ADMIN CAP_PERFMON"];
    assert_eq!(assigned(&unit, "CapabilityBoundingSet"), three);
    assert_eq!(assigned(&unit, "AmbientCapabilities"), three);
    assert_eq!(assigned(&unit, "NoNewPrivileges"), ["yes"]);
    let calls = assigned(&unit, "SystemCallFilter").join(" ");
    for call in ["bpf", "capset", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"] {
        assert!(calls.split(' ').any(|allowed| allowed == call), "{call}: it gives up the rest by itself");
    }
}

#[test]
fn stopping_the_service_leaves_the_kernel_half_counting() {
    let unit = deploy::text(UNIT);
    assert_eq!(assigned(&unit, "ExecStart"), ["/usr/bin/poolwatch run"]);
    for key in ["ExecStop", "ExecStopPost"] {
        assert_eq!(assigned(&unit, key), Vec::<&str>::new());
    }
}

#[test]
fn the_service_may_write_its_pins_and_nothing_that_would_take_them_away() {
    let unit = deploy::text(UNIT);
    let mount = deploy::text(MOUNT);
    let pins = assigned(&mount, "Where");
    assert_eq!(assigned(&unit, "ReadWritePaths"), pins);
    assert_eq!(assigned(&unit, "RequiresMountsFor"), pins);
    // They end with the system, and with no service.
    for key in ["PartOf", "BindsTo", "StopWhenUnneeded", "RuntimeDirectory"] {
        assert!(assigned(&mount, key).is_empty() && assigned(&unit, key).is_empty(), "{key}");
    }
    // Each hides the host's interfaces or its user namespace.
    for key in ["PrivateNetwork", "PrivateUsers", "RootDirectory"] {
        assert_eq!(assigned(&unit, key), Vec::<&str>::new(), "{key}");
    }
}

#[test]
fn the_service_is_exposed_to_no_more_than_it_needs() {
    // The scale of systemd-analyze, in tenths: 18 today; 20 is what is promised.
    let unit = deploy::path(UNIT);
    let unit = unit.to_str().expect("a path in UTF-8");
    SYSTEMD_ANALYZE.approve(&["security", "--offline=true", "--threshold=20", unit]);
    let verdict = SYSTEMD_ANALYZE
        .ask(&["security", "--offline=true", "--threshold=15", unit])
        .unwrap_or_else(|error| panic!("{error}"));
    assert!(!verdict.success, "a threshold below it is missed: {}", verdict.said);
}

#[test]
fn the_service_tells_when_it_is_ready_and_is_missed_when_it_hangs() {
    let unit = deploy::text(UNIT);
    assert_eq!(assigned(&unit, "Type"), ["notify"]);
    assert_eq!(assigned(&unit, "WatchdogSec"), ["60s"]);
    assert_eq!(assigned(&unit, "Restart"), ["on-failure"]);
    assert_eq!(assigned(&unit, "User"), ["poolwatch"]);
}
