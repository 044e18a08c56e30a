//! Puts the programs on an interface and takes them off again: TCX at the head where the
//! kernel has it, else the clsact qdisc; which of them is tried, not guessed from a version.
//!
//! What is attached is written down in the pins directory, so that the next daemon takes it
//! over in place; what is written there is never believed: the kernel is asked. Nothing hangs on
//! both hooks of an interface.

mod clsact;
mod elsewhere;
mod filters;
mod stray;
mod tcx;

use anyhow::{Result, bail};
use aya::programs::TcAttachType;
use sensor_ebpf::abi::{Direction, program};

pub use elsewhere::ensure_all_is_here;
pub use stray::strays;

use super::Programs;
use super::interfaces::{Framing, Interface, Netlink};
use super::links::Links;
use super::pins::Pins;
use crate::config::Attach;

/// Where our programs hang.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    Tcx,
    Clsact,
}

impl Hook {
    /// The label value of `poolwatch_interface_info`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }

    const fn other(self) -> Self {
        match self {
            Self::Tcx => Self::Clsact,
            Self::Clsact => Self::Tcx,
        }
    }
}

/// Attaches both directions, or takes over what an earlier daemon attached. Where that is on the
/// hook that the config excludes, it is taken off before: what passes in between is not counted,
/// which is better than counted twice.
///
/// # Errors
/// When no hook that the config allows takes the programs. What this call attached is taken off again;
/// what hung there before goes on counting.
pub async fn attach(
    programs: &mut Programs,
    netlink: &Netlink,
    pins: &Pins,
    interface: &Interface,
    how: Attach,
) -> Result<Hook> {
    let on = On { netlink, links: &pins.links()?, interface };
    let first = match how {
        Attach::Clsact => Hook::Clsact,
        Attach::Auto if on.is_held_by(Hook::Clsact)? && !on.is_held_by(Hook::Tcx)? => Hook::Clsact,
        Attach::Tcx | Attach::Auto => Hook::Tcx,
    };
    let moves = on.is_held_by(first.other())?;
    if moves {
        let (from, to) = (first.other().name(), first.name());
        tracing::warn!(interface = %interface.name, from, to, "moving to another hook; what passes meanwhile is not counted");
        on.leave(first.other(), &Direction::ALL).await?;
    }
    let error = match on.hang(programs, first).await {
        Ok(()) => return Ok(first),
        Err(error) => error,
    };
    if how != Attach::Auto && !moves || on.is_held_by(first)? {
        return Err(error);
    }
    match on.hang(programs, first.other()).await {
        Ok(()) if how == Attach::Auto => {
            let (failed, hook) = (first.name(), first.other().name());
            tracing::info!(interface = %interface.name, hook, failed, "another hook, since the first failed: {error:#}");
            Ok(first.other())
        }
        // It counts on where it was, which is not where it should.
        Ok(()) => Err(error),
        Err(second) => {
            Err(second.context(format!("{} failed ({error:#}), and so did the other", first.name())))
        }
    }
}

/// Do both directions hang on the interface, by that hook, with these very programs?
///
/// # Errors
/// When the kernel does not say.
pub async fn is_attached(
    programs: &mut Programs,
    netlink: &Netlink,
    pins: &Pins,
    interface: &Interface,
    hook: Hook,
) -> Result<bool> {
    let on = On { netlink, links: &pins.links()?, interface };
    let names = names(interface)?;
    for direction in Direction::ALL {
        let program = programs.get(names[direction as usize])?.info()?.id();
        let place = on.place(direction);
        let hangs = match hook {
            Hook::Tcx => place.is_on_tcx(program)?,
            Hook::Clsact => place.is_on_clsact(program).await?,
        };
        if !hangs {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Names of the programs of both directions.
fn names(interface: &Interface) -> Result<[&'static str; 2]> {
    match interface.framing {
        Framing::Ethernet => Ok(program::ETHERNET),
        Framing::Ip => Ok(program::IP),
        Framing::Unknown => bail!("{} has neither Ethernet nor IP headers", interface.name),
    }
}

/// One interface.
struct On<'a> {
    netlink: &'a Netlink,
    links: &'a Links,
    interface: &'a Interface,
}

impl On<'_> {
    async fn hang(&self, programs: &mut Programs, hook: Hook) -> Result<()> {
        let names = names(self.interface)?;
        let name = &self.interface.name;
        let mut anew = Vec::new();
        for direction in Direction::ALL {
            let program = programs.get(names[direction as usize])?;
            let place = self.place(direction);
            let hung = match hook {
                Hook::Tcx => place.hang_on_tcx(program, name),
                Hook::Clsact => place.hang_on_clsact(program, name).await,
            };
            match hung {
                Ok(Hung::Anew) => anew.push(direction),
                Ok(Hung::InPlace) => {}
                Err(error) => {
                    let program = names[direction as usize];
                    let error = error.context(format!("attaching {program} to {name} by {}", hook.name()));
                    return Err(match self.leave(hook, &anew).await {
                        Ok(()) => error,
                        Err(second) => error.context(format!("what was attached stays ({second:#})")),
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes these directions off, and with the last of them what was made for them.
    async fn leave(&self, hook: Hook, directions: &[Direction]) -> Result<()> {
        for direction in directions {
            match hook {
                Hook::Tcx => self.place(*direction).leave_tcx()?,
                Hook::Clsact => self.place(*direction).leave_clsact().await?,
            }
        }
        if hook == Hook::Clsact && !self.is_held_by(hook)? {
            clsact::leave_qdisc(self.netlink, self.links, self.interface.index, true).await?;
        }
        Ok(())
    }

    /// Was something attached by this hook, as far as the pins directory knows?
    fn is_held_by(&self, hook: Hook) -> Result<bool> {
        let mut is_held = false;
        for direction in Direction::ALL {
            is_held |= match hook {
                Hook::Tcx => self.place(direction).has_link(),
                Hook::Clsact => self.place(direction).has_filter()?,
            };
        }
        Ok(is_held)
    }

    fn place(&self, direction: Direction) -> Place<'_> {
        Place { netlink: self.netlink, links: self.links, index: self.interface.index, direction }
    }
}

/// How a program came to hang where it is.
enum Hung {
    Anew,
    /// It was given the place of one that hung there.
    InPlace,
}

/// One direction of one interface.
struct Place<'a> {
    netlink: &'a Netlink,
    links: &'a Links,
    index: u32,
    direction: Direction,
}

impl Place<'_> {
    /// What names in the pins directory begin with.
    fn stem(&self) -> String {
        stem(self.index, self.direction)
    }
}

fn stem(index: u32, direction: Direction) -> String {
    format!("{index}_{}", name(direction))
}

/// Takes both directions off whatever has this index, as far as they are on it. `is_there`:
/// there is such an interface in this namespace.
pub async fn detach(netlink: &Netlink, pins: &Pins, index: u32, is_there: bool) -> Result<()> {
    let links = &pins.links()?;
    for direction in Direction::ALL {
        let place = Place { netlink, links, index, direction };
        place.leave_tcx()?;
        place.leave_clsact().await?;
    }
    clsact::leave_qdisc(netlink, links, index, is_there).await
}

/// Takes everything off everything, also what counts in these maps and has lost its note.
pub async fn detach_all(netlink: &Netlink, pins: &Pins) -> Result<()> {
    let interfaces = netlink.interfaces().await?;
    for index in attached(pins)? {
        let is_there = interfaces.iter().any(|interface| interface.index == index);
        detach(netlink, pins, index, is_there).await?;
    }
    let unnoted = elsewhere::programs(pins);
    for interface in &interfaces {
        stray::remove_all_of(netlink, interface.index, &unnoted).await?;
    }
    Ok(())
}

/// Takes these programs off the clsact of these interfaces, when the pins are gone that tell of them.
///
/// # Errors
/// When the kernel does not take one off, or does not say what is there.
pub async fn detach_without_pins(programs: &mut Programs, netlink: &Netlink, indices: &[u32]) -> Result<()> {
    let mut ids = Vec::new();
    for name in program::ETHERNET.iter().chain(&program::IP) {
        ids.push(programs.get(name)?.info()?.id());
    }
    for index in indices {
        stray::remove_all_of(netlink, *index, &ids).await?;
    }
    Ok(())
}

/// Indices of the interfaces that something of ours is, or was, attached to.
pub fn attached(pins: &Pins) -> Result<Vec<u32>> {
    let names = pins.links()?.names()?;
    let mut indices: Vec<u32> =
        names.iter().filter_map(|name| name.split('_').next()?.parse().ok()).collect();
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

const fn attach_type(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Ingress,
        Direction::Egress => TcAttachType::Egress,
    }
}

/// The label value, and a part of the pins' names.
pub const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Ingress => "ingress",
        Direction::Egress => "egress",
    }
}
