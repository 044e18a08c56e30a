//! Frames as they are, put on an interface by a packet socket (packet(7)): no protocol stack
//! makes or mends them.
//!
//! Egress is done when `send` returns. What is sent at the far end of a veth pair arrives in
//! the CPU's backlog; [`Arrivals`] waits until it has been through.

use std::net::UdpSocket;
use std::os::fd::OwnedFd;

use rustix::net::addr::{SocketAddrArg, SocketAddrLen, SocketAddrOpaque};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, bind, send, socket_with};
use rustix::thread::{CpuSet, sched_getcpu, sched_setaffinity};

use super::namespace::Namespace;
use super::patience;

/// A packet socket on one interface.
pub struct Wire(OwnedFd);

impl Wire {
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        let index = index(namespace, interface);
        namespace.enter(|| {
            // Protocol 0: it sends, and receives nothing.
            let socket = socket_with(AddressFamily::PACKET, SocketType::RAW, SocketFlags::CLOEXEC, None)
                .expect("a packet socket");
            bind(&socket, &LinkAddress::interface(index)).expect("the interface is there");
            Self(socket)
        })
    }

    /// Sends it from the link header on, or from the IP header on where the interface has no other.
    pub fn send(&self, frame: &[u8]) {
        let sent = send(&self.0, frame, SendFlags::empty())
            .unwrap_or_else(|error| panic!("a frame of {} bytes is not sent: {error}", frame.len()));
        assert_eq!(sent, frame.len());
    }
}

fn index(namespace: &Namespace, interface: &str) -> i32 {
    let links: serde_json::Value =
        serde_json::from_str(&namespace.ip(&format!("-j link show {interface}"))).expect("JSON");
    let index = links[0]["ifindex"].as_i64().expect("an interface has an index");
    i32::try_from(index).expect("the kernel's own type")
}

/// `struct sockaddr_ll` (`include/uapi/linux/if_packet.h`).
#[repr(C)]
struct LinkAddress {
    family: u16,
    protocol: u16,
    interface: i32,
    hardware_type: u16,
    packet_type: u8,
    address_len: u8,
    address: [u8; 8],
}

impl LinkAddress {
    fn interface(index: i32) -> Self {
        Self {
            family: AddressFamily::PACKET.as_raw(),
            protocol: 0,
            interface: index,
            hardware_type: 0,
            packet_type: 0,
            address_len: 0,
            address: [0; 8],
        }
    }
}

// SAFETY: the pointer is to a whole `sockaddr_ll` that outlives the call, and so is the length.
unsafe impl SocketAddrArg for LinkAddress {
    unsafe fn with_sockaddr<R>(&self, f: impl FnOnce(*const SocketAddrOpaque, SocketAddrLen) -> R) -> R {
        let len = SocketAddrLen::try_from(size_of::<Self>()).expect("a small structure");
        f(std::ptr::from_ref(self).cast(), len)
    }
}

/// Keeps the calling thread on the CPU that it is on, so that all it sends at the far end of a
/// veth pair waits in one queue.
pub fn stay_on_one_cpu() {
    let mut cpus = CpuSet::new();
    cpus.set(sched_getcpu());
    sched_setaffinity(None, &cpus).expect("a CPU that we are on");
}

/// Tells when what was sent from the far end of [`Namespace::pair`] has arrived at the near one.
pub struct Arrivals {
    far: UdpSocket,
    near: UdpSocket,
}

impl Arrivals {
    pub fn new(near: &Namespace, far: &Namespace) -> Self {
        let near = near.enter(|| UdpSocket::bind("10.77.0.1:9").expect("a socket"));
        near.set_read_timeout(Some(patience())).expect("a socket");
        let far = far.enter(|| UdpSocket::bind("10.77.0.2:9").expect("a socket"));
        Self { far, near }
    }

    /// Waits for a datagram that is sent after everything else, by the same thread: whoever
    /// sends must [`stay_on_one_cpu`].
    pub fn wait(&self) {
        self.far.send_to(b"last", "10.77.0.1:9").expect("it is sent");
        self.near.recv(&mut [0; 8]).expect("it arrives");
    }
}
