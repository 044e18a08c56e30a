//! What the kernel half has to say, into our log. It is silent unless someone asked for debug
//! messages when it was loaded: then a program has the statement; else the verifier drops it.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// No message at all.
pub(super) const OFF: u8 = 0;
/// `aya_log::Level::Debug`.
const DEBUG: u8 = 4;

/// How much the kernel half is to say, as aya-log counts it.
pub(super) fn level() -> u8 {
    if tracing::enabled!(target: "poolwatch_kernel", tracing::Level::DEBUG) { DEBUG } else { OFF }
}

/// Passes its messages on for as long as this process runs.
pub(super) fn follow(ebpf: &mut Ebpf) -> Result<()> {
    let logger = EbpfLogger::init(ebpf).context("the kernel half's log")?;
    // SAFETY: the logger owns the ring buffer whose descriptor it hands out, and does not change it.
    let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) };
    let mut logger = logger.context("the kernel half's log")?;
    tokio::spawn(async move {
        while let Ok(mut guard) = logger.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    });
    Ok(())
}
