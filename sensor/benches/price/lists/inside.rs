//! The steps of a load, each on its own and without a daemon: read the file, compile it, fill the
//! kernel's tables.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result};
use sensor::bpf;
use sensor::bpf::pins::Pins;
use sensor::bpf::tables::Tables;
use sensor::config::Config;
use sensor::watchlists::{Compiled, Watchlists};

use super::{Feed, about};
use crate::figure::Report;
use crate::support::PinsDirectory;

pub fn measure(feed: &Feed, runs: usize, report: &mut Report) -> Result<()> {
    let path = feed.directory.path().join("inside.toml");
    fs::write(&path, feed.config()).context("a config")?;
    let config = Config::load(Some(&path))?;
    let directory = PinsDirectory::new();
    let pins = Pins::open(directory.path())?;
    let (_programs, mut maps) = bpf::load(&pins, &config.limits, &[])?;
    let mut tables = Tables::take(&mut maps)?;
    let [mut parse, mut compile, mut fill] = [const { Vec::new() }; 3];
    for _ in 0..runs {
        let begun = Instant::now();
        let lists = Watchlists::load(&config)?;
        parse.push(begun.elapsed().as_secs_f64());

        let begun = Instant::now();
        let compiled = Compiled::of_config(&config, &lists, |_, _| Some(0))?;
        compile.push(begun.elapsed().as_secs_f64());

        let begun = Instant::now();
        tables.switch_to(&compiled)?;
        fill.push(begun.elapsed().as_secs_f64());
    }
    report.add(&about("parse", "a list read from its file", feed.count, "s"), &parse);
    report.add(&about("compile", "a list compiled", feed.count, "s"), &compile);
    report.add(&about("fill", "the kernel's tables filled", feed.count, "s"), &fill);
    Ok(())
}
