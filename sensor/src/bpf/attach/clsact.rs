//! clsact: a filter at a handle that is noted first, as an empty directory
//! `<ifindex>_<direction>_clsact_<handle>`, and filled then: whatever a kill leaves, the next
//! daemon finds. (A bpffs takes no dots in names.) A qdisc that we made is `<ifindex>_qdisc`; one
//! that was there before is never removed, nor is ours while someone else has filters on it.

use std::mem;
use std::ops::Range;

use anyhow::{Result, anyhow, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};

use super::filters::{PRIORITY, Spot};
use super::{Hung, Place, attach_type, stem};
use crate::bpf::interfaces::Netlink;
use crate::bpf::links::Links;

/// "pool": the first handle that we try, so that `tc filter show` gives us away.
const FIRST_HANDLE: u32 = 0x706f_6f6c;
/// It, and those that are tried when others are taken, by another poolwatch for instance.
pub(super) const HANDLES: Range<u32> = FIRST_HANDLE..FIRST_HANDLE + 8;

impl Place<'_> {
    /// Attaches, or gives the filter that an earlier daemon noted our program in place. `name`:
    /// what the interface was called when it was listed.
    pub(super) async fn hang_on_clsact(&self, program: &mut SchedClassifier, name: &str) -> Result<Hung> {
        self.have_qdisc().await?;
        for (note, handle) in self.noted()? {
            let spot = self.spot(handle);
            match self.netlink.filter(spot).await? {
                Some(filter) if filter.is_ours() => {
                    return self.fill(program, name, spot, Hung::InPlace).await;
                }
                None => return self.fill(program, name, spot, Hung::Anew).await,
                Some(_) => self.links.remove_note(&note)?,
            }
        }
        let mut last = None;
        let own = program.info()?.id();
        for handle in HANDLES {
            let spot = self.spot(handle);
            let note = note(spot);
            if let Some(filter) = self.netlink.filter(spot).await? {
                if filter.program == Some(own) {
                    // Its note alone was removed. Hung beside it, the program would count twice.
                    self.links.note(&note)?;
                    return Ok(Hung::InPlace);
                }
                continue;
            }
            self.links.note(&note)?;
            match self.fill(program, name, spot, Hung::Anew).await {
                Ok(hung) => return Ok(hung),
                Err(error) => last = Some(error),
            }
            self.links.remove_note(&note)?;
        }
        Err(last.unwrap_or_else(|| {
            anyhow!(
                "others have taken all {} handles of ours; `poolwatch detach` tells what takes off filters that a \
                 poolwatch left over",
                HANDLES.len()
            )
        }))
    }

    /// Puts the program to where nothing is, or in the place of the one that the filter there has.
    async fn fill(&self, program: &mut SchedClassifier, name: &str, spot: Spot, how: Hung) -> Result<Hung> {
        let direction = attach_type(self.direction);
        let (handle, classid) = (TcHandle::from(spot.handle), None);
        let link = match how {
            Hung::Anew => {
                let options = NlOptions { priority: PRIORITY, handle, classid };
                program.attach_with_options(name, direction, TcAttachOptions::Netlink(options))?
            }
            Hung::InPlace => {
                let there = SchedClassifierLink::attached(name, direction, PRIORITY, handle, classid)?;
                program.attach_to_link(there)?
            }
        };
        // Dropped, it is detached again.
        let link = program.take_link(link)?;
        let is_there = self.is_at(spot, program.info()?.id()).await?;
        ensure!(is_there, "{name} is no longer the interface that it was");
        // The filter lives on its interface.
        mem::forget(link);
        Ok(how)
    }

    /// Does this program hang here, at the handle that was noted?
    pub(super) async fn is_on_clsact(&self, program: u32) -> Result<bool> {
        for (_, handle) in self.noted()? {
            if self.is_at(self.spot(handle), program).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn is_at(&self, spot: Spot, program: u32) -> Result<bool> {
        Ok(self.netlink.filter(spot).await?.is_some_and(|filter| filter.program == Some(program)))
    }

    /// Removes what was noted, filters first.
    pub(super) async fn leave_clsact(&self) -> Result<()> {
        for (note, handle) in self.noted()? {
            self.netlink.remove_filter(self.spot(handle)).await?;
            self.links.remove_note(&note)?;
        }
        Ok(())
    }

    pub(super) fn has_filter(&self) -> Result<bool> {
        Ok(!self.noted()?.is_empty())
    }

    /// There is a qdisc to hang filters on; when it is made here, that is noted first, and only then is
    /// there something to write.
    async fn have_qdisc(&self) -> Result<()> {
        if let Some(kind) = self.netlink.at_clsact(self.index).await? {
            // It would take filters for egress, and run them on what comes in.
            ensure!(kind == "clsact", "there is a qdisc of kind {kind}, which has no egress");
            return Ok(());
        }
        let note = qdisc_note(self.index);
        self.links.note(&note)?;
        let made = self.netlink.add_clsact(self.index).await;
        if !matches!(made, Ok(true)) {
            self.links.remove_note(&note)?;
        }
        made.map(|_| ())
    }

    /// The notes of filters here, with their handles.
    fn noted(&self) -> Result<Vec<(String, u32)>> {
        let prefix = format!("{}_clsact_", self.stem());
        let handle = |note: &str| u32::from_str_radix(note.strip_prefix(&prefix)?, 16).ok();
        let names = self.links.names()?.into_iter();
        Ok(names.filter_map(|note| handle(&note).map(|handle| (note, handle))).collect())
    }

    const fn spot(&self, handle: u32) -> Spot {
        Spot { index: self.index, direction: self.direction, handle }
    }
}

/// The name by which the pins directory knows of a filter.
pub(super) fn note(spot: Spot) -> String {
    format!("{}_clsact_{:08x}", stem(spot.index, spot.direction), spot.handle)
}

/// Removes the qdisc of an interface if it was made here and nobody uses it.
pub(super) async fn leave_qdisc(netlink: &Netlink, links: &Links, index: u32, is_there: bool) -> Result<()> {
    let note = qdisc_note(index);
    if !links.has(&note) {
        return Ok(());
    }
    if is_there && let Err(error) = netlink.remove_unused_clsact(index).await {
        tracing::warn!(index, "removing our clsact qdisc: {error:#}");
    }
    links.remove_note(&note)
}

fn qdisc_note(index: u32) -> String {
    format!("{index}_qdisc")
}
