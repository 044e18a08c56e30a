//! Interfaces that come, go, flap and are renamed, as netlink tells it.

mod support;

use support::PinsDirectory;
use support::daemon::{Daemon, Metrics};
use support::kernel::{self, Since};
use support::namespace::Namespace;

fn attached(metrics: &Metrics, interface: &str) -> Option<u64> {
    let labels = [("interface", interface)];
    let name = "poolwatch_interface_attached";
    metrics.has(name, &labels).then(|| metrics.sum(name, &labels))
}

fn add(namespace: &Namespace, name: &str) {
    namespace.ip(&format!("link add {name} type veth peer name {name}-peer"));
    namespace.ip(&format!("link set {name} up"));
}

fn spawn<'a>(namespace: &'a Namespace, interfaces: &str) -> Daemon<'a> {
    let daemon =
        Daemon::spawn(namespace, PinsDirectory::new(), &format!("interfaces = {interfaces}"), "", &[]);
    while daemon.get("/healthz").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    daemon
}

#[test]
fn a_named_interface_that_appears_later_is_attached_and_stays_at_0_while_it_is_gone() {
    let namespace = Namespace::new("later");
    let daemon = spawn(&namespace, "[\"wan0\"]");
    daemon.wait_for("absent", |metrics| attached(metrics, "wan0") == Some(0));
    let (code, why) = daemon.get("/readyz").expect("an answer");
    assert_eq!((code, why.as_str()), (503, "not ready: no interface is attached\n"));
    for _ in 0..5 {
        add(&namespace, "wan0");
        daemon.wait_for("attached", |metrics| attached(metrics, "wan0") == Some(2));
        assert_eq!(daemon.get("/readyz").expect("an answer").0, 200);
        namespace.ip("link delete wan0");
        daemon.wait_for("gone", |metrics| attached(metrics, "wan0") == Some(0));
    }
    let links = std::fs::read_dir(daemon.pins.path().join("links")).expect("the directory").count();
    assert_eq!(links, 0, "no pin is left behind");
}

#[test]
fn matches_of_a_glob_come_and_go() {
    let namespace = Namespace::new("glob");
    let daemon = spawn(&namespace, "[\"ens*\"]");
    add(&namespace, "ens3");
    add(&namespace, "wan0");
    // Its other end matches as well.
    daemon.wait_for("both ends", |metrics| {
        attached(metrics, "ens3") == Some(2) && attached(metrics, "ens3-peer") == Some(2)
    });
    assert_eq!(attached(&daemon.metrics(), "wan0"), None);
    namespace.ip("link delete ens3");
    daemon.wait_for("gone", |metrics| attached(metrics, "ens3").is_none());
}

#[test]
fn auto_follows_the_default_route_of_either_family() {
    let namespace = Namespace::new("auto");
    for (name, number) in [("one", 1), ("two", 2)] {
        add(&namespace, name);
        namespace.ip(&format!("address add 10.{number}.0.1/24 dev {name}"));
        namespace.ip(&format!("address add fd0{number}::1/64 dev {name} nodad"));
    }
    let daemon = spawn(&namespace, "[\"auto\"]");
    namespace.ip("route add default via 10.1.0.2");
    daemon
        .wait_for("one", |metrics| attached(metrics, "one") == Some(2) && attached(metrics, "two").is_none());
    namespace.ip("-6 route add default via fd02::2");
    daemon.wait_for("both", |metrics| {
        attached(metrics, "one") == Some(2) && attached(metrics, "two") == Some(2)
    });
    namespace.ip("route delete default");
    daemon
        .wait_for("two", |metrics| attached(metrics, "one").is_none() && attached(metrics, "two") == Some(2));
}

#[test]
fn a_renamed_interface_is_what_its_new_name_says() {
    let namespace = Namespace::new("rename");
    add(&namespace, "old0");
    let daemon = spawn(&namespace, "[\"old0\", \"new*\"]");
    daemon.wait_for("attached", |metrics| attached(metrics, "old0") == Some(2));
    namespace.ip("link set old0 down");
    namespace.ip("link set old0 name new0");
    namespace.ip("link set new0 up");
    daemon.wait_for("renamed", |metrics| {
        attached(metrics, "new0") == Some(2) && attached(metrics, "old0") == Some(0)
    });
    if !kernel::has(Since::LiveRename) {
        namespace.ip("link set new0 down");
    }
    namespace.ip("link set new0 name other0");
    daemon.wait_for("not meant", |metrics| attached(metrics, "new0").is_none());
}

#[test]
fn clsact_follows_interfaces_as_well() {
    let namespace = Namespace::new("clsact");
    let pins = PinsDirectory::new();
    let daemon = Daemon::spawn(&namespace, pins, "interfaces = [\"wan0\"]\nattach = \"clsact\"", "", &[]);
    while daemon.get("/healthz").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    for _ in 0..3 {
        add(&namespace, "wan0");
        daemon.wait_for("attached", |metrics| attached(metrics, "wan0") == Some(2));
        namespace.ip("link delete wan0");
        daemon.wait_for("gone", |metrics| attached(metrics, "wan0") == Some(0));
    }
    let links = std::fs::read_dir(daemon.pins.path().join("links")).expect("the directory").count();
    assert_eq!(links, 0, "no note is left behind");
}
