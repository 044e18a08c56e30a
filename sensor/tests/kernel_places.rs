//! What deploy/docs/attaching.md says of places to attach to, in networks laid out like that: a gateway that
//! translates, a bridge with a machine behind it, a bond, tunnels.
//!
//! Not here: VLANs in the data and in the metadata and interfaces without a link header, which are
//! `kernel_frames`'; Cilium.

mod support;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread;

use support::daemon::{Daemon, Metrics};
use support::kernel;
use support::mining::{Miner, serve_pool};
use support::namespace::{Namespace, run};
use support::{PinsDirectory, patience};

const POOL: &str = "203.0.113.60:3333";
const STAR: &str = "175.45.176.9:9000";
const STAR_KP: (&str, &str) = ("target", "star-kp");

/// What a host behind another one is attached to: its end is `eth0`, the other one is named.
fn behind(host: &Namespace, link: &str) -> Namespace {
    let behind = Namespace::new("behind");
    host.ip(&format!("link add {link} type veth peer name eth0 netns {}", behind.name));
    host.ip(&format!("link set {link} up"));
    behind.ip("link set eth0 up");
    behind
}

fn daemon<'a>(namespace: &'a Namespace, interfaces: &str) -> Daemon<'a> {
    Daemon::start_on(namespace, PinsDirectory::new(), &format!("interfaces = {interfaces}"), "", &[])
}

fn connections(metrics: &Metrics, name: &str) -> u64 {
    metrics.sum(&format!("poolwatch_{name}_total"), &[STAR_KP, ("initiator", "local"), ("transport", "tcp")])
}

/// Packets to star-kp, by TCP.
fn packets_out(metrics: &Metrics) -> u64 {
    metrics.sum("poolwatch_packets_total", &[STAR_KP, ("direction", "egress"), ("transport", "tcp")])
}

/// Serves the watched address and a pool that no list names, both of which are far away.
fn serve(far: &Namespace) {
    far.owns("175.45.176.9");
    far.owns("203.0.113.60");
    serve_pool(far, &[POOL]);
    let listener = far.enter(|| TcpListener::bind(STAR).expect("a port"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"answer");
        }
    });
}

/// One connection, until the answer is there and the other end has closed.
fn connect(from: &Namespace) {
    from.enter(|| {
        let mut stream =
            TcpStream::connect_timeout(&STAR.parse().expect("an address"), patience()).expect(STAR);
        stream.set_read_timeout(Some(patience())).expect("a socket");
        let mut said = String::new();
        let read = stream.read_to_string(&mut said);
        assert!(read.is_ok() || read.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset));
        assert_eq!(said, "answer");
    });
}

/// Somebody logs in at the pool and hands in a share; how that is seen.
fn mine(from: &Namespace, daemon: &Daemon, role: &str) -> Metrics {
    let mut miner = Miner::connect(from, POOL);
    miner.log_in();
    let is = |name, metrics: &Metrics| metrics.sum(name, &[("target", "unlisted"), ("role", role)]) == 1;
    daemon.wait_for("who logged in", |metrics| is("poolwatch_detections_total", metrics));
    miner.submit();
    daemon.wait_for("a session", |metrics| is("poolwatch_mining_sessions", metrics))
}

/// A client behind a host that translates: attached at the uplink it is right, at the inside it is not.
#[test]
fn behind_a_gateway_that_translates_the_uplink_is_right_and_the_inside_is_not() {
    let (gateway, far) = Namespace::pair();
    serve(&far);
    let client = behind(&gateway, "veth1");
    gateway.ip("address add 10.78.0.1/24 dev veth1");
    client.ip("address add 10.78.0.2/24 dev eth0");
    client.ip("route add default via 10.78.0.1");
    translate(&gateway);

    let uplink = daemon(&gateway, r#"["auto"]"#);
    connect(&client);
    let metrics = mine(&client, &uplink, "miner");
    assert_eq!(
        (connections(&metrics, "connections"), connections(&metrics, "connections_established")),
        (1, 1)
    );
    assert_eq!(metrics.sum("poolwatch_mining_sessions", &[("role", "pool")]), 0);
    let (_, detections) = uplink.get("/api/v1/detections").expect("an answer");
    assert!(detections.contains("10.77.0.1:") && !detections.contains("10.78.0.2"), "{detections}");
    drop(uplink);

    // Remote is the client there: nothing of what it talks to is looked up, and it is taken for the pool's miner.
    let inside = daemon(&gateway, r#"["veth1"]"#);
    connect(&client);
    let metrics = mine(&client, &inside, "pool");
    assert_eq!(metrics.sum("poolwatch_mining_sessions", &[("role", "miner")]), 0);
    assert_eq!((packets_out(&metrics), connections(&metrics, "connections")), (0, 0));
    drop(inside);

    // Within the client's own namespace it is right again.
    let own = daemon(&client, r#"["eth0"]"#);
    connect(&client);
    let metrics = mine(&client, &own, "miner");
    assert_eq!(
        (connections(&metrics, "connections"), connections(&metrics, "connections_established")),
        (1, 1)
    );
}

/// Forwards, and shows its own address to the outside.
fn translate(gateway: &Namespace) {
    const RULES: &str = "table ip translation {\n chain out {\n type nat hook postrouting priority 100\n \
                         oifname \"eth0\" masquerade\n }\n}\n";
    let mut nft = gateway.command("nft").args(["-f", "-"]).stdin(Stdio::piped()).spawn().expect("nft");
    nft.stdin.take().expect("a pipe").write_all(RULES.as_bytes()).expect("it reads");
    assert!(nft.wait().expect("it ends").success());
    let forward = gateway.command("sh").args(["-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"]).status();
    assert!(forward.expect("a shell").success());
}

/// The uplink is a port of a bridge, which has the host's address; a virtual machine is on another port.
#[test]
fn a_bridge_has_the_hosts_own_traffic_and_its_port_the_machines_as_well_and_both_count_twice() {
    let (host, far) = Namespace::pair();
    serve(&far);
    let machine = behind(&host, "tap1");
    host.ip("link add br0 type bridge");
    host.ip("address flush dev eth0");
    host.ip("-6 route flush dev eth0");
    for port in ["eth0", "tap1"] {
        host.ip(&format!("link set {port} master br0"));
    }
    host.ip("address add 10.77.0.1/24 dev br0");
    host.ip("link set br0 up");
    host.ip("route add default via 10.77.0.2");
    machine.ip("address add 10.77.0.9/24 dev eth0");
    machine.ip("route add default via 10.77.0.2");

    // What each counts of a connection of the host's and one of the machine's.
    let mut counted = Vec::new();
    for interfaces in [r#"["auto"]"#, r#"["eth0"]"#, r#"["br0", "eth0"]"#] {
        let daemon = daemon(&host, interfaces);
        connect(&host);
        let own = daemon.wait_for("its own", |it| connections(it, "connections_established") == 1);
        connect(&machine);
        let both = daemon.metrics();
        let warned = daemon.log().contains("both are watched: each counts the same packet");
        assert_eq!(warned, interfaces.contains("br0"), "{}", daemon.log());
        counted.push((
            packets_out(&own),
            packets_out(&both) - packets_out(&own),
            connections(&both, "connections"),
        ));
    }
    let [bridge, port, twice] = counted.try_into().expect("three");
    let (packets, _, _) = bridge;
    assert!(packets >= 4, "a handshake, an end: {packets}");
    assert_eq!(bridge, (packets, 0, 1), "the machine's passes the ports alone");
    assert_eq!((port.0 > 0, port.1 > 0, port.2), (true, true, 2), "{port:?}");
    assert_eq!(twice.2, 2, "a connection is one connection");
    assert_eq!(twice.0 % 2, 0, "each packet twice: {twice:?}");
}

/// The uplink is a bond's only port.
#[test]
fn a_bond_is_taken_by_itself_and_its_port_has_the_same_packets_again() {
    if kernel::lacks_kind("bond") {
        return;
    }
    let (host, far) = Namespace::pair();
    serve(&far);
    host.ip("link add bond0 type bond mode active-backup");
    host.ip("link set eth0 down");
    host.ip("link set eth0 master bond0");
    host.ip("address flush dev eth0");
    host.ip("address add 10.77.0.1/24 dev bond0");
    host.ip("link set bond0 up");
    host.ip("route add default via 10.77.0.2");

    let mut counted = Vec::new();
    for interfaces in [r#"["auto"]"#, r#"["bond0", "eth0"]"#] {
        let daemon = daemon(&host, interfaces);
        connect(&host);
        let metrics = daemon.wait_for("it", |it| connections(it, "connections_established") == 1);
        assert!(metrics.has("poolwatch_interface_attached", &[("interface", "bond0")]), "{}", metrics.0);
        let warned = daemon.log().contains("both are watched: each counts the same packet");
        assert_eq!(warned, interfaces.contains("eth0"), "{}", daemon.log());
        counted.push((packets_out(&metrics), connections(&metrics, "connections")));
    }
    assert!(counted[0].0 >= 4 && counted[0].1 == 1, "a handshake, an end: {counted:?}");
    assert_eq!(
        (counted[1].0 % 2, counted[1].1),
        (0, 1),
        "each packet twice, the connection once: {counted:?}"
    );
}

/// A tunnel of Ethernet, and one of IP.
#[test]
fn a_tunnel_and_the_uplink_below_it_count_each_under_its_own_addresses() {
    let (host, far) = Namespace::pair();
    for (namespace, last, peer) in [(&host, 1, 2), (&far, 2, 1)] {
        let ends = format!("local 10.77.0.{last} remote 10.77.0.{peer}");
        namespace.ip(&format!("link add tunnel0 type vxlan id 7 dstport 4789 {ends}"));
    }
    tunnel_counts_beside_the_uplink(&host, &far);
}

#[test]
fn wireguard_and_the_uplink_below_it_count_each_under_its_own_addresses() {
    if kernel::lacks_kind("wireguard") {
        return;
    }
    let (host, far) = Namespace::pair();
    let keys = [&host, &far].map(|namespace| {
        namespace.ip("link add tunnel0 type wireguard");
        let file = tempfile::NamedTempFile::new().expect("a file");
        let own =
            "wg genkey >\"$0\" && wg set tunnel0 listen-port 51820 private-key \"$0\" && wg pubkey <\"$0\"";
        run(namespace.command("sh").args(["-c", own]).arg(file.path())).trim().to_owned()
    });
    for (namespace, peer, key, allowed) in
        [(&host, 2, &keys[1], "0.0.0.0/0"), (&far, 1, &keys[0], "10.79.0.1/32")]
    {
        let endpoint = format!("10.77.0.{peer}:51820");
        let set = ["set", "tunnel0", "peer", key, "endpoint", &endpoint, "allowed-ips", allowed];
        run(namespace.command("wg").args(set));
    }
    tunnel_counts_beside_the_uplink(&host, &far);
}

/// Through `tunnel0`, which is down, to a host that is on a list, and within it to an address that is on another.
fn tunnel_counts_beside_the_uplink(host: &Namespace, far: &Namespace) {
    for (namespace, last) in [(host, 1), (far, 2)] {
        namespace.ip(&format!("address add 10.79.0.{last}/24 dev tunnel0"));
        namespace.ip("link set tunnel0 up");
    }
    host.ip("route add 175.45.176.9/32 via 10.79.0.2");
    serve(far);
    let list = "[[watchlist]]\nname = \"peers\"\nprefixes = [\"10.77.0.2/32\"]\n";
    let outer = |it: &Metrics| {
        it.sum(
            "poolwatch_packets_total",
            &[("watchlist", "peers"), ("direction", "egress"), ("transport", "udp")],
        )
    };

    let top = r#"interfaces = ["auto"]"#;
    let uplink = Daemon::start_on(host, PinsDirectory::new(), top, list, &[]);
    connect(host);
    let metrics = uplink.wait_for("the tunnel's own packets", |it| outer(it) >= 4);
    assert_eq!(
        (connections(&metrics, "connections"), packets_out(&metrics)),
        (0, 0),
        "the inside is not looked into"
    );
    drop(uplink);

    let top = r#"interfaces = ["auto", "tunnel*"]"#;
    let both = Daemon::start_on(host, PinsDirectory::new(), top, list, &[]);
    connect(host);
    let metrics = both.wait_for("the inside", |it| connections(it, "connections_established") == 1);
    assert_eq!(connections(&metrics, "connections"), 1);
    assert!(outer(&metrics) >= packets_out(&metrics), "each packet of the inside is in one of the outside");
    assert!(!both.log().contains("both are watched"), "{}", both.log());
}
