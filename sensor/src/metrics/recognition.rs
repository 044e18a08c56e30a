//! What was recognised by what it says: detections, mining sessions, and answers to queries for
//! watched names.

use anyhow::Result;
use sensor_ebpf::abi::map;

use super::family::{Family, counter, gauge};
use crate::clock::now_ns;
use crate::inspect::Signal;
use crate::inspect::dns::Outcome;
use crate::state::State;
use crate::test_alert::NAME;
use crate::verdict::{Refusals, Role};

#[allow(clippy::unnecessary_wraps, reason = "collectors may fail; this one cannot")]
pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let mut detections =
        counter("poolwatch_detections_total", "Connections recognised by what they say, once each.");
    let mut sessions = gauge("poolwatch_mining_sessions", "Recognised mining sessions that are alive.");
    let mut answers =
        counter("poolwatch_dns_answers_total", "Answers to this host's queries for watched names.");
    let (watched, recognised) = (state.watched.get(), state.recognised.get());
    for slot in &watched.slots {
        let target = [("watchlist", slot.watchlist.as_str()), ("target", slot.target.as_str())];
        let found = state.kernel.findings(slot.index, &recognised);
        for role in Role::ALL {
            let labels = [target[0], target[1], ("role", role.name())];
            let alive = recognised.sessions.get(&(slot.index, role as u8)).copied().unwrap_or(0);
            let detected = found.detections[role as usize];
            if detected > 0 || role == Role::Miner {
                detections.count(&labels, detected);
            }
            // Whoever was counted once is shown when it is gone.
            if role != Role::None && (alive > 0 || detected > 0 || role == Role::Miner) {
                sessions.count(&labels, alive);
            }
        }
        for outcome in Outcome::ALL {
            let count = found.answers[outcome as usize];
            if count > 0 {
                answers.count(&[target[0], target[1], ("result", outcome.name())], count);
            }
        }
    }

    // Its count stays, as a counter's does; the session is over when it is not shown any more.
    let test = state.test_alert.get();
    let labels = [("watchlist", NAME), ("target", NAME), ("role", Role::Miner.name())];
    if test.count > 0 {
        detections.count(&labels, test.count);
    }
    if test.is_shown(now_ns()) {
        sessions.count(&labels, 1);
    }

    let mut signals =
        counter("poolwatch_detection_signals_total", "Connections recognised by what they say, by how.");
    let earlier = state.kernel.earlier();
    for signal in Signal::ALL {
        let count = recognised.signals[signal as usize] + earlier.signals[signal as usize];
        signals.count(&[("signal", signal.name())], count);
    }
    let mut refused = counter(
        "poolwatch_learning_refused_total",
        "Addresses and connections that were not remembered, for want of room.",
    );
    let Refusals { learned, judged } = recognised.refused;
    for (map, count, before) in
        [(map::LEARNED, learned, earlier.refused[0]), (map::JUDGED, judged, earlier.refused[1])]
    {
        refused.count(&[("map", map)], count + before);
    }
    let mut forgot = counter(
        "poolwatch_recognition_forgotten_total",
        "What was remembered for recognition and had to go to make room, before it came to its end.",
    );
    let since = recognised.forgotten;
    let counts = [("message", since.messages), ("session", since.sessions), ("query", since.queries)];
    for ((what, count), before) in counts.into_iter().zip(earlier.forgotten) {
        forgot.count(&[("what", what)], count + before);
    }
    Ok(vec![detections, sessions, answers, signals, refused, forgot])
}
