//! Traffic that goes on while daemons come and go, from clients that know how many connections they
//! opened. For each address: TCP connections one after the other, UDP flows likewise, and one TCP
//! connection that is open all the time.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::daemon::Metrics;
use super::namespace::{Namespace, Server};
use super::nft::Nft;
use super::{patience, patiently};

const TCP_PORT: u16 = 3333;
const UDP_PORT: u16 = 4444;
/// A UDP flow is told from the one before by its port alone, so that each address has its own ones.
const FIRST_PORT: u16 = 10_000;
const PORTS: usize = 12_000;
/// Between two connections of one client, and two exchanges of the lasting one: a daemon that starts
/// must get its share of the machine.
const PAUSE: Duration = Duration::from_millis(10);

/// What the clients of one address opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    pub tcp: u64,
    pub udp: u64,
}

/// Something watched, an address of it, and the independent counter of what goes there.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pub name: &'static str,
    pub counter: &'static str,
    pub address: &'static str,
}

/// Every target counts what nftables counts, to the byte and the packet, and as many connections as
/// its clients opened; nothing is left over.
pub fn assert_counted(metrics: &Metrics, nft: &Nft, targets: &[Target], opened: &[(String, Opened)]) {
    for Target { name: target, counter, address } in targets {
        let (_, opened) = opened.iter().find(|(found, _)| found == address).expect("there was traffic");
        for (transport, opened) in [("tcp", opened.tcp), ("udp", opened.udp)] {
            for (direction, count) in
                [("ingress", nft.ingress(counter, transport)), ("egress", nft.egress(counter, transport))]
            {
                let labels = [("target", *target), ("direction", direction), ("transport", transport)];
                let packets = metrics.sum("poolwatch_packets_total", &labels);
                let bytes = metrics.sum("poolwatch_bytes_total", &labels);
                let what = format!("{target} {direction} {transport}: packets and bytes");
                assert_eq!((packets, bytes), (count.packets, count.bytes), "{what}");
                assert!(packets > 0, "{what}: nothing passed, so nothing is proven");
            }
            let labels = [("target", *target), ("initiator", "local"), ("transport", transport)];
            for name in ["poolwatch_connections_total", "poolwatch_connections_established_total"] {
                assert_eq!(metrics.sum(name, &labels), opened, "{target} {transport} {name}");
            }
        }
    }
    for name in ["poolwatch_connections_joined_total", "poolwatch_packets_uncounted_total"] {
        assert_eq!(metrics.sum(name, &[]), 0, "{name}");
    }
}

pub struct Traffic {
    stop: Arc<AtomicBool>,
    clients: Vec<(String, Clients)>,
    _servers: Vec<Server>,
}

/// Threads for one address; each says how many connections it opened.
struct Clients {
    tcp: JoinHandle<usize>,
    udp: JoinHandle<usize>,
    lasting: JoinHandle<usize>,
}

impl Traffic {
    /// Starts it, from `near` to servers in `far`, which is given the addresses.
    pub fn start(near: &Namespace, far: &Namespace, addresses: &[&str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut servers = Vec::new();
        let mut clients = Vec::new();
        for (first_port, address) in (FIRST_PORT..).step_by(PORTS).zip(addresses) {
            far.owns(address);
            // One each: a server that is busy with datagrams takes no connections.
            servers.extend([TCP_PORT, UDP_PORT].map(|port| far.serve(&format!("{address}:{port}"))));
            let at = |port| SocketAddr::new(address.parse().expect("an address"), port);
            let spawn = |client: fn(SocketAddr, u16, &AtomicBool) -> usize, port| {
                let (stop, enter, at) = (Arc::clone(&stop), near.entrance(), at(port));
                thread::spawn(move || {
                    enter();
                    client(at, first_port, &stop)
                })
            };
            let of_address = Clients {
                tcp: spawn(connections, TCP_PORT),
                udp: spawn(flows, UDP_PORT),
                lasting: spawn(one_connection, TCP_PORT),
            };
            clients.push(((*address).to_owned(), of_address));
        }
        Self { stop, clients, _servers: servers }
    }

    /// Ends it; what was opened, by address. Everything that was sent has been answered.
    pub fn stop(self) -> Vec<(String, Opened)> {
        self.stop.store(true, Ordering::Relaxed);
        let ended = |thread: JoinHandle<usize>| thread.join().expect("the client ends well") as u64;
        self.clients
            .into_iter()
            .map(|(address, Clients { tcp, udp, lasting })| {
                (address, Opened { tcp: ended(tcp) + ended(lasting), udp: ended(udp) })
            })
            .collect()
    }
}

/// Sends and reads back.
fn echo(stream: &mut TcpStream, bytes: usize) {
    let sent = vec![7; bytes];
    stream.write_all(&sent).expect("it is sent");
    let mut back = vec![0; bytes];
    stream.read_exact(&mut back).expect("the echo");
    assert_eq!(sent, back);
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, patience()).expect("a connection");
    stream.set_read_timeout(Some(patience())).expect("a socket");
    stream
}

fn connections(address: SocketAddr, _: u16, stop: &AtomicBool) -> usize {
    let mut opened = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut stream = connect(address);
        opened += 1;
        echo(&mut stream, 1 + opened * 577 % 20_000);
        stream.shutdown(std::net::Shutdown::Write).expect("it ends");
        // The other side's end, so that nothing of it is still under way.
        assert_eq!(stream.read(&mut [0]).expect("the end"), 0);
        thread::sleep(patiently(PAUSE));
    }
    opened
}

fn one_connection(address: SocketAddr, _: u16, stop: &AtomicBool) -> usize {
    let mut stream = connect(address);
    while !stop.load(Ordering::Relaxed) {
        echo(&mut stream, 1_000);
        thread::sleep(patiently(PAUSE));
    }
    1
}

fn flows(address: SocketAddr, first_port: u16, stop: &AtomicBool) -> usize {
    let mut opened = 0;
    for port in (first_port..).take(PORTS) {
        let socket = UdpSocket::bind(("0.0.0.0", port)).expect("a socket");
        socket.set_read_timeout(Some(patience())).expect("a socket");
        socket.connect(address).expect("an address");
        opened += 1;
        for number in 0..=opened % 7 {
            let sent = vec![9; 1 + (opened + number) % 1_200];
            socket.send(&sent).expect("it is sent");
            let mut back = vec![0; 2_048];
            assert_eq!(socket.recv(&mut back).expect("the echo"), sent.len());
        }
        thread::sleep(patiently(PAUSE));
        if stop.load(Ordering::Relaxed) {
            return opened;
        }
    }
    panic!("every port was used")
}
