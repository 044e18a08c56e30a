//! TCX: at the head of the hook, by a link that is pinned as `<ifindex>_<direction>`. A link that
//! is not pinned yet goes with its process, so that a kill leaves nothing unknown behind.
//!
//! A pin is no proof: its link stays on a device that goes to another namespace, and is empty
//! after its device is gone, or after someone detached it. The kernel is asked what hangs here.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd, RawFd};

use anyhow::{Context, Result, ensure};
use aya::programs::links::{FdLink, LinkError, PinnedLink};
use aya::programs::tc::{SchedClassifierLink, TcAttachOptions};
use aya::programs::{LinkOrder, SchedClassifier};
use aya_obj::generated::{bpf_attach_type, bpf_attr, bpf_cmd};
use sensor_ebpf::abi::Direction;

use super::{Hung, Place, attach_type};
use crate::bpf::links::named;

/// Most programs on one hook (`BPF_MPROG_MAX`, kernel/bpf/mprog.c).
const PROGRAMS_MAX: u32 = 64;

impl Place<'_> {
    /// Attaches, or gives the link that an earlier daemon pinned our program in place. `name`: what
    /// the interface was called when it was listed.
    pub(super) fn hang_on_tcx(&self, program: &mut SchedClassifier, name: &str) -> Result<Hung> {
        let pin = self.stem();
        if let Some(link) = self.pinned()? {
            if self.holds(&link)? {
                let link: SchedClassifierLink = link.try_into()?;
                let taken = program.attach_to_link(link);
                let taken = taken.with_context(|| format!("taking over {}", named(&pin)))?;
                // The pin holds the link; ours may go.
                let link: FdLink = program.take_link(taken)?.try_into()?;
                drop(link);
                return Ok(Hung::InPlace);
            }
            self.links.remove(&pin)?;
        }
        let options = TcAttachOptions::TcxOrder(LinkOrder::first());
        let link = program.attach_with_options(name, attach_type(self.direction), options)?;
        let link: FdLink = program.take_link(link)?.try_into()?;
        ensure!(self.holds(&link)?, "{name} is no longer the interface that it was");
        link.pin(self.links.path(&pin)).with_context(|| format!("pinning {}", named(&pin)))?;
        Ok(Hung::Anew)
    }

    /// Does this program hang here by our pinned link?
    pub(super) fn is_on_tcx(&self, program: u32) -> Result<bool> {
        let Some(link) = self.pinned()? else { return Ok(false) };
        Ok(link.info()?.program_id() == program && self.holds(&link)?)
    }

    /// Takes the pinned link off, wherever its device is. Unpinned it would go as well, but later:
    /// nobody may count by it any more when this returns.
    pub(super) fn leave_tcx(&self) -> Result<()> {
        let pin = self.stem();
        let Some(entry) = self.links.open(&pin)? else { return Ok(()) };
        let link = link_at(&entry).with_context(|| named(&pin))?;
        self.links.remove(&pin)?;
        detach(&link).with_context(|| named(&pin))
    }

    pub(super) fn has_link(&self) -> bool {
        self.links.has(&self.stem())
    }

    fn pinned(&self) -> Result<Option<FdLink>> {
        let pin = self.stem();
        match PinnedLink::from_pin(self.links.path(&pin)) {
            Ok(pinned) => Ok(Some(pinned.into())),
            Err(LinkError::SyscallError(error)) if error.io_error.kind() == io::ErrorKind::NotFound => {
                Ok(None)
            }
            Err(error) => Err(error).with_context(|| named(&pin)),
        }
    }

    /// Is it this link's program that runs here?
    fn holds(&self, link: &FdLink) -> Result<bool> {
        Ok(links_on(self.index, self.direction)?.contains(&link.info()?.id()))
    }
}

/// The link of a pin, which aya 0.14 takes off by letting go of it only.
fn link_at(pin: &OwnedFd) -> Result<OwnedFd> {
    let name = CString::new(format!("/proc/self/fd/{}", pin.as_raw_fd()))?;
    // SAFETY: a union of integers, of which all zeros is a value; what is not named must be zero.
    let mut request: bpf_attr = unsafe { std::mem::zeroed() };
    request.__bindgen_anon_4.pathname = name.as_ptr().expose_provenance() as u64;
    let command = bpf_cmd::BPF_OBJ_GET as u32;
    // SAFETY: the name ends in a zero byte and outlives the call, as the request does.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, size_of::<bpf_attr>()) };
    ensure!(fd >= 0, "BPF_OBJ_GET: {}", io::Error::last_os_error());
    // SAFETY: the kernel made it for this call, so that nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(RawFd::try_from(fd)?) })
}

/// The kernel takes the program off before it answers; that its device is gone is no error to it.
fn detach(link: &OwnedFd) -> Result<()> {
    // SAFETY: a union of integers, of which all zeros is a value; what is not named must be zero.
    let mut request: bpf_attr = unsafe { std::mem::zeroed() };
    request.link_detach.link_fd = link.as_raw_fd().cast_unsigned();
    let command = bpf_cmd::BPF_LINK_DETACH as u32;
    // SAFETY: the request holds no pointers, and outlives the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, size_of::<bpf_attr>()) };
    ensure!(done == 0, "BPF_LINK_DETACH: {}", io::Error::last_os_error());
    Ok(())
}

/// The ids of the links on a hook of an interface of this namespace. aya 0.14 asks for programs
/// only, and reads them in a way that takes `CAP_SYS_ADMIN`.
fn links_on(index: u32, direction: Direction) -> Result<Vec<u32>> {
    let hook = match direction {
        Direction::Ingress => bpf_attach_type::BPF_TCX_INGRESS,
        Direction::Egress => bpf_attach_type::BPF_TCX_EGRESS,
    };
    let (mut programs, mut links) = ([0_u32; PROGRAMS_MAX as usize], [0_u32; PROGRAMS_MAX as usize]);
    // SAFETY: a union of integers, of which all zeros is a value; what is not named must be zero.
    let mut request: bpf_attr = unsafe { std::mem::zeroed() };
    request.query.__bindgen_anon_1.target_ifindex = index;
    request.query.attach_type = hook as u32;
    request.query.prog_ids = programs.as_mut_ptr().expose_provenance() as u64;
    request.query.link_ids = links.as_mut_ptr().expose_provenance() as u64;
    request.query.__bindgen_anon_2.count = PROGRAMS_MAX;
    let command = bpf_cmd::BPF_PROG_QUERY as u32;
    // SAFETY: the pointers are those of the two arrays, which have room for `count` ids each and
    // outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, size_of::<bpf_attr>()) };
    if done < 0 {
        let error = io::Error::last_os_error();
        // No such interface, or nothing was ever attached to it.
        return match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENOENT) => Ok(Vec::new()),
            _ => Err(error).context("BPF_PROG_QUERY"),
        };
    }
    // SAFETY: the kernel put the number of ids that it wrote where it read how many have room.
    let count = unsafe { request.query.__bindgen_anon_2.count } as usize;
    Ok(links.into_iter().take(count).collect())
}
