//! What `poolwatch replay` prints, and what it makes of files that cannot be read.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::slice;

use sensor::cli::Format;
use sensor::commands::replay::{replay, replay_files};
use serde_json::{Value, json};

use super::captures::{ETHERNET, Pcap, SECOND_NS, START_NS};
use super::packets::{connection, icmp};
use super::{CLIENT, SERVER, server_watched};

/// A connection to the server in seven packets, 0.25 s apart, and something malformed.
fn capture() -> Vec<u8> {
    let mut capture = Pcap::new(ETHERNET);
    for (packet, number) in connection(CLIENT, SERVER, 1).iter().zip(0..) {
        capture = capture.frame(START_NS + 123_456_000 + number * SECOND_NS / 4, &packet.bytes());
    }
    let version = icmp("10.0.0.1", "192.0.2.1").version(5);
    capture.frame(START_NS + 123_456_000, &version.bytes()).bytes
}

fn write(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = directory.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    path
}

/// Whether all was read, standard output and standard error.
fn run(format: Format, files: &[PathBuf]) -> (bool, String, String) {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let all_read = replay_files(&server_watched(), format, files, &mut out, &mut err).unwrap();
    (all_read, String::from_utf8(out).unwrap(), String::from_utf8(err).unwrap())
}

fn lines(out: &str) -> Vec<Value> {
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn json_is_an_object_a_line_as_the_contract_names_them() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "x.pcap", &capture());
    let (all_read, out, err) = run(Format::Json, &[file]);
    assert!(all_read && err.is_empty(), "{err}");
    let tcp = |count: u64| json!({ "tcp": count });
    assert_eq!(
        lines(&out),
        [
            json!({
                "type": "flow", "capture": "x.pcap", "transport": "tcp",
                "source": CLIENT, "destination": SERVER,
                "watchlist": "office", "target": "server", "signals": ["prefix"], "role": "none",
                "packets": 7, "bytes": 1380, "established": true,
                "first_seen": 1_400_000_000.123_456, "last_seen": 1_400_000_001.623_456,
            }),
            json!({
                "type": "summary", "capture": "x.pcap", "packets": 8, "bytes": 7 * 54 + 1100 + 42,
                "undecoded": 1, "undecoded_reasons": { "ip_version": 1 },
                "flows_matched": 1, "seconds": 1.5,
                "targets": [{
                    "watchlist": "office", "target": "server",
                    "packets": { "egress": tcp(4), "ingress": tcp(3) },
                    "bytes": { "egress": tcp(4 * 40 + 100), "ingress": tcp(3 * 40 + 1000) },
                    "connections": { "local": tcp(1) },
                    "connections_established": { "local": tcp(1) },
                    "connections_joined": 0,
                }],
            }),
        ]
    );
    assert!(out.contains(r#""first_seen":1400000000.123456,"last_seen":1400000001.623456}"#), "{out}");
    assert!(out.starts_with(r#"{"type":"flow","capture":"x.pcap","transport":"tcp","#), "{out}");
}

#[test]
fn text_is_a_table_for_people() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "x.pcap", &capture());
    let (all_read, out, err) = run(Format::Text, &[file]);
    assert!(all_read && err.is_empty(), "{err}");
    let expected = "\
x.pcap
  first seen (UTC)             lasted  source         destination     protocol  watchlist/target  signals  packets  bytes  established
  2014-05-13 16:53:20.123456  1.500 s  10.0.0.1:5000  192.0.2.1:3333  tcp       office/server     prefix         7   1380  yes
  watchlist/target  packets out  bytes out  packets in  bytes in  connections  established  joined
  office/server               4        260           3      1120            1            1       0
  8 packets, 1520 bytes in 1.500 s; 1 flow matched; 1 undecoded (ip_version 1)
";
    assert_eq!(out, expected, "\n{out}");
}

#[test]
fn a_file_that_cannot_be_read_does_not_keep_the_others_from_it() {
    let directory = tempfile::tempdir().unwrap();
    let whole = capture();
    let files = [
        write(directory.path(), "foreign.pcap", b"GET / HTTP/1.1\r\n"),
        directory.path().join("missing.pcap"),
        write(directory.path(), "short.pcap", &whole[..whole.len() - 1]),
        directory.path().to_owned(),
        write(directory.path(), "whole.pcap", &whole),
    ];
    let (all_read, out, err) = run(Format::Json, &files);
    assert!(!all_read);
    let said: Vec<(String, u64)> = lines(&out)
        .iter()
        .filter(|line| line["type"] == "summary")
        .map(|line| (line["capture"].as_str().unwrap().to_owned(), line["packets"].as_u64().unwrap()))
        .collect();
    assert_eq!(said, [("short.pcap".to_owned(), 7), ("whole.pcap".to_owned(), 8)]);
    for (line, (file, what)) in err.lines().zip([
        (&files[0], "neither pcap nor pcapng: begins with 47 45 54 20".to_owned()),
        (&files[1], "cannot be opened: No such file or directory (os error 2)".to_owned()),
        (&files[2], format!("cut short: ends at byte {}, within a packet", whole.len() - 1)),
        (&files[3], "cannot be read: Is a directory (os error 21)".to_owned()),
    ]) {
        assert_eq!(line, format!("poolwatch: {}: {what}", file.display()));
    }
    assert_eq!(err.lines().count(), 4);
}

#[test]
fn files_of_one_name_are_told_apart_by_their_paths() {
    let directory = tempfile::tempdir().unwrap();
    let files = [
        write(directory.path(), "a/x.pcap", &capture()),
        write(directory.path(), "b/x.pcap", &capture()),
        write(directory.path(), "b/y.pcap", &capture()),
    ];
    let (_, out, _) = run(Format::Json, &files);
    let summaries = lines(&out).into_iter().filter(|line| line["type"] == "summary");
    let names: Vec<String> = summaries.map(|line| line["capture"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, [files[0].to_str().unwrap(), files[1].to_str().unwrap(), "y.pcap"]);
}

#[test]
fn a_files_name_cannot_reach_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    let name = "a\u{1b}[2J\n.pcap";
    let files = [
        write(directory.path(), name, &capture()),
        write(directory.path(), &format!("b{name}"), b"not a capture"),
    ];
    let (_, out, err) = run(Format::Text, &files);
    assert!(out.starts_with("a\\u{1b}[2J\\n.pcap\n"), "{out}");
    assert!(err.contains("/ba\\u{1b}[2J\\n.pcap: neither"), "{err}");
    let (_, out, _) = run(Format::Json, &files);
    assert!(!out.contains('\u{1b}'), "{out}");
    assert_eq!(lines(&out)[0]["capture"], name);
}

/// A reader who has gone away, or a disk that is full.
struct Closed(ErrorKind);

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(self.0.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(self.0.into())
    }
}

#[test]
fn a_reader_who_goes_away_is_a_quiet_end_and_a_full_disk_is_not() {
    let directory = tempfile::tempdir().unwrap();
    let files = [write(directory.path(), "x.pcap", &capture())];
    for format in [Format::Text, Format::Json] {
        let lists = server_watched();
        let mut err = Vec::new();
        let gone = replay_files(&lists, format, &files, &mut Closed(ErrorKind::BrokenPipe), &mut err);
        assert!(gone.unwrap());
        assert!(err.is_empty());
        let full = replay_files(&lists, format, &files, &mut Closed(ErrorKind::StorageFull), &mut err);
        assert!(format!("{:#}", full.unwrap_err()).starts_with("the report cannot be written: "));
    }
}

#[test]
fn the_configs_watchlists_are_what_is_looked_for() {
    let directory = tempfile::tempdir().unwrap();
    let file = write(directory.path(), "x.pcap", &capture());
    let config = write(
        directory.path(),
        "poolwatch.toml",
        br#"
            [allow]
            prefixes = ["10.0.0.0/8"]

            [[watchlist]]
            name = "all"
            prefixes = ["0.0.0.0/0"]

            [[watchlist]]
            name = "pools"
            prefixes = ["192.0.2.0/24"]
            endpoints = ["192.0.2.1:3333"]
        "#,
    );
    let (mut out, mut err) = (Vec::new(), Vec::new());
    assert!(replay(Some(&config), Format::Json, slice::from_ref(&file), &mut out, &mut err).unwrap());
    let said: Vec<Value> = lines(str::from_utf8(&out).unwrap())
        .iter()
        .filter(|line| line["type"] == "flow")
        .map(|line| json!([line["watchlist"], line["target"], line["signals"], line["packets"]]))
        .collect();
    assert_eq!(said, [json!(["all", "all", ["prefix"], 7]), json!(["pools", "pools", ["endpoint"], 7])]);

    let config = write(directory.path(), "poolwatch.toml", b"[allow]\nprefix = []\n");
    let error = replay(Some(&config), Format::Json, &[file], &mut out, &mut err).unwrap_err();
    assert!(format!("{error:#}").contains("poolwatch.toml:2"), "{error:#}");
}
