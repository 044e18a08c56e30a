//! A daemon that does not start: it says why, and leaves the host as it was.

use aya::programs::{SchedClassifier, TcAttachType};

use super::daemon::Daemon;
use super::kernel::{self, Since};
use super::namespace::{Namespace, run};

pub fn nothing_is_attached(near: &Namespace) {
    for direction in [TcAttachType::Ingress, TcAttachType::Egress] {
        if kernel::has(Since::Tcx) {
            let programs = near
                .enter(|| SchedClassifier::query_tcx("eth0", direction).expect("TCX can be asked").1.len());
            assert_eq!(programs, 0);
        }
    }
    let qdiscs = run(near.command("tc").args(["qdisc", "show", "dev", "eth0"]));
    assert!(!qdiscs.contains("clsact"), "{qdiscs}");
}

/// It ends with exit 1 and this in its log, and leaves nothing.
pub fn refuses(near: &Namespace, mut daemon: Daemon, what: &str) {
    assert_eq!(daemon.wait().code(), Some(1), "{}", daemon.log());
    let log = daemon.log();
    let last = log.lines().last().expect("it says why");
    assert!(last.starts_with("poolwatch: ") && last.contains(what), "{log}");
    nothing_is_attached(near);
    assert!(!daemon.pins.path().exists(), "no pins are left");
}
