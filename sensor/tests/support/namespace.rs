//! Network namespaces and the links between them. Entered with setns(2) by a thread of its own,
//! so that /sys, with its bpffs, stays what it is.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::patience;

/// Runs a command to its end; a failure is the test's.
pub fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}: is it installed?"));
    said(command, &output)
}

fn said(command: &Command, output: &Output) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}

/// A command in the namespace of this name.
pub fn command_in(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/run/netns/{namespace}")).arg("--").arg(program);
    command
}

/// A network namespace with its loopback up.
pub struct Namespace {
    pub name: String,
    /// The namespace at the other end of [`Namespace::pair`].
    pub peer: Option<String>,
}

impl Namespace {
    /// `what`: a word that tells it apart in this test.
    pub fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("pw-{}-{number}-{what}", std::process::id()), peer: None };
        run(Command::new("ip").args(["netns", "add", &namespace.name]));
        namespace.ip("link set lo up");
        namespace
    }

    /// Two namespaces and a veth pair between them, both ends called `eth0`: 10.77.0.1 and
    /// `fd77::1` on this side, .2 and `::2` on that, which is the gateway to everything.
    pub fn pair() -> (Self, Self) {
        let (mut near, mut far) = (Self::new("near"), Self::new("far"));
        (near.peer, far.peer) = (Some(far.name.clone()), Some(near.name.clone()));
        near.ip(&format!("link add eth0 type veth peer name eth0 netns {}", far.name));
        for (namespace, last) in [(&near, 1), (&far, 2)] {
            namespace.ip(&format!("address add 10.77.0.{last}/24 dev eth0"));
            namespace.ip(&format!("address add fd77::{last}/64 dev eth0 nodad"));
            namespace.ip("link set eth0 up");
        }
        near.ip("route add default via 10.77.0.2");
        near.ip("-6 route add default via fd77::2");
        (near, far)
    }

    /// `ip`, with its arguments in one line.
    pub fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(["-netns", &self.name]).args(arguments.split_whitespace()))
    }

    /// A command in this namespace.
    pub fn command(&self, program: &str) -> Command {
        command_in(&self.name, program)
    }

    /// Every packet as it is on the wire, already where TC sees it. TCP makes aggregates whatever
    /// the interface says it can, so that their size is limited to one segment as well.
    pub fn without_offloads(&self) {
        let off = ["-K", "eth0", "tso", "off", "gso", "off", "gro", "off", "tx", "off", "rx", "off"];
        run(self.command("ethtool").args(off));
        self.ip("link set eth0 gso_max_segs 1");
    }

    /// Gives the namespace's own address list one more, on its loopback.
    pub fn owns(&self, address: &str) {
        let family = if address.contains(':') { "-6 " } else { "" };
        let nodad = if address.contains(':') { " nodad" } else { "" };
        self.ip(&format!("{family}address add {address} dev lo{nodad}"));
    }

    /// Runs something on a thread of this namespace.
    pub fn enter<R: Send>(&self, inside: impl FnOnce() -> R + Send) -> R {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.join();
                inside()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread here.
    fn join(&self) {
        self.entrance()();
    }

    /// What moves the thread here that calls it.
    pub fn entrance(&self) -> impl FnOnce() + Send + 'static {
        let path = format!("/run/netns/{}", self.name);
        move || {
            let file = File::open(path).expect("the namespace is there");
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
                .expect("it can be entered");
        }
    }

    /// Answers TCP and UDP on this address with what it gets, until it is dropped.
    pub fn serve(&self, address: &str) -> Server {
        let address: SocketAddr = address.parse().expect("an address with a port");
        let stop = Arc::new(AtomicBool::new(false));
        let (ready, is_ready) = mpsc::channel();
        let enter = self.entrance();
        let stopped = Arc::clone(&stop);
        let thread = thread::spawn(move || {
            enter();
            let tcp = TcpListener::bind(address).expect("a TCP port");
            let udp = UdpSocket::bind(address).expect("a UDP port");
            tcp.set_nonblocking(true).expect("a listener");
            udp.set_read_timeout(Some(Duration::from_millis(5))).expect("a socket");
            ready.send(()).expect("the test waits");
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((mut stream, _)) = tcp.accept() {
                    thread::spawn(move || {
                        let _ = stream.set_nonblocking(false);
                        let _ = stream.set_read_timeout(Some(patience()));
                        let mut buffer = vec![0; 65536];
                        while let Ok(len @ 1..) = stream.read(&mut buffer) {
                            if stream.write_all(&buffer[..len]).is_err() {
                                break;
                            }
                        }
                    });
                }
                while let Ok((len, peer)) = udp.recv_from(&mut buffer) {
                    let _ = udp.send_to(&buffer[..len], peer);
                }
            }
        });
        is_ready.recv().expect("the server starts");
        Server { stop, thread: Some(thread) }
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// A server that stops when it is dropped.
pub struct Server {
    stop: Arc<AtomicBool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
