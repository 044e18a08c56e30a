//! Puts the programs on an interface and takes them off again: TCX at the head where the
//! kernel has it, else the clsact qdisc; which of them is tried, not guessed from a version.
//!
//! What is attached is written down in the pins directory, so that the next daemon takes it
//! over in place: a TCX link is pinned as `<ifindex>_<direction>`; a clsact filter, which has no
//! link, leaves an empty directory `<ifindex>_<direction>_clsact_<handle>`, and a qdisc that we
//! made `<ifindex>_qdisc`. (A bpffs takes no dots in names.) A clsact qdisc that was there before
//! is never removed, nor is ours while someone else has filters on it.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle, qdisc_add_clsact};
use aya::programs::{LinkOrder, ProgramError, SchedClassifier, TcAttachType};
use sensor_ebpf::abi::{Direction, program};

use super::Programs;
use super::interfaces::{Framing, Interface, Netlink};
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
}

/// Filters run in ascending order of priority.
const PRIORITY: u16 = 1;
/// "pool": the first handle that we try, so that `tc filter show` gives us away.
const HANDLE_MAJOR: u16 = 0x706f;
const HANDLE_MINOR: u16 = 0x6f6c;
/// Handles tried when others are taken, by another poolwatch for instance.
const HANDLES: u16 = 8;

/// Attaches both directions, or takes over what an earlier daemon attached.
///
/// # Errors
/// When neither hook takes the programs; one direction alone is taken off again.
pub async fn attach(
    programs: &mut Programs,
    netlink: &Netlink,
    pins: &Pins,
    interface: &Interface,
    how: Attach,
) -> Result<Hook> {
    let names = match interface.framing {
        Framing::Ethernet => program::ETHERNET,
        Framing::Ip => program::IP,
        Framing::Unknown => bail!("{} has neither Ethernet nor IP headers", interface.name),
    };
    let mut hook = None;
    for direction in Direction::ALL {
        let name = names[direction as usize];
        let result = programs.get(name).and_then(|program| {
            let place = Place { links: pins.links(), interface, direction };
            place.attach(program, how)
        });
        match result {
            Ok(found) => hook = Some(found),
            Err(error) => {
                detach(netlink, pins, interface.index, Some(&interface.name)).await?;
                return Err(error.context(format!("attaching {name} to {}", interface.name)));
            }
        }
    }
    hook.ok_or_else(|| anyhow!("nothing attached to {}", interface.name))
}

/// One direction of one interface.
struct Place<'a> {
    links: PathBuf,
    interface: &'a Interface,
    direction: Direction,
}

impl Place<'_> {
    fn attach(&self, program: &mut SchedClassifier, how: Attach) -> Result<Hook> {
        if self.take_over_link(program)? {
            return Ok(Hook::Tcx);
        }
        if self.take_over_filter(program)? {
            return Ok(Hook::Clsact);
        }
        let tcx = match how {
            Attach::Clsact => None,
            Attach::Auto | Attach::Tcx => match self.attach_tcx(program) {
                Ok(()) => return Ok(Hook::Tcx),
                Err(error) if how == Attach::Tcx => return Err(error),
                Err(error) => Some(error),
            },
        };
        match self.attach_clsact(program) {
            Ok(()) => {
                if let Some(error) = tcx {
                    tracing::info!(interface = %self.interface.name, "clsact, since TCX failed: {error:#}");
                }
                Ok(Hook::Clsact)
            }
            Err(error) => Err(match tcx {
                Some(tcx) => error.context(format!("TCX failed ({tcx:#}), and so did clsact")),
                None => error,
            }),
        }
    }

    fn attach_tcx(&self, program: &mut SchedClassifier) -> Result<()> {
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(&self.interface.name, self.attach_type(), options)?;
        let link: FdLink = program.take_link(link)?.try_into()?;
        let path = self.link_path();
        link.pin(&path).with_context(|| format!("pinning {}", path.display()))?;
        Ok(())
    }

    /// A pinned link gets our program in place. Its interface may be gone (ENOLINK): then the
    /// pin is of no use, and the index has gone to another interface.
    fn take_over_link(&self, program: &mut SchedClassifier) -> Result<bool> {
        let path = self.link_path();
        let pinned = match PinnedLink::from_pin(&path) {
            Ok(pinned) => pinned,
            Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
                return Ok(false);
            }
            Err(error) => return Err(error).with_context(|| format!("{}", path.display())),
        };
        let link: SchedClassifierLink = FdLink::from(pinned).try_into()?;
        match program.attach_to_link(link) {
            Ok(link) => {
                // The pin holds the link; ours may go.
                let link: FdLink = program.take_link(link)?.try_into()?;
                drop(link);
                Ok(true)
            }
            Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(ENOLINK) => {
                fs::remove_file(&path).with_context(|| format!("{}", path.display()))?;
                Ok(false)
            }
            Err(error) => Err(error).with_context(|| format!("taking over {}", path.display())),
        }
    }

    fn attach_clsact(&self, program: &mut SchedClassifier) -> Result<()> {
        match qdisc_add_clsact(&self.interface.name) {
            Ok(()) => make_directory(&self.links.join(format!("{}_qdisc", self.interface.index)))?,
            Err(error) if os_error(&error) == Some(EEXIST) => {}
            Err(error) => return Err(error).context("adding a clsact qdisc"),
        }
        let mut last = None;
        for minor in (HANDLE_MINOR..).take(usize::from(HANDLES)) {
            let handle = TcHandle::new(HANDLE_MAJOR, minor);
            let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle, classid: None });
            match program.attach_with_options(&self.interface.name, self.attach_type(), options) {
                Ok(link) => {
                    // Dropping it would detach; the filter lives on its interface.
                    mem::forget(program.take_link(link)?);
                    return make_directory(&self.filter_path(handle));
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or_else(|| anyhow!("no handle was tried"), Into::into))
    }

    /// The filter at the handle that was written down gets our program in place.
    fn take_over_filter(&self, program: &mut SchedClassifier) -> Result<bool> {
        let Some((path, handle)) = self.written_filter()? else { return Ok(false) };
        let link =
            SchedClassifierLink::attached(&self.interface.name, self.attach_type(), PRIORITY, handle, None)?;
        if let Ok(link) = program.attach_to_link(link) {
            mem::forget(program.take_link(link)?);
            return Ok(true);
        }
        // The interface that it was on is gone, or someone removed the qdisc.
        fs::remove_dir(&path).with_context(|| format!("{}", path.display()))?;
        Ok(false)
    }

    fn written_filter(&self) -> Result<Option<(PathBuf, TcHandle)>> {
        let prefix = format!("{}_{}_clsact_", self.interface.index, name(self.direction));
        for entry in fs::read_dir(&self.links).with_context(|| format!("{}", self.links.display()))? {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            if let Some(handle) = file.strip_prefix(&prefix).and_then(|hex| u32::from_str_radix(hex, 16).ok())
            {
                return Ok(Some((path, TcHandle::from(handle))));
            }
        }
        Ok(None)
    }

    fn attach_type(&self) -> TcAttachType {
        attach_type(self.direction)
    }

    fn link_path(&self) -> PathBuf {
        self.links.join(format!("{}_{}", self.interface.index, name(self.direction)))
    }

    fn filter_path(&self, handle: TcHandle) -> PathBuf {
        let (index, direction) = (self.interface.index, name(self.direction));
        self.links.join(format!("{index}_{direction}_clsact_{:08x}", u32::from(handle)))
    }
}

/// Is it still written down that both directions hang on the interface with this index? Who
/// removes a link's pin detaches its program.
pub fn is_written_down(pins: &Pins, index: u32) -> bool {
    let prefixes = Direction::ALL.map(|direction| format!("{index}_{}", name(direction)));
    let Ok(entries) = fs::read_dir(pins.links()) else { return false };
    let names: Vec<_> = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect();
    prefixes.iter().all(|prefix| names.iter().any(|name| name.starts_with(prefix.as_str())))
}

/// Takes both directions off an interface, as far as they are on it. `interface`: its name, where
/// it still has one.
pub async fn detach(netlink: &Netlink, pins: &Pins, index: u32, interface: Option<&str>) -> Result<()> {
    let mut qdisc = None;
    for entry in fs::read_dir(pins.links()).with_context(|| format!("{}", pins.links().display()))? {
        let path = entry?.path();
        let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default().to_owned();
        let mut words = file.split('_');
        if words.next().and_then(|word| word.parse().ok()) != Some(index) {
            continue;
        }
        match (words.next(), words.next(), words.next()) {
            (Some("qdisc"), None, None) => qdisc = Some(path),
            (Some(_), None, None) => fs::remove_file(&path).with_context(|| format!("{}", path.display()))?,
            (Some(direction), Some("clsact"), Some(handle)) => {
                if let Some(interface) = interface {
                    remove_filter(interface, direction, handle)?;
                }
                fs::remove_dir(&path).with_context(|| format!("{}", path.display()))?;
            }
            _ => {}
        }
    }
    if let Some(path) = qdisc {
        if let Some(interface) = interface
            && let Err(error) = netlink.remove_unused_clsact(index).await
        {
            tracing::warn!(interface, "removing our clsact qdisc: {error:#}");
        }
        fs::remove_dir(&path).with_context(|| format!("{}", path.display()))?;
    }
    Ok(())
}

/// Takes everything off everything.
pub async fn detach_all(netlink: &Netlink, pins: &Pins) -> Result<()> {
    let interfaces = netlink.interfaces().await?;
    for index in attached(pins)? {
        let name =
            interfaces.iter().find(|interface| interface.index == index).map(|interface| &*interface.name);
        detach(netlink, pins, index, name).await?;
    }
    Ok(())
}

/// Indices of the interfaces that something of ours is, or was, attached to.
pub fn attached(pins: &Pins) -> Result<Vec<u32>> {
    let mut indices = Vec::new();
    for entry in fs::read_dir(pins.links()).with_context(|| format!("{}", pins.links().display()))? {
        let file = entry?.file_name();
        let index: Option<u32> =
            file.to_str().and_then(|file| file.split('_').next()).and_then(|word| word.parse().ok());
        indices.extend(index);
    }
    indices.sort_unstable();
    indices.dedup();
    Ok(indices)
}

fn remove_filter(interface: &str, direction: &str, handle: &str) -> Result<()> {
    let direction = Direction::ALL.into_iter().find(|d| name(*d) == direction);
    let handle = u32::from_str_radix(handle, 16).ok();
    let (Some(direction), Some(handle)) = (direction, handle) else { return Ok(()) };
    let link = SchedClassifierLink::attached(
        interface,
        attach_type(direction),
        PRIORITY,
        TcHandle::from(handle),
        None,
    )?;
    // Gone already is as good.
    if let Err(error) = aya::programs::links::Link::detach(link) {
        tracing::debug!(interface, "removing a filter: {error}");
    }
    Ok(())
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

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("{}", path.display()))
        }
        _ => Ok(()),
    }
}

const EEXIST: i32 = 17;
const ENOLINK: i32 = 67;

/// The errno at the bottom of an error.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.raw_os_error();
        }
        cause = error.source();
    }
    None
}
