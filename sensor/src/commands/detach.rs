//! `poolwatch detach`: takes the programs off every interface and removes the pins, with all
//! counts. A daemon that is running keeps its pins locked, and is named instead.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::bpf::attach::{attached, detach_all, ensure_all_is_here, strays};
use crate::bpf::interfaces::Netlink;
use crate::bpf::pins::Pins;
use crate::config::Config;
use crate::privileges::check_capabilities;

/// Takes off what hangs by the pins in `pins`, or else in the config's directory, and removes them.
/// Nothing there to remove is as good as removed.
pub async fn detach(pins: Option<PathBuf>, config: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let directory = match pins {
        Some(directory) => std::path::absolute(directory).context("--pins")?,
        None => Config::load(config)?.state.pins,
    };
    // A link to it would be left over.
    let directory = directory.canonicalize().unwrap_or(directory);
    check_capabilities()?;
    let (shown, netlink) = (directory.display(), Netlink::open()?);
    match Pins::open_existing(&directory)? {
        None => writeln!(out, "nothing is left in {shown}")?,
        Some(pins) => {
            pins.ensure_a_daemons()?;
            let interfaces = attached(&pins)?.len();
            ensure_all_is_here(&netlink, &pins).await?;
            detach_all(&netlink, &pins).await?;
            pins.remove()?;
            let plural = if interfaces == 1 { "" } else { "s" };
            writeln!(out, "detached from {interfaces} interface{plural} and removed {shown}")?;
        }
    }
    match strays(&netlink, None).await {
        Ok(strays) => strays.iter().try_for_each(|stray| writeln!(out, "{stray}"))?,
        // What was asked for is done.
        Err(error) => {
            writeln!(out, "whether filters of others or of earlier pins are there is not known: {error:#}")?;
        }
    }
    Ok(())
}
