//! What the daemon takes to look at a sample that says nothing, which is nearly every one: from the ring's
//! bytes to a verdict, with the built-in lists, on one CPU. That it allocates nothing for it. And what that
//! comes to where much is said.

mod nobody;
mod running;

use std::fmt::Write as _;
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use sensor::config::Config;
use sensor::verdict::{Sample, Verdicts, Watching};
use sensor::watchlists::Watchlists;
use sensor_ebpf::abi::{
    Address, Direction, FlowKey, SampleHeader, SampleKind, TargetSet, Transport, Version,
};
use tempfile::TempDir;

use self::nobody::Nobody;
use super::Plan;
use super::figure::{About, Report};
use super::scrape::allocations;

/// Samples between two readings of the clock.
const BATCH: u32 = 20_000;

/// Watched names beside the built-in ones, to show what their number costs.
const DOMAINS: u32 = 100_000;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    let builtin = watching(&Config::load(None)?)?;
    for negative in negatives() {
        rate(&negative, &builtin, plan.runs, report);
    }
    let many = with_domains(DOMAINS)?;
    let hello = hello("www.example.org");
    rate(
        &("tls_domains", "such a hello, 100,000 domains watched", SampleKind::Tls, hello),
        &many,
        plan.runs,
        report,
    );

    let [(.., json), ..] = negatives();
    running::measure(if plan.quick { 2 } else { 10 }, &json, report)
}

fn watching(config: &Config) -> Result<Watching> {
    let lists = Watchlists::load(config)?;
    let names: Vec<_> = lists
        .lists
        .iter()
        .flat_map(|list| list.targets.iter().map(move |target| (list.name.as_str(), target.name.as_str())))
        .collect();
    let slot_of =
        |list: &str, target: &str| u32::try_from(names.iter().position(|name| *name == (list, target))?).ok();
    Watching::of(&lists, slot_of).context("a place for each target")
}

/// The built-in lists, and a feed of so many domains.
fn with_domains(count: u32) -> Result<Watching> {
    let directory = TempDir::new().context("a directory")?;
    let feed = directory.path().join("domains");
    let mut lines = String::new();
    for number in 0..count {
        writeln!(lines, "host{number}.pool{}.example.net", number % 1000)?;
    }
    fs::write(&feed, lines).context("a feed")?;
    let config = format!(
        "[[watchlist]]\nname = \"many\"\n[[watchlist.feed]]\ntarget = \"feed\"\nkind = \"domains\"\npath = \"{}\"\n",
        feed.display()
    );
    watching(&Config::parse(Path::new("poolwatch.toml"), config)?)
}

/// Samples a second, and that they allocate nothing.
fn rate(negative: &Negative, watching: &Watching, runs: usize, report: &mut Report) {
    let (key, what, kind, payload) = negative;
    let sample = sample(*kind, payload);
    let mut verdicts = Verdicts::new(true);
    let mut nobody = Nobody::new();
    let mut hear = |number: u32| {
        let mut sample = sample;
        // Each of another connection.
        sample.header.key.local_port = u16::try_from(number % 60_000).unwrap_or(0);
        verdicts.hear(black_box(&sample), watching, &mut nobody, &mut |_| {});
    };
    (0..BATCH * 4).for_each(&mut hear);
    let runs = (0..runs).map(|_| {
        let begun = Instant::now();
        (0..BATCH).for_each(&mut hear);
        f64::from(BATCH) / begun.elapsed().as_secs_f64()
    });
    let runs: Vec<f64> = runs.collect();
    report.add(&about(key, what, "samples/s"), &runs);
    let ((), allocated) = allocations::counted(|| (0..BATCH).for_each(&mut hear));
    report.judge(&format!("allocations for {BATCH} samples, {what}"), allocated, "allocations", 0);
}

fn about(key: &'static str, what: &'static str, unit: &'static str) -> About<'static> {
    About { part: "inspect", key, what, subject: "poolwatch", prefixes: None, unit }
}

/// A sample that says nothing: its key, what it is, its kind and bytes.
type Negative = (&'static str, &'static str, SampleKind, Vec<u8>);

/// What samples there are that say nothing of mining and name nobody.
fn negatives() -> [Negative; 5] {
    let parameters = "\"0x5f5e100\",".repeat(18);
    let json = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":4711,\"method\":\"eth_getLogs\",\"params\":[{parameters}\"latest\"]}}\n"
    );
    let headers = "Accept: text/html,application/xhtml+xml\r\nCookie: session=0123456789abcdef\r\n".repeat(3);
    let get = format!("GET /index.html HTTP/1.1\r\nHost: www.example.org\r\n{headers}\r\n");
    [
        ("json", "JSON of 300 bytes", SampleKind::Json, json.into_bytes()),
        ("http", "an HTTP request", SampleKind::Http, get.into_bytes()),
        ("tls", "a TLS hello of 1,700 bytes", SampleKind::Tls, hello("www.example.org")),
        ("dns_query", "a DNS query", SampleKind::Dns, query("www.example.org")),
        ("garbage", "JSON that is none", SampleKind::Json, [b"{".repeat(100), vec![0xff; 200]].concat()),
    ]
}

/// A `ClientHello` whose key share is a post-quantum one, before the name (RFC 8446, 4.1.2).
fn hello(name: &str) -> Vec<u8> {
    let framed =
        |bytes: Vec<u8>| [u16::try_from(bytes.len()).unwrap_or(0).to_be_bytes().to_vec(), bytes].concat();
    let extension = |kind: u16, body: Vec<u8>| [kind.to_be_bytes().to_vec(), framed(body)].concat();
    let server_name = framed([vec![0], framed(name.as_bytes().to_vec())].concat());
    let key_share = framed([vec![0x11, 0xec], framed(vec![7; 1216])].concat());
    let extensions =
        framed([extension(51, key_share), extension(21, vec![0; 300]), extension(0, server_name)].concat());
    let body = [vec![3, 3], vec![5; 32], vec![0], framed(vec![0x13, 1]), vec![1, 0], extensions].concat();
    let length = u32::try_from(body.len()).unwrap_or(0).to_be_bytes();
    let handshake = [vec![1], length[1..].to_vec(), body].concat();
    [vec![0x16, 3, 1], framed(handshake)].concat()
}

/// An A query (RFC 1035, 4.1).
fn query(name: &str) -> Vec<u8> {
    let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        query.push(u8::try_from(label.len()).unwrap_or(0));
        query.extend(label.as_bytes());
    }
    query.extend([0, 0, 1, 0, 1]);
    query
}

fn sample(kind: SampleKind, payload: &[u8]) -> Sample<'_> {
    let is_dns = kind == SampleKind::Dns;
    let key = FlowKey {
        remote: Address::v4(0x0100_0002),
        local: Address::v4(0x0100_0001),
        remote_port: if is_dns { 53 } else { 8080 },
        local_port: 50_000,
        transport: if is_dns { Transport::Udp } else { Transport::Tcp } as u8,
        version: Version::V4 as u8,
        reserved: 0,
    };
    let header = SampleHeader {
        at_ns: 1,
        key,
        targets: TargetSet::EMPTY,
        sequence: 1,
        payload: u32::try_from(payload.len()).unwrap_or(0),
        captured: u16::try_from(payload.len()).unwrap_or(0),
        kind: kind as u8,
        direction: Direction::Egress as u8,
        interface: 2,
    };
    Sample { header, payload }
}
