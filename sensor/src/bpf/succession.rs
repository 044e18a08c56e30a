//! Which set of maps is in use, and how the next one takes over from it.
//!
//! A set is one directory of pins. What another version made, or was made for other limits, is never
//! changed in place. It is set aside by renaming its directory, its programs counting on; a new set
//! is made beside it; the programs are replaced interface by interface, so that each packet counts in
//! one of the two; then, when no program of the old set runs any more, its counts are written down by
//! name ([`super::carried`]), and it is removed. A set that has that document needs no other. So at
//! whatever moment the daemon dies, the next one finds either sets whose counts are still to be taken
//! over, or a document that says that they were.
//!
//! ```text
//! maps/                  in use; counts in it
//! maps/                  and former-3/, still counting: LAYOUT is pinned, programs are being replaced
//! maps/CARRIED           is pinned: former-3/ may go
//! ```
//!
//! Flows are not copied where both versions keep them alike: old and new programs share the one table,
//! so that a connection that begins under the one and is answered under the other counts once. When no
//! program of the old set runs any more, they are written down anew with the slots of the new one
//! ([`super::flow_copies`]). Where they cannot be shared (another layout, another size, no numbering
//! that they do not name) they are copied, before the programs are replaced and again after, and what
//! happens to a flow in between may be counted for a new one. What was learned is copied likewise
//! ([`super::known_copies`]). STREAMS begin anew.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData, MapInfo};
use aya_obj::Object;
use sensor_ebpf::abi::{Flow, FlowKey, SCHEMA, Settings, Transport, map, numbered, numbering_of};
use sensor_ebpf::flow::{UDP_SILENCE_NS, is_over};

use super::carried::Carried;
use super::entries::Entries;
use super::layout::{Counts, Layout, Offsets, Places};
use super::maps::Raw;
use super::pins::Pins;
use super::{Capacity, carried};
use crate::clock::now_ns;

/// The set that is in use from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Set {
    /// How many came before it.
    pub(super) numbering: u32,
    /// It was made by this process just now.
    pub(super) is_new: bool,
}

/// What lies in the directory of the set in use.
enum Found {
    /// Nothing, or what a daemon began and did not finish: nothing ever counted in it.
    Nothing,
    /// What this version would make.
    Ours(Settings),
    /// Something to take over from, and why it cannot be used.
    Other(String),
}

/// Sees that `maps/` holds a set that this version can use, or nothing but what the new set shares
/// with the one before. `targets`: those that are to be watched.
///
/// # Errors
/// When a set is there that cannot be read, and whose counts would be lost.
pub(super) fn prepare(
    pins: &Pins,
    object: &Object,
    capacities: &[Capacity],
    targets: &[(&str, &str)],
) -> Result<Set> {
    let maps = pins.maps();
    if maps.join(map::CARRIED).exists() {
        pins.remove_former()?;
    }
    match look(&maps, object, capacities, targets)? {
        Found::Ours(settings) => return Ok(Set { numbering: settings.numbering, is_new: false }),
        Found::Nothing => {
            // Beside a former set it is one that was begun.
            ensure!(
                pins.is_without_maps()? || !pins.former()?.is_empty() || !pins.has_links()?,
                "state.pins: {} does not say what it holds, and programs count in it; `poolwatch detach` removes \
                 both, with their counts",
                maps.display()
            );
            pins.clear_maps()?;
        }
        Found::Other(why) => {
            tracing::info!("{why}; a new set of maps takes its counts over");
            pins.set_aside()?;
        }
    }
    for set in pins.former()?.iter().rev().filter(|set| !set.join(map::CARRIED).exists()) {
        // A version that came, went before it had taken over, and is here again.
        if let Found::Ours(settings) = look(set, object, capacities, targets)? {
            pins.put_in_place(set)?;
            return Ok(Set { numbering: settings.numbering, is_new: false });
        }
    }
    let former = pins.former()?.iter().map(|set| read(set)).collect::<Result<Vec<_>>>()?;
    let Some((last, (newest, layout))) = pins.former()?.pop().zip(former.last()) else {
        return Ok(Set { numbering: 0, is_new: true });
    };
    // In a table of its own no flow names slots of another numbering.
    let mut numbering_of_set = 0;
    if layout.shares_flows_with(&Layout::own())
        && difference(&last, map::FLOWS, object, capacities)?.is_none()
    {
        let mut taken: Vec<u32> =
            former.iter().map(|(settings, layout)| numbering(*settings, layout)).collect();
        taken.extend(named_by_flows(&last)?);
        if let Some(free) = free_numbering(numbering(*newest, layout), &taken) {
            numbering_of_set = free;
            share(&last.join(map::FLOWS), &maps.join(map::FLOWS))?;
            if difference(&last, map::CLAIMS, object, capacities)?.is_none() {
                share(&last.join(map::CLAIMS), &maps.join(map::CLAIMS))?;
            }
        }
    }
    Ok(Set { numbering: numbering_of_set, is_new: true })
}

/// Which numbering gave out a set's slots.
const fn numbering(settings: Settings, layout: &Layout) -> u32 {
    if layout.numbered { settings.numbering } else { 0 }
}

/// Numberings that flows of a set still name and that may have more packets to come: a connection
/// can be silent while sets come and go.
fn named_by_flows(set: &Path) -> Result<Vec<u32>> {
    let mut numberings = Vec::new();
    let now_ns = now_ns();
    for (key, flow) in Entries::open(&set.join(map::FLOWS))?.all()? {
        let (Raw(key), Raw(flow)): (Raw<FlowKey>, Raw<Flow>) = (Raw::of_bytes(&key)?, Raw::of_bytes(&flow)?);
        let is_over = if key.transport == Transport::Udp as u8 {
            now_ns.saturating_sub(flow.last_ns) > UDP_SILENCE_NS
        } else {
            is_over(&flow)
        };
        let named = flow.targets.slot(0).map(numbering_of);
        if let Some(numbering) = named.filter(|it| !is_over && !numberings.contains(it)) {
            numberings.push(numbering);
        }
    }
    Ok(numberings)
}

/// The next numbering that flows tell apart from those `taken`; `None` when there is none.
fn free_numbering(newest: u32, taken: &[u32]) -> Option<u32> {
    let looks_like = |one: u32, other: u32| numbered(0, one) == numbered(0, other);
    (1..=4).map(|step| newest.wrapping_add(step)).find(|new| !taken.iter().any(|one| looks_like(*new, *one)))
}

fn look(maps: &Path, object: &Object, capacities: &[Capacity], targets: &[(&str, &str)]) -> Result<Found> {
    let Some(settings) = settings(maps)? else { return Ok(Found::Nothing) };
    let schema = settings.schema;
    let Some(layout) = Layout::read(maps, schema)? else { return Ok(Found::Nothing) };
    if schema != SCHEMA || layout != Layout::own() {
        return Ok(Found::Other(format!(
            "the pinned maps are of schema {schema}, and this version writes {SCHEMA}"
        )));
    }
    for name in object.maps.keys() {
        if let Some(difference) = difference(maps, name, object, capacities)? {
            return Ok(Found::Other(difference));
        }
    }
    let slots = Entries::open(&maps.join(map::TARGETS))?;
    let taken = slots_taken(&slots, &layout)?;
    let new = targets.iter().filter(|(watchlist, target)| {
        !taken.iter().any(|(_, taken)| taken.0 == *watchlist && taken.1 == *target)
    });
    let free = slots.capacity() as usize - taken.len();
    if new.count() > free && targets.len() <= slots.capacity() as usize {
        return Ok(Found::Other("targets that left the config hold the slots that new ones need".to_owned()));
    }
    Ok(Found::Ours(settings))
}

/// What SETTINGS says; `None` where it says nothing yet.
fn settings(maps: &Path) -> Result<Option<Settings>> {
    let path = maps.join(map::SETTINGS);
    if !path.exists() {
        return Ok(None);
    }
    let named = || format!("state.pins: {}", path.display());
    let data = MapData::from_pin(&path).with_context(named)?;
    let array: Array<MapData, Raw<Settings>> = Map::Array(data).try_into().with_context(named)?;
    let Raw(settings) = array.get(&0, 0).with_context(named)?;
    Ok((settings.schema != 0).then_some(settings))
}

/// What a former set says of itself.
pub(super) fn read(set: &Path) -> Result<(Settings, Layout)> {
    let settings = settings(set)?;
    let layout = settings.map(|settings| Layout::read(set, settings.schema)).transpose()?.flatten();
    settings.zip(layout).with_context(|| {
        format!(
            "state.pins: {} does not say what it holds; `poolwatch detach` removes it, with its counts",
            set.display()
        )
    })
}

/// How a pinned map differs from what `object` would make, with `capacities` for its sizes. A map that is
/// not pinned does not differ.
fn difference(maps: &Path, name: &str, object: &Object, capacities: &[Capacity]) -> Result<Option<String>> {
    let path = maps.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let wanted = object.maps.get(name).with_context(|| format!("the kernel half has no map {name}"))?;
    let sized = capacities.iter().find(|sized| sized.map == name);
    let found = MapInfo::from_pin(&path).with_context(|| format!("{}", path.display()))?;
    if let Some(Capacity { key, entries, .. }) = sized
        && found.max_entries() != *entries
    {
        return Ok(Some(format!(
            "{key}: the config says {entries}, and the pinned maps were made with {}",
            found.max_entries()
        )));
    }
    let found_type = found.map_type().with_context(|| format!("{}", path.display()))?;
    let differs = [
        ("type", found_type as u32, wanted.map_type()),
        ("key size", found.key_size(), wanted.key_size()),
        ("value size", found.value_size(), wanted.value_size()),
        ("capacity", found.max_entries(), sized.map_or(wanted.max_entries(), |sized| sized.entries)),
        ("flags", found.map_flags(), wanted.map_flags()),
    ]
    .into_iter()
    .find(|(_, found, wanted)| found != wanted);
    Ok(differs.map(|(what, found, wanted)| {
        format!("{} was made with {what} {found}, and this version needs {wanted}", path.display())
    }))
}

/// Pins a map a second time.
fn share(from: &Path, to: &Path) -> Result<()> {
    let map = MapData::from_pin(from).with_context(|| format!("{}", from.display()))?;
    map.pin(to).with_context(|| format!("{}", to.display()))
}

/// Says what the maps hold that were just made. From then on programs may count in them.
pub(super) fn announce(pins: &Pins, set: Set, settings: &mut Array<MapData, Raw<Settings>>) -> Result<()> {
    if !set.is_new {
        return Ok(());
    }
    let said = Settings { schema: SCHEMA, numbering: set.numbering };
    settings.set(0, Raw(said), 0).context("writing SETTINGS")?;
    Layout::own().pin(&pins.maps())
}

/// Whose a slot is that a set numbered.
pub type Owners = HashMap<u32, (String, String)>;

/// Takes over what former sets counted, in which nobody counts any more, and removes them; and says
/// whose the slots were that flows may still name.
pub(super) fn inherit(pins: &Pins) -> Result<(Carried, Owners)> {
    let former = pins.former()?;
    let mut owners = Owners::new();
    if !former.is_empty() {
        let mut carried = Carried::default();
        for set in &former {
            // Had it been written down before this set came, those before it would be gone.
            carried.add(&Carried::read(set)?.unwrap_or_default());
            count(set, &mut carried, &mut owners).with_context(|| format!("{}", set.display()))?;
        }
        carried.pin(&pins.maps())?;
        pins.remove_former()?;
        tracing::info!(sets = former.len(), "took over the counts of earlier maps");
    }
    Ok((Carried::read(&pins.maps())?.unwrap_or_default(), owners))
}

/// Adds what was counted in the maps of a set.
fn count(set: &Path, carried: &mut Carried, owners: &mut Owners) -> Result<()> {
    let (settings, layout) = read(set)?;
    let slots = Entries::open(&set.join(map::TARGETS))?;
    let totals = Entries::open(&set.join(map::TOTALS))?;
    let findings = Entries::open(&set.join(map::FINDINGS))?;
    for (slot, (watchlist, target)) in slots_taken(&slots, &layout)? {
        for (entries, offsets) in [(&totals, &layout.totals), (&findings, &layout.findings)] {
            carried.add_target(&watchlist, &target, &counts(&entries.at(slot)?, offsets)?);
        }
        owners.insert(numbered(slot, settings.numbering), (watchlist, target));
    }
    carried::add(&mut carried.own, &counts(&Entries::open(&set.join(map::OWN))?.at(0)?, &layout.own)?);
    let daemon = Entries::open(&set.join(map::DAEMON))?.at(0)?;
    carried::add(&mut carried.daemon, &counts(&daemon, &layout.daemon)?);
    Ok(())
}

/// The counters of an entry, over all CPUs; those that are 0 are left out.
fn counts(values: &[Vec<u8>], offsets: &Offsets) -> Result<Counts> {
    let mut sum = Counts::new();
    for value in values {
        let mut counts = Counts::new();
        for (name, offset) in offsets {
            let bytes = field(value, (*offset, size_of::<u64>()))?;
            let count = u64::from_ne_bytes(bytes.try_into()?);
            if count > 0 {
                counts.insert(name.clone(), count);
            }
        }
        carried::add(&mut sum, &counts);
    }
    Ok(sum)
}

/// Whose the slots are: index, watchlist and target.
pub(super) fn slots_taken(slots: &Entries, layout: &Layout) -> Result<Vec<(u32, (String, String))>> {
    let mut taken = Vec::new();
    for index in 0..slots.capacity() {
        let name = slots.at(index)?.pop().unwrap_or_default();
        let (watchlist, target) = (
            text(&name, place(&layout.target, "watchlist")?)?,
            text(&name, place(&layout.target, "target")?)?,
        );
        if !watchlist.is_empty() {
            taken.push((index, (watchlist, target)));
        }
    }
    Ok(taken)
}

fn text(entry: &[u8], place: (usize, usize)) -> Result<String> {
    let bytes = field(entry, place)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(std::str::from_utf8(&bytes[..end]).context("a name in TARGETS")?.to_owned())
}

pub(super) fn place(places: &Places, name: &str) -> Result<(usize, usize)> {
    places.get(name).copied().with_context(|| format!("the layout does not say where {name:?} is"))
}

pub(super) fn field(entry: &[u8], (offset, len): (usize, usize)) -> Result<&[u8]> {
    let bytes = offset.checked_add(len).and_then(|end| entry.get(offset..end));
    bytes.with_context(|| format!("bytes {offset} + {len} of an entry of {}", entry.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_set_is_numbered_unlike_every_one_that_may_still_count() {
        for (what, newest, taken, expected) in [
            ("an ordinary upgrade", 5, &[5][..], Some(6)),
            ("the third in a row that did not end", 7, &[5, 6, 7], Some(8)),
            ("the fourth, of which one is gone", 9, &[6, 8, 9], Some(11)),
            ("all four are in use", 8, &[5, 6, 7, 8], None),
            ("the end of the numbers", u32::MAX, &[u32::MAX], Some(0)),
        ] {
            assert_eq!(free_numbering(newest, taken), expected, "{what}");
        }
    }

    #[test]
    fn a_layout_that_points_beyond_an_entry_is_an_error_and_no_panic() {
        assert_eq!(field(&[1, 2, 3, 4], (1, 2)).expect("it is there"), [2, 3]);
        for place in [(3, 2), (5, 0), (usize::MAX, 2)] {
            assert!(field(&[1, 2, 3, 4], place).is_err(), "{place:?}");
        }
    }
}
