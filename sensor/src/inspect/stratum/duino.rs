//! Duino-Coin: comma-separated lines (github.com/revoxhere/duino-coin).
//!
//! Old miners introduce themselves; newer ones only ask for a job, in words that others might use.

use crate::inspect::{About, Mining, Payload, Signal, Speaker, Weight, Work, about};

/// The longest line that is looked at, in bytes.
const LINE_MAX: usize = 256;

/// How a miner introduces itself.
const INTRODUCTION: &str = "FROM,PC Miner,";

/// How difficult the job is to be, which the kind of device decides.
const DIFFICULTIES: [&str; 10] =
    ["AVR", "DUE", "ARM", "ESP8266", "ESP8266H", "ESP32", "ESP32S", "LOW", "MEDIUM", "NET"];

/// Digits of a SHA-1 hash.
const HASH_DIGITS: usize = 40;

pub fn inspect(payload: Payload<'_>) -> Option<Mining> {
    let line = first_line(payload)?;
    let (speaker, weight, account) = if line.starts_with(INTRODUCTION) {
        (Speaker::Miner, Weight::Enough, None)
    } else if let Some(account) = asks(line) {
        (Speaker::Miner, Weight::Half(Work::Duino), Some(account))
    } else if is_job(line) {
        (Speaker::Pool, Weight::Half(Work::Duino), None)
    } else {
        return None;
    };
    let about = About {
        coin: Some("duino-coin".into()),
        wallet: account.and_then(about::printable),
        ..About::default()
    };
    Some(Mining { signal: Signal::Stratum, speaker, weight, about })
}

/// The first line; miners leave out its line feed, so that only a cut payload needs it.
fn first_line(payload: Payload<'_>) -> Option<&str> {
    let window = payload.bytes.get(..LINE_MAX).unwrap_or(payload.bytes);
    let line = match window.iter().position(|byte| *byte == b'\n') {
        Some(line_feed) => &window[..line_feed],
        None if window.len() < payload.bytes.len() => return None,
        None if payload.is_cut && !window.starts_with(INTRODUCTION.as_bytes()) => return None,
        None => window,
    };
    str::from_utf8(line).ok().map(str::trim_end)
}

/// `JOB,account,difficulty`, perhaps with a key behind it.
fn asks(line: &str) -> Option<&str> {
    let mut fields = line.strip_prefix("JOB,")?.split(',');
    let (account, difficulty) = (fields.next()?, fields.next()?);
    (!account.is_empty() && DIFFICULTIES.contains(&difficulty)).then_some(account)
}

/// Hash of the last block, hash to be found, difficulty.
fn is_job(line: &str) -> bool {
    let is_hash = |hash: &str| hash.len() == HASH_DIGITS && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let mut fields = line.split(',');
    fields.next().is_some_and(is_hash)
        && fields.next().is_some_and(is_hash)
        && fields.next().is_some_and(|difficulty| difficulty.parse::<u32>().is_ok())
        && fields.next().is_none()
}
