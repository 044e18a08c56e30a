//! From listed prefixes to a table in which the longest match is the whole answer: one pass
//! over them in order of address and length, with a stack of those that cover the current
//! one. A prefix takes over what covers it, and replaces its own watchlist's part.

use std::fmt::Display;

use sensor_ebpf::abi::TargetSet;

use super::flat::Block;
use super::{CompileError, Owner, succeed, target_set};

/// A prefix of a list; sorts before all that it covers, and `None` before every owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Listed<P> {
    pub(super) prefix: P,
    /// Index into the owners; `None`: allowed.
    pub(super) owner: Option<usize>,
}

/// A prefix that covers those that follow.
struct Cover<P> {
    prefix: P,
    allowed: bool,
    owners: Vec<usize>,
    targets: TargetSet,
}

/// In the order of the prefixes.
pub(super) fn inherit<P: Block + Display>(
    mut listed: Vec<Listed<P>>,
    owners: &[Owner<'_>],
) -> Result<Vec<(P, TargetSet)>, CompileError> {
    listed.sort_unstable();
    let mut table = Vec::new();
    let mut covers: Vec<Cover<P>> = Vec::new();
    for same in listed.chunk_by(|a, b| a.prefix == b.prefix) {
        let prefix = same[0].prefix;
        while covers.pop_if(|cover| cover.prefix.last() < prefix.first()).is_some() {}
        let above = covers.last();
        if above.is_some_and(|cover| cover.allowed) {
            continue;
        }
        let allowed = same[0].owner.is_none();
        let (successors, targets) = if allowed {
            (Vec::new(), TargetSet::EMPTY)
        } else {
            let inherited = above.map_or(&[][..], |cover| &cover.owners);
            let own = same.iter().filter_map(|listed| listed.owner);
            let successors = succeed(inherited, own, owners);
            let targets = target_set(&successors, owners, &prefix)?;
            (successors, targets)
        };
        // Without a cover there is nothing to match: the same as an empty set.
        if targets != above.map_or(TargetSet::EMPTY, |cover| cover.targets) {
            table.push((prefix, targets));
        }
        covers.push(Cover { prefix, allowed, owners: successors, targets });
    }
    Ok(table)
}
