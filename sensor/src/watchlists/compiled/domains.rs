//! The watched names as the inspectors look them up, in DNS and in TLS: the longest listed name
//! that ends the one asked for is the whole answer, since it takes over what its parents have in
//! other watchlists. What is allowed, and all beneath it, answers nothing.
//!
//! A lookup allocates nothing, and costs one probe a label, of those labels that some listed name
//! has: it does not grow with the list. Names come off the wire, so that any bytes may; the table
//! itself holds only what lists say, under a hash with a seed of its own, and a name that someone
//! makes up cannot make it slower than its 127 labels.

use std::collections::HashMap;
use std::fmt;

use foldhash::quality::RandomState;
use sensor_ebpf::abi::TargetSet;

use super::{CompileError, Owner, owners, succeed, target_set};
use crate::watchlists::Watchlists;

/// Longest name, in bytes as text without the final dot (RFC 1035, 3.1: 255 on the wire).
pub const NAME_BYTES_MAX: usize = 253;

/// Most labels of such a name; the depths of listed names are bits of one word.
const LABELS_MAX: usize = 127;

/// Every domain of a set of watchlists.
#[derive(Clone, Default)]
pub struct Domains {
    answers: HashMap<Box<[u8]>, Answer, RandomState>,
    places: Vec<Place>,
    /// Bit `n`: some listed name has `n` labels.
    depths: u128,
}

/// What a listed name, and all beneath it that is not listed itself, stands for.
#[derive(Clone, Copy, Default)]
struct Answer {
    /// Index and number of its places; none: it is allowed.
    first: u32,
    number: u32,
}

/// One target that a name concerns.
#[derive(Clone, Copy)]
struct Place {
    watchlist: u32,
    target: u32,
    slot: u32,
    /// Length in bytes of the indicator, which is the end of the listed name.
    indicator: u32,
}

/// What a name concerns: at most four targets, one a watchlist, in the order of the config.
#[derive(Clone, Copy, Default)]
pub struct Matches<'a> {
    listed: &'a [u8],
    places: &'a [Place],
}

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DomainMatch<'a> {
    /// Index into [`Watchlists::lists`].
    pub watchlist: usize,
    /// Index into that list's targets.
    pub target: usize,
    /// As `slot_of` gave it to the target.
    pub slot: u32,
    /// The domain of the list: the name itself, or a parent.
    pub indicator: &'a str,
}

impl Domains {
    /// `slot_of` as for [`super::Compiled::new`]: it is asked once a target, in the order of the config.
    ///
    /// # Errors
    /// A target without a slot, or a name that concerns more watchlists than a set can hold.
    pub fn of(
        watchlists: &Watchlists,
        slot_of: impl FnMut(&str, &str) -> Option<u32>,
    ) -> Result<Self, CompileError> {
        let owners = owners(watchlists, slot_of)?;
        let mut domains = Self::default();
        let mut own = Vec::new();
        let listed = listed(watchlists, &owners);
        for same in listed.chunk_by(|(a, _), (b, _)| a == b) {
            let name = same[0].0;
            let parent = name.split_once('.').and_then(|(_, parent)| domains.longest(parent.as_bytes()));
            if parent.is_some_and(|(_, answer)| answer.number == 0) {
                continue;
            }
            own.clear();
            // An allowed name sorts before those of targets.
            own.extend(same.iter().map_while(|&(_, owner)| owner));
            let answer = match own[..] {
                [] => Answer::default(),
                _ => domains.place(name, parent.map(|(_, answer)| *answer), &own, &owners)?,
            };
            domains.depths |= 1 << name.split('.').count().min(LABELS_MAX);
            domains.answers.insert(name.as_bytes().into(), answer);
        }
        domains.answers.shrink_to_fit();
        domains.places.shrink_to_fit();
        Ok(domains)
    }

    /// Notes whom a name concerns: its own owners, and its parent's in other watchlists.
    fn place(
        &mut self,
        name: &str,
        parent: Option<Answer>,
        own: &[usize],
        owners: &[Owner<'_>],
    ) -> Result<Answer, CompileError> {
        let inherited: Vec<Place> = parent.map_or(&[][..], |answer| self.places_of(answer)).to_vec();
        let of = |place: &Place| {
            owners.partition_point(|o| o.place < (place.watchlist as usize, place.target as usize))
        };
        let inherited_owners: Vec<usize> = inherited.iter().map(of).collect();
        let mut successors = succeed(&inherited_owners, own.iter().copied(), owners);
        target_set(&successors, owners, &name)?;
        // The order of the config.
        successors.sort_unstable();
        let first = narrow(self.places.len());
        for &index in &successors {
            let at = inherited_owners.iter().position(|&owner| owner == index);
            let taken_over = at.filter(|_| !own.contains(&index));
            let indicator = taken_over.map_or(narrow(name.len()), |at| inherited[at].indicator);
            let Owner { place: (watchlist, target), slot, .. } = owners[index];
            self.places.push(Place { watchlist: narrow(watchlist), target: narrow(target), slot, indicator });
        }
        Ok(Answer { first, number: narrow(successors.len()) })
    }

    fn places_of(&self, answer: Answer) -> &[Place] {
        &self.places[answer.first as usize..][..answer.number as usize]
    }

    /// What this name concerns, as it is in DNS or in a TLS hello: in any case, with or without
    /// a final dot, possibly no name at all. Only ASCII is compared.
    pub fn find(&self, name: &[u8]) -> Matches<'_> {
        let name = name.strip_suffix(b".").unwrap_or(name);
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(lower) = lower.get_mut(..name.len()) else { return Matches::default() };
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let found = self.longest(lower);
        found.map_or(Matches::default(), |(listed, &answer)| Matches {
            listed,
            places: self.places_of(answer),
        })
    }

    /// The listed name of most labels that ends this one.
    fn longest(&self, name: &[u8]) -> Option<(&[u8], &Answer)> {
        let mut depths = self.depths;
        let mut longest = None;
        let mut end = name.len();
        // From the right: a label a turn, until no listed name has more of them.
        while depths > 1 {
            let start = name[..end].iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
            depths >>= 1;
            if depths & 1 == 1 {
                longest = self.answers.get_key_value(&name[start..]).or(longest);
            }
            if start == 0 {
                break;
            }
            end = start - 1;
        }
        longest.map(|(listed, answer)| (&**listed, answer))
    }

    /// How many names are listed or allowed, each once.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }
}

impl fmt::Debug for Domains {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Domains").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<'a> Matches<'a> {
    pub const fn is_empty(self) -> bool {
        self.places.is_empty()
    }

    /// Their slots.
    pub fn targets(self) -> TargetSet {
        // More than fit are refused when the table is made.
        TargetSet::of(self.places.iter().map(|place| place.slot)).unwrap_or(TargetSet::EMPTY)
    }

    pub fn iter(self) -> impl ExactSizeIterator<Item = DomainMatch<'a>> {
        self.places.iter().map(move |place| DomainMatch {
            watchlist: place.watchlist as usize,
            target: place.target as usize,
            slot: place.slot,
            indicator: self.indicator(place.indicator as usize),
        })
    }

    /// The last bytes of the listed name.
    fn indicator(self, bytes: usize) -> &'a str {
        str::from_utf8(&self.listed[self.listed.len() - bytes..]).unwrap_or_default()
    }
}

/// Every name with its owner, `None` for an allowed one: a parent before what lies beneath it,
/// an allowed name before the same one listed, and owners in the order of the config.
fn listed<'a>(watchlists: &'a Watchlists, owners: &[Owner<'a>]) -> Vec<(&'a str, Option<usize>)> {
    let mut listed: Vec<(&str, Option<usize>)> = Vec::new();
    listed.extend(watchlists.allow.domains.iter().map(|entry| (entry.indicator.as_str(), None)));
    for (index, owner) in owners.iter().enumerate() {
        listed.extend(owner.target.domains.iter().map(|entry| (entry.indicator.as_str(), Some(index))));
    }
    listed.sort_unstable_by_key(|&(name, owner)| (name.len(), name, owner));
    listed
}

/// Lists hold far fewer than four billion entries: `limits` sees to it.
fn narrow(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
