//! events.md against events that the code makes: the same fields, each in the events and with the
//! values that the page says, and its examples as the daemon writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::IpAddr;
use std::sync::Arc;

use sensor::clock::now_ns;
use sensor::config::{self, Output};
use sensor::events::{Concerned, Events};
use sensor::inspect::dns::Outcome;
use sensor::inspect::{About, Signal};
use sensor::verdict::{Answer, Detection, Role};
use sensor_ebpf::abi::{Address, FlowKey, Side, TargetSet, Transport};
use serde_json::Value;

use super::{blocks, code_spans, page, rows, with_fault};

const DETECTION: &str = "detection";
const LOOKUP: &str = "dns-lookup";
const BOTH: &str = "both";

fn key(local: (&str, u16), remote: (&str, u16), transport: Transport) -> FlowKey {
    let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
    let ((local_ip, version), (remote_ip, _)) =
        (Address::from_ip(ip(local.0)), Address::from_ip(ip(remote.0)));
    FlowKey {
        remote: remote_ip,
        local: local_ip,
        remote_port: remote.1,
        local_port: local.1,
        transport: transport as u8,
        version: version as u8,
        reserved: 0,
    }
}

fn miner() -> Detection {
    let text = |text: &str| Some(text.to_owned());
    Detection {
        key: key(("192.0.2.10", 51_660), ("203.0.113.9", 3333), Transport::Tcp),
        targets: TargetSet::EMPTY,
        signal: Signal::Stratum,
        role: Role::Miner,
        about: About {
            agent: text("XMRig/6.26.0"),
            coin: text("rx/0"),
            wallet: text("44example"),
            worker: text("rig1"),
        },
        server_name: None,
        indicators: Vec::new(),
        interface: 2,
        at_ns: now_ns(),
    }
}

fn hello() -> Detection {
    Detection {
        key: key(("192.0.2.10", 40_476), ("198.51.100.20", 443), Transport::Tcp),
        signal: Signal::Sni,
        role: Role::None,
        about: About::default(),
        server_name: Some("eu.pool.example".to_owned()),
        ..miner()
    }
}

/// Of which the least is known.
fn served() -> Detection {
    Detection {
        key: key(("2001:db8::10", 3333), ("2001:db8::77", 50_000), Transport::Tcp),
        signal: Signal::Getwork,
        role: Role::Pool,
        about: About::default(),
        ..miner()
    }
}

fn answer(outcome: Outcome, addresses: &[&str]) -> Answer {
    Answer {
        key: key(("192.0.2.10", 41_177), ("192.0.2.53", 53), Transport::Udp),
        query: "pool.supportxmr.com".to_owned(),
        outcome,
        targets: TargetSet::EMPTY,
        indicators: Vec::new(),
        addresses: addresses.iter().map(|text| text.parse().expect("an address")).collect(),
        interface: 2,
        at_ns: now_ns(),
    }
}

/// What the daemon writes: the page's three examples first, then others.
fn written() -> Vec<Value> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("events.json");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    runtime.block_on(async {
        let config = config::Events { output: Output::File(file.clone()), wallets: true };
        let mut events = Events::new(&config, Arc::default());
        let pool = |domain| Concerned { watchlist: "mining", target: "supportxmr", domain };
        let office = Concerned { watchlist: "office", target: "office", domain: Some("pool.example") };
        events.detection(&miner(), pool(None), Some(Side::Local), Some("eth0"));
        events.detection(&hello(), office, Some(Side::Local), Some("eth0"));
        for (outcome, addresses) in [
            (Outcome::Address, &["203.0.113.9"][..]),
            (Outcome::NoAddress, &[]),
            (Outcome::NxDomain, &[]),
            (Outcome::Sinkhole, &["0.0.0.0"]),
        ] {
            events.answer(&answer(outcome, addresses), pool(Some("supportxmr.com")), Some("eth0"));
        }
        events.detection(&served(), pool(None), None, None);
        events.answer(&answer(Outcome::NxDomain, &[]), pool(None), None);
    });
    // Waits for the thread that writes.
    drop(runtime);
    let text = fs::read_to_string(&file).expect("events");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// Each field of an event with what it holds, lists as one.
fn fields(event: &Value) -> BTreeMap<String, Value> {
    fn flatten(prefix: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(inside) => {
                for (name, value) in inside {
                    let name = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
                    flatten(&name, value, found);
                }
            }
            other => {
                found.insert(prefix.to_owned(), other.clone());
            }
        }
    }
    let mut found = BTreeMap::new();
    flatten("", event, &mut found);
    found
}

/// In which events a field is, and whether in all of those.
fn presence(field: &str, events: &[BTreeMap<String, Value>]) -> (&'static str, &'static str) {
    let of = |action: &'static str| events.iter().filter(move |it| it["event.action"] == action);
    let has = |action| of(action).any(|event| event.contains_key(field));
    let (place, in_all) = match (has(DETECTION), has(LOOKUP)) {
        (true, false) => (DETECTION, of(DETECTION).all(|event| event.contains_key(field))),
        (false, true) => (LOOKUP, of(LOOKUP).all(|event| event.contains_key(field))),
        _ => (BOTH, events.iter().all(|event| event.contains_key(field))),
    };
    (place, if in_all { "always" } else { "known" })
}

/// The values that a field has in these events.
fn values(field: &str, events: &[BTreeMap<String, Value>]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for value in events.iter().filter_map(|event| event.get(field)) {
        match value {
            Value::Array(items) => found.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
            other => found.extend(other.as_str().map(str::to_owned)),
        }
    }
    found
}

/// Everything that the page gets wrong.
fn faults(text: &str) -> Vec<String> {
    let written = written();
    let events: Vec<_> = written.iter().map(fields).collect();
    let mut actual: BTreeSet<&str> = events.iter().flat_map(BTreeMap::keys).map(String::as_str).collect();
    let mut faults = Vec::new();
    let rows = rows(text, "field");
    for row in &rows {
        let field = row.subject();
        if !actual.remove(field) {
            faults.push(format!("{field}: is in no event, or is there twice"));
            continue;
        }
        let presence = presence(field, &events);
        if (row.cell("in"), row.cell("when")) != presence {
            faults.push(format!("{field}: is in {}, {}", presence.0, presence.1));
        }
        let said: BTreeSet<String> = code_spans(row.cell("values")).into_iter().map(str::to_owned).collect();
        let found = values(field, &events);
        if !said.is_empty() && said != found {
            faults.push(format!("{field}: has the values {found:?}"));
        }
    }
    faults.extend(actual.iter().map(|field| format!("{field}: is not described")));
    let examples = blocks(text, "json");
    for (number, (example, event)) in (1..).zip(examples.iter().zip(&written)) {
        match serde_json::from_str::<Value>(example) {
            Ok(example) if without_the_moment(&example) == without_the_moment(event) => {}
            Ok(_) => faults.push(format!("example {number}: is written as {event}")),
            Err(error) => faults.push(format!("example {number}: {error}")),
        }
    }
    if examples.len() != 3 {
        faults.push(format!("{} examples", examples.len()));
    }
    faults
}

/// When and where it was made is another each time.
fn without_the_moment(event: &Value) -> Value {
    let mut event = event.clone();
    for field in ["@timestamp", "host"] {
        event[field] = Value::Null;
    }
    event
}

#[test]
fn every_field_of_an_event_is_described_and_the_examples_are_what_the_daemon_writes() {
    assert_eq!(faults(&page("events.md")), Vec::<String>::new());
}

#[test]
fn the_events_that_the_page_is_held_against_show_every_signal_role_and_result() {
    let events: Vec<_> = written().iter().map(fields).collect();
    let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(values("rule.name", &events), names(&Signal::ALL.map(Signal::name)));
    assert_eq!(values("poolwatch.role", &events), names(&Role::ALL.map(Role::name)));
    assert_eq!(values("poolwatch.result", &events), names(&Outcome::ALL.map(Outcome::name)));
}

#[test]
fn each_fault_put_into_the_description_of_an_event_is_found() {
    let page = page("events.md");
    #[rustfmt::skip]
    let table = [
        ("a field is missing", "| `poolwatch.coin` | detection | known | | The coin, or the algorithm where no coin is named |\n", "", "poolwatch.coin: is not described"),
        ("a field that is none", "| `poolwatch.coin` |", "| `poolwatch.algorithm` |", "poolwatch.algorithm: is in no event, or is there twice"),
        ("said to be in other events", "| `poolwatch.result` | dns-lookup |", "| `poolwatch.result` | both |", "poolwatch.result: is in dns-lookup, always"),
        ("said to be there always", "| `poolwatch.agent` | detection | known |", "| `poolwatch.agent` | detection | always |", "poolwatch.agent: is in detection, known"),
        ("a value is missing", "`sni`, `stratum`, `getwork`", "`sni`, `stratum`", "rule.name: has the values {\"getwork\", \"sni\", \"stratum\"}"),
        ("an example says something else", "\"wallet\": \"44example\"", "\"wallet\": \"44other\"", "example 1: is written as "),
        ("an example lacks a field", "  \"rule\": { \"name\": \"sni\" },\n", "", "example 2: is written as "),
        ("an example is no JSON", "\"type\": \"answer\"\n", "\"type\": \"answer\",\n", "example 3: trailing comma"),
        ("an example is missing", "```json\n", "```\n", "2 examples"),
    ];
    for (fault, right, wrong, expected) in table {
        let found = faults(&with_fault(&page, right, wrong));
        assert!(found.iter().any(|it| it.starts_with(expected)), "{fault}: {found:?}");
    }
}
