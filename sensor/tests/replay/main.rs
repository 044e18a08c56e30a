//! `replay` from the outside: captures that the tests write themselves, through the classifier,
//! to the report and the command's output.

#![allow(clippy::unwrap_used, reason = "a test may unwrap: its panic is its message")]

mod captures;
mod command;
mod connections;
mod files;
mod hostile;
mod lists;
mod names;
mod packets;
mod sessions;

use lists::Watched;
use sensor::replay::replay;
use sensor::replay::report::Report;

const CLIENT: &str = "10.0.0.1:5000";
const SERVER: &str = "192.0.2.1:3333";
const SERVER_ADDRESS: &str = "192.0.2.1";

/// The server, in one watchlist.
fn server_watched() -> Watched {
    Watched::default().address("office", "server", SERVER_ADDRESS)
}

/// The report of a capture that can be read to its end.
fn read<'a>(lists: &'a Watched, capture: &[u8]) -> Report<'a> {
    let report = replay(capture, lists).expect("a capture");
    assert!(report.error.is_none(), "{}", report.error.as_ref().unwrap());
    report
}
