//! `poolwatch lists`: every watchlist with its targets and where they come from; with
//! `--lookup`, what an address, an endpoint or a host name would match, and why. It answers
//! from the lists alone: nothing is resolved, and no running daemon is asked.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::SystemTime;

use anyhow::Context;
use time::UtcDateTime;
use time::macros::format_description;

use crate::config::{Config, quote};
use crate::replay::text::printable;
use crate::watchlists::{Match, Target, Watchlist, Watchlists};

/// Prints the lists of `config` (or the default one), or what `lookup` would match. Returns
/// whether anything matches: true where nothing was asked.
///
/// # Errors
/// As [`super::check::check`], or when `lookup` is neither an address nor a host name.
pub fn lists(config: Option<&Path>, lookup: Option<&str>, out: &mut impl Write) -> anyhow::Result<bool> {
    let watchlists = Watchlists::load(&Config::load(config)?)?;
    if let Some(asked) = lookup {
        return look_up(&watchlists, asked, out);
    }
    for list in &watchlists.lists {
        write_watchlist(list, out)?;
    }
    let allow = &watchlists.allow;
    writeln!(out, "allow: {}", counts(allow.prefixes.len(), allow.endpoints.len(), allow.domains.len()))?;
    Ok(true)
}

fn write_watchlist(list: &Watchlist, out: &mut impl Write) -> anyhow::Result<()> {
    write!(out, "{} ({}", list.name, list.category.name())?;
    if let Some(updated) = list.updated {
        write!(out, ", as of {}", date(updated)?)?;
    }
    writeln!(out, ")")?;
    for target in &list.targets {
        write_target(target, out)?;
    }
    Ok(writeln!(out)?)
}

fn write_target(target: &Target, out: &mut impl Write) -> anyhow::Result<()> {
    let counts = counts(target.prefixes.len(), target.endpoints.len(), target.domains.len());
    writeln!(out, "  {} ({}): {counts}", target.name, target.standing())?;
    let Some(reviewed) = target.reviewed else {
        for source in &target.sources {
            writeln!(out, "    source: {}", printable(source))?;
        }
        return Ok(());
    };
    // Built in: there is no file to look into, so that what it holds is shown.
    for prefix in &target.prefixes {
        writeln!(out, "    {}", prefix.indicator)?;
    }
    for domain in &target.domains {
        writeln!(out, "    {}", domain.indicator)?;
    }
    if let Some(pool) = target.pool.as_ref().filter(|pool| !pool.coins.is_empty()) {
        writeln!(out, "    coins: {}", pool.coins.join(", "))?;
    }
    write!(out, "    source: {}", target.source())?;
    if let Some(seen) = target.pool.as_ref().and_then(|pool| pool.seen) {
        write!(out, "; seen {seen}")?;
    }
    Ok(writeln!(out, "; reviewed {reviewed}")?)
}

fn counts(prefixes: usize, endpoints: usize, domains: usize) -> String {
    let count = |number, one, many| format!("{number} {}", if number == 1 { one } else { many });
    [
        count(prefixes, "prefix", "prefixes"),
        count(endpoints, "endpoint", "endpoints"),
        count(domains, "domain", "domains"),
    ]
    .join(", ")
}

fn date(time: SystemTime) -> anyhow::Result<String> {
    let format = format_description!("[year]-[month]-[day]");
    UtcDateTime::from(time).format(format).context("formatting a date")
}

fn look_up(watchlists: &Watchlists, asked: &str, out: &mut impl Write) -> anyhow::Result<bool> {
    let matches = if let Ok(endpoint) = asked.parse::<SocketAddr>() {
        watchlists.lookup_address(endpoint.ip(), Some(endpoint.port()))
    } else if let Ok(address) = asked.parse::<IpAddr>() {
        watchlists.lookup_address(address, None)
    } else {
        // A pool's name is often written with its port, which says nothing about a name.
        let name = asked.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok());
        watchlists.lookup_domain(name.map_or(asked, |(name, _)| name)).with_context(|| {
            format!("{} is not an address or a host name, with or without a port", quote(asked))
        })?
    };
    for found in &matches {
        write_match(asked, found, out)?;
    }
    if matches.is_empty() {
        writeln!(out, "{} → nothing matches", printable(asked))?;
    }
    Ok(matches.iter().any(|found| found.allowed.is_none()))
}

fn write_match(asked: &str, found: &Match<'_>, out: &mut impl Write) -> std::io::Result<()> {
    let Match { watchlist, target, signal, indicator, source, allowed } = found;
    let (asked, source) = (printable(asked), printable(source));
    let standing = target.standing();
    write!(out, "{asked} → {}/{} ", watchlist.name, target.name)?;
    write!(out, "({signal} {indicator}, {standing}): source: {source}")?;
    if let Some((entry, line)) = allowed {
        write!(out, "; not counted: {entry} is allowed (line {line} of the config)")?;
    }
    writeln!(out)
}
