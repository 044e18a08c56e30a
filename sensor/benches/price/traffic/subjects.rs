//! Who looks at what is sent: poolwatch, nftables' netdev egress hook, iptables with ipset, and
//! nobody. All hold the same prefixes and count what goes to them; each has a veth pair of its
//! own, so that they can take turns within one run.
//!
//! Each proves itself: datagrams to a listed address must all be found in its counter, before
//! and after what is measured, and nothing else.

use std::cell::Cell;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::SocketAddrV4;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use ipnet::IpNet;
use sensor::config::Limits;
use serde_json::Value;
use tempfile::TempDir;

use super::sender;
use crate::prefixes::{Random, write_feed};
use crate::support::PinsDirectory;
use crate::support::daemon::Daemon;
use crate::support::namespace::Namespace;

/// Datagrams by which a subject proves itself.
const PROOF: u64 = 200;
/// The discard service.
const PORT: u16 = 9;
/// What is called so in poolwatch's list, in nftables and in ipset.
const NAME: &str = "price";

pub struct Subject<'a> {
    pub name: &'static str,
    pub near: &'a Namespace,
    pub hook: Hook<'a>,
    /// An address that is on the list.
    listed: SocketAddrV4,
}

/// What hangs on the near end.
pub enum Hook<'a> {
    Nothing,
    Poolwatch {
        daemon: Daemon<'a>,
        _feed: TempDir,
    },
    /// What it counted until it was last asked.
    Nftables {
        counted: Cell<u64>,
    },
    Ipset,
}

impl<'a> Subject<'a> {
    pub fn nothing(near: &'a Namespace, list: &[IpNet]) -> Result<Self> {
        Ok(Self { name: "nothing", near, hook: Hook::Nothing, listed: first_listed(list)? })
    }

    /// The daemon, with the list as a feed and nothing else.
    pub fn poolwatch(near: &'a Namespace, list: &[IpNet]) -> Result<Self> {
        let feed = TempDir::new().context("a directory for the feed")?;
        let path = feed.path().join("prefixes");
        write_feed(&path, list)?;
        let top = "interfaces = [\"eth0\"]\nbuiltin = { mining = false, dprk = false }";
        let tables = format!(
            "[limits]\nprefixes = {}\n[events]\noutput = \"none\"\n\
             [[watchlist]]\nname = \"{NAME}\"\n[[watchlist.feed]]\npath = \"{}\"\n",
            list.len().max(Limits::default().prefixes as usize),
            path.display()
        );
        let daemon = Daemon::start_on(near, PinsDirectory::new(), top, &tables, &["--detach-on-exit"]);
        let hook = Hook::Poolwatch { daemon, _feed: feed };
        Ok(Self { name: "poolwatch", near, hook, listed: first_listed(list)? })
    }

    /// A chain at the egress of the interface, as TC sees it.
    pub fn nftables(near: &'a Namespace, list: &[IpNet]) -> Result<Self> {
        let (v4, v6) = elements(list);
        let set = |name: &str, of: &str, elements: &[String]| {
            let elements = match elements {
                [] => String::new(),
                some => format!("elements = {{ {} }};", some.join(", ")),
            };
            format!("set {name} {{ type {of}; flags interval; auto-merge; {elements} }}\n")
        };
        let rules = format!(
            "table netdev {NAME} {{\ncounter {NAME} {{}}\n{}{}\
             chain egress {{ type filter hook egress device \"eth0\" priority 0;\n\
             ip daddr @v4 counter name {NAME}\nip6 daddr @v6 counter name {NAME}\n}}\n}}\n",
            set("v4", "ipv4_addr", &v4),
            set("v6", "ipv6_addr", &v6),
        );
        let mut nft = near.command("nft");
        feed_to(nft.args(["-f", "-"]), &rules).context("nft: it is in Debian's package nftables")?;
        let hook = Hook::Nftables { counted: Cell::new(0) };
        Ok(Self { name: "nftables", near, hook, listed: first_listed(list)? })
    }

    /// A rule of the OUTPUT chain that asks a set; sets cannot be asked at the interface.
    pub fn ipset(near: &'a Namespace, list: &[IpNet]) -> Result<Self> {
        let (v4, v6) = elements(list);
        for (iptables, set, family, elements) in
            [("iptables-legacy", "v4", "inet", v4), ("ip6tables-legacy", "v6", "inet6", v6)]
        {
            let room = elements.len().max(1024);
            let mut lines = format!("create {set} hash:net family {family} maxelem {room}\n");
            for element in elements {
                lines = format_line(lines, format_args!("add {set} {element}"));
            }
            feed_to(near.command("ipset").arg("restore"), &lines)
                .context("ipset: it is in Debian's package ipset")?;
            let rule = ["-w", "-A", "OUTPUT", "-m", "set", "--match-set", set, "dst"];
            feed_to(near.command(iptables).args(rule), "")
                .with_context(|| format!("{iptables}: it is in Debian's package iptables"))?;
        }
        Ok(Self { name: "ipset", near, hook: Hook::Ipset, listed: first_listed(list)? })
    }

    /// Whether this is the function by which the kernel enters the subject. How the kernel comes
    /// to call it (TCX, netfilter) is inlined in one case and not in the others, and left out.
    pub fn is_entry(&self, symbol: &str) -> bool {
        match self.hook {
            Hook::Nothing => false,
            Hook::Poolwatch { .. } => symbol.starts_with("bpf_prog_") && symbol.ends_with("_poolwatch_out"),
            Hook::Nftables { .. } => symbol.starts_with("nft_do_chain"),
            Hook::Ipset => symbol.starts_with("ipt_do_table"),
        }
    }

    /// Does this, and makes sure that the subject was there before and after, and that nothing
    /// of it was on the list.
    pub fn prove_around<R>(&self, measure: impl FnOnce() -> Result<R>) -> Result<R> {
        let Some(before) = self.matched()? else { return measure() };
        sender::send_exactly(self.near, self.listed, PROOF)?;
        let result = measure()?;
        sender::send_exactly(self.near, self.listed, PROOF)?;
        let matched = self.matched()?.unwrap_or_default() - before;
        ensure!(
            matched == 2 * PROOF,
            "{} counted {matched} datagrams to {}, not {}",
            self.name,
            self.listed,
            2 * PROOF
        );
        if let Hook::Poolwatch { daemon, .. } = &self.hook {
            let metrics = daemon.metrics();
            for name in ["poolwatch_packets_uncounted_total", "poolwatch_undecoded_packets_total"] {
                ensure!(metrics.sum(name, &[]) == 0, "{name} is not 0");
            }
        }
        Ok(result)
    }

    /// Datagrams to listed addresses that it counted; `None`: it counts nothing.
    fn matched(&self) -> Result<Option<u64>> {
        Ok(Some(match &self.hook {
            Hook::Nothing => return Ok(None),
            Hook::Poolwatch { daemon, .. } => {
                let labels = [("watchlist", NAME), ("direction", "egress"), ("transport", "udp")];
                daemon.metrics().sum("poolwatch_packets_total", &labels)
            }
            Hook::Nftables { counted } => {
                // `list` would read all sets first, for minutes where they are large; `reset` does not.
                let mut nft = self.near.command("nft");
                let said = feed_to(nft.args(["-j", "reset", "counter", "netdev", NAME, NAME]), "")?;
                let listing: Value = serde_json::from_str(&said).context("nft's JSON")?;
                let objects = listing["nftables"].as_array().context("nft's list")?;
                let packets = objects.iter().find_map(|object| object["counter"]["packets"].as_u64());
                counted.set(counted.get() + packets.context("nft lists no counter")?);
                counted.get()
            }
            Hook::Ipset => {
                let mut iptables = self.near.command("iptables-legacy");
                let said = feed_to(iptables.args(["-w", "-nvxL", "OUTPUT"]), "")?;
                // Two lines of headings, then the rule, whose first column is packets.
                let rule = said.lines().nth(2).and_then(|rule| rule.split_whitespace().next());
                rule.context("iptables lists no rule")?.parse().context("iptables' count")?
            }
        }))
    }
}

fn format_line(mut lines: String, line: impl std::fmt::Display) -> String {
    writeln!(lines, "{line}").expect("writing to a string");
    lines
}

/// As both nft and ipset write them, by family.
fn elements(list: &[IpNet]) -> (Vec<String>, Vec<String>) {
    let (v4, v6): (Vec<_>, Vec<_>) = list.iter().partition(|prefix| matches!(prefix, IpNet::V4(_)));
    let written = |prefixes: Vec<&IpNet>| prefixes.into_iter().map(ToString::to_string).collect();
    (written(v4), written(v6))
}

fn first_listed(list: &[IpNet]) -> Result<SocketAddrV4> {
    let first = list.iter().find_map(|prefix| match prefix {
        IpNet::V4(v4) => Some(v4.hosts().next().unwrap_or(v4.addr())),
        IpNet::V6(_) => None,
    });
    Ok(SocketAddrV4::new(first.context("no IPv4 prefix on the list")?, PORT))
}

/// Many thousand addresses that are on no list, since their third octet is odd.
pub fn unlisted() -> Vec<SocketAddrV4> {
    const COUNT: usize = 1 << 16;
    const SEED: u64 = 0x7472_6166_6669_6321;
    let mut random = Random::new(SEED);
    std::iter::repeat_with(|| SocketAddrV4::new(random.v4(1, !1), PORT)).take(COUNT).collect()
}

/// Runs a command that reads this.
fn feed_to(command: &mut Command, input: &str) -> Result<String> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("{command:?}"))?;
    // Who ends early says why when it ends.
    let _ = child.stdin.take().context("a pipe")?.write_all(input.as_bytes());
    let output = child.wait_with_output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let said: String = String::from_utf8_lossy(&output.stderr).chars().take(400).collect();
        bail!("{command:?}: {}: {}", output.status, said.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
