//! `poolwatch detach`: takes the programs off every interface and removes the pins, with all
//! counts. A daemon that is running keeps its pins locked, and is named instead.

use std::io::Write;
use std::path::Path;

use anyhow::Result;

use crate::bpf::attach::{attached, detach_all};
use crate::bpf::interfaces::Netlink;
use crate::bpf::pins::Pins;
use crate::config::Config;
use crate::privileges::check_capabilities;

/// Nothing there to remove is as good as removed.
pub async fn detach(config: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let config = Config::load(config)?;
    check_capabilities()?;
    let directory = config.state.pins.display();
    let Some(pins) = Pins::open_existing(&config.state.pins)? else {
        writeln!(out, "nothing is left in {directory}")?;
        return Ok(());
    };
    let interfaces = attached(&pins)?.len();
    detach_all(&Netlink::open()?, &pins).await?;
    pins.remove()?;
    let plural = if interfaces == 1 { "" } else { "s" };
    writeln!(out, "detached from {interfaces} interface{plural} and removed {directory}")?;
    Ok(())
}
