//! Filters of a poolwatch that no note of ours tells of: another daemon's, or left over from pins that somebody
//! removed. A link goes with its pin; a filter on clsact stays, and then only its name gives it away.

use std::fmt;

use anyhow::Result;
use sensor_ebpf::abi::Direction;

use super::clsact::{HANDLES, note};
use super::filters::{PRIORITY, Spot};
use super::name;
use crate::bpf::interfaces::{Interface, Netlink};
use crate::bpf::links::Links;

/// One of them.
pub struct Stray {
    interface: String,
    spot: Spot,
}

impl fmt::Display for Stray {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (interface, direction) = (&self.interface, name(self.spot.direction));
        write!(
            f,
            "a filter on {interface}, {direction}, is another poolwatch's, or left over from pins that were removed; \
             then this takes it off: tc filter del dev {interface} {direction} pref {PRIORITY} handle {:#x} bpf",
            self.spot.handle
        )
    }
}

/// Every spot where we would put a filter on an interface.
fn spots(index: u32) -> impl Iterator<Item = Spot> {
    let of = move |direction| HANDLES.map(move |handle| Spot { index, direction, handle });
    Direction::ALL.into_iter().flat_map(of)
}

/// Those on any interface of this namespace. `links`: where it is noted what is ours.
///
/// # Errors
/// When the kernel does not say.
pub async fn strays(netlink: &Netlink, links: Option<&Links>) -> Result<Vec<Stray>> {
    let mut strays = Vec::new();
    for Interface { index, name, .. } in netlink.interfaces().await? {
        if netlink.at_clsact(index).await?.is_none() {
            continue;
        }
        for spot in spots(index) {
            let is_noted = links.is_some_and(|links| links.has(&note(spot)));
            if !is_noted && netlink.filter(spot).await?.is_some_and(|filter| filter.is_ours()) {
                strays.push(Stray { interface: name.clone(), spot });
            }
        }
    }
    Ok(strays)
}

/// Does this program run at any of our spots on any interface of this namespace, noted or not?
pub(super) async fn runs_here(netlink: &Netlink, program: u32) -> Result<bool> {
    for Interface { index, .. } in netlink.interfaces().await? {
        for spot in spots(index) {
            if netlink.filter(spot).await?.is_some_and(|filter| filter.program == Some(program)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// Takes off what runs these programs on an interface, whether or not it is noted.
pub(super) async fn remove_all_of(netlink: &Netlink, index: u32, programs: &[u32]) -> Result<()> {
    for spot in spots(index) {
        let program = netlink.filter(spot).await?.and_then(|filter| filter.program);
        if program.is_some_and(|program| programs.contains(&program)) {
            netlink.remove_filter(spot).await?;
        }
    }
    Ok(())
}
