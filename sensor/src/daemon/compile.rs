//! What is to be watched, made ready for the packet path and for verdicts.

use std::collections::HashMap;

use anyhow::Result;
use sensor_ebpf::abi::numbered;

use crate::bpf::tables::Tables;
use crate::config::Config;
use crate::recognition::Recognition;
use crate::state::{Slot, Watched};
use crate::verdict::Watching;
use crate::watchlists::{Compiled, Target, Watchlist, Watchlists};

/// Lists to tables, and the tables to the kernel; whatever is wrong with them is found before
/// anything is written.
pub(super) fn compile(
    tables: &mut Tables,
    recognition: &mut Recognition,
    lists: Watchlists,
    config: &Config,
) -> Result<Watched> {
    for note in &lists.notes {
        tracing::warn!("{note}");
    }
    let planned = tables.plan(targets(&lists).map(|(list, target)| (&*list.name, &*target.name)));
    // Asked for in this order, once a target.
    let mut asked = planned.iter().map(|slot| slot.map(|slot| numbered(slot, tables.numbering())));
    let mut compiled = Compiled::of_config(config, &lists, |_, _| asked.next().flatten())?;
    let by_name: HashMap<(&str, &str), u32> = targets(&lists)
        .zip(planned.iter().flatten())
        .map(|((list, target), slot)| ((&*list.name, &*target.name), numbered(*slot, tables.numbering())))
        .collect();
    let watching = Watching::of_config(config, &lists, |list, target| by_name.get(&(list, target)).copied())?;
    let mut slots = Vec::new();
    for ((list, target), index) in targets(&lists).zip(planned.iter().flatten()) {
        tables.assign(&list.name, &target.name, *index)?;
        slots.push(Slot {
            watchlist: list.name.clone(),
            target: target.name.clone(),
            category: list.category.name(),
            confidence: target.confidence.name(),
            index: *index,
        });
    }
    tables.switch_to(&compiled)?;
    let sizes = compiled.sizes;
    compiled.filter = Vec::new();
    // The lists are in use: whatever else fails does not undo that.
    if let Err(error) = recognition.watch(watching, compiled, tables) {
        tracing::error!("what was learned still follows the lists before: {error:#}");
    }
    Ok(Watched { lists, slots, slots_taken: tables.slots_taken(), compiled: sizes })
}

/// Every target, in the order of the lists.
pub(super) fn targets(lists: &Watchlists) -> impl Iterator<Item = (&Watchlist, &Target)> {
    lists.lists.iter().flat_map(|list| list.targets.iter().map(move |target| (list, target)))
}
