//! What replay finds in captures whose flows somebody labelled: `flows.csv` in the directory names, for
//! each flow, its signals and its role at least. Every flow with a signal is found with them; what a
//! connection says is claimed of no other one; and where nothing is labelled, nothing is found.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::SocketAddr,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::{
    Bench,
    replayed::{Replayed, replay},
    table::{self, Row, Verdict, verdict},
};

pub(super) const TABLE: &str = "flows.csv";
const HEADING: &str = "capture,client,server,packets,syn_seen,protocol,label,sni,signals,role";

/// Names of pools that are looked up in a capture, by what the capture's name ends with.
const LOOKED_UP: [(&str, &[&str]); 1] =
    [("coinhive-stratum.pcap", &["coinhive.com", "la01.supportxmr.com", "www.supportxmr.com"])];

/// Signals by what a connection says itself.
pub(super) const SAID: [&str; 3] = ["sni", "stratum", "getwork"];
/// Those of them that are a mining protocol's.
const MINING: [&str; 2] = ["stratum", "getwork"];

/// Both ends of a flow, in no order.
pub(super) type Ends = [SocketAddr; 2];

/// What is said of a flow.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Said {
    pub(super) signals: BTreeSet<String>,
    pub(super) role: String,
}

impl Said {
    /// Does it say what the flow says itself?
    pub(super) fn is_by_payload(&self) -> bool {
        self.signals.iter().any(|signal| SAID.contains(&signal.as_str()))
    }

    pub(super) fn is_mining(&self) -> bool {
        self.signals.iter().any(|signal| MINING.contains(&signal.as_str()))
    }
}

pub(super) type Flows = BTreeMap<Ends, Said>;

/// The labelled flows by capture; `None`: the directory has no such table.
pub(super) fn read(directory: &Path) -> Result<Option<BTreeMap<String, Flows>>> {
    let path = directory.join(TABLE);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).map(Some).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<BTreeMap<String, Flows>> {
    let mut lines = text.lines();
    if lines.next() != Some(HEADING) {
        bail!("its first line is not {HEADING:?}");
    }
    let mut all: BTreeMap<String, Flows> = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let [capture, client, server, .., signals, role] = cells[..] else { bail!("a line says {line:?}") };
        let signals = signals.split([' ', ';', '+']).filter(|signal| !signal.is_empty());
        let said = Said { signals: signals.map(str::to_owned).collect(), role: role.to_owned() };
        let ends = ends(client, server).with_context(|| format!("a line says {line:?}"))?;
        all.entry(capture.to_owned()).or_default().insert(ends, said);
    }
    Ok(all)
}

fn ends(one: &str, other: &str) -> Option<Ends> {
    let mut ends = [one.parse().ok()?, other.parse().ok()?];
    ends.sort_unstable();
    Some(ends)
}

/// What replay says of each flow, all its objects together.
pub(super) fn found(replayed: &Replayed) -> Result<Flows> {
    let mut flows = Flows::new();
    for object in &replayed.flows {
        let text = |key: &str| object[key].as_str().unwrap_or_default();
        let ends = ends(text("source"), text("destination")).with_context(|| object.to_string())?;
        let said = flows.entry(ends).or_default();
        let signals = object["signals"].as_array().into_iter().flatten().filter_map(Value::as_str);
        said.signals.extend(signals.map(str::to_owned));
        if said.role.is_empty() || said.role == "none" {
            text("role").clone_into(&mut said.role);
        }
    }
    Ok(flows)
}

pub(super) fn looked_up(replayed: &Replayed) -> BTreeSet<String> {
    let names = replayed.lookups.iter().filter_map(|object| object["query"].as_str());
    names.map(str::to_owned).collect()
}

/// Prints the table, and returns how many captures differ.
pub(super) fn compare(bench: &Bench, labels: &BTreeMap<String, Flows>) -> Result<usize> {
    let config = bench.defaults()?;
    let files: Vec<&Path> = bench.captures.iter().map(|capture| capture.path.as_path()).collect();
    let all = replay(&bench.sensor, &config, &files)?;
    let nothing = Flows::new();
    let mut rows = Vec::new();
    for (capture, replayed) in bench.captures.iter().zip(&all) {
        rows.push(row(&capture.name, replayed, labels.get(&capture.name).unwrap_or(&nothing))?);
    }
    for name in labels.keys().filter(|name| bench.captures.iter().all(|it| it.name != **name)) {
        let verdict = Verdict::Differs(vec!["its flows are labelled, and it is not there".to_owned()]);
        rows.push(Row { cells: Vec::new(), verdict, name: name.clone() });
    }
    let columns = ["labelled", "found", "by payload", "by address", "names"];
    Ok(table::print("What replay finds, against the labels of flows.csv", &columns, &rows))
}

fn row(name: &str, replayed: &Replayed, labels: &Flows) -> Result<Row> {
    let flows = found(replayed)?;
    let names = looked_up(replayed);
    let wanted: Flows = labels
        .iter()
        .filter(|(_, it)| !it.signals.is_empty())
        .map(|(ends, it)| (*ends, it.clone()))
        .collect();
    let mut differences = Vec::new();
    let mut right = 0;
    for (ends, label) in &wanted {
        match flows.get(ends) {
            Some(said) if label.signals.is_subset(&said.signals) && label.role == said.role => right += 1,
            said => differences.push(format!("{ends:?} is {label:?}, and replay says {said:?}")),
        }
    }
    for (ends, said) in
        flows.iter().filter(|(ends, said)| said.is_by_payload() && !wanted.contains_key(*ends))
    {
        differences.push(format!("{ends:?} says nothing of the kind: {said:?}"));
    }
    let expected = LOOKED_UP.iter().find(|(end, _)| name.ends_with(end)).map_or(&[][..], |(_, names)| names);
    let expected: BTreeSet<String> = expected.iter().map(|name| (*name).to_owned()).collect();
    if names != expected {
        differences.push(format!("looked up: {expected:?}, and replay says {names:?}"));
    }
    let by_payload = flows.values().filter(|said| said.is_by_payload()).count();
    let cells = [wanted.len(), right, by_payload, flows.len() - by_payload, names.len()];
    let verdict = match &replayed.error {
        Some(error) if differences.is_empty() => Verdict::Left(error.clone()),
        _ => verdict(differences),
    };
    Ok(Row { cells: cells.map(|cell| cell.to_string()).to_vec(), verdict, name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const MINER: &str = "10.0.0.1:5000";
    const POOL: &str = "192.0.2.1:3333";

    fn labels(lines: &str) -> Flows {
        parse(&format!("{HEADING}\n{lines}")).unwrap().remove("a.pcap").unwrap_or_default()
    }

    fn replayed(signals: &[&str], role: &str) -> Replayed {
        let flow = json!({ "source": MINER, "destination": POOL, "signals": signals, "role": role });
        Replayed { flows: vec![flow], ..Replayed::default() }
    }

    fn is_equal(name: &str, replayed: &Replayed, labels: &Flows) -> bool {
        matches!(row(name, replayed, labels).unwrap().verdict, Verdict::Equal)
    }

    #[test]
    fn a_flow_is_found_with_at_least_its_signals_and_exactly_its_role() {
        let labels = labels(&format!("a.pcap,{MINER},{POOL},9,1,x,mining-accepted,,stratum,miner"));
        for (what, replayed, expected) in [
            ("found", replayed(&["stratum"], "miner"), true),
            ("with another signal", replayed(&["learned", "stratum"], "miner"), true),
            ("with another one only", replayed(&["sni"], "miner"), false),
            ("in another role", replayed(&["stratum"], "pool"), false),
            ("missed", Replayed::default(), false),
        ] {
            assert_eq!(is_equal("a.pcap", &replayed, &labels), expected, "{what}");
        }
    }

    #[test]
    fn other_flows_may_be_known_by_address_but_not_by_what_they_say() {
        let negative = labels(&format!("a.pcap,{MINER},{POOL},9,1,tls,negative,,,"));
        assert!(is_equal("a.pcap", &replayed(&["learned"], "none"), &negative));
        for labels in [&negative, &Flows::new()] {
            assert!(!is_equal("a.pcap", &replayed(&["sni"], "none"), labels));
        }
    }

    #[test]
    fn names_are_looked_up_where_they_are_and_nowhere_else() {
        let lookups = |names: &[&str]| Replayed {
            lookups: names.iter().map(|name| json!({ "query": name })).collect(),
            ..Replayed::default()
        };
        let (end, names) = LOOKED_UP[0];
        assert!(is_equal(&format!("mining/x__{end}"), &lookups(names), &Flows::new()));
        assert!(!is_equal(&format!("mining/x__{end}"), &lookups(&names[1..]), &Flows::new()));
        assert!(!is_equal("other/y.pcap", &lookups(&["coinhive.com"]), &Flows::new()));
    }

    #[test]
    fn a_table_of_another_kind_is_refused() {
        for text in ["", "capture,client\n", &format!("{HEADING}\na.pcap,{MINER}\n")] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
