//! Where the sensor sits: each interface that the config means, attached or not, and its hook;
//! and how often it had to be put back there.

use anyhow::Result;
use sensor_ebpf::abi::Direction;

use super::family::{Family, counter, gauge};
use crate::bpf::attach;
use crate::state::{Standing, State};

#[allow(clippy::unnecessary_wraps, reason = "collectors may fail; this one cannot")]
pub(super) fn collect(state: &State) -> Result<Vec<Family>> {
    let mut attached =
        gauge("poolwatch_interface_attached", "Whether the program of this direction is attached.");
    let mut info = gauge("poolwatch_interface_info", "The hook that the interface's programs hang on.");
    for (name, standing) in &state.interfaces.get().0 {
        let value = f64::from(u8::from(matches!(standing, Standing::Attached { .. })));
        for direction in Direction::ALL {
            attached.add(&[("interface", name), ("direction", attach::name(direction))], value);
        }
        if let Standing::Attached { hook, .. } = standing {
            info.add(&[("interface", name), ("hook", hook.name())], 1.0);
        }
    }
    let mut reattached = counter(
        "poolwatch_reattached_total",
        "Times the programs were put back on an interface from which something had removed them.",
    );
    reattached.count(&[], *state.reattached.get());
    Ok(vec![attached, info, reattached])
}
