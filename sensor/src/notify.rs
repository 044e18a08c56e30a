//! Tells the service manager how the daemon stands, by systemd's protocol (`sd_notify(3)`): that it is
//! ready, reloads or stops, that its event loop still turns, and in a line what it watches and who mines.
//!
//! Where no manager listens, nothing is sent. That nobody takes what is said is no reason to stop.

use sd_notify::NotifyState;

use crate::state::{Standing, State};

/// Names in the line of status; more are counted.
const NAMED_MAX: usize = 4;

/// What was said last.
#[derive(Debug, Default)]
pub struct Service {
    status: String,
}

impl Service {
    pub fn ready(&mut self, state: &State) {
        send(&[NotifyState::Ready]);
        self.alive(state);
    }

    /// The event loop has come round; a manager that waits for it in vain starts the daemon anew. The
    /// status is sent where it is another one.
    pub fn alive(&mut self, state: &State) {
        send(&[NotifyState::Watchdog]);
        let status = status(state);
        if status != self.status {
            send(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

/// A reload begins; [`Service::ready`] says when it has ended.
pub fn reloading() {
    // The moment is for Type=notify-reload; where the clock cannot be read, the rest is still true.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => send(&[NotifyState::Reloading, now]),
        Err(_) => send(&[NotifyState::Reloading]),
    }
}

pub fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

fn send(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!("telling the service manager: {error}");
    }
}

/// One line: why it is not ready, or what it watches and which targets are being mined at.
fn status(state: &State) -> String {
    let interfaces = state.interfaces.get();
    let complaints = interfaces.complaints();
    let reload = if state.reload.get().successful { "" } else { "; the last reload failed" };
    if !complaints.is_empty() {
        return format!("not ready: {}{reload}", complaints.join("; "));
    }
    let is_attached = |standing: &Standing| matches!(standing, Standing::Attached { .. });
    let attached = interfaces.0.iter().filter(|(_, standing)| is_attached(standing));
    let watched: Vec<String> = attached.map(|(name, _)| name.clone()).collect();
    let recognised = state.recognised.get();
    let mining: Vec<String> = state
        .watched
        .get()
        .slots
        .iter()
        .filter(|slot| recognised.sessions_of(slot.index) > 0)
        .map(|slot| format!("{}/{}", slot.watchlist, slot.target))
        .collect();
    let mining = if mining.is_empty() { String::new() } else { format!("; mining: {}", named(&mining)) };
    format!("watching {}{mining}{reload}", named(&watched))
}

/// `a, b, c, d and 3 more`
fn named(names: &[String]) -> String {
    let (first, rest) = names.split_at(names.len().min(NAMED_MAX));
    let first = first.join(", ");
    if rest.is_empty() { first } else { format!("{first} and {} more", rest.len()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_names_are_counted_in_place_of_being_told() {
        let names: Vec<String> = (0..6).map(|number| format!("eth{number}")).collect();
        assert_eq!(named(&names[..1]), "eth0");
        assert_eq!(named(&names[..4]), "eth0, eth1, eth2, eth3");
        assert_eq!(named(&names), "eth0, eth1, eth2, eth3 and 2 more");
    }
}
