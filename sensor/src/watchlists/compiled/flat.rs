//! From prefixes that nest to ranges that do not: what each address stands for, without asking
//! what covers it. How the packet path searches them is `lines.rs`' matter.

use ipnet::{Ipv4Net, Ipv6Net};
use sensor_ebpf::abi::TargetSet;

/// Addresses as numbers.
pub(super) trait Bits: Copy + Ord + Default {
    /// The next address; `None` after the last one.
    fn next(self) -> Option<Self>;
}

impl Bits for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A prefix as what it covers. Sorts before all that lies in it.
pub(super) trait Block: Copy + Ord {
    type Bits: Bits;
    fn first(self) -> Self::Bits;
    fn last(self) -> Self::Bits;
}

impl Block for Ipv4Net {
    type Bits = u32;
    fn first(self) -> u32 {
        self.network().to_bits()
    }
    fn last(self) -> u32 {
        self.broadcast().to_bits()
    }
}

impl Block for Ipv6Net {
    type Bits = u128;
    fn first(self) -> u128 {
        self.network().to_bits()
    }
    fn last(self) -> u128 {
        self.broadcast().to_bits()
    }
}

/// What each address of a family stands for: where a range begins, and what it says, ascending
/// from address 0. Neighbours differ.
pub(super) struct Ranges<B>(Vec<(B, TargetSet)>);

impl<B: Bits> Ranges<B> {
    /// Of prefixes in their order, of which the longest counts.
    pub(super) fn flatten<P: Block<Bits = B>>(prefixes: &[(P, TargetSet)]) -> Self {
        let mut ranges = Self(vec![(B::default(), TargetSet::EMPTY)]);
        let mut open: Vec<(P, TargetSet)> = Vec::new();
        for &(prefix, targets) in prefixes {
            while let Some((closed, _)) = open.pop_if(|(cover, _)| cover.last() < prefix.first()) {
                ranges.close(closed.last(), &open);
            }
            ranges.begin(prefix.first(), targets);
            open.push((prefix, targets));
        }
        while let Some((closed, _)) = open.pop() {
            ranges.close(closed.last(), &open);
        }
        ranges
    }

    fn close<P>(&mut self, last: B, open: &[(P, TargetSet)]) {
        if let Some(after) = last.next() {
            self.begin(after, open.last().map_or(TargetSet::EMPTY, |(_, targets)| *targets));
        }
    }

    /// From `first` on it is `targets`, whatever was said of `first` before.
    fn begin(&mut self, first: B, targets: TargetSet) {
        let _ = self.0.pop_if(|(begun, _)| *begun == first);
        if self.0.last().is_none_or(|(_, before)| *before != targets) {
            self.0.push((first, targets));
        }
    }

    /// What an address stands for.
    pub(super) fn at(&self, address: B) -> TargetSet {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        self.0[after - 1].1
    }

    /// The ranges, ascending.
    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (B, TargetSet)> {
        self.0.iter().copied()
    }
}
