//! Hosts that Prometheus finds by files.

use std::fs;

use tempfile::TempDir;

use super::monitoring::{Monitoring, scraping};
use super::{Estate, address, once};
use crate::deploy;

/// Prometheus and Alertmanager for many hosts, which are found by a file each; what gives the files more hosts later.
pub fn fleet<'a>(
    estate: &'a Estate,
    names: &[&str],
    change: impl Fn(&str, String) -> String,
) -> (Monitoring<'a>, Hosts) {
    let hosts = Hosts::of(names);
    (Monitoring::start(&estate.hub, &hosts.scraped(), change), hosts)
}

/// Two hosts, and nothing in Prometheus but what they export.
pub fn fleet_without_rules(estate: &Estate) -> (Monitoring<'_>, Hosts) {
    let hosts = Hosts::of(&["web1", "web2"]);
    let config = hosts.scraped();
    let (head, rest) = config.split_once("rule_files:").expect("rules");
    let (_rules, rest) = rest.split_once("scrape_configs:").expect("jobs");
    let config = format!("{head}scrape_configs:{rest}");
    (Monitoring::start(&estate.hub, &config, |_, rules| rules), hosts)
}

/// Where Prometheus looks up its hosts.
pub struct Hosts(TempDir);

impl Hosts {
    pub fn of(names: &[&str]) -> Self {
        let hosts = Self(TempDir::new().expect("a directory"));
        for (number, name) in (1..).zip(names) {
            hosts.add(number, name);
        }
        hosts
    }

    /// The shipped configuration for many hosts, which looks here.
    pub fn scraped(&self) -> String {
        scraping("prometheus/fleet.yml", ("hosts/*.yml", &self.pattern()))
    }

    /// The files of the hosts, as Prometheus names them.
    pub fn pattern(&self) -> String {
        format!("{}/*.yml", self.0.path().display())
    }

    pub fn add(&self, number: usize, name: &str) {
        let example = deploy::text("prometheus/hosts/example.yml");
        let entry = "- targets: [\"192.0.2.10:9750\"]\n  labels: {instance: web1}\n";
        assert!(example.contains(entry), "{example}");
        let entry = once(entry, "192.0.2.10:9750", &address(number));
        fs::write(self.0.path().join(format!("{name}.yml")), once(&entry, "web1", name)).expect("a file");
    }
}
