//! Many hosts, with the real programs and the shipped files: found by files and summed up, and, as
//! docs/fleet.md goes on from there, sent on by Prometheus to another.

mod deploy;
mod deployed;
mod support;
mod tools;

use deployed::hosts::{Hosts, fleet};
use deployed::monitoring::{Monitoring, Prometheus, RECEIVES};
use deployed::{Estate, has, once, value};

#[test]
fn of_three_sensors_that_files_name_the_one_that_dies_is_an_alert_and_the_fleet_is_summed_up() {
    let estate = Estate::of(3);
    let (monitoring, hosts) = fleet(&estate, &["web1", "web2"], |name, rules| match name {
        // Three minutes, which let a reboot pass, are too long for a test.
        "poolwatch.rules.yml" => {
            let rule = "expr: up{job=\"poolwatch\"} == 0\n        for: ";
            once(&rules, &format!("{rule}3m\n"), &format!("{rule}2s\n"))
        }
        _ => rules,
    });
    let (first, second, third) = (estate.sensor(1, ""), estate.sensor(2, ""), estate.sensor(3, ""));
    monitoring.wait_for("job:up:sum", |found| value(found, &[]) == Some(2.0));
    // Found by itself, without a reload.
    hosts.add(3, "db1");
    for sum in ["job:up:sum", "job:up:count"] {
        monitoring.wait_for(sum, |found| value(found, &[("job", "poolwatch")]) == Some(3.0));
    }
    monitoring.wait_for("job:poolwatch_mining_hosts:count", |found| value(found, &[]) == Some(0.0));

    let _pool = [estate.mine(1, &first), estate.mine(1, &first), estate.mine(3, &third)];
    let mut route_miners = estate.reach_routes(3);
    let pool = [("watchlist", "mining"), ("target", "supportxmr"), ("role", "miner")];
    for (sensor, sessions) in [(&first, 2), (&third, 1)] {
        sensor.wait_for("sessions", |it| it.sum("poolwatch_mining_sessions", &pool) == sessions);
    }
    let route = [("watchlist", "dprk"), ("target", "star-kp")];
    for (recorded, labels, expected) in [
        ("job:poolwatch_mining_hosts:count", &[("job", "poolwatch")][..], 2.0),
        ("watchlist_target_role:poolwatch_mining_sessions:sum", &pool, 3.0),
        ("watchlist_target:poolwatch_connected_hosts:count", &route, 1.0),
        ("watchlist_target:poolwatch_connected_hosts:count", &pool[..2], 2.0),
    ] {
        let found = monitoring.wait_for(recorded, |found| value(found, labels) == Some(expected));
        println!("{recorded}: {:?}", value(&found, labels));
    }
    for recorded in [
        "watchlist_target_direction:poolwatch_bytes:rate5m{target=\"star-kp\"} > 0",
        "watchlist_target_initiator:poolwatch_connections_established:rate5m{target=\"supportxmr\"} > 0",
        "watchlist_target_role:poolwatch_detections:rate5m{target=\"supportxmr\"} > 0",
        "sum(kind_reason:poolwatch_samples_dropped:rate5m) == 0",
        "sum(reason:poolwatch_events_dropped:rate5m) == 0",
        "job:poolwatch_flows_evicted:rate5m == 0",
    ] {
        // A rate takes counts that go on after they were first seen.
        route_miners[0].submit();
        println!("{recorded}: {:?}", monitoring.wait_for(recorded, |found| !found.is_empty()));
    }

    let all = "count({__name__=~\"(job|watchlist_.*|kind_reason|reason):.*\"})";
    let recorded = monitoring.query(all).map(|found| value(&found, &[]));
    println!("recorded for the fleet: {recorded:?} series");
    assert!(recorded.is_ok_and(|count| count.is_some_and(|count| count < 1_500.0)), "as docs/fleet.md says");

    monitoring.no_alert("PoolwatchSensorDown");
    let (_pins, _) = second.kill();
    let alert = monitoring.alert("PoolwatchSensorDown", ("instance", "web2"));
    has(&alert, "labels", &[("job", "poolwatch"), ("severity", "warning")]);
    has(&alert, "annotations", &[("summary", "The sensor on web2 is down")]);
    assert_eq!(
        monitoring.alerts("PoolwatchSensorDown").map(|alerts| alerts.len()),
        Ok(1),
        "the others are up"
    );
    for (sum, expected) in [("job:up:sum", 2.0), ("job:up:count", 3.0)] {
        monitoring.wait_for(sum, |found| value(found, &[]) == Some(expected));
    }
}

/// The block of docs/fleet.md that begins so.
fn documented(begins: &str) -> String {
    let text = deploy::text("docs/fleet.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let found: Vec<&str> = blocks.filter(|block| block.starts_with(begins)).collect();
    assert_eq!(found.len(), 1, "{begins:?}");
    found[0].to_owned()
}

#[test]
fn an_agent_sends_what_it_scrapes_to_a_prometheus_that_evaluates_and_has_the_alert() {
    let estate = Estate::of(1);
    let hosts = Hosts::of(&["web1"]);
    let scraped = hosts.scraped();
    let (head, _jobs) = scraped.split_once("scrape_configs:").expect("jobs");
    let above = Monitoring::start_with(&estate.hub, head, &[RECEIVES], |_, rules| rules);
    let config = documented("# agent\n");
    let config = once(&config, "scrape_interval: 30s", "scrape_interval: 1s");
    let config = once(&config, "hosts/*.yml", &hosts.pattern());
    let config = once(&config, "https://mimir.example/api/v1/push", &above.prometheus.receiver());
    let _agent = Prometheus::agent(&estate.hub, &config);

    let sensor = estate.sensor(1, "");
    above.wait_for("up == 1", |found| value(found, &[("instance", "web1"), ("site", "one")]).is_some());
    above.no_alert("PoolwatchHostMines");
    let _miner = estate.mine(1, &sensor);
    let alert = above.alert("PoolwatchHostMines", ("target", "supportxmr"));
    has(&alert, "labels", &[("instance", "web1"), ("site", "one"), ("severity", "critical")]);
    has(&alert, "annotations", &[("summary", "web1 mines, at supportxmr")]);
}

#[test]
fn a_prometheus_of_a_site_sends_up_its_sums_and_the_alerts_that_fire_and_no_raw_series() {
    let estate = Estate::of(2);
    let above = Prometheus::receiver_alone(&estate.hub);
    let hosts = Hosts::of(&["web1", "web2"]);
    let sent = documented("# Below: fleet.yml, and this.\n");
    let (head, sent) = sent.split_once("remote_write:").expect("where to");
    let (_, labels) = head.split_once("global:\n").expect("labels");
    let sent = once(sent, "https://metrics.example/api/v1/push", &above.receiver());
    let config = once(&hosts.scraped(), "global:\n", &format!("global:\n{labels}"));
    let config = format!("{config}\nremote_write:{sent}");
    let below = Monitoring::start(&estate.hub, &config, |_, rules| rules);
    let (first, _second) = (estate.sensor(1, ""), estate.sensor(2, ""));
    below.wait_for("up == 1", |found| found.len() == 2);
    let _miner = estate.mine(1, &first);
    below.alert("PoolwatchHostMines", ("target", "supportxmr"));

    let site = [("site", "one")];
    above.wait_for("job:up:sum", |found| value(found, &site) == Some(2.0));
    above.wait_for("job:poolwatch_mining_hosts:count", |found| value(found, &site) == Some(1.0));
    let all = "sum without (site) (job:up:sum)";
    above.wait_for(all, |found| value(found, &[("job", "poolwatch")]) == Some(2.0));
    let fires = "ALERTS{alertname=\"PoolwatchHostMines\",alertstate=\"firing\"}";
    above.wait_for(fires, |found| value(found, &[("instance", "web1"), ("site", "one")]).is_some());
    assert_eq!(above.query("{__name__=~\"up|poolwatch_.*\"}"), Ok(vec![]), "raw series stay below");
}
