//! A tight sender of small datagrams on a CPU of its own, and what a packet took it. What the
//! far end of a veth pair does with a packet happens in the sender's own softirq, and is in its
//! time.

use std::net::{SocketAddrV4, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::thread::{CpuSet, Pid, gettid, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};

use crate::support::namespace::Namespace;

/// Bytes of a datagram.
const PAYLOAD: [u8; 18] = [0; 18];
/// A sender ends by itself after this, whatever happens to who waits for it.
const LONGEST: Duration = Duration::from_secs(30);
/// Datagrams between two looks at the clock and at who waits.
const BATCH: usize = 256;

/// What a sender did.
#[derive(Clone, Copy, Debug)]
pub struct Sent {
    pub packets: u64,
    pub wall: Duration,
    /// Of its thread alone.
    pub cpu: Duration,
}

impl Sent {
    #[allow(clippy::cast_precision_loss, reason = "fewer packets than a float holds")]
    pub fn ns_a_packet(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e9 / self.packets as f64
    }

    #[allow(clippy::cast_precision_loss, reason = "fewer packets than a float holds")]
    pub fn packets_a_second(&self) -> f64 {
        self.packets as f64 / self.wall.as_secs_f64()
    }
}

/// Sends to these destinations in turn for as long as `during` runs, which is given the
/// sender's thread.
pub fn send_during<R>(
    near: &Namespace,
    destinations: &[SocketAddrV4],
    during: impl FnOnce(Pid) -> R,
) -> Result<(Sent, R)> {
    let stop = AtomicBool::new(false);
    let (ready, started) = mpsc::channel();
    thread::scope(|scope| {
        let sender = scope.spawn(|| {
            near.enter(|| {
                stay_on_the_last_cpu()?;
                ready.send(gettid()).context("nobody waits for the sender")?;
                send_until(&stop, destinations)
            })
        });
        let result = started.recv_timeout(LONGEST).map(during);
        stop.store(true, Ordering::Relaxed);
        let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        Ok((sent, result.context("the sender did not start")?))
    })
}

/// Sends to these destinations in turn for a while.
pub fn send_for(near: &Namespace, destinations: &[SocketAddrV4], time: Duration) -> Result<Sent> {
    Ok(send_during(near, destinations, |_| thread::sleep(time))?.0)
}

/// Sends this many datagrams to one destination.
pub fn send_exactly(near: &Namespace, destination: SocketAddrV4, count: u64) -> Result<()> {
    near.enter(|| {
        let socket = UdpSocket::bind("0.0.0.0:0")?;
        (0..count).try_for_each(|_| socket.send_to(&PAYLOAD, destination).map(drop))
    })
    .with_context(|| format!("sending to {destination}"))
}

fn send_until(stop: &AtomicBool, destinations: &[SocketAddrV4]) -> Result<Sent> {
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let (since, cpu_since) = (Instant::now(), cpu_time());
    let mut packets = 0;
    for batch in destinations.chunks_exact(BATCH).cycle() {
        for destination in batch {
            let sent = socket.send_to(&PAYLOAD, destination);
            sent.with_context(|| format!("sending to {destination}"))?;
        }
        packets += BATCH as u64;
        if stop.load(Ordering::Relaxed) {
            break;
        }
        ensure!(since.elapsed() < LONGEST, "nobody stopped the sender");
    }
    Ok(Sent { packets, wall: since.elapsed(), cpu: cpu_time().saturating_sub(cpu_since) })
}

fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}

/// The last one, since the first one gets most interrupts.
fn stay_on_the_last_cpu() -> Result<()> {
    let allowed = sched_getaffinity(None).context("the CPUs that this may run on")?;
    let last = (0..CpuSet::MAX_CPU).rfind(|&cpu| allowed.is_set(cpu)).context("no CPU to run on")?;
    let mut alone = CpuSet::new();
    alone.set(last);
    sched_setaffinity(None, &alone).with_context(|| format!("staying on CPU {last}"))
}
