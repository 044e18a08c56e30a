//! Sessions of every dialect, in both roles, however they are cut into segments.

use sensor_ebpf::abi::Direction::{self, Egress, Ingress};

use super::dialects::{self, Dialect};
use super::wire::{STAR, STRANGER, Session, Wire};
use crate::inspect::{Signal, Speaker};
use crate::verdict::Role;

const LOGIN: &str =
    "{\"id\":1,\"method\":\"login\",\"params\":{\"login\":\"w\",\"pass\":\"x\",\"agent\":\"a/1\"}}\n";
const JOB: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{\"blob\":\"0e0e\",\"job_id\":\"1\",\"target\":\"b88d0600\"}}\n";

/// Which way a speaker's words go, where this host has the role.
fn way(speaker: Speaker, role: Role) -> Direction {
    if (speaker == Speaker::Miner) == (role == Role::Miner) { Egress } else { Ingress }
}

fn session(wire: &mut Wire, role: Role) -> Session {
    match role {
        Role::Miner => Session::to(wire, STRANGER, 3333),
        _ => Session::at(wire, 3333, STRANGER),
    }
}

/// Turn by turn.
fn spoken(wire: &mut Wire, dialect: &Dialect, role: Role, mut session: Session) {
    session.open(wire, way(Speaker::Miner, role));
    for (speaker, text) in &dialect.turns {
        session.send(wire, way(*speaker, role), text.as_bytes());
    }
}

#[track_caller]
fn assert_found(wire: &mut Wire, dialect: &Dialect, role: Role, what: &str) {
    let found = wire.only(&format!("{}, {what}", dialect.name));
    assert_eq!((found.signal, found.role), (dialect.signal, role), "{}, {what}", dialect.name);
    assert_eq!(wire.names(found.targets), ["mining/unlisted"], "{}, {what}", dialect.name);
}

#[test]
fn a_session_of_every_dialect_is_found_once_in_both_roles() {
    for dialect in dialects::all() {
        for &role in dialect.roles() {
            let mut wire = Wire::new();
            let session = session(&mut wire, role);
            spoken(&mut wire, &dialect, role, session);
            let agent = wire.found.iter().find_map(|it| match it {
                crate::verdict::Finding::Detection(detection) => detection.about.agent.clone(),
                _ => None,
            });
            assert_eq!(agent.as_deref(), dialect.agent, "{}", dialect.name);
            assert_found(&mut wire, &dialect, role, role.name());
        }
    }
}

#[test]
fn a_session_whose_turns_begin_with_blanks_is_found_as_well() {
    for dialect in dialects::all() {
        let is_json = dialect.turns.iter().all(|(_, text)| text.starts_with('{'));
        for blanks in [" ", "\n", "\r\n\t  "] {
            let turns = dialect.turns.iter().map(|(speaker, text)| (*speaker, format!("{blanks}{text}")));
            let dialect = Dialect { turns: turns.collect(), ..dialect };
            for &role in dialect.roles().iter().filter(|_| is_json) {
                let mut wire = Wire::new();
                let session = session(&mut wire, role);
                spoken(&mut wire, &dialect, role, session);
                assert_found(&mut wire, &dialect, role, blanks);
            }
        }
    }
}

#[test]
fn a_session_is_found_wherever_its_turns_are_split_in_two_segments() {
    for dialect in dialects::all() {
        for &role in dialect.roles() {
            let mut wire = Wire::new();
            let longest = dialect.turns.iter().map(|(_, text)| text.len()).max().unwrap_or(0);
            for at in 1..longest.min(512) {
                let mut session = session(&mut wire, role);
                if role == Role::Miner {
                    // To an address of which nothing was learned before.
                    session.remote_port = u16::try_from(at).expect("a port") + 2000;
                }
                session.open(&mut wire, way(Speaker::Miner, role));
                for (speaker, text) in &dialect.turns {
                    let (first, second) = text.as_bytes().split_at(at.min(text.len()));
                    for part in [first, second].into_iter().filter(|part| !part.is_empty()) {
                        session.send(&mut wire, way(*speaker, role), part);
                    }
                }
                assert_found(&mut wire, &dialect, role, &format!("{}, split at {at}", role.name()));
            }
        }
    }
}

#[test]
fn lines_that_come_in_one_segment_are_found_once() {
    for dialect in dialects::all().into_iter().filter(|it| it.signal == Signal::Stratum) {
        let mut wire = Wire::new();
        let mut session = session(&mut wire, Role::Miner);
        session.open(&mut wire, Egress);
        for speaker in [Speaker::Miner, Speaker::Pool] {
            let lines: String = dialect
                .turns
                .iter()
                .filter(|(by, _)| *by == speaker)
                .map(|(_, line)| line.as_str())
                .collect();
            session.send(&mut wire, way(speaker, Role::Miner), lines.as_bytes());
        }
        assert_found(&mut wire, &dialect, Role::Miner, "coalesced");
    }
}

#[test]
fn over_ipv6_in_a_vlan_and_in_two_of_them_as_well() {
    for dialect in dialects::all() {
        for (remote, tags) in
            [("2001:db8:5::9", &[][..]), (STRANGER, &[0x8100]), (STRANGER, &[0x88a8, 0x8100])]
        {
            let mut wire = Wire::new();
            let session = Session { tags: tags.to_vec(), ..Session::to(&mut wire, remote, 3333) };
            spoken(&mut wire, &dialect, Role::Miner, session);
            assert_found(&mut wire, &dialect, Role::Miner, &format!("{remote} {tags:x?}"));
        }
    }
}

const SHARE: &str =
    "{\"id\":4,\"method\":\"mining.submit\",\"params\":[\"user\",\"bf\",\"1\",\"2\",\"3\"]}\n";

#[test]
fn a_session_that_is_older_than_the_sensor_is_found_by_what_the_miner_says_later() {
    for (what, way, text) in [
        ("a job", Ingress, JOB),
        (
            "a notification",
            Ingress,
            "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"bf\",\"5eed\"]}\n",
        ),
        ("a share", Egress, SHARE),
        (
            "a share of Monero's",
            Egress,
            "{\"id\":7,\"method\":\"submit\",\"params\":{\"id\":\"5\",\"job_id\":\"1\",\"nonce\":\"d0030040\",\"result\":\"5eed\"}}\n",
        ),
    ] {
        let mut wire = Wire::new();
        let mut session = session(&mut wire, Role::Miner);
        session.send(&mut wire, way, text.as_bytes());
        if way == Ingress {
            // Anybody can send that here; what is sent back tells.
            assert_eq!(wire.told(), [], "{what}, which nobody asked for");
            session.says(&mut wire, SHARE);
        }
        assert_eq!(wire.only(what).role, Role::Miner, "{what}");
        session.send(&mut wire, way, text.as_bytes());
        assert_eq!(wire.told(), [], "{what}, again");
    }
}

#[test]
fn a_host_that_gives_out_jobs_is_a_pool_whoever_was_heard_to_ask() {
    let mut wire = Wire::new();
    let mut session = session(&mut wire, Role::Pool);
    session.says(&mut wire, JOB);
    assert_eq!(wire.only("a pool").role, Role::Pool);
}

#[test]
fn what_is_sent_again_counts_once() {
    let mut wire = Wire::new();
    let mut session = session(&mut wire, Role::Miner);
    session.open(&mut wire, Egress);
    let (half, rest) = LOGIN.split_at(30);
    for _ in 0..2 {
        session.send_at(&mut wire, Egress, 5000, half.as_bytes());
    }
    for _ in 0..2 {
        session.send_at(&mut wire, Egress, 5030, rest.as_bytes());
    }
    session.send_at(&mut wire, Egress, 5000, LOGIN.as_bytes());
    session.hears(&mut wire, JOB);
    assert_eq!(wire.only("once").about.agent.as_deref(), Some("a/1"));
}

#[test]
fn a_new_connection_on_the_same_ports_is_another_detection() {
    let mut wire = Wire::new();
    let mut session = session(&mut wire, Role::Miner);
    for connection in 1_u32..4 {
        session.sequence = [connection * 100_000; 2];
        session.open(&mut wire, Egress);
        session.says(&mut wire, LOGIN);
        session.hears(&mut wire, JOB);
        wire.only(&format!("connection {connection}"));
    }
}

#[test]
fn what_a_connection_before_on_the_same_ports_said_is_forgotten_with_it() {
    for (what, before) in [
        ("HTTP", [(Egress, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), (Ingress, "HTTP/1.1 200 OK\r\n\r\n")]),
        ("both in one", [(Ingress, LOGIN), (Ingress, JOB)]),
    ] {
        let mut wire = Wire::new();
        let mut session = session(&mut wire, Role::Miner);
        for (direction, text) in before {
            session.send(&mut wire, direction, text.as_bytes());
        }
        assert_eq!(wire.told(), [], "{what}");
        wire.wait(300);
        session.sequence = [100_000; 2];
        session.open(&mut wire, Egress);
        session.says(&mut wire, LOGIN);
        session.hears(&mut wire, JOB);
        wire.only(what);
    }
}

#[test]
fn each_exchange_of_a_connection_is_heard_whatever_came_before_it() {
    let height = r#"{"id":0,"jsonrpc":"2.0","method":"getblockcount"}"#;
    let told = r#"{"id":0,"jsonrpc":"2.0","result":{"count":3100000,"status":"OK"}}"#;
    for dialect in dialects::all().iter().filter(|dialect| dialect.signal == Signal::Getwork) {
        let mut wire = Wire::new();
        let mut session = session(&mut wire, Role::Miner);
        session.open(&mut wire, Egress);
        for _ in 0..2 {
            for (speaker, text) in [dialects::request("/json_rpc", "", height), dialects::answer("", told)] {
                session.send(&mut wire, way(speaker, Role::Miner), text.as_bytes());
            }
        }
        assert_eq!(wire.told(), [], "{}", dialect.name);
        for (speaker, text) in &dialect.turns {
            session.send(&mut wire, way(*speaker, Role::Miner), text.as_bytes());
        }
        assert_found(&mut wire, dialect, Role::Miner, "after other calls");
    }
}

#[test]
fn an_answer_may_take_its_time() {
    for dialect in dialects::all() {
        let mut wire = Wire::new();
        let mut session = session(&mut wire, Role::Miner);
        session.open(&mut wire, Egress);
        for (speaker, text) in &dialect.turns {
            wire.wait(3600);
            session.send(&mut wire, way(*speaker, Role::Miner), text.as_bytes());
        }
        assert_found(&mut wire, &dialect, Role::Miner, "an hour between two turns");
    }
}

#[test]
fn lines_that_lack_their_end_are_each_heard() {
    let mut wire = Wire::new();
    let mut session = session(&mut wire, Role::Miner);
    session.open(&mut wire, Egress);
    session.says(&mut wire, "{\"id\":7,\"method\":\"eth_protocolVersion\",\"params\":[{}]}");
    session.says(&mut wire, LOGIN.trim_end());
    session.hears(&mut wire, JOB.trim_end());
    wire.only("a login behind another call");
}

#[test]
fn a_pool_that_is_come_back_to_stays_known_for_another_day() {
    let mut wire = Wire::new();
    let hours = |hours: u64| hours * 3600;
    for connection in 0..3 {
        let mut session = session(&mut wire, Role::Miner);
        session.open(&mut wire, Egress);
        session.says(&mut wire, LOGIN);
        session.hears(&mut wire, JOB);
        wire.only("each of them");
        let expires_ns = wire.host.known.learned().values().next().expect("it is known").expires_ns;
        assert!(expires_ns >= wire.now_ns() + 86_399 * 1_000_000_000, "connection {connection}");
        wire.wait(hours(20));
    }
}

#[test]
fn the_pool_of_a_session_is_learned_by_address_and_port() {
    let mut wire = Wire::new();
    let session = session(&mut wire, Role::Miner);
    spoken(&mut wire, &dialects::all()[0], Role::Miner, session);
    let learned: Vec<_> = wire.host.known.learned().keys().map(|key| key.port).collect();
    assert_eq!(learned, [3333]);
}

#[test]
fn of_miners_that_come_to_this_host_nothing_is_learned() {
    let mut wire = Wire::new();
    let session = session(&mut wire, Role::Pool);
    spoken(&mut wire, &dialects::all()[0], Role::Pool, session);
    assert!(wire.host.known.learned().is_empty());
    wire.only("a pool");
}

#[test]
fn a_pool_in_a_watched_prefix_concerns_both_lists() {
    let mut wire = Wire::new();
    let mut session = Session::to(&mut wire, STAR, 3333);
    session.open(&mut wire, Egress);
    session.says(&mut wire, LOGIN);
    let (signal, role, mut targets) = wire.told().remove(0);
    targets.sort();
    assert_eq!((signal, role), (Signal::Stratum, Role::Miner));
    assert_eq!(targets, ["dprk/star-kp", "mining/unlisted"]);
}

#[test]
fn a_pool_that_a_list_names_is_not_unlisted() {
    let mut wire = Wire::with(
        "[[watchlist]]\nname = \"ours\"\ncategory = \"mining\"\nendpoints = [\"192.0.2.9:3333\"]\n",
    );
    let mut session = session(&mut wire, Role::Miner);
    session.says(&mut wire, LOGIN);
    assert_eq!(wire.told(), [(Signal::Stratum, Role::Miner, vec!["ours/ours".to_owned()])]);
    assert!(wire.host.known.learned().is_empty(), "a list says so already");
}

#[test]
fn without_the_built_in_list_mining_that_no_list_names_is_nobodys() {
    let mut wire = Wire::with("[builtin]\nmining = false\n");
    let mut unlisted = session(&mut wire, Role::Miner);
    unlisted.says(&mut wire, LOGIN);
    assert_eq!(wire.told(), []);
    assert!(wire.host.known.is_empty());
    let mut session = Session::to(&mut wire, STAR, 3333);
    session.says(&mut wire, LOGIN);
    assert_eq!(wire.told(), [(Signal::Stratum, Role::Miner, vec!["dprk/star-kp".to_owned()])]);
}

#[test]
fn an_allowed_pool_is_nobodys() {
    for (what, allow) in
        [("address", "prefixes = [\"192.0.2.0/24\"]"), ("endpoint", "endpoints = [\"192.0.2.9:3333\"]")]
    {
        let mut wire = Wire::with(&format!("[allow]\n{allow}\n"));
        let mut session = session(&mut wire, Role::Miner);
        session.says(&mut wire, LOGIN);
        assert_eq!(wire.told(), [], "{what}");
        assert!(wire.host.known.is_empty(), "{what}");
    }
}
