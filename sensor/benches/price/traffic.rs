//! What poolwatch costs in traffic over veth pairs that this makes, beside nothing, nftables and
//! ipset; and what of it `BPF_PROG_TEST_RUN` cannot measure. Whoever is measured proves in the
//! same run that it was there: a subject that is not attached is cheap.
//!
//! It does not say what a NIC's driver costs, nor what several CPUs do to one another.

mod iperf;
mod profile;
mod rates;
mod sender;
mod shapes;
mod share;
mod subjects;

use anyhow::{Context, Result};

use crate::Plan;
use crate::figure::Report;

pub fn measure(plan: &Plan, report: &mut Report) -> Result<()> {
    share::measure(plan, report).context("shares of a sent packet")?;
    rates::measure(plan, report).context("TCP and UDP rates")?;
    shapes::measure(plan, report).context("packets that no test run takes")
}
