//! Clients that never finish, before and inside the handshake: they are hung up on, and keep nobody
//! waiting. The rest of it is in `tests/http.rs`.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use sensor::http::{CONNECTION_TIME, CONNECTIONS_MAX, HEAD_TIME};

use crate::curl::over_tls;
use crate::files::{Files, TLS};
use crate::made_up::server::{PATIENCE, Server};

/// The head of a TLS record that announces a hello of 512 bytes, and the first of them.
const BEGUN: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

/// How long until the server hangs up on who says nothing more.
fn until_the_end(mut stream: TcpStream) -> Duration {
    let since = Instant::now();
    stream.set_read_timeout(Some(CONNECTION_TIME + PATIENCE)).expect("a socket");
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it stays open: {error}");
    }
    since.elapsed()
}

#[test]
fn who_is_slow_before_or_within_the_handshake_is_hung_up_on() {
    let files = Files::new();
    let server = Server::secured(files.web(TLS));
    let within = HEAD_TIME / 2..HEAD_TIME + PATIENCE;
    thread::scope(|scope| {
        for (description, sent) in [("says nothing", &b""[..]), ("stops within its hello", BEGUN)] {
            let mut stream = server.connect();
            stream.write_all(sent).expect(description);
            let within = within.clone();
            scope.spawn(move || {
                let took = until_the_end(stream);
                assert!(within.contains(&took), "{description}: {took:?}");
            });
        }
        let mut stream = server.connect();
        scope.spawn(move || {
            let since = Instant::now();
            stream.write_all(BEGUN).expect("it is sent");
            while stream.write_all(b"x").is_ok() {
                assert!(since.elapsed() < HEAD_TIME + PATIENCE, "it is still listened to");
                thread::sleep(Duration::from_millis(50));
            }
        });
        assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));
    });
}

#[test]
fn however_many_are_within_the_handshake_the_next_is_answered_at_once() {
    let files = Files::new();
    let server = Server::secured(files.web(TLS));
    let stuck: Vec<_> = (0..CONNECTIONS_MAX * 4)
        .map(|_| {
            let mut stream = server.connect();
            stream.write_all(BEGUN).expect("it is sent");
            stream
        })
        .collect();
    let since = Instant::now();
    let asked = over_tls(&server, &files, "/healthz", &[]);
    assert_eq!(asked.status(), Some(200), "{}", asked.log);
    assert!(since.elapsed() < HEAD_TIME, "only when the others' time was over: {:?}", since.elapsed());
    drop(stuck);
}

#[test]
fn a_stop_waits_for_nobody_who_is_within_the_handshake() {
    let files = Files::new();
    let server = Server::secured(files.web(TLS));
    let mut stuck = server.connect();
    stuck.write_all(BEGUN).expect("it is sent");
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));
    let since = Instant::now();
    server.stop.send(true).expect("it runs");
    server.thread.join().expect("no panic").expect("a good end");
    assert!(since.elapsed() < HEAD_TIME / 2, "{:?}", since.elapsed());
}

#[test]
fn noise_and_records_that_are_none_harm_nobody() {
    let files = Files::new();
    let server = Server::secured(files.web(TLS));
    for noise in [
        &b"\0"[..],
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x16\x03\x01\xff\xff",
        b"\x17\x03\x03\x00\x00",
        &[0xff; 16_000],
    ] {
        let mut stream = server.connect();
        let _ = stream.write_all(noise);
    }
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));
}
