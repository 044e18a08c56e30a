//! The dashboard's queries, as Grafana would send them, put to a real Prometheus.

use std::time::{SystemTime, UNIX_EPOCH};

use super::monitoring::Monitoring;
use crate::deploy::dashboard::{Query, substituted};

/// How many series a panel's query gives for these hosts, over the last minute or now.
pub fn ask(monitoring: &Monitoring<'_>, query: &Query, instance: &str) -> Result<usize, String> {
    let expression = substituted(&query.expression, instance);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let (start, end) = ((now - 60).to_string(), now.to_string());
    let data = if query.is_instant {
        monitoring.prometheus.api("query", &[("query", &expression)])
    } else {
        let range = [("query", &*expression), ("start", &start), ("end", &end), ("step", "1s")];
        monitoring.prometheus.api("query_range", &range)
    };
    let data = data.map_err(|error| format!("{}: {expression}: {error}", query.panel))?;
    data["result"].as_array().map(Vec::len).ok_or_else(|| data.to_string())
}
