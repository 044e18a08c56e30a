//! `poolwatch status`: one look at a running daemon, for people and for scripts.

mod agent;

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::cli::StatusArgs;
use crate::config::Config;
use crate::replay::text::printable;
use crate::web_config;
use agent::Agent;

/// Prints how the daemon stands; `true` when it is ready.
///
/// # Errors
/// When nothing answers there, or it does not let us in.
pub fn status(config: Option<&Path>, options: &StatusArgs, out: &mut impl Write) -> Result<bool> {
    let tls = options.ca_file.is_some();
    // Who says where it listens need not have its config, unless they name that too.
    let (listen, tls) = match options.listen {
        Some(listen) if config.is_none() => (listen, tls),
        listen => {
            let config = Config::load(config)?;
            let tls = tls || web_config::has_tls(&config)?;
            (listen.unwrap_or(config.http.listen), tls)
        }
    };
    let agent = Agent::new(reachable(listen), tls, options)?;
    let get = |path: &str| agent.get(path);
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
            "{}/{}: {} connections, {} established, {} packets, {} bytes, {} recognised, {} mining now{}",
            text("watchlist"),
            text("target"),
            count("connections"),
            count("established"),
            count("packets"),
            count("bytes"),
            count("detections"),
            count("mining_sessions"),
            if target["synthetic"] == true { " (synthetic: a test alert)" } else { "" },
        )?;
    }
    writeln!(out, "{} targets of which nothing was seen", unseen.len())?;
    Ok(code == 200)
}

/// What listens on every address is asked on loopback.
pub(super) fn reachable(listen: SocketAddr) -> SocketAddr {
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
