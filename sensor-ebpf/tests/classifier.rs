//! The table of packets through the host build of the classifier.

mod packets;

use std::collections::BTreeMap;

use packets::build::from;
use packets::model::{Indicators, Memory};
use packets::{HOST, STAR, STAR_SLOT, cases, indicators};
use sensor_ebpf::abi::{
    Direction, SLOTS_MAX, Side, TargetSet, Totals, Transport, Uncounted, index_of, numbered,
};
use sensor_ebpf::flow::is_over;

#[test]
fn every_packet_of_the_table_is_counted_as_it_says_and_nothing_else_is() {
    let mut failures = Vec::new();
    for case in cases::all() {
        let memory = Memory::of(&case);
        let totals: BTreeMap<u32, Totals> = memory
            .totals
            .borrow()
            .iter()
            .map(|(slot, totals)| (*slot, Totals { last_seen_ns: 0, ..*totals }))
            .collect();
        let expected: BTreeMap<u32, Totals> = case.totals.iter().copied().collect();
        if totals != expected {
            failures.push(format!("{}:\n counted  {totals:?}\n expected {expected:?}", case.description));
        }
        if memory.own.borrow().undecoded != case.own_undecoded() {
            failures.push(format!("{}: undecoded {:?}", case.description, memory.own.borrow().undecoded));
        }
        if memory.flows.borrow().len() != case.flows || memory.own.borrow().flows_created != case.flows as u64
        {
            failures.push(format!("{}: {} flows", case.description, memory.flows.borrow().len()));
        }
        if memory.own.borrow().uncounted != [0; 4] {
            failures.push(format!("{}: uncounted {:?}", case.description, memory.own.borrow().uncounted));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn descriptions_are_unique_so_that_a_failure_names_one_case() {
    let cases = cases::all();
    let mut descriptions: Vec<_> = cases.iter().map(|case| case.description).collect();
    descriptions.sort_unstable();
    let len = descriptions.len();
    descriptions.dedup();
    assert_eq!(descriptions.len(), len);
    assert!(len > 90, "{len} cases");
}

#[test]
fn a_target_that_comes_later_joins_the_tcp_flows_that_are_there() {
    let later = Indicators {
        prefixes: vec![(
            "175.45.176.0".parse().expect("an address"),
            22,
            TargetSet::of([STAR_SLOT, 9]).expect("two"),
        )],
        ..Indicators::default()
    };
    let memory = Memory::default();
    memory.observe(&from(HOST, STAR).syn(1), Direction::Egress, &indicators());
    memory.observe(&from(HOST, STAR).udp(), Direction::Egress, &indicators());
    for _ in 0..2 {
        memory.observe(&from(HOST, STAR).ack(2, 2), Direction::Egress, &later);
        memory.observe(&from(HOST, STAR).udp(), Direction::Egress, &later);
    }
    let totals = memory.totals.borrow();
    let (udp, tcp) = (Transport::Udp as usize, Transport::Tcp as usize);
    assert_eq!(totals[&9].joined, 1, "the TCP connection, once");
    assert_eq!(totals[&9].connections[Side::Local as usize], [0, 1], "the UDP flow, once");
    assert_eq!(totals[&9].packets[Direction::Egress as usize][udp], 2);
    assert_eq!(totals[&STAR_SLOT].joined, 0);
    assert_eq!(totals[&STAR_SLOT].connections[Side::Local as usize], [1, 1]);
    assert_eq!(totals[&STAR_SLOT].packets[Direction::Egress as usize][tcp], 3);
}

#[test]
fn a_connection_of_which_only_the_end_was_seen_is_over_when_both_sides_have_ended_it() {
    let is_over = |memory: &Memory| memory.flows.borrow().values().map(is_over).collect::<Vec<_>>();
    let memory = Memory::default();
    memory.observe(&from(HOST, STAR).fin(101, 901), Direction::Egress, &indicators());
    assert_eq!(is_over(&memory), [false]);
    let answer = from(STAR, HOST).ports(3333, 40_000).fin(901, 102);
    memory.observe(&answer, Direction::Ingress, &indicators());
    assert_eq!(is_over(&memory), [true]);
}

#[test]
fn what_finds_no_room_is_noted_and_the_packet_counts_all_the_same() {
    let memory = Memory { flows_max: Some(1), slots_end: Some(1), ..Memory::default() };
    for port in [1, 2, 3] {
        memory.observe(&from(HOST, STAR).ports(port, 80).syn(1), Direction::Egress, &indicators());
    }
    let totals = memory.totals.borrow()[&STAR_SLOT];
    assert_eq!(totals.packets[Direction::Egress as usize][Transport::Tcp as usize], 3);
    assert_eq!(totals.connections[Side::Local as usize], [1, 0]);
    assert_eq!(memory.own.borrow().uncounted[Uncounted::FlowTable as usize], 2);

    memory.observe(&from(HOST, packets::BOTH), Direction::Egress, &indicators());
    assert_eq!(memory.own.borrow().uncounted[Uncounted::Slot as usize], 1, "the second of two targets");
}

#[test]
fn of_two_cpus_that_see_the_same_milestone_one_counts_it() {
    let memory = Memory::default();
    let tables = indicators();
    memory.observe(&from(HOST, STAR), Direction::Egress, &tables);
    let before = memory.flows.borrow().clone();
    let reply = from(STAR, HOST).ports(3333, 40_000);
    memory.observe(&reply, Direction::Ingress, &tables);
    // The other CPU read the flow before the first one wrote it.
    *memory.flows.borrow_mut() = before;
    memory.observe(&reply, Direction::Ingress, &tables);
    let totals = memory.totals.borrow()[&STAR_SLOT];
    assert_eq!(totals.established[Side::Local as usize], [0, 1]);
    assert_eq!(totals.packets[Direction::Ingress as usize][Transport::Udp as usize], 2);
}

#[test]
fn a_set_contains_the_slots_it_was_made_of_and_no_others() {
    let slots = [0, 1, 2, 0x00ff, 0x0100, 0x3ffd, 0x4000, 0x7ffd, 0x8000, 0x8001, 0xfffd];
    for len in 0..=4 {
        for start in 0..slots.len() - len {
            let members = &slots[start..start + len];
            let set = TargetSet::of(members.iter().rev().copied()).expect("at most four");
            assert_eq!(set.slots().collect::<Vec<_>>(), members, "ascending");
            for slot in slots {
                assert_eq!(set.contains(slot), members.contains(&slot), "{slot:#x} in {members:x?}");
            }
        }
    }
    assert_eq!(TargetSet::of([1, 1, 2]), TargetSet::of([2, 1]), "equal sets are equal words");
    assert_eq!(TargetSet::of(0..5), None, "five are one too many");
    assert_eq!(TargetSet::of([0xffff]), None, "the mark of no more is no slot");
    assert_eq!(TargetSet::of([0x3ffe]), None, "nor is what could be taken for it in another numbering");
    assert_eq!(TargetSet::of([0x1_0000]), None, "nor what does not fit");
}

#[test]
fn a_slot_is_its_index_and_who_numbered_it() {
    for numbering in 0..8 {
        for index in [0, 1, SLOTS_MAX - 1] {
            let slot = numbered(index, numbering);
            assert_eq!(index_of(slot), index);
            let set = TargetSet::of([slot]).expect("a slot");
            for other in 0..8 {
                let others = TargetSet::of([numbered(7, other)]).expect("a slot");
                assert_eq!(set.is_numbered_as(others), numbering % 4 == other % 4, "{numbering} {other}");
            }
        }
    }
}

/// An upgrade gives the slots out anew, in the middle of a flow.
#[test]
fn a_flow_whose_slots_another_numbering_gave_goes_on_and_joins_nobody() {
    let memory = Memory::default();
    let targets = |slot| {
        let network = "175.45.176.0".parse().expect("an address");
        let set = TargetSet::of([slot]).expect("a slot");
        Indicators { prefixes: vec![(network, 22, set)], ..Indicators::default() }
    };
    memory.observe(&from(HOST, STAR), Direction::Egress, &targets(numbered(3, 1)));
    let reply = from(STAR, HOST).ports(3333, 40_000);
    memory.observe(&reply, Direction::Ingress, &targets(numbered(8, 2)));
    memory.observe(&reply, Direction::Ingress, &targets(numbered(8, 2)));
    let totals = memory.totals.borrow();
    let (before, after) = (totals[&3], totals[&8]);
    assert_eq!((before.connections[0], before.established[0]), ([0, 1], [0, 0]));
    assert_eq!((after.connections[0], after.established[0], after.joined), ([0, 0], [0, 1], 0));
    assert_eq!((before.packets[1][1], after.packets[0][1]), (1, 2));
}
