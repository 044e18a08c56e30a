//! clsact: a filter at a handle that is noted first, as an empty directory
//! `<ifindex>_<direction>_clsact_<handle>`, and filled then: whatever a kill leaves, the next
//! daemon finds. (A bpffs takes no dots in names.) A qdisc that we made is `<ifindex>_qdisc`; one
//! that was there before is never removed, nor is ours while someone else has filters on it.

use std::fs;
use std::io;
use std::mem;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use aya::programs::SchedClassifier;
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};

use super::filters::{PRIORITY, Spot};
use super::{Hung, Place, attach_type};
use crate::bpf::interfaces::Netlink;

/// "pool": the first handle that we try, so that `tc filter show` gives us away.
const FIRST_HANDLE: u32 = 0x706f_6f6c;
/// Handles tried when others are taken, by another poolwatch for instance.
const HANDLES: u32 = 8;

impl Place<'_> {
    /// Attaches, or gives the filter that an earlier daemon noted our program in place. `name`:
    /// what the interface was called when it was listed.
    pub(super) async fn hang_on_clsact(&self, program: &mut SchedClassifier, name: &str) -> Result<Hung> {
        self.have_qdisc().await?;
        for (path, handle) in self.noted()? {
            let spot = self.spot(handle);
            match self.netlink.filter(spot).await? {
                Some(filter) if filter.is_ours() => {
                    return self.fill(program, name, spot, Hung::InPlace).await;
                }
                None => return self.fill(program, name, spot, Hung::Anew).await,
                Some(_) => remove_directory(&path)?,
            }
        }
        let mut last = None;
        for handle in FIRST_HANDLE..FIRST_HANDLE + HANDLES {
            let spot = self.spot(handle);
            if self.netlink.filter(spot).await?.is_some() {
                continue;
            }
            let note = self.note_path(handle);
            make_directory(&note)?;
            match self.fill(program, name, spot, Hung::Anew).await {
                Ok(hung) => return Ok(hung),
                Err(error) => last = Some(error),
            }
            remove_directory(&note)?;
        }
        Err(last.unwrap_or_else(|| anyhow!("others have taken all {HANDLES} handles of ours")))
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
        for (path, handle) in self.noted()? {
            self.netlink.remove_filter(self.spot(handle)).await?;
            remove_directory(&path)?;
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
        let note = qdisc_path(&self.links, self.index);
        make_directory(&note)?;
        let made = self.netlink.add_clsact(self.index).await;
        if !matches!(made, Ok(true)) {
            remove_directory(&note)?;
        }
        made.map(|_| ())
    }

    /// The notes of filters here, with their handles.
    fn noted(&self) -> Result<Vec<(PathBuf, u32)>> {
        let prefix = format!("{}_clsact_", self.stem());
        let mut noted = Vec::new();
        for entry in fs::read_dir(&self.links).with_context(|| format!("{}", self.links.display()))? {
            let path = entry?.path();
            let file = path.file_name().and_then(|file| file.to_str()).unwrap_or_default();
            if let Some(handle) = file.strip_prefix(&prefix).and_then(|hex| u32::from_str_radix(hex, 16).ok())
            {
                noted.push((path, handle));
            }
        }
        Ok(noted)
    }

    const fn spot(&self, handle: u32) -> Spot {
        Spot { index: self.index, direction: self.direction, handle }
    }

    fn note_path(&self, handle: u32) -> PathBuf {
        self.links.join(format!("{}_clsact_{handle:08x}", self.stem()))
    }
}

/// Removes the qdisc of an interface if it was made here and nobody uses it.
pub(super) async fn leave_qdisc(netlink: &Netlink, links: &Path, index: u32, is_there: bool) -> Result<()> {
    let note = qdisc_path(links, index);
    if !note.exists() {
        return Ok(());
    }
    if is_there && let Err(error) = netlink.remove_unused_clsact(index).await {
        tracing::warn!(index, "removing our clsact qdisc: {error:#}");
    }
    remove_directory(&note)
}

fn qdisc_path(links: &Path, index: u32) -> PathBuf {
    links.join(format!("{index}_qdisc"))
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(error).with_context(|| format!("{}", path.display()))
        }
        _ => Ok(()),
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    fs::remove_dir(path).with_context(|| format!("{}", path.display()))
}
