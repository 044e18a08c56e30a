//! poolwatch's daemon as a library: what `main` wires, tests drive and benchmarks measure.

pub mod bpf;
pub mod cli;
pub mod clock;
pub mod commands;
pub mod config;
pub mod daemon;
pub mod events;
pub mod feeds;
pub mod flows;
pub mod heap;
pub mod http;
pub mod inspect;
pub mod metrics;
pub mod notify;
pub mod privileges;
pub mod recognition;
pub mod replay;
pub mod selection;
pub mod state;
pub mod test_alert;
pub mod verdict;
pub mod watchlists;
pub mod web_config;
