//! What a TLS hello's server name says of a connection.

use sensor_ebpf::abi::Direction::{Egress, Ingress};
use sensor_ebpf::abi::{Address, EndpointKey, FlowKey, Judged, Learned, TargetSet};

use super::wire::{STAR, STRANGER, Session, Wire};
use crate::inspect::Signal;
use crate::inspect::tls::written;
use crate::verdict::{Finding, Role, Watching};

fn hello(name: &str) -> Vec<u8> {
    written::hello(&[written::post_quantum_key_share(), written::server_name(name)])
}

/// As if DNS had told whose the stranger's address is.
fn learn(wire: &mut Wire, name: &str) {
    let targets = wire.watching.domains.find(name.as_bytes()).targets();
    assert!(!targets.is_empty());
    let (address, version) = Address::from_ip(STRANGER.parse().expect("an address"));
    let key = EndpointKey { address, port: 0, version: version as u8, reserved: 0 };
    wire.host.known.learn(key, Learned { targets, own: targets, expires_ns: u64::MAX });
}

fn judgements(wire: &Wire) -> Vec<(FlowKey, Judged)> {
    wire.host.known.judged().iter().map(|(key, judged)| (*key, *judged)).collect()
}

#[test]
fn a_hello_for_a_watched_name_is_found_wherever_it_is_split() {
    let hello = hello("pool.supportxmr.com");
    let mut wire = Wire::new();
    for at in (1..hello.len()).chain([hello.len()]) {
        let mut session = Session::to(&mut wire, STRANGER, 443);
        session.open(&mut wire, Egress);
        let (first, second) = hello.split_at(at);
        session.send(&mut wire, Egress, first);
        if !second.is_empty() {
            session.send(&mut wire, Egress, second);
        }
        let found = wire.only(&format!("split at {at}"));
        assert_eq!((found.signal, found.role), (Signal::Sni, Role::None));
        assert_eq!(found.server_name.as_deref(), Some("pool.supportxmr.com"));
        assert_eq!(wire.names(found.targets), ["mining/supportxmr"]);
    }
    assert_eq!(judgements(&wire).len(), hello.len(), "each connection is judged");
    assert!(wire.host.known.learned().is_empty(), "the address may be many sites'");
}

#[test]
fn a_connection_is_found_once_by_its_name() {
    let mut wire = Wire::new();
    let mut session = Session::to(&mut wire, STRANGER, 443);
    for _ in 0..2 {
        session.send(&mut wire, Egress, &hello("pool.supportxmr.com"));
    }
    wire.only("once");
}

#[test]
fn a_name_that_nobody_watches_frees_a_flow_to_a_learned_address() {
    let mut wire = Wire::new();
    learn(&mut wire, "pool.supportxmr.com");
    let mut session = Session::to(&mut wire, STRANGER, 443);
    session.send(&mut wire, Egress, &hello("www.example"));
    assert!(matches!(wire.found[..], [Finding::Freed(_)]), "{:?}", wire.found);
    let [(_, judged)] = judgements(&wire)[..] else { panic!("one judgement") };
    assert_eq!((judged.signal, judged.targets), (Judged::FREED, TargetSet::EMPTY));
    session.send(&mut wire, Egress, &hello("www.example"));
    assert_eq!(wire.found.len(), 1, "once");
}

#[test]
fn a_name_that_nobody_watches_does_not_free_a_flow_of_what_a_list_says() {
    let mut wire = Wire::new();
    Session::to(&mut wire, STAR, 443).send(&mut wire, Egress, &hello("www.example"));
    assert_eq!(wire.found, []);
    assert!(judgements(&wire).is_empty());
}

#[test]
fn a_name_of_another_target_overrules_what_was_learned() {
    let mut wire = Wire::new();
    learn(&mut wire, "pool.supportxmr.com");
    Session::to(&mut wire, STRANGER, 443).send(&mut wire, Egress, &hello("xmr-eu1.nanopool.org"));
    assert_eq!(wire.told(), [(Signal::Sni, Role::None, vec!["mining/nanopool".to_owned()])]);
}

#[test]
fn a_watched_name_in_a_watched_prefix_concerns_both() {
    let mut wire = Wire::new();
    Session::to(&mut wire, STAR, 443).send(&mut wire, Egress, &hello("pool.supportxmr.com"));
    let mut targets = wire.told().remove(0).2;
    targets.sort();
    assert_eq!(targets, ["dprk/star-kp", "mining/supportxmr"]);
}

#[test]
fn what_others_ask_of_this_host_and_what_is_allowed_is_not_told() {
    let mut wire = Wire::with("[allow]\nprefixes = [\"192.0.2.0/24\"]\n");
    Session::to(&mut wire, STRANGER, 443).send(&mut wire, Egress, &hello("pool.supportxmr.com"));
    Session::at(&mut wire, 443, "198.51.100.7").send(&mut wire, Ingress, &hello("pool.supportxmr.com"));
    assert_eq!(wire.found, []);
}

#[test]
fn what_names_taught_is_to_be_forgotten_when_they_are_allowed_or_leave_their_list() {
    let lists = |domains: &str, allowed: &str| {
        Wire::with(&format!(
            "[allow]\ndomains = [{allowed}]\n[[watchlist]]\nname = \"office\"\ndomains = [{domains}]\n"
        ))
    };
    let both = r#""a.example", "b.example""#;
    let before = lists(both, "");
    let slot =
        (0..1024).find(|slot| before.names(TargetSet::of([*slot]).unwrap_or_default()) == ["office/office"]);
    let is_lost =
        |after: &Wire| after.watching.has_lost_names(&before.watching, slot.expect("the target has a slot"));
    assert!(is_lost(&lists(r#""a.example""#, "")), "a domain left");
    assert!(is_lost(&lists(both, r#""b.example""#)), "one is allowed");
    assert!(!is_lost(&lists(both, "")));
    assert!(!is_lost(&lists(r#""a.example", "b.example", "c.example""#, "")), "one came");
    let start = Watching::default();
    assert!(!before.watching.has_lost_names(&start, slot.expect("the target has a slot")), "the start");
}
