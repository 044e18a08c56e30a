//! The command line: names, help and examples. Exit codes: 0 fine, 1 bad input or a check that
//! failed, 2 bad usage.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "poolwatch",
    version,
    about = "Counts traffic to mining pools and watched prefixes at the network interface, for Prometheus",
    after_help = "Examples:\n  poolwatch run                      watch the default-route interfaces\n  \
                  poolwatch check                    validate the config and the lists\n  \
                  poolwatch lists --lookup 175.45.176.9\n  \
                  poolwatch replay capture.pcap      the same counts from a file, no privileges needed\n\n\
                  Logs go to stderr; POOLWATCH_LOG sets their level (error, warn, info, debug, trace)."
)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,

    /// Config file [default: /etc/poolwatch/poolwatch.toml when it exists, else built-in defaults]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon
    #[command(
        after_help = "Examples:\n  poolwatch run\n  poolwatch run --interface eth0 --interface wg0\n  \
                            poolwatch run --listen 0.0.0.0:9750\n\n\
                            SIGTERM ends the daemon and leaves the kernel half counting; the next daemon takes over.\n\
                            SIGHUP reads config and lists again."
    )]
    Run(RunArgs),
    /// Validate config and lists and print what would be watched
    #[command(
        after_help = "Examples:\n  poolwatch check\n  poolwatch check --quiet --config ./poolwatch.toml && systemctl reload poolwatch"
    )]
    Check(CheckArgs),
    /// Run the same classifier over captures (pcap, pcapng), offline and unprivileged
    #[command(
        after_help = "Examples:\n  poolwatch replay capture.pcap\n  poolwatch replay --format json *.pcapng | jq 'select(.type == \"flow\")'"
    )]
    Replay(ReplayArgs),
    /// Show every watchlist, target and source, or what would match an address or a host
    #[command(after_help = "Examples:\n  poolwatch lists\n  poolwatch lists --lookup 175.45.176.9\n  \
                            poolwatch lists --lookup 203.0.113.7:3333\n  poolwatch lists --lookup pool.example")]
    Lists(ListsArgs),
    /// Say how a running daemon stands; exit code 0 when it is ready
    #[command(
        after_help = "Examples:\n  poolwatch status\n  poolwatch status --listen 127.0.0.1:9750 || systemctl status poolwatch\n  \
                      poolwatch status --ca-file ca.crt --server-name host.example --cert-file me.crt --key-file me.key\n  \
                      poolwatch status --ca-file ca.crt --username prometheus --password-file password"
    )]
    Status(StatusArgs),
    /// Have the running daemon show a detection that nothing caused, to try the way to whoever is on duty
    #[command(
        after_help = "Examples:\n  poolwatch test-alert\n  poolwatch test-alert && poolwatch status\n\n\
                            For five minutes the daemon shows a mining session under the watchlist test-alert, and it \
                            writes one event tagged synthetic. Needs root, or the daemon's user."
    )]
    TestAlert,
    /// Remove the programs and the pins that a daemon left, with all counts
    #[command(after_help = "Examples:\n  systemctl stop poolwatch && poolwatch detach\n  \
                      poolwatch detach --pins /run/poolwatch/bpf/pins    whatever the config says, or does not say well")]
    Detach(DetachArgs),
}

#[derive(Debug, Args)]
pub struct RunArgs {
    /// Watch this interface instead of the config's: a name, a pattern ("ens*") or "auto"; repeatable
    #[arg(long, value_name = "NAME")]
    pub interface: Vec<String>,
    /// Serve HTTP here instead of where the config says
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Leave nothing behind at exit: no programs, no pins, no counts
    #[arg(long)]
    pub detach_on_exit: bool,
}

#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Say only what is wrong
    #[arg(long, short)]
    pub quiet: bool,
}

#[derive(Debug, Args)]
pub struct DetachArgs {
    /// The directory of the pins, instead of the config's state.pins; no config is read
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub pins: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// How to print what was found
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct ListsArgs {
    /// Say what would match this address, address:port or host name, and why
    #[arg(long, value_name = "ADDR|HOST")]
    pub lookup: Option<String>,
}

#[derive(Debug, Args)]
pub struct StatusArgs {
    /// Where the daemon listens [default: what the config says]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Ask over TLS; the daemon's certificate is signed by one of these
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,
    /// The name that the daemon's certificate carries [default: the address]
    #[arg(long, value_name = "NAME", requires = "ca_file")]
    pub server_name: Option<String>,
    /// Show this certificate to the daemon
    #[arg(long, value_name = "FILE", requires_all = ["ca_file", "key_file"])]
    pub cert_file: Option<PathBuf>,
    /// The certificate's private key
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    pub key_file: Option<PathBuf>,
    /// Ask as this user
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// The user's password is in this file
    #[arg(long, value_name = "FILE", requires = "username")]
    pub password_file: Option<PathBuf>,
}
