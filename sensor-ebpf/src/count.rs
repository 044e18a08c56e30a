//! Counts an [`Observation`] into a [`Ledger`]: totals of its targets, its flow, and the
//! milestones of its connection, each exactly once.
//!
//! Exactly once, also when several CPUs handle packets of one flow in the same instant:
//! who inserts a new flow counts the connection, and who inserts the [`Claim`] of a later
//! milestone counts that. Nothing here can fail a packet; what could not be counted is
//! noted in [`Own`].

use core::ops::DerefMut;

use crate::abi::{
    Claim, Direction, Flow, FlowKey, INITIATOR_UNKNOWN, Own, TARGETS_PER_PACKET, TargetSet, Totals,
    Transport, Uncounted, Undecoded, index_of,
};
use crate::classify::{Observation, Tables, classify};
use crate::flow::{Step, begin, begins, follow, opener};
use crate::headers::{Link, Refused};
use crate::packet::Packet;

/// What became of an insertion that must not overwrite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inserted {
    New,
    /// Someone was first.
    Exists,
    /// The table took nothing.
    Full,
}

/// Where counts are kept: the kernel's maps, or replay's memory. Entries are handed out by
/// reference rather than to closures, which the compiler might leave a function of their own:
/// the verifier would then know nothing of what they are called with.
pub trait Ledger {
    type Flow<'a>: DerefMut<Target = Flow>
    where
        Self: 'a;
    type Totals<'a>: DerefMut<Target = Totals>
    where
        Self: 'a;
    type Own<'a>: DerefMut<Target = Own>
    where
        Self: 'a;

    fn now_ns(&self) -> u64;
    /// Index of the interface; 0 where there is none.
    fn interface(&self) -> u32;
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// Inserts the flow that [`begin`]s with this packet, unless there is one.
    fn insert_flow(&self, key: &FlowKey, seen: &Observation, now_ns: u64) -> Inserted;
    /// Inserts a [`Claim`], unless there is one.
    fn claim(&self, key: &FlowKey, opened_ns: u64, milestone: u64) -> Inserted;
    /// By index of the slot; `None`: there is no such one.
    fn totals(&self, index: u32) -> Option<Self::Totals<'_>>;
    fn own(&self) -> Option<Self::Own<'_>>;
}

/// Classifies and counts.
///
/// # Errors
/// As [`classify`], after it has been noted.
#[inline(always)]
pub fn observe(
    packet: &impl Packet,
    link: Link,
    direction: Direction,
    tables: &impl Tables,
    ledger: &impl Ledger,
) -> Result<Observation, Refused> {
    let seen = classify(packet, link, direction, tables);
    note(seen, ledger);
    seen
}

/// Counts what [`classify`] says.
#[inline(always)]
pub fn note(seen: Result<Observation, Refused>, ledger: &impl Ledger) {
    match seen {
        Ok(seen) => {
            if let Some(flaw) = seen.flaw {
                note_undecoded(ledger, flaw);
            }
            if !seen.targets.is_empty() {
                count(&seen, ledger);
            }
        }
        Err(Refused::NotIp) => {}
        Err(Refused::Undecoded(reason)) => note_undecoded(ledger, reason),
    }
}

/// What a packet adds to the connection counts of its targets.
#[derive(Clone, Copy)]
struct Milestones {
    /// Side of the initiator, or [`INITIATOR_UNKNOWN`].
    initiator: u8,
    opened: bool,
    established: bool,
    /// Targets that the flow concerned before: the others came later than the flow.
    known: TargetSet,
    /// A newcomer finds the flow established.
    was_established: bool,
}

impl Milestones {
    #[inline(always)]
    fn none(seen: &Observation) -> Self {
        Self {
            initiator: INITIATOR_UNKNOWN,
            opened: false,
            established: false,
            known: seen.targets,
            was_established: false,
        }
    }
}

/// Counts a packet that concerns someone.
#[inline(always)]
pub fn count(seen: &Observation, ledger: &impl Ledger) {
    let now_ns = ledger.now_ns();
    // A copy: what is passed to the kernel by address must not be a part of `seen`, or the
    // compiler takes all of it for changed, and forgets constants that the verifier needs.
    let milestones = match seen.flow {
        Some(key) => advance(&key, seen, now_ns, ledger),
        None => Milestones::none(seen),
    };
    for index in 0..TARGETS_PER_PACKET {
        let Some(slot) = seen.targets.slot(index) else { break };
        match ledger.totals(index_of(slot)) {
            Some(mut totals) => add(&mut totals, slot, seen, &milestones, now_ns),
            None => note_uncounted(ledger, Uncounted::Slot),
        }
    }
}

/// Moves the flow on and returns what is to be counted for it.
#[inline(always)]
fn advance(key: &FlowKey, seen: &Observation, now_ns: u64, ledger: &impl Ledger) -> Milestones {
    // Twice: the second time as the one that came second to insert the flow.
    for _ in 0..2 {
        if let Some(mut flow) = ledger.flow(key) {
            let opened_ns = flow.opened_ns;
            // Slots of another numbering say nothing here: whoever numbered them has counted.
            let known = if flow.targets.is_numbered_as(seen.targets) { flow.targets } else { seen.targets };
            let step = follow(&mut flow, seen, now_ns);
            let found = Milestones {
                initiator: flow.initiator,
                known,
                was_established: flow.established != 0,
                ..Milestones::none(seen)
            };
            drop(flow);
            return settle(key, seen, now_ns, ledger, (step, opened_ns, found));
        }
        if !begins(seen) {
            return Milestones::none(seen);
        }
        match ledger.insert_flow(key, seen, now_ns) {
            Inserted::New => {
                if let Some(mut own) = ledger.own() {
                    own.flows_created += 1;
                }
                return Milestones { initiator: opener(seen), opened: true, ..Milestones::none(seen) };
            }
            Inserted::Exists => {}
            Inserted::Full => break,
        }
    }
    note_uncounted(ledger, Uncounted::FlowTable);
    Milestones::none(seen)
}

/// Claims what the packet did to its flow, so that one CPU alone counts it.
#[inline(always)]
fn settle(
    key: &FlowKey,
    seen: &Observation,
    now_ns: u64,
    ledger: &impl Ledger,
    (step, opened_ns, found): (Step, u64, Milestones),
) -> Milestones {
    let milestone = match step {
        Step::Establishes => Claim::ESTABLISHED,
        Step::Succeeds => Claim::SUCCEEDED,
        Step::Goes if found.known != seen.targets => seen.targets.0,
        Step::Goes => return found,
    };
    let nothing = Milestones { known: seen.targets, ..found };
    match ledger.claim(key, opened_ns, milestone) {
        Inserted::New => {}
        Inserted::Exists => return nothing,
        Inserted::Full => {
            note_uncounted(ledger, Uncounted::ClaimTable);
            return nothing;
        }
    }
    match step {
        Step::Goes => found,
        Step::Establishes => Milestones { established: true, ..found },
        Step::Succeeds => {
            if let Some(mut flow) = ledger.flow(key) {
                begin(&mut flow, seen, now_ns, ledger.interface());
            }
            Milestones { initiator: seen.direction.sender() as u8, opened: true, ..nothing }
        }
    }
}

#[inline(always)]
fn add(totals: &mut Totals, slot: u32, seen: &Observation, milestones: &Milestones, now_ns: u64) {
    let direction = seen.direction.index();
    let transport = seen.transport as usize & 3;
    totals.packets[direction][transport] += u64::from(seen.packets);
    totals.bytes[direction][transport] += u64::from(seen.bytes);
    totals.last_seen_ns = now_ns;

    let came_later = !milestones.known.contains(slot);
    if !(milestones.opened || milestones.established || came_later) {
        return;
    }
    let is_tcp = matches!(seen.transport, Transport::Tcp);
    let (initiator, connected) = (milestones.initiator as usize & 1, transport & 1);
    if came_later && is_tcp || milestones.opened && milestones.initiator == INITIATOR_UNKNOWN {
        totals.joined += 1;
    } else if milestones.opened || came_later {
        totals.connections[initiator][connected] += 1;
    }
    if milestones.established || came_later && !is_tcp && milestones.was_established {
        totals.established[initiator][connected] += 1;
    }
}

#[inline(always)]
fn note_uncounted(ledger: &impl Ledger, reason: Uncounted) {
    if let Some(mut own) = ledger.own() {
        own.uncounted[reason as usize & 3] += 1;
    }
}

#[inline(always)]
fn note_undecoded(ledger: &impl Ledger, reason: Undecoded) {
    if let Some(mut own) = ledger.own() {
        own.undecoded[reason as usize & 7] += 1;
    }
}
