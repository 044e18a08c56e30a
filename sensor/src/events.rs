//! Events: a JSON object a line, in the names of the Elastic Common Schema (ECS 8.11), for each
//! detection and each answer to a query for a watched name, once for every target that it concerns.
//!
//! Text from the wire gets into them only where it was checked or bounded, and JSON escapes it; payload
//! never does. Writing is another thread's: who does not keep up loses events, not the daemon its time,
//! and each lost one is counted.

mod dropped;
mod synthetic;

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;
use std::time::Duration;

use sensor_ebpf::abi::{FlowKey, Side, Transport, Version};
use serde::Serialize;
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

pub use dropped::{Counts, Dropped};

use crate::clock::boot_at;
use crate::config::{self, Output};
use crate::verdict::{Answer, Detection, Role};

/// Lines that wait to be written.
const QUEUE_MAX: usize = 1024;
/// Events of one target and action at once, and a second after that.
const BURST: f64 = 20.0;
const A_SECOND: f64 = 1.0;

/// Events tell wallets and peers: the file is its owner's and his group's.
const FILE_MODE: u32 = 0o640;

/// Values of `event.action`.
const DETECTION: &str = "detection";
const LOOKUP: &str = "dns-lookup";

const ECS_VERSION: &str = "8.11.0";

/// Where an event belongs.
#[derive(Clone, Copy, Debug)]
pub struct Concerned<'a> {
    pub watchlist: &'a str,
    pub target: &'a str,
    /// The indicator by which the target was found, where it is a domain.
    pub domain: Option<&'a str>,
}

/// The writing end.
pub struct Events {
    lines: Option<mpsc::Sender<String>>,
    pub dropped: Arc<Counts>,
    /// What each target may still say, and since when; by watchlist, target and action: lookups, of which
    /// anybody may cause many, keep no detection from being told.
    shares: HashMap<(String, String, &'static str), (f64, u64)>,
    host: String,
    with_wallets: bool,
}

impl Events {
    /// Starts the thread that writes. It ends when this is dropped and all is written.
    pub fn new(config: &config::Events, dropped: Arc<Counts>) -> Self {
        let lines = (config.output != Output::None).then(|| {
            let (sender, receiver) = mpsc::channel(QUEUE_MAX);
            let (output, dropped) = (config.output.clone(), Arc::clone(&dropped));
            tokio::task::spawn_blocking(move || write_all(receiver, &output, &dropped));
            sender
        });
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        Self { lines, dropped, shares: HashMap::new(), host, with_wallets: config.wallets }
    }

    /// `initiator`: who opened the connection, where that is known.
    pub fn detection(
        &mut self,
        found: &Detection,
        concerned: Concerned<'_>,
        initiator: Option<Side>,
        interface: Option<&str>,
    ) {
        // Miners open their connections, and so does who sends a hello.
        let opener = if found.role == Role::Pool { Side::Remote } else { Side::Local };
        let about = &found.about;
        let mut event = self.event("alert", DETECTION, found.at_ns, concerned);
        add_network(&mut event, &found.key, initiator.unwrap_or(opener), interface);
        event["rule"] = json!({ "name": found.signal.name() });
        event["threat"] = if let Some(name) = &found.server_name {
            indicator("domain-name", &[("name", json!(concerned.domain.unwrap_or(name)))])
        } else {
            let remote = remote_ip(&found.key);
            let kind = if remote.is_ipv4() { "ipv4-addr" } else { "ipv6-addr" };
            indicator(kind, &[("ip", json!(remote)), ("port", json!(found.key.remote_port))])
        };
        let tls = |name| json!({ "client": { "server_name": name } });
        add(&mut event, "tls", found.server_name.as_ref().map(tls));
        let poolwatch = &mut event["poolwatch"];
        poolwatch["role"] = json!(found.role.name());
        add(poolwatch, "agent", about.agent.as_ref());
        add(poolwatch, "coin", about.coin.as_ref());
        if self.with_wallets {
            add(poolwatch, "wallet", about.wallet.as_ref());
            add(poolwatch, "worker", about.worker.as_ref());
        }
        self.send(&event, DETECTION, found.at_ns, concerned);
    }

    pub fn answer(&mut self, found: &Answer, concerned: Concerned<'_>, interface: Option<&str>) {
        let mut event = self.event("event", LOOKUP, found.at_ns, concerned);
        add_network(&mut event, &found.key, Side::Local, interface);
        let name = json!(concerned.domain.unwrap_or(&found.query));
        event["threat"] = indicator("domain-name", &[("name", name)]);
        event["dns"] = json!({
            "type": "answer",
            "question": { "name": found.query },
            "resolved_ip": found.addresses,
        });
        event["poolwatch"]["result"] = json!(found.outcome.name());
        self.send(&event, LOOKUP, found.at_ns, concerned);
    }

    fn event(&self, kind: &str, action: &str, at_ns: u64, concerned: Concerned<'_>) -> Value {
        let at = OffsetDateTime::from(boot_at() + Duration::from_nanos(at_ns));
        json!({
            "@timestamp": at.format(&Rfc3339).unwrap_or_default(),
            "ecs": { "version": ECS_VERSION },
            "host": { "name": self.host },
            "event": { "kind": kind, "category": ["network"], "action": action },
            "poolwatch": { "watchlist": concerned.watchlist, "target": concerned.target },
        })
    }

    fn send(&mut self, event: &Value, action: &'static str, at_ns: u64, concerned: Concerned<'_>) {
        // Where nobody asked for events, none is missed.
        if self.lines.is_none() {
            return;
        }
        if self.has_share(action, at_ns, concerned) {
            self.hand_on(event);
        } else {
            self.dropped.add(Dropped::Rate);
        }
    }

    /// May this target say something more? If so, it counts.
    fn has_share(&mut self, action: &'static str, at_ns: u64, concerned: Concerned<'_>) -> bool {
        let share = (concerned.watchlist.to_owned(), concerned.target.to_owned(), action);
        let (left, since_ns) = self.shares.entry(share).or_insert((BURST, at_ns));
        let passed = Duration::from_nanos(at_ns.saturating_sub(*since_ns)).as_secs_f64();
        (*left, *since_ns) = ((*left + passed * A_SECOND).min(BURST), at_ns.max(*since_ns));
        let has = *left >= 1.0;
        if has {
            *left -= 1.0;
        }
        has
    }

    fn hand_on(&self, event: &Value) {
        let Some(lines) = &self.lines else { return };
        if lines.try_send(format!("{event}\n")).is_err() {
            self.dropped.add(Dropped::Slow);
        }
    }
}

/// Writes lines until nobody sends any more. A file is opened for what came together, so that one that
/// was rotated away is made again.
fn write_all(mut lines: mpsc::Receiver<String>, output: &Output, dropped: &Counts) {
    let mut batch = Vec::new();
    let mut was_sound = true;
    while lines.blocking_recv_many(&mut batch, QUEUE_MAX) > 0 {
        let written = write(output, &batch.concat());
        if let Err(error) = &written {
            for _ in &batch {
                dropped.add(Dropped::Output);
            }
            if was_sound {
                tracing::error!(output = %output, "events.output: {error}; events are dropped and counted");
            }
        }
        was_sound = written.is_ok();
        batch.clear();
    }
}

fn write(output: &Output, text: &str) -> io::Result<()> {
    match output {
        Output::None => Ok(()),
        Output::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(text.as_bytes())?;
            stdout.flush()
        }
        Output::File(path) => {
            // A pipe without a reader is an error, not a wait.
            let mut options = OpenOptions::new();
            options.create(true).append(true).mode(FILE_MODE).custom_flags(libc::O_NONBLOCK);
            let mut file = options.open(path)?;
            let before = file.metadata()?.len();
            // Half a line would make the next one none.
            file.write_all(text.as_bytes()).inspect_err(|_| drop(file.set_len(before)))
        }
    }
}

/// Addresses and ports: the source is who opened the connection.
fn add_network(event: &mut Value, key: &FlowKey, initiator: Side, interface: Option<&str>) {
    let local = json!({ "ip": key.local.to_ip(Version::of(key.version)), "port": key.local_port });
    let remote = json!({ "ip": remote_ip(key), "port": key.remote_port });
    let (source, destination, direction) = match initiator {
        Side::Local => (local, remote, "egress"),
        Side::Remote => (remote, local, "ingress"),
    };
    event["source"] = source;
    event["destination"] = destination;
    let transport = if key.transport == Transport::Tcp as u8 { "tcp" } else { "udp" };
    event["network"] = json!({ "transport": transport, "direction": direction });
    if let Some(name) = interface {
        event["observer"] = json!({ "ingress": { "interface": { "name": name } } });
    }
}

fn indicator(kind: &str, fields: &[(&str, Value)]) -> Value {
    let mut indicator = json!({ "type": kind });
    for (name, value) in fields {
        indicator[*name] = value.clone();
    }
    json!({ "indicator": indicator })
}

fn add(object: &mut Value, name: &str, value: Option<impl Serialize>) {
    if let Some(value) = value {
        object[name] = json!(value);
    }
}

fn remote_ip(key: &FlowKey) -> IpAddr {
    key.remote.to_ip(Version::of(key.version))
}

#[cfg(test)]
mod tests {
    use sensor_ebpf::abi::{Address, TargetSet};

    use super::*;
    use crate::inspect::dns::Outcome;
    use crate::inspect::{About, Signal};

    const SECOND_NS: u64 = 1_000_000_000;
    const KEY: FlowKey = FlowKey {
        remote: Address::v4(0x3c71_00cb),
        local: Address::v4(0x0100_000a),
        remote_port: 3333,
        local_port: 40_000,
        transport: Transport::Tcp as u8,
        version: Version::V4 as u8,
        reserved: 0,
    };

    /// Events that wait where nobody takes them.
    fn waiting(most: usize, with_wallets: bool) -> (Events, mpsc::Receiver<String>) {
        let (sender, receiver) = mpsc::channel(most);
        let (dropped, shares) = (Arc::default(), HashMap::new());
        (Events { lines: Some(sender), dropped, shares, host: "here".to_owned(), with_wallets }, receiver)
    }

    fn detect(events: &mut Events, target: &str, at_ns: u64) {
        let text = |text: &str| Some(text.to_owned());
        let found = Detection {
            key: KEY,
            targets: TargetSet::EMPTY,
            signal: Signal::Stratum,
            role: Role::Miner,
            about: About { agent: text("a\n\"1"), coin: None, wallet: text("4wallet"), worker: text("rig") },
            server_name: None,
            indicators: Vec::new(),
            interface: 2,
            at_ns,
        };
        events.detection(&found, Concerned { watchlist: "mining", target, domain: None }, None, Some("eth0"));
    }

    fn dropped(events: &Events) -> [u64; 3] {
        Dropped::ALL.map(|reason| events.dropped.get(reason))
    }

    #[test]
    fn a_target_has_its_share_and_takes_nothing_from_anothers() {
        let (mut events, _receiver) = waiting(QUEUE_MAX, true);
        (0..25).for_each(|_| detect(&mut events, "one", SECOND_NS));
        assert_eq!(dropped(&events), [0, 0, 5]);
        (0..20).for_each(|_| detect(&mut events, "another", SECOND_NS));
        assert_eq!(dropped(&events), [0, 0, 5]);
        (0..5).for_each(|_| detect(&mut events, "one", 4 * SECOND_NS));
        assert_eq!(dropped(&events), [0, 0, 7], "three more after three seconds");
        (0..21).for_each(|_| detect(&mut events, "one", 1_000 * SECOND_NS));
        assert_eq!(dropped(&events), [0, 0, 8], "silence saves no more than what may be said at once");
    }

    #[test]
    fn lookups_keep_no_detection_from_being_told() {
        let (mut events, _receiver) = waiting(QUEUE_MAX, true);
        for number in 0..30 {
            let found = Answer {
                key: KEY,
                query: format!("{number}.pool.example"),
                outcome: Outcome::NxDomain,
                targets: TargetSet::EMPTY,
                indicators: Vec::new(),
                addresses: Vec::new(),
                interface: 2,
                at_ns: SECOND_NS,
            };
            let concerned = Concerned { watchlist: "mining", target: "one", domain: Some("pool.example") };
            events.answer(&found, concerned, None);
        }
        assert_eq!(dropped(&events), [0, 0, 10]);
        detect(&mut events, "one", SECOND_NS);
        assert_eq!(dropped(&events), [0, 0, 10]);
    }

    #[test]
    fn what_waits_for_somebody_slow_is_bounded_and_the_rest_is_counted() {
        let (mut events, mut receiver) = waiting(4, true);
        (0..10).for_each(|_| detect(&mut events, "one", SECOND_NS));
        assert_eq!(dropped(&events), [6, 0, 0]);
        receiver.try_recv().expect("one of the four");
        detect(&mut events, "one", SECOND_NS);
        assert_eq!(dropped(&events), [6, 0, 0], "there is room again");
    }

    #[test]
    fn what_cannot_be_written_is_counted_line_by_line() {
        let dropped = Counts::default();
        let (sender, receiver) = mpsc::channel(8);
        (0..3).for_each(|_| sender.try_send("{}\n".to_owned()).expect("there is room"));
        drop(sender);
        write_all(receiver, &Output::File("/dev/full".into()), &dropped);
        assert_eq!(dropped.get(Dropped::Output), 3);
    }

    #[test]
    fn an_event_is_one_line_of_json_and_wallets_are_in_it_only_where_they_are_wanted() {
        for with_wallets in [true, false] {
            let (mut events, mut receiver) = waiting(1, with_wallets);
            detect(&mut events, "one", SECOND_NS);
            let line = receiver.try_recv().expect("an event");
            assert_eq!(line.matches('\n').count(), 1, "{line}");
            let event: Value = serde_json::from_str(&line).expect("JSON");
            assert_eq!(event["poolwatch"]["agent"], "a\n\"1");
            assert_eq!(event["poolwatch"]["wallet"].as_str(), with_wallets.then_some("4wallet"));
            assert_eq!(event["poolwatch"]["worker"].as_str(), with_wallets.then_some("rig"));
            assert_eq!(
                (&event["source"]["port"], &event["destination"]["port"]),
                (&json!(40_000), &json!(3333))
            );
        }
    }
}
