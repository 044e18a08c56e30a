//! A tun interface and its other end: what leaves through the interface is read here, and what
//! is written here arrives at it.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

use super::namespace::Namespace;

/// `include/uapi/linux/if_tun.h`
const TUNSETIFF: Opcode = opcode::write::<i32>(b'T', 202);
const IFF_TUN: u16 = 0x0001;
/// Packets begin with their IP header.
const IFF_NO_PI: u16 = 0x1000;

/// `struct ifreq` (`include/uapi/linux/if.h`), as far as this request reads it.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// It lives as long as this does.
pub struct Tun(File);

impl Tun {
    /// Makes the interface, and sets it up.
    pub fn new(namespace: &Namespace, name: &str) -> Self {
        let mut request = Request { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        let file = namespace.enter(|| {
            let file =
                File::options().read(true).write(true).open("/dev/net/tun").expect("the kernel has tun");
            // SAFETY: TUNSETIFF takes a whole `ifreq`, whatever size its number is made of.
            unsafe { ioctl(&file, Setter::<TUNSETIFF, Request>::new(request)) }.expect("a tun interface");
            file
        });
        let flags = fcntl_getfl(&file).expect("a file");
        fcntl_setfl(&file, flags | OFlags::NONBLOCK).expect("a file");
        namespace.ip(&format!("link set {name} up"));
        Self(file)
    }

    /// A packet arrives at the interface.
    pub fn send(&self, packet: &[u8]) {
        assert_eq!((&self.0).write(packet).expect("tun takes it"), packet.len());
    }

    /// Every packet that has left through the interface since the last time.
    pub fn received(&self) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        let mut buffer = vec![0; 65_536];
        loop {
            match (&self.0).read(&mut buffer) {
                Ok(len) => packets.push(buffer[..len].to_vec()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return packets,
                Err(error) => panic!("tun cannot be read: {error}"),
            }
        }
    }
}
