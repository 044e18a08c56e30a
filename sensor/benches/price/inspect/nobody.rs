//! A world in which nobody watches anything.

use sensor::verdict::{Known, World};
use sensor::watchlists::Compiled;
use sensor_ebpf::abi::{EndpointKey, FlowKey, Judged, Learned, Side};

/// Nothing is listed, and nothing was learned.
pub struct Nobody(Compiled, Known);

impl Nobody {
    pub fn new() -> Self {
        Self(Compiled::default(), Known::new(16, 16))
    }
}

impl World for Nobody {
    type Lists = Compiled;

    fn lists(&self) -> &Compiled {
        &self.0
    }

    fn known(&self) -> &Known {
        &self.1
    }

    fn learn(&mut self, key: EndpointKey, learned: Learned) {
        self.1.learn(key, learned);
    }

    fn judge(&mut self, key: FlowKey, judged: Judged) -> bool {
        self.1.judge(key, judged)
    }

    fn opened(&self, _: &FlowKey) -> Option<(u64, Option<Side>)> {
        None
    }
}
