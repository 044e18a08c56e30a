//! The table of payloads through the host build of the sampler.

mod packets;

use packets::build::from;
use packets::samples::{PLENTY, SampleCase, segment};
use packets::sampling::{Expecting, Sampling};
use packets::sampling_cases::{self, LOGIN};
use packets::{HOST, OTHER, indicators};
use sensor_ebpf::abi::{Direction, SampleKind, Unsampled, WINDOW_NS_LOG2};

fn complaints(expecting: Expecting) -> Vec<String> {
    let cases = sampling_cases::all();
    let judged = cases.iter().filter_map(|case| {
        let sampling = case.on_host(expecting, &indicators());
        case.complaint(&sampling.taken.borrow(), sampling.memory.own.borrow().samples_dropped)
    });
    judged.collect()
}

#[test]
fn of_every_payload_of_the_table_those_samples_are_taken_that_it_says_and_no_others() {
    let complaints = complaints(Expecting::Exactly);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn segments_that_are_expected_by_mistake_make_no_difference() {
    let complaints = complaints(Expecting::Anything);
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn descriptions_are_unique_so_that_a_failure_names_one_case() {
    let cases = sampling_cases::all();
    let mut descriptions: Vec<_> = cases.iter().map(|case| &case.description).collect();
    descriptions.sort_unstable();
    let len = descriptions.len();
    descriptions.dedup();
    assert_eq!(descriptions.len(), len);
    assert!(len > 500, "{len} cases");
}

#[test]
fn a_full_ring_is_counted_and_closes_what_was_open() {
    let sampling = Sampling { room: Some(1.into()), ..Sampling::new(PLENTY) };
    for (sequence, data) in [(1, &b"{\"id\":1"[..]), (8, b",\"a\":0,"), (15, b"\"b\":0}\n"), (22, LOGIN)] {
        sampling.hear(&segment(sequence, data), Direction::Egress, &indicators());
    }
    assert_eq!(sampling.taken.borrow().len(), 1);
    let dropped = sampling.memory.own.borrow().samples_dropped;
    assert_eq!(dropped[SampleKind::Json as usize][Unsampled::Ring as usize], 2, "the second, and the last");
}

#[test]
fn a_budget_is_whole_again_in_the_next_window() {
    let case = SampleCase::new("").budget(SampleKind::Json, 2);
    let sampling = Sampling::new(case.budgets);
    for _ in 0..3 {
        for port in 1..4 {
            sampling.hear(&segment(1, LOGIN).ports(port, 3333), Direction::Egress, &indicators());
        }
        let now_ns = &sampling.memory.now_ns;
        now_ns.set(now_ns.get() + (1 << WINDOW_NS_LOG2));
    }
    assert_eq!(sampling.taken.borrow().len(), 6);
    let dropped = sampling.memory.own.borrow().samples_dropped;
    assert_eq!(dropped[SampleKind::Json as usize][Unsampled::Budget as usize], 3);
}

#[test]
fn streams_are_remembered_from_their_first_sample_on_and_a_flood_of_requests_writes_nothing() {
    let sampling = Sampling::new(PLENTY);
    for port in 1..1000 {
        sampling.hear(&from(HOST, OTHER).ports(port, 3333).syn(1), Direction::Egress, &indicators());
        sampling.hear(&segment(1, b"words").ports(port, 3333), Direction::Egress, &indicators());
    }
    assert!(sampling.streams.borrow().is_empty());
    sampling.hear(&segment(1, LOGIN), Direction::Egress, &indicators());
    sampling.hear(&segment(9, LOGIN), Direction::Egress, &indicators());
    assert_eq!(sampling.streams.borrow().len(), 1);
    assert_eq!(sampling.memory.own.borrow().streams_created, 1);
}
