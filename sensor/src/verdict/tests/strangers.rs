//! What others say to this host unasked makes it neither a miner nor a pool.

use sensor_ebpf::abi::Direction::Ingress;

use super::wire::{STRANGER, Session, Wire};
use crate::inspect::Signal;
use crate::verdict::Role;

const SUBSCRIBE: &str = "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"cgminer/4.10.0\"]}\n";
const NOTIFY: &str = "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"bf\",\"5eed\"]}\n";
const GETWORK: &str =
    "POST / HTTP/1.1\r\nX-Mining-Extensions: midstate\r\n\r\n{\"method\":\"getwork\",\"params\":[],\"id\":0}";

#[test]
fn a_scan_that_nobody_answers_as_a_pool_is_nothing() {
    for (what, request) in [("Stratum", SUBSCRIBE), ("work over HTTP", GETWORK)] {
        for answer in [
            None,
            Some("HTTP/1.1 400 Bad Request\r\n\r\n"),
            Some("{\"id\":1,\"result\":null,\"error\":[20,\"Not supported\",null]}\n"),
            Some("220 mail.example ESMTP\r\n"),
        ] {
            let mut wire = Wire::new();
            let mut scan = Session::at(&mut wire, 3333, STRANGER);
            scan.open(&mut wire, Ingress);
            scan.hears(&mut wire, request);
            if let Some(answer) = answer {
                scan.says(&mut wire, answer);
            }
            assert_eq!(wire.told(), [], "{what}, answered {answer:?}");
            assert!(wire.host.known.is_empty(), "{what}");
        }
    }
}

#[test]
fn a_scan_that_is_answered_by_a_pool_finds_one() {
    let mut wire = Wire::new();
    let mut scan = Session::at(&mut wire, 3333, STRANGER);
    scan.hears(&mut wire, SUBSCRIBE);
    scan.says(&mut wire, NOTIFY);
    assert_eq!(wire.told(), [(Signal::Stratum, Role::Pool, vec!["mining/unlisted".to_owned()])]);
}

#[test]
fn a_server_that_echoes_what_it_is_sent_does_not_mine() {
    for (what, text) in [("a miner's words", SUBSCRIBE), ("a pool's words", NOTIFY)] {
        let mut wire = Wire::new();
        let mut scan = Session::at(&mut wire, 7, STRANGER);
        scan.open(&mut wire, Ingress);
        scan.hears(&mut wire, text);
        scan.says(&mut wire, text);
        assert_eq!(wire.told(), [], "{what}");
    }
}

#[test]
fn a_pools_words_from_a_stranger_make_this_hosts_server_no_miner() {
    for (what, local_port, remote_port) in [
        ("to a well-known port", 443, 51_000),
        ("to a pool's usual port", 3333, 51_000),
        ("to a high port of ours", 45_560, 36_000),
        ("to a high port of ours, from a higher one", 37_888, 51_000),
        ("to a high port of ours, from a server's", 50_000, 443),
        ("to a usual port of ours, from a lower one", 8_080, 1_000),
    ] {
        let mut wire = Wire::new();
        let mut stranger = Session { remote_port, ..Session::at(&mut wire, local_port, STRANGER) };
        stranger.hears(&mut wire, NOTIFY);
        assert_eq!(wire.told(), [], "{what}");
        assert!(wire.host.known.is_empty(), "{what}");
    }
}

#[test]
fn who_opened_the_connection_is_known_where_its_flow_is_counted() {
    let mut wire = Wire::new();
    // A watched address, from a port that looks like a server's.
    let mut stranger = Session { remote_port: 80, ..Session::at(&mut wire, 40_000, super::wire::STAR) };
    stranger.open(&mut wire, Ingress);
    stranger.hears(&mut wire, NOTIFY);
    assert_eq!(wire.told(), []);
}
