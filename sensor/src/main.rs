//! The poolwatch binary: reads the command line, calls one command, and turns what it says into
//! an exit code. The one place that prints errors.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use sensor::cli::{Cli, Command};
use sensor::commands;
use sensor::heap;
use sensor::privileges;
use sensor::replay::text::printable;
use tracing_subscriber::EnvFilter;

/// The netlink library warns of every attribute that it does not know.
const DEFAULT_LOG: &str = "info,netlink_packet_route=error,netlink_packet_core=error";

fn main() -> ExitCode {
    let cli = Cli::parse();
    match dispatch(cli) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever read our output has seen enough.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            // It may quote the name of a file. Where nobody listens, the exit code still tells.
            let _ = writeln!(io::stderr(), "poolwatch: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

/// How long an ending daemon waits for what is still to be written.
const LAST_EVENTS: Duration = Duration::from_secs(2);

/// Runs the command; `false` when it ran and its answer is "no".
fn dispatch(cli: Cli) -> Result<bool> {
    let config = cli.config;
    let mut out = io::BufWriter::new(io::stdout().lock());
    let answer = match cli.command {
        Command::Run(args) => {
            drop(out);
            log_to_stderr();
            heap::return_large_blocks();
            privileges::before_reading()?;
            let runtime = runtime()?;
            let ended = runtime.block_on(commands::run::run(commands::run::Options {
                config,
                interfaces: args.interface,
                listen: args.listen,
                detach_on_exit: args.detach_on_exit,
            }));
            // Whoever takes the events may take none any more.
            runtime.shutdown_timeout(LAST_EVENTS);
            return ended.map(|()| true);
        }
        Command::Check(args) => {
            privileges::before_reading()?;
            let checked = if args.quiet {
                commands::check::check(config.as_deref(), &mut io::sink())
            } else {
                commands::check::check(config.as_deref(), &mut out)
            };
            checked.map(|()| true)
        }
        Command::Replay(args) => {
            commands::replay::replay(config.as_deref(), args.format, &args.files, &mut out, &mut io::stderr())
        }
        Command::Lists(args) => {
            privileges::before_reading()?;
            commands::lists::lists(config.as_deref(), args.lookup.as_deref(), &mut out)
        }
        Command::Status(args) => {
            privileges::before_reading()?;
            commands::status::status(config.as_deref(), &args, &mut out)
        }
        Command::TestAlert => {
            privileges::before_signalling()?;
            commands::test_alert::test_alert(config.as_deref(), &mut out).map(|()| true)
        }
        Command::Detach(args) => {
            log_to_stderr();
            privileges::before_looking_after()?;
            runtime()?
                .block_on(commands::detach::detach(args.pins, config.as_deref(), &mut out))
                .map(|()| true)
        }
    };
    out.flush()?;
    answer
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the event loop")
}

/// Structured logs on stderr; stdout is for events. `POOLWATCH_LOG` sets the level.
fn log_to_stderr() {
    let filter = EnvFilter::try_from_env("POOLWATCH_LOG").unwrap_or_else(|_| EnvFilter::new(DEFAULT_LOG));
    // What the kernel half says comes through the `log` facade. An error: someone was first.
    let _ = tracing_log::LogTracer::init();
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(io::stderr().is_terminal())
        .with_writer(io::stderr)
        .with_target(false)
        .init();
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<io::Error>())
        .any(|cause| cause.kind() == io::ErrorKind::BrokenPipe)
}
