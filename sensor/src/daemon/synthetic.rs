//! SIGUSR1: the test alert, in what is exported and in the events, and nowhere else.

use super::Daemon;
use crate::clock::now_ns;
use crate::test_alert::SHOWN_FOR;

impl Daemon {
    /// Shows the test alert from now on, and tells it once.
    pub fn show_test_alert(&mut self) {
        let at_ns = now_ns();
        self.state.test_alert.set(self.state.test_alert.get().asked(at_ns));
        tracing::info!(seconds = SHOWN_FOR.as_secs(), "SIGUSR1: showing a test alert, which nothing caused");
        if let Some(events) = &mut self.events {
            events.test_alert(at_ns);
        }
    }
}
