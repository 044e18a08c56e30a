//! Samples to verdicts to events: what the daemon does with what it hears.

use std::sync::Arc;

use anyhow::Result;
use sensor_ebpf::abi::index_of;
use sensor_ebpf::flow::initiator;

use super::Daemon;
use crate::bpf::Loaded;
use crate::bpf::samples::Samples;
use crate::events::{Concerned, Events};
use crate::state::{Interfaces, Watched};
use crate::verdict::{Finding, Sample};

impl Daemon {
    /// From now on payload is sampled and events are written; first of all, to whoever reads the
    /// events, what samples are waiting.
    ///
    /// # Errors
    /// When the maps cannot be had.
    pub fn listen(&mut self) -> Result<Samples> {
        self.events = Some(Events::new(&self.config.events, Arc::clone(&self.state.events_dropped)));
        self.tables.inspect(self.config.inspect)?;
        self.tables.samples()
    }

    /// Hears a sample.
    pub fn hear(&mut self, sample: &Sample<'_>) {
        let (watched, interfaces) = (self.state.watched.get(), self.state.interfaces.get());
        let (kernel, events) = (&self.kernel, &mut self.events);
        let mut tell = |finding: &Finding| {
            if let Some(events) = events {
                tell(finding, events, &watched, &interfaces, kernel);
            }
        };
        if let Err(error) = self.recognition.hear(sample, &mut self.tables, kernel, &mut tell) {
            tracing::error!("{error:#}");
        }
    }

    /// Shows what was heard, if there was anything; first of all it is written down, so that nothing
    /// that was shown goes back when the daemon dies.
    pub fn show_heard(&mut self) {
        if self.recognition.has_news {
            if let Err(error) = self.keep_counted() {
                tracing::error!("{error:#}");
            }
            self.state.recognised.set(self.recognition.show());
        }
    }
}

/// An event for each target that a finding concerns.
fn tell(finding: &Finding, events: &mut Events, watched: &Watched, interfaces: &Interfaces, kernel: &Loaded) {
    let (targets, indicators, interface) = match finding {
        Finding::Detection(found) => (found.targets, &found.indicators, found.interface),
        Finding::Answer(found) => (found.targets, &found.indicators, found.interface),
        Finding::Freed(_) => return,
    };
    let interface = interfaces.name(interface);
    for number in targets.slots() {
        let Some(slot) = watched.slots.iter().find(|it| it.index == index_of(number)) else { continue };
        let domain = indicators.iter().find(|(slot, _)| *slot == number).map(|(_, domain)| domain.as_str());
        let concerned = Concerned { watchlist: &slot.watchlist, target: &slot.target, domain };
        match finding {
            Finding::Detection(found) => {
                let flow = kernel.maps.flow(&found.key).ok().flatten();
                events.detection(found, concerned, flow.as_ref().and_then(initiator), interface);
            }
            Finding::Answer(found) => events.answer(found, concerned, interface),
            Finding::Freed(_) => {}
        }
    }
}
