//! Datagrams that go on while a test does something else: to one address, as many as a moment takes;
//! what comes back is read and forgotten.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::namespace::Namespace;
use super::patience;

/// Ends when it is dropped.
pub struct Datagrams {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Datagrams {
    /// Datagrams of changing length from this namespace, a few each millisecond. An interface
    /// that is down, or gone, loses some.
    pub fn start(namespace: &Namespace, to: &str) -> Self {
        let to: SocketAddr = to.parse().expect("an address with a port");
        let enter = namespace.entrance();
        let stop = Arc::new(AtomicBool::new(false));
        let sent = Arc::new(AtomicU64::new(0));
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let thread = thread::spawn(move || {
            enter();
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            socket.set_read_timeout(Some(Duration::from_millis(1))).expect("a socket");
            let mut buffer = [0; 2048];
            while !stopped.load(Ordering::Relaxed) {
                for len in [1, 200, 1200] {
                    let is_sent = socket.send_to(&buffer[..len], to).is_ok();
                    counted.fetch_add(u64::from(is_sent), Ordering::Relaxed);
                }
                while socket.recv_from(&mut buffer).is_ok() {}
            }
        });
        Self { stop, sent, thread: Some(thread) }
    }

    /// Waits until so many more were sent.
    pub fn wait_for(&self, more: u64) {
        let (since, before) = (Instant::now(), self.sent.load(Ordering::Relaxed));
        while self.sent.load(Ordering::Relaxed) < before + more {
            assert!(since.elapsed() < patience(), "no traffic flows");
            thread::sleep(Duration::from_millis(1));
        }
    }
}

impl Drop for Datagrams {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
