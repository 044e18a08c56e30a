//! What is watched: targets and their standing, how many indicators there are and how old, and
//! whether the last reload went well.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use super::family::{Family, gauge};
use crate::clock::now_ns;
use crate::state::State;
use crate::test_alert::{CATEGORY, CONFIDENCE, NAME};

#[allow(clippy::unnecessary_wraps, reason = "collectors may fail; this one cannot")]
pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let watched = state.watched.get();
    let mut info = gauge("poolwatch_target_info", "A watched target, its category and how sure it is.");
    for slot in &watched.slots {
        info.add(
            &[
                ("watchlist", &slot.watchlist),
                ("target", &slot.target),
                ("category", slot.category),
                ("confidence", slot.confidence),
            ],
            1.0,
        );
    }
    if state.test_alert.get().is_shown(now_ns()) {
        let labels =
            [("watchlist", NAME), ("target", NAME), ("category", CATEGORY), ("confidence", CONFIDENCE)];
        info.add(&labels, 1.0);
    }

    let mut indicators = gauge("poolwatch_watchlist_indicators", "Indicators of a watchlist.");
    let mut updated = gauge(
        "poolwatch_watchlist_updated_timestamp_seconds",
        "The oldest feed's file time; for a built-in list when it was last reviewed.",
    );
    for list in &watched.lists.lists {
        let count =
            |of: fn(&crate::watchlists::Target) -> usize| list.targets.iter().map(of).sum::<usize>() as u64;
        for (kind, count) in [
            ("prefixes", count(|target| target.prefixes.len())),
            ("endpoints", count(|target| target.endpoints.len())),
            ("domains", count(|target| target.domains.len())),
        ] {
            indicators.count(&[("watchlist", &list.name), ("kind", kind)], count);
        }
        if let Some(at) = list.updated {
            updated.add(&[("watchlist", &list.name)], seconds(at));
        }
    }

    let reload = state.reload.get();
    let mut successful =
        gauge("poolwatch_config_last_reload_successful", "Whether the last reload went well.");
    successful.add(&[], f64::from(u8::from(reload.successful)));
    let mut succeeded_at = gauge(
        "poolwatch_config_last_reload_success_timestamp_seconds",
        "When config and lists were last loaded.",
    );
    succeeded_at.add(&[], seconds(reload.succeeded_at));
    Ok(vec![info, indicators, updated, successful, succeeded_at])
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}
