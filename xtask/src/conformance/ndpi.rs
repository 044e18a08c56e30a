//! The same captures through ndpiReader, another sensor that looks into payload: which flows it takes
//! for mining, side by side with ours and with the labels. What it says decides nothing.

use std::{collections::BTreeMap, fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context as _, Result};

use super::{
    Bench,
    labels::{self, Ends, Flows},
    replayed::replay,
};
use crate::cargo;

/// Of its table of flows: both ends, and the protocol.
const COLUMNS: [&str; 5] = ["src_ip", "src_port", "dst_ip", "dst_port", "ndpi_proto"];
const MINING: &str = "Mining";

/// Flows right, missed, and taken for mining by mistake.
#[derive(Clone, Copy, Default)]
struct Score {
    right: usize,
    missed: usize,
    wrong: usize,
}

impl Score {
    fn of(found: &[Ends], mining: &[Ends]) -> Self {
        let right = mining.iter().filter(|ends| found.contains(ends)).count();
        Self { right, missed: mining.len() - right, wrong: found.len() - right }
    }

    fn add(&mut self, other: Self) {
        self.right += other.right;
        self.missed += other.missed;
        self.wrong += other.wrong;
    }
}

/// Prints the table: captures in which there is mining, or somebody sees some.
pub(super) fn compare(bench: &Bench, labels: &BTreeMap<String, Flows>) -> Result<()> {
    println!("\nMining protocols, replay and ndpiReader against the labels");
    let line = |cells: [&str; 7], name: &str| {
        let [mining, rest @ ..] = cells;
        let rest: Vec<String> = rest.iter().map(|cell| format!("{cell:>8}")).collect();
        println!("{mining:>6}  {}  {name}", rest.join(""));
    };
    line(["mining", "ours", "missed", "wrong", "nDPI", "missed", "wrong"], "");
    let files: Vec<&Path> = bench.captures.iter().map(|capture| capture.path.as_path()).collect();
    let all = replay(&bench.sensor, &bench.defaults()?, &files)?;
    let (mut ours_sum, mut theirs_sum, mut mining_sum) = (Score::default(), Score::default(), 0);
    let numbers = |mining: usize, ours: Score, theirs: Score, name: &str| {
        let cells = [mining, ours.right, ours.missed, ours.wrong, theirs.right, theirs.missed, theirs.wrong];
        let cells = cells.map(|cell| cell.to_string());
        line(cells.each_ref().map(String::as_str), name);
    };
    for (capture, replayed) in bench.captures.iter().zip(&all) {
        let is_mining = |flows: &Flows| -> Vec<Ends> {
            flows.iter().filter(|(_, said)| said.is_mining()).map(|(ends, _)| *ends).collect()
        };
        let mining = labels.get(&capture.name).map(is_mining).unwrap_or_default();
        let ours = is_mining(&labels::found(replayed)?);
        let theirs = mining_flows(&capture.path, &bench.place)?;
        if mining.is_empty() && ours.is_empty() && theirs.is_empty() {
            continue;
        }
        let (ours, theirs) = (Score::of(&ours, &mining), Score::of(&theirs, &mining));
        numbers(mining.len(), ours, theirs, &capture.name);
        ours_sum.add(ours);
        theirs_sum.add(theirs);
        mining_sum += mining.len();
    }
    numbers(mining_sum, ours_sum, theirs_sum, "all captures");
    Ok(())
}

/// What ndpiReader calls mining; nothing where it cannot read the file.
fn mining_flows(capture: &Path, place: &Path) -> Result<Vec<Ends>> {
    let table = place.join("ndpi.csv");
    let _ = fs::remove_file(&table);
    let mut command = Command::new("ndpiReader");
    command.args(["-q", "-C"]).arg(&table).arg("-i").arg(capture);
    let _ = cargo::collect(&mut command)?;
    let text = fs::read_to_string(&table).unwrap_or_default();
    flows(&text).with_context(|| format!("ndpiReader's table of {}", capture.display()))
}

fn flows(table: &str) -> Option<Vec<Ends>> {
    let Some((heading, lines)) = table.split_once('\n') else { return Some(Vec::new()) };
    let names: Vec<&str> = heading.split(',').collect();
    let mut places = [0; COLUMNS.len()];
    for (place, column) in places.iter_mut().zip(COLUMNS) {
        *place = names.iter().position(|name| *name == column)?;
    }
    let mut mining = Vec::new();
    for line in lines.lines() {
        let cells: Vec<&str> = line.split(',').collect();
        let [source, source_port, destination, destination_port, protocol] =
            places.map(|place| cells.get(place).copied().unwrap_or_default());
        if protocol.split('.').any(|part| part == MINING) {
            let end =
                |address: &str, port: &str| Some(SocketAddr::new(address.parse().ok()?, port.parse().ok()?));
            let mut ends: Ends = [end(source, source_port)?, end(destination, destination_port)?];
            ends.sort_unstable();
            mining.push(ends);
        }
    }
    Some(mining)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADING: &str = "#flow_id,protocol,src_ip,src_port,dst_ip,dst_port,ndpi_proto_num,ndpi_proto\n";

    #[test]
    fn mining_is_what_it_calls_so() {
        let table = format!(
            "{HEADING}1,6,10.0.0.2,5000,10.0.0.1,3333,42,Mining\n2,6,10.0.0.2,5001,10.0.0.1,443,91,TLS\n\
             3,6,2001:db8::1,1,2001:db8::2,2,7.42,HTTP.Mining\n"
        );
        let expected: [Ends; 2] = [
            ["10.0.0.1:3333".parse().unwrap(), "10.0.0.2:5000".parse().unwrap()],
            ["[2001:db8::1]:1".parse().unwrap(), "[2001:db8::2]:2".parse().unwrap()],
        ];
        assert_eq!(flows(&table).unwrap(), expected);
        assert_eq!(flows("").unwrap(), [] as [Ends; 0]);
        assert!(flows("flow,what\n1,2\n").is_none());
    }
}
