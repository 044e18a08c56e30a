//! Duino-Coin: comma-separated lines (github.com/revoxhere/duino-coin).
//!
//! Old miners introduce themselves. Newer ones only ask for a job, in words that others might use, and get
//! one that begins like nothing: neither is looked at.

use crate::inspect::{About, Mining, Payload, Signal, Speaker, Weight};

/// How a miner introduces itself.
const INTRODUCTION: &[u8] = b"FROM,PC Miner,";

pub fn inspect(payload: Payload<'_>) -> Option<Mining> {
    payload.bytes.starts_with(INTRODUCTION).then(|| Mining {
        signal: Signal::Stratum,
        speaker: Speaker::Miner,
        weight: Weight::Enough,
        about: About { coin: Some("duino-coin".into()), ..About::default() },
    })
}
