//! `poolwatch status`: one look at a running daemon, for people and for scripts.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::config::Config;
use crate::replay::text::printable;

/// A healthy daemon answers at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// More than this is no answer of ours.
const ANSWER_MAX_BYTES: u64 = 16 << 20;

/// Prints how the daemon stands; `true` when it is ready.
///
/// # Errors
/// When nothing answers there.
pub fn status(config: Option<&Path>, listen: Option<SocketAddr>, out: &mut impl Write) -> Result<bool> {
    let address = reachable(match listen {
        Some(listen) => listen,
        None => Config::load(config)?.http.listen,
    });
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .proxy(None)
        .max_redirects(0)
        .build()
        .into();
    let get = |path: &str| -> Result<(u16, String)> {
        let mut answer = agent
            .get(format!("http://{address}{path}"))
            .call()
            .with_context(|| format!("no daemon answers at {address} (is it running?)"))?;
        let text = answer.body_mut().with_config().limit(ANSWER_MAX_BYTES).read_to_string();
        Ok((answer.status().as_u16(), text.with_context(|| format!("http://{address}{path}"))?))
    };
    let (code, ready) = get("/readyz")?;
    for line in ready.lines() {
        writeln!(out, "{}", printable(line))?;
    }
    let (_, interfaces) = get("/api/v1/interfaces")?;
    for interface in list(&interfaces)? {
        let name = interface["interface"].as_str().unwrap_or_default();
        let standing = interface["hook"].as_str().or(interface["reason"].as_str()).unwrap_or_default();
        writeln!(out, "interface {}: {}", printable(name), printable(standing))?;
    }
    let (_, targets) = get("/api/v1/targets")?;
    let targets = list(&targets)?;
    let (seen, unseen): (Vec<_>, Vec<_>) = targets.iter().partition(|target| {
        [&target["packets"], &target["detections"]].into_iter().any(|count| count.as_u64() != Some(0))
    });
    for target in seen {
        let text = |key: &str| printable(target[key].as_str().unwrap_or_default());
        let count = |key: &str| target[key].as_u64().unwrap_or_default();
        writeln!(
            out,
            "{}/{}: {} connections, {} established, {} packets, {} bytes, {} recognised, {} mining now",
            text("watchlist"),
            text("target"),
            count("connections"),
            count("established"),
            count("packets"),
            count("bytes"),
            count("detections"),
            count("mining_sessions"),
        )?;
    }
    writeln!(out, "{} targets of which nothing was seen", unseen.len())?;
    Ok(code == 200)
}

/// What listens on every address is asked on loopback.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(std::net::Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

fn list(text: &str) -> Result<Vec<Value>> {
    serde_json::from_str(text).context("the daemon's answer is not what this version expects")
}
