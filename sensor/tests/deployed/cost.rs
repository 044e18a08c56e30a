//! What a sensor costs the Prometheus that scrapes it: series and bytes of /metrics, and what a sample
//! takes on its disk.

use std::fs::{self, File};
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sensor::config::{Builtin, Config};
use sensor::watchlists::Watchlists;
use serde_json::Value;
use tempfile::TempDir;

use super::Estate;
use crate::support::daemon::{Daemon, Metrics};
use crate::support::mining::{Miner, NameServer, resolve};
use crate::tools::PROMTOOL;

/// A name server that knows every pool of the built-in list, each by an address of its own.
const ALL_NAMES: &str = "203.0.113.54";
/// For tests between networks (RFC 2544): more than there are pools.
const POOLS: &str = "198.18.0.0/16";

/// /metrics of one host.
#[derive(Debug)]
pub struct Exposition {
    pub series: usize,
    pub bytes: usize,
    pub gzipped: usize,
}

impl Exposition {
    pub fn of(metrics: &Metrics) -> Self {
        let text = &metrics.0;
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        Self { series, bytes: text.len(), gzipped: gzip(text).len() }
    }
}

/// As a proxy before the sensor would: the sensor itself compresses nothing.
fn gzip(text: &str) -> Vec<u8> {
    let mut child = Command::new("gzip").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip");
    // It writes nothing worth mentioning before it has read all.
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    output.stdout
}

/// The host looks every pool of the built-in list up and mines there, and at every route: as much as a
/// sensor with these lists can have to tell of one host's own connections.
pub fn mine_everywhere(estate: &Estate, number: usize, sensor: &Daemon<'_>) -> Vec<Miner> {
    let lists = Config { builtin: Builtin { mining: true, dprk: false }, ..Config::default() };
    let lists = Watchlists::load(&lists).expect("the built-in list");
    let domains = lists.lists[0].targets.iter().filter_map(|target| target.domains.first());
    let pools: Vec<(String, String)> = (0_u16..)
        .zip(domains)
        .map(|(number, domain)| {
            let [high, low] = number.to_be_bytes();
            (domain.indicator.clone(), format!("198.18.{}.{low}", high + 1))
        })
        .collect();
    assert!(pools.len() > 300, "{} pools", pools.len());
    estate.hub.owns(ALL_NAMES);
    estate.hub.ip(&format!("route add local {POOLS} dev lo"));
    let names: Vec<(&str, &str)> = pools.iter().map(|(name, at)| (name.as_str(), at.as_str())).collect();
    let _names = NameServer::start(&estate.hub, ALL_NAMES, &names);
    let host = estate.host(number);
    for (name, at) in &pools {
        assert_eq!(resolve(host, ALL_NAMES, name), Some(at.parse().expect("an address")), "{name}");
    }
    let count = pools.len() as u64;
    sensor.wait_for("all answers", |it| it.sum("poolwatch_dns_answers_total", &[]) >= count);
    let mut miners: Vec<Miner> =
        pools.iter().map(|(_, at)| Miner::connect(host, &format!("{at}:7777"))).collect();
    miners.extend(estate.reach_routes(number));
    for miner in &mut miners {
        miner.log_in();
        miner.submit();
    }
    // At each route besides as `unlisted`, or as the pool that is learned there.
    sensor.wait_for("all sessions", |it| {
        it.sum("poolwatch_mining_sessions", &[("role", "miner")]) >= count + 6
    });
    miners
}

/// Scrapes in what is written: as many samples as one chunk holds.
const SCRAPES: usize = 120;
/// Where they begin, in seconds since the epoch: at the beginning of a block of two hours.
const BEGIN_S: usize = 1_795_737_600;
const INTERVAL_S: usize = 30;

/// A block as Prometheus writes it: samples, series, and the bytes of their chunks and of their index.
#[derive(Debug)]
pub struct Block {
    pub samples: f64,
    pub series: f64,
    pub chunk_bytes: f64,
    pub index_bytes: f64,
}

impl Block {
    /// An hour of a host: so many scrapes of its sensor, taken at once after one another, each after `step`,
    /// and written by promtool as if they were half a minute apart. (A Prometheus that is made to scrape
    /// ten times a second writes more for times than for values: it is late by another while each time.)
    #[allow(clippy::cast_precision_loss, reason = "sizes of files for a test")]
    pub fn of(sensor: &Daemon<'_>, mut step: impl FnMut(usize)) -> Self {
        let directory = TempDir::new().expect("a directory");
        let (samples, blocks) = (directory.path().join("samples"), directory.path().join("blocks"));
        let mut file = BufWriter::new(File::create(&samples).expect("a file"));
        for number in 0..SCRAPES {
            step(number);
            let at_s = BEGIN_S + number * INTERVAL_S;
            for line in sensor.metrics().0.lines().filter(|line| !line.starts_with('#')) {
                writeln!(file, "{line} {at_s}").expect("a line");
            }
        }
        writeln!(file, "# EOF").and_then(|()| file.flush()).expect("the end");
        let paths = [&samples, &blocks].map(|path| path.to_str().expect("UTF-8"));
        PROMTOOL.approve(&["tsdb", "create-blocks-from", "openmetrics", "--quiet", paths[0], paths[1]]);

        let entries = |path: &Path| -> Vec<PathBuf> {
            fs::read_dir(path).expect("it is there").map(|entry| entry.expect("an entry").path()).collect()
        };
        let written = entries(&blocks);
        let [block] = &written[..] else { panic!("{written:?}") };
        let meta = fs::read_to_string(block.join("meta.json")).expect("what is in it");
        let meta: Value = serde_json::from_str(&meta).expect("JSON");
        let number = |key: &str| meta["stats"][key].as_f64().expect("a number");
        let size = |path: &Path| fs::metadata(path).expect("a file").len() as f64;
        Self {
            samples: number("numSamples"),
            series: number("numSeries"),
            chunk_bytes: entries(&block.join("chunks")).iter().map(|chunk| size(chunk)).sum(),
            index_bytes: size(&block.join("index")),
        }
    }

    pub fn bytes_a_sample(&self) -> f64 {
        self.chunk_bytes / self.samples
    }

    pub fn index_bytes_a_series(&self) -> f64 {
        self.index_bytes / self.series
    }
}
