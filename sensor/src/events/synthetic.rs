//! The event of a test alert: what a detection would be, with marks on it that neither people nor
//! programs can miss.

use sensor_ebpf::abi::{Address, FlowKey, Side, Transport, Version};
use serde_json::json;

use super::{Concerned, DETECTION, Events, add_network, indicator};
use crate::test_alert::{MESSAGE, MINER, NAME, POOL, TAG};
use crate::verdict::Role;

impl Events {
    /// Has no more than a target's share, like any other; but what is over that is missed by nobody, and
    /// does not count as dropped.
    pub fn test_alert(&mut self, at_ns: u64) {
        let concerned = Concerned { watchlist: NAME, target: NAME, domain: None };
        let mut event = self.event("alert", DETECTION, at_ns, concerned);
        let key = FlowKey {
            remote: Address::from_ip(POOL.ip()).0,
            local: Address::from_ip(MINER.ip()).0,
            remote_port: POOL.port(),
            local_port: MINER.port(),
            transport: Transport::Tcp as u8,
            version: Version::V4 as u8,
            reserved: 0,
        };
        add_network(&mut event, &key, Side::Local, None);
        event["message"] = json!(MESSAGE);
        event["tags"] = json!([TAG]);
        event["rule"] = json!({ "name": NAME });
        event["threat"] = indicator("ipv4-addr", &[("ip", json!(POOL.ip())), ("port", json!(POOL.port()))]);
        event["poolwatch"]["role"] = json!(Role::Miner.name());
        if self.has_share(DETECTION, at_ns, concerned) {
            self.hand_on(&event);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::Value;
    use tokio::sync::mpsc;

    use super::*;
    use crate::events::Dropped;

    #[test]
    fn it_is_marked_as_synthetic_and_has_no_more_than_a_target_s_share() {
        let (sender, mut receiver) = mpsc::channel(64);
        let mut events = Events {
            lines: Some(sender),
            dropped: Arc::default(),
            shares: std::collections::HashMap::new(),
            host: "here".to_owned(),
            with_wallets: true,
        };
        (0..25).for_each(|_| events.test_alert(1_000_000_000));
        assert_eq!(receiver.len(), 20);
        assert_eq!(Dropped::ALL.map(|reason| events.dropped.get(reason)), [0; 3]);
        let event: Value = serde_json::from_str(&receiver.try_recv().expect("an event")).expect("JSON");
        for (pointer, expected) in [
            ("/event/kind", "alert"),
            ("/event/action", "detection"),
            ("/tags/0", "synthetic"),
            ("/rule/name", "test-alert"),
            ("/poolwatch/watchlist", "test-alert"),
            ("/poolwatch/target", "test-alert"),
            ("/poolwatch/role", "miner"),
            ("/source/ip", "192.0.2.1"),
            ("/destination/ip", "192.0.2.2"),
            ("/threat/indicator/ip", "192.0.2.2"),
        ] {
            assert_eq!(event.pointer(pointer).and_then(Value::as_str), Some(expected), "{pointer}: {event}");
        }
        assert!(event["message"].as_str().is_some_and(|text| text.starts_with("synthetic: ")), "{event}");
        assert!(event.get("observer").is_none(), "no interface saw it: {event}");
    }
}
