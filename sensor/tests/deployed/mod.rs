//! A small estate: hosts with a sensor each, and a hub that is everything else to them, with the pools,
//! a name server, and the real Prometheus and Alertmanager on the rules that deploy/ ships.

#![allow(dead_code, reason = "the tests of a part use a part")]

pub mod cost;
pub mod hosts;
pub mod monitoring;
pub mod panels;

use serde_json::Value;

use super::support::PinsDirectory;
use super::support::daemon::Daemon;
use super::support::mining::{Miner, NameServer, resolve, serve_pool};
use super::support::namespace::Namespace;

/// The name server's address.
pub const NAMES: &str = "203.0.113.53";
/// What `pool.supportxmr.com` resolves to here.
pub const POOL: &str = "203.0.113.50";
/// Of each of the three routes of the built-in list `dprk`.
pub const ROUTES: [&str; 3] = ["175.45.176.9", "210.52.109.9", "77.94.35.9"];

pub struct Estate {
    pub hub: Namespace,
    pub hosts: Vec<Namespace>,
    _names: NameServer,
}

impl Estate {
    /// So many hosts, each with an `eth0` of its own to the hub: `10.78.NUMBER.1`, from 1 on.
    pub fn of(hosts: u8) -> Self {
        let hub = Namespace::new("hub");
        for address in [NAMES, POOL].iter().chain(&ROUTES) {
            hub.owns(address);
        }
        let host = |number| {
            let host = Namespace::new("host");
            hub.ip(&format!("link add host{number} type veth peer name eth0 netns {}", host.name));
            for (end, interface, last) in [(&hub, format!("host{number}"), 2), (&host, "eth0".to_owned(), 1)]
            {
                end.ip(&format!("address add 10.78.{number}.{last}/24 dev {interface}"));
                end.ip(&format!("link set {interface} up"));
            }
            host.ip(&format!("route add default via 10.78.{number}.2"));
            host
        };
        let hosts = (1..=hosts).map(host).collect();
        let names = NameServer::start(&hub, NAMES, &[("pool.supportxmr.com", POOL)]);
        serve_pool(&hub, &["0.0.0.0:7777"]);
        Self { hub, hosts, _names: names }
    }

    /// A sensor on the host of this number, for the hub to scrape.
    pub fn sensor(&self, number: usize, config: &str) -> Daemon<'_> {
        let listen = ["--listen", "0.0.0.0:9750"];
        Daemon::start_on(self.host(number), PinsDirectory::new(), "interfaces = [\"eth0\"]", config, &listen)
    }

    pub fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number - 1]
    }

    /// The host looks the pool up and mines there, for as long as what this returns lives.
    pub fn mine(&self, number: usize, sensor: &Daemon<'_>) -> Miner {
        let found = resolve(self.host(number), NAMES, "pool.supportxmr.com");
        assert_eq!(found, Some(POOL.parse().expect("an address")));
        // What passes before the sensor heard the answer counts for nobody.
        sensor.wait_for("answered", |it| {
            it.has("poolwatch_dns_answers_total", &[("target", "supportxmr"), ("result", "address")])
        });
        let mut miner = Miner::connect(self.host(number), &format!("{POOL}:7777"));
        miner.log_in();
        miner
    }

    /// The host connects to each route, and mines at the first.
    pub fn reach_routes(&self, number: usize) -> Vec<Miner> {
        let mut miners: Vec<Miner> =
            ROUTES.iter().map(|route| Miner::connect(self.host(number), &format!("{route}:7777"))).collect();
        miners[0].log_in();
        miners
    }
}

/// Where the sensor of this number is scraped.
pub fn address(number: usize) -> String {
    format!("10.78.{number}.1:9750")
}

/// Replaces what is there exactly once, so that a file that changed is not tested unchanged.
pub fn once(text: &str, what: &str, with: &str) -> String {
    assert_eq!(text.matches(what).count(), 1, "{what:?} is not there once:\n{text}");
    text.replace(what, with)
}

/// Fails where a part of the alert says otherwise.
pub fn has(alert: &Value, part: &str, expected: &[(&str, &str)]) {
    for (key, value) in expected {
        assert_eq!(alert[part][key], *value, "{part}.{key}: {alert:#}");
    }
}

/// The value of a series with these labels; none, where it is not there.
pub fn value(found: &[(Value, f64)], labels: &[(&str, &str)]) -> Option<f64> {
    let carries = |metric: &Value| labels.iter().all(|(key, value)| metric[key] == *value);
    found.iter().find(|(metric, _)| carries(metric)).map(|(_, value)| *value)
}
