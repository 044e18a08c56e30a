//! What still passes: TCP by iperf3, and small datagrams, with nobody looking, with poolwatch
//! looking at what is on no list, and with poolwatch counting all of it. Rates of one round are
//! compared with each other, and the median of those ratios counts.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::iperf::{self, Transfer};
use super::sender::send_for;
use super::subjects::{Hook, Subject, unlisted};
use crate::figure::{About, Report};
use crate::support::namespace::Namespace;
use crate::{Plan, prefixes};

/// Of one run: many short ones beside each other say more than few long ones.
const TCP_SECONDS: u64 = 1;
const ROUNDS: usize = 41;
const UDP_TIME: Duration = Duration::from_millis(500);
/// As many as the lists that come with poolwatch have, in the order of magnitude.
const PREFIXES: u32 = 1_000;
/// Where [`Namespace::pair`] has its far end.
const FAR: &str = "10.77.0.2/32";

const TCP: About<'_> = About {
    part: "traffic",
    key: "tcp_throughput",
    what: "TCP over veth by iperf3, on no list",
    subject: "nothing",
    prefixes: None,
    unit: "Gbit/s",
};

/// Rates, a round each.
#[derive(Default)]
struct Rates {
    tcp: Vec<f64>,
    udp: Vec<f64>,
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let pairs: [_; 3] = std::array::from_fn(|_| Namespace::pair());
    let [nothing, unwatched, watched] = pairs.each_ref().map(|(near, _)| near);
    let list = prefixes::generated(PREFIXES);
    let subjects = [
        Subject::nothing(nothing, &list)?,
        Subject::poolwatch(unwatched, &list)?,
        Subject::poolwatch(watched, &[FAR.parse()?])?,
    ];
    let servers = pairs.iter().map(|(_, far)| iperf::Server::start(far)).collect::<Result<Vec<_>>>()?;
    let destinations = unlisted();
    let mut rates: [Rates; 3] = Default::default();
    let rounds = if plan.quick { 2 } else { ROUNDS };
    for round in 0..rounds {
        for turn in 0..subjects.len() {
            // Nobody is always first, or always after the same one.
            let which = (round + turn) % subjects.len();
            let (subject, far) = (&subjects[which], &pairs[which].1);
            let transfer = if which == 2 { watched_tcp(subject, far)? } else { tcp(subject)? };
            rates[which].tcp.push(transfer.gbit_a_second);
            if which != 2 {
                let sent = subject.prove_around(|| send_for(subject.near, &destinations, UDP_TIME))?;
                rates[which].udp.push(sent.packets_a_second());
            }
        }
    }
    drop(servers);
    add(&rates, report);
    Ok(())
}

fn tcp(subject: &Subject<'_>) -> Result<Transfer> {
    subject.prove_around(|| iperf::send(subject.near, &["--time", &TCP_SECONDS.to_string()]))
}

/// The far end's TCP, which nothing else uses, says how many packets came from there; they must
/// all have been counted, and of what was sent at least what arrived.
fn watched_tcp(subject: &Subject<'_>, far: &Namespace) -> Result<Transfer> {
    let Hook::Poolwatch { daemon, .. } = &subject.hook else { anyhow::bail!("nobody watches") };
    let counted = || {
        let metrics = daemon.metrics();
        let sum = |name, direction| metrics.sum(name, &[("direction", direction), ("transport", "tcp")]);
        (sum("poolwatch_packets_total", "ingress"), sum("poolwatch_bytes_total", "egress"))
    };
    let (segments_before, (packets_before, bytes_before)) = at_rest(far, counted)?;
    let transfer = tcp(subject)?;
    let (segments, (packets, bytes)) = at_rest(far, counted)?;
    let (segments, packets, bytes) =
        (segments - segments_before, packets - packets_before, bytes - bytes_before);
    ensure!(
        packets == segments,
        "poolwatch counted {packets} packets from the far end, which sent {segments}"
    );
    ensure!(
        bytes > transfer.bytes,
        "poolwatch counted {bytes} bytes, of which {} are payload",
        transfer.bytes
    );
    Ok(transfer)
}

/// What the far end sent and what was counted, when nothing is under way: what ends a connection comes
/// when it comes.
fn at_rest<C>(far: &Namespace, counted: impl Fn() -> C) -> Result<(u64, C)> {
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..100 {
        let before = segments_sent(far)?;
        thread::sleep(PAUSE);
        let counted = counted();
        if segments_sent(far)? == before {
            return Ok((before, counted));
        }
    }
    anyhow::bail!("the far end goes on sending")
}

/// TCP segments that a namespace has sent, of whatever connection.
fn segments_sent(namespace: &Namespace) -> Result<u64> {
    const SNMP: &str = "/proc/thread-self/net/snmp";
    let text = namespace.enter(|| fs::read_to_string(SNMP)).context(SNMP)?;
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let (names, values) = (lines.next().context(SNMP)?, lines.next().context(SNMP)?);
    let mut columns = names.split(' ').zip(values.split(' '));
    let (_, sent) = columns.find(|(name, _)| *name == "OutSegs").context(SNMP)?;
    sent.parse().context(SNMP)
}

fn add(rates: &[Rates; 3], report: &mut Report) {
    let [nothing, unwatched, watched] = rates;
    let percent = |with: &[f64], without: &[f64]| -> Vec<f64> {
        with.iter().zip(without).map(|(with, without)| 100.0 * with / without).collect()
    };
    report.add(&TCP, &nothing.tcp);
    report.add(&About { subject: "poolwatch", ..TCP }, &unwatched.tcp);
    let ratio = About { subject: "poolwatch", unit: "%", ..TCP };
    let what = "TCP throughput over veth, with against without, on no list";
    let about = About { key: "tcp_throughput_ratio", what, ..ratio };
    report.add(&about, &percent(&unwatched.tcp, &nothing.tcp));
    let what = "TCP throughput over veth, with against without, all of it counted with its flow";
    let about = About { key: "tcp_throughput_ratio_watched", what, ..ratio };
    report.add(&about, &percent(&watched.tcp, &nothing.tcp));

    let what = "small datagrams that one CPU sends, on no list";
    let udp = About { key: "udp_rate", what, unit: "packets/s", ..TCP };
    report.add(&udp, &nothing.udp);
    report.add(&About { subject: "poolwatch", ..udp }, &unwatched.udp);
    let what = "small datagrams that one CPU sends, with against without, on no list";
    let about = About { key: "udp_rate_ratio", what, ..ratio };
    report.add(&about, &percent(&unwatched.udp, &nothing.udp));
}
