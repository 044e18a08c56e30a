//! Is what hangs by some pins in this network namespace? Filters on clsact are noted by interface and handle,
//! and these numbers are something else in every other namespace.

use std::collections::HashSet;
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use aya::maps::MapInfo;
use aya::programs::{loaded_links, loaded_programs};
use sensor_ebpf::abi::program;

use super::{Direction, Place, attached, stray};
use crate::bpf::interfaces::Netlink;
use crate::bpf::pins::Pins;

/// The kernel frees programs of a daemon or an interface that just went a little later.
const FREED_WITHIN: Duration = Duration::from_secs(2);

/// # Errors
/// When a program that counts in these maps hangs on no interface here. Who may not list the kernel's
/// programs (`CAP_SYS_ADMIN`) is not told.
pub async fn ensure_all_is_here(netlink: &Netlink, pins: &Pins) -> Result<()> {
    let links = &pins.links()?;
    let mut places = Vec::new();
    for index in attached(pins)? {
        for direction in Direction::ALL {
            let place = Place { netlink, links, index, direction };
            if place.has_filter()? {
                places.push(place);
            }
        }
    }
    let since = Instant::now();
    while !places.is_empty() && hangs_elsewhere(netlink, &places, pins).await? {
        ensure!(
            since.elapsed() < FREED_WITHIN,
            "what is pinned in state.pins counts in another network namespace: run this there (nsenter --net=…); \
             nothing was removed"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

async fn hangs_elsewhere(netlink: &Netlink, places: &[Place<'_>], pins: &Pins) -> Result<bool> {
    let linked: HashSet<u32> = loaded_links().filter_map(Result::ok).map(|link| link.program_id()).collect();
    for program in programs(pins) {
        let mut is_here = linked.contains(&program);
        for place in places {
            is_here = is_here || place.is_on_clsact(program).await?;
        }
        if !is_here && !stray::runs_here(netlink, program).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The loaded programs that count in these maps; none for who may not list them.
pub(super) fn programs(pins: &Pins) -> Vec<u32> {
    let maps = fs::read_dir(pins.maps()).into_iter().flatten().flatten();
    // No links: whose directory it is could have them lead to maps of others.
    let maps = maps.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file()));
    let maps: HashSet<u32> =
        maps.filter_map(|entry| Some(MapInfo::from_pin(entry.path()).ok()?.id())).collect();
    let counts = |name: &str| program::ETHERNET.iter().chain(&program::IP).any(|ours| *ours == name);
    let programs = loaded_programs().map_while(Result::ok).filter(|program| {
        program.name_as_str().is_some_and(counts)
            && program.map_ids().ok().flatten().is_some_and(|ids| ids.iter().any(|id| maps.contains(id)))
    });
    programs.map(|program| program.id()).collect()
}
