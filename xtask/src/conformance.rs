//! `conformance`: real captures, and other opinions about them. Replay against capinfos (packets and
//! bytes of a whole file), against tshark (one server's packets and IP bytes), and against the
//! sensor itself on a wire that tcpreplay sends the same packets over. What it finds in them against
//! labels, where there are some, beside what ndpiReader finds, and once more with mining sessions put
//! into those that have none. And the built-in list of pools against a table of their hosts that
//! nobody here wrote.
//!
//! Captures and lists are only read. What is written on the way lies below target/conformance.

mod dialects;
mod frames;
mod labels;
mod lists;
mod ndpi;
mod packets;
mod pair;
mod pcap;
mod replayed;
#[allow(dead_code, reason = "the sensor's own tests use more of it")]
#[path = "../../sensor/tests/support/series.rs"]
mod series;
mod server;
mod splice;
mod table;
mod whole;
mod wire;

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    build, cargo,
    root::{self, Root},
    setup,
};

#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A directory of directories of captures, and perhaps flows.csv, which labels flows in them
    #[arg(long, value_name = "DIR", required_unless_present = "lists")]
    captures: Option<PathBuf>,

    /// A directory with `mining_pool_domain_intel.csv`, whose hosts the built-in list must match
    #[arg(long, value_name = "DIR")]
    lists: Option<PathBuf>,

    /// The longest capture that is sent over a wire, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    longest: u64,

    /// How many captures are sent over a wire, those with the most packets first
    #[arg(long, value_name = "NUMBER", default_value_t = 15)]
    at_most: usize,
}

/// A capture, and what it is called in the tables.
pub(crate) struct Capture {
    path: PathBuf,
    name: String,
}

/// What all parts work with.
struct Bench {
    sensor: PathBuf,
    /// For configs, split files and logs.
    place: PathBuf,
    captures: Vec<Capture>,
}

pub(crate) fn conformance(arguments: &Arguments) -> Result<()> {
    let root = match &arguments.captures {
        Some(_) => Some(root::find("sending captures to the running sensor")?),
        None => None,
    };
    if root.is_some() {
        setup::for_testing(true)?;
        setup::for_conformance()?;
    }
    build::build()?;
    let sensor = cargo::target().join("release/poolwatch");
    let place = cargo::target().join("conformance");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let mut wrong = 0;
    if let Some(directory) = &arguments.lists {
        wrong += lists::compare(&sensor, &place, directory)?;
    }
    if let Some((directory, root)) = arguments.captures.as_ref().zip(root) {
        let bench = Bench { sensor, place, captures: captures(directory)? };
        wrong += compare_captures(&bench, &root, directory, arguments)?;
    }
    if wrong > 0 {
        bail!("{wrong} of these comparisons differ");
    }
    println!("\nconformance: no difference");
    Ok(())
}

fn compare_captures(bench: &Bench, root: &Root, directory: &Path, arguments: &Arguments) -> Result<usize> {
    let dissected = bench
        .captures
        .iter()
        .map(|capture| Ok((capture, packets::read(&capture.path)?)))
        .collect::<Result<Vec<_>>>()?;
    let mut wrong = 0;
    match labels::read(directory)? {
        Some(labels) => {
            wrong += labels::compare(bench, &labels)?;
            let is_labelled = |capture: &Capture| labels.contains_key(&capture.name);
            let others: Vec<_> = dissected.iter().filter(|(capture, _)| !is_labelled(capture)).collect();
            wrong += splice::compare(bench, &others)?;
            ndpi::compare(bench, &labels)?;
        }
        None => {
            println!(
                "no {} in {}: what is found is held against nothing",
                labels::TABLE,
                directory.display()
            );
        }
    }
    wrong += whole::compare(bench)?;
    wrong += server::compare(bench, &dissected)?;
    let longest = Duration::from_secs(arguments.longest);
    wrong += wire::compare(bench, &dissected, root, longest, arguments.at_most)?;
    Ok(wrong)
}

/// All files two levels down, in the order of their names.
fn captures(directory: &Path) -> Result<Vec<Capture>> {
    let mut captures = Vec::new();
    for below in entries(directory)?.iter().filter(|path| path.is_dir()) {
        for path in entries(below)?.into_iter().filter(|path| path.is_file()) {
            let name = path.strip_prefix(directory).unwrap_or(&path).display().to_string();
            captures.push(Capture { path, name });
        }
    }
    if captures.is_empty() {
        bail!("no captures in the directories of {}", directory.display());
    }
    Ok(captures)
}

fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let listed = fs::read_dir(directory)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>());
    let mut paths = listed.with_context(|| format!("cannot read {}", directory.display()))?;
    paths.sort_unstable();
    Ok(paths)
}

impl Bench {
    /// A config in which everything is the default.
    fn defaults(&self) -> Result<PathBuf> {
        let path = self.place.join("default.toml");
        fs::write(&path, "").with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }

    /// A config below our own place, without the built-in lists, followed by `tables`.
    fn config(&self, name: &str, top: &str, tables: &str) -> Result<PathBuf> {
        let path = self.place.join(name);
        let text = format!("{top}\n[builtin]\nmining = false\ndprk = false\n{tables}");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn captures_are_the_files_two_levels_down_by_name() {
        let place = tempfile::tempdir().unwrap();
        for path in ["b/2.pcap", "b/1.pcap", "a/3.pcap", "a/deeper/4.pcap"] {
            let path = place.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::write(place.path().join("README"), "").unwrap();
        let names: Vec<_> = captures(place.path()).unwrap().into_iter().map(|capture| capture.name).collect();
        assert_eq!(names, ["a/3.pcap", "b/1.pcap", "b/2.pcap"]);
    }

    #[test]
    fn no_captures_are_no_success() {
        let place = tempfile::tempdir().unwrap();
        assert!(captures(place.path()).is_err());
        assert!(captures(&place.path().join("missing")).is_err());
    }
}
