//! What each subject adds to a packet that is sent to an address on no list: its share of the
//! sender's profile, as nanoseconds of the sender's time for a packet; and that time itself.
//!
//! The time is taken without perf, the share with it, one right after the other. Destinations
//! rotate, and the network stack runs in between, so that tables are as cold as in life.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::profile::{Profile, Share};
use super::sender::{send_during, send_for};
use super::subjects::{Subject, unlisted};
use crate::figure::{About, Report};
use crate::setting::Setting;
use crate::support::namespace::Namespace;
use crate::{Plan, prefixes};

/// Rounds, in each of which every subject has its turn.
const ROUNDS_MAX: usize = 9;

/// What was measured of a subject.
#[derive(Default)]
struct Runs {
    ns_a_packet: Vec<f64>,
    share_ns: Vec<f64>,
    inside: usize,
}

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    // Without names for programs there is no share of theirs; kptr_restrict hides all names.
    let _names = Setting::set("net.core.bpf_jit_kallsyms", "1")?;
    let _addresses = Setting::set("kernel.kptr_restrict", "0")?;
    for &count in &plan.prefixes {
        measure_with(count, plan, report).with_context(|| format!("with {count} prefixes"))?;
    }
    Ok(())
}

fn measure_with(count: u32, plan: &Plan, report: &mut Report) -> Result<()> {
    let list = prefixes::generated(count);
    let pairs: [_; 4] = std::array::from_fn(|_| Namespace::pair());
    let [nothing, poolwatch, nftables, ipset] = pairs.each_ref().map(|(near, _)| near);
    let mut subjects = vec![Subject::nothing(nothing, &list)?];
    subjects.push(Subject::poolwatch(poolwatch, &list)?);
    subjects.push(Subject::nftables(nftables, &list)?);
    match Subject::ipset(ipset, &list) {
        Ok(subject) => subjects.push(subject),
        Err(error) => eprintln!("traffic: ipset is not measured: {error:#}"),
    }
    let (alone, profiled) = if plan.quick { (100, 400) } else { (250, 1_000) };
    let times = (Duration::from_millis(alone), Duration::from_millis(profiled));
    let mut runs: Vec<Runs> = subjects.iter().map(|_| Runs::default()).collect();
    let rounds = if plan.quick { 2 } else { plan.runs.min(ROUNDS_MAX) };
    for _ in 0..rounds {
        for (subject, runs) in subjects.iter().zip(&mut runs) {
            subject.prove_around(|| run(subject, times, runs))?;
        }
    }
    for (subject, runs) in subjects.iter().zip(&runs) {
        add(subject, count, runs, report)?;
    }
    Ok(())
}

fn run(subject: &Subject<'_>, (alone, profiled): (Duration, Duration), runs: &mut Runs) -> Result<()> {
    let destinations = unlisted();
    let ns_a_packet = send_for(subject.near, &destinations, alone)?.ns_a_packet();
    runs.ns_a_packet.push(ns_a_packet);
    if subject.name == "nothing" {
        return Ok(());
    }
    let (_, profile) = send_during(subject.near, &destinations, |thread| Profile::record(thread, profiled))?;
    let share: Share = profile?.share(|symbol| subject.is_entry(symbol))?;
    runs.share_ns.push(share.of(ns_a_packet));
    runs.inside += share.inside;
    Ok(())
}

fn add(subject: &Subject<'_>, prefixes: u32, runs: &Runs, report: &mut Report) -> Result<()> {
    let about = About {
        part: "traffic",
        key: "udp_ns",
        what: "CPU time of a small datagram sent to an address on no list and dropped by the far end",
        subject: subject.name,
        prefixes: Some(prefixes),
        unit: "ns",
    };
    report.add(&about, &runs.ns_a_packet);
    if runs.share_ns.is_empty() {
        return Ok(());
    }
    ensure!(runs.inside > 0, "perf never saw {}: does /proc/kallsyms name it?", subject.name);
    let what = "its share of that, by profile, without the hook's dispatch";
    report.add(&About { key: "share_ns", what, ..about }, &runs.share_ns);
    Ok(())
}
