//! What the HTTP server answers, over real sockets on loopback, and what it makes of clients that
//! never finish. The state behind it is made up.

mod made_up;

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use made_up::Told;
use made_up::server::{Answer, PATIENCE, Server, answer};
use sensor::flows::View;
use sensor::http::{ANSWERS_MAX, CONNECTION_TIME, CONNECTIONS_MAX, HEAD_MAX_BYTES, HEAD_TIME};
use sensor::state::{Cost, Interfaces, Kernel, State, Watched};
use sensor_ebpf::abi::{Own, Totals};
use serde_json::json;

#[test]
fn metrics_are_in_the_text_format() {
    let answer = Server::busy().get("/metrics");
    assert_eq!(answer.code, 200);
    let content_type = answer.header("content-type").expect("a type");
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    assert_eq!(answer.header("connection"), Some("close"), "one request a connection");
    let lines = ["# TYPE poolwatch_connections_total counter", "poolwatch_flows_evicted_total 29"];
    for line in lines {
        assert!(answer.body.lines().any(|found| found == line), "{line}:\n{}", answer.body);
    }
}

#[test]
fn it_is_healthy_while_it_answers_whatever_the_interfaces_do() {
    let server = Server::start(made_up::state(Told::default(), Interfaces::default(), View::default()));
    let answer = server.get("/healthz");
    assert_eq!((answer.code, answer.body.as_str()), (200, "ok\n"));
}

#[test]
fn it_is_ready_when_what_is_there_is_attached_and_else_says_why_not() {
    let mut failed = made_up::interfaces();
    failed.0.retain(|name, _| name == "ppp0");
    let mut absent = made_up::interfaces();
    absent.0.retain(|name, _| name != "ppp0");
    for (description, interfaces, expected) in [
        ("all attached", made_up::attached(), (200, "ready\n")),
        ("one that the config names is not there", absent, (200, "ready\n")),
        ("no interface at all", Interfaces::default(), (503, "not ready: no interface is attached\n")),
        (
            "one of several cannot be attached",
            made_up::interfaces(),
            (503, "not ready: interface ppp0: ppp0 has neither Ethernet nor IP headers\n"),
        ),
        (
            "the only one cannot be attached",
            failed,
            (
                503,
                "not ready: no interface is attached; interface ppp0: ppp0 has neither Ethernet nor IP headers\n",
            ),
        ),
    ] {
        let answer =
            Server::start(made_up::state(Told::default(), interfaces, View::default())).get("/readyz");
        assert_eq!((answer.code, answer.body.as_str()), expected, "{description}");
    }
}

#[test]
fn the_api_tells_of_targets_what_was_counted() {
    let state = made_up::state(made_up::busy(), made_up::interfaces(), View::default());
    state.recognised.set(made_up::recognised());
    let targets = Server::start(state).get("/api/v1/targets").json();
    let names: Vec<_> = targets.as_array().expect("a list").iter().map(|target| &target["target"]).collect();
    assert_eq!(names, made_up::TARGETS);
    assert_eq!(
        targets[0],
        json!({
            "watchlist": "dprk", "target": "star-kp", "category": "sanctioned", "confidence": "confirmed",
            "connections": 21 + 22 + 23 + 24, "established": 11 + 12 + 13 + 14, "joined": 5,
            "packets": 101 + 102 + 103 + 104 + 111 + 112 + 113 + 114,
            "bytes": 1001 + 1002 + 1003 + 1004 + ((1_u64 << 53) - 1) + 1012 + 1013 + 1014,
            "detections": 71 + 72 + 73, "mining_sessions": 61,
        })
    );
}

#[test]
fn the_api_tells_how_each_interface_stands() {
    assert_eq!(
        Server::busy().get("/api/v1/interfaces").json(),
        json!([
            { "interface": "eth0", "attached": true, "hook": "tcx" },
            { "interface": "ppp0", "attached": false, "reason": "ppp0 has neither Ethernet nor IP headers" },
            { "interface": "tun0", "attached": false, "reason": "absent" },
            { "interface": "wg0", "attached": true, "hook": "clsact" },
        ])
    );
}

#[test]
fn the_api_tells_a_detection_to_each_of_its_targets_and_nobody_s_wallet_or_worker() {
    let mut recognised = made_up::recognised();
    recognised.recent[0].about.wallet = Some("44secret".to_owned());
    recognised.recent[0].about.worker = Some("rig1".to_owned());
    let state = made_up::state(made_up::busy(), made_up::attached(), View::default());
    state.recognised.set(recognised);
    let told = Server::start(state).get("/api/v1/detections").json();
    let expected = |watchlist, target, at| {
        json!({
            "at": at, "watchlist": watchlist, "target": target, "signal": "stratum", "role": "miner",
            "local": "192.0.2.10:50000", "remote": "175.45.176.9:3333", "interface": "eth0",
            "agent": "XMRig/6.26.0", "coin": "rx/0",
        })
    };
    let at = &told[0]["at"];
    assert!(at.is_number(), "{told}");
    assert_eq!(told, json!([expected("dprk", "star-kp", at), expected("office", "office", at)]));
}

#[test]
fn what_cannot_be_read_is_an_error_that_tells_the_client_nothing() {
    let kernel = Told { unreadable: vec!["totals"], ..Told::default() };
    let server = Server::start(made_up::state(kernel, made_up::attached(), View::default()));
    let answer = server.get("/api/v1/targets");
    assert_eq!((answer.code, answer.body.as_str()), (500, "internal error: see the log\n"));
    assert_eq!(server.get("/metrics").code, 200, "metrics have their own way to tell");
}

#[test]
fn there_is_nothing_else_and_nothing_is_asked_of_it() {
    let server = Server::busy();
    for path in ["/metric", "/metrics/", "/api/v1/", "/../etc/passwd", "//"] {
        assert_eq!(server.get(path).code, 404, "{path}");
    }
    for path in ["/", "/metrics", "/healthz", "/readyz", "/api/v1/targets", "/api/v1/interfaces"] {
        let expected = if path == "/readyz" { 503 } else { 200 };
        assert_eq!(server.get(path).code, expected, "{path}");
        for method in ["POST", "PUT", "DELETE"] {
            let answer = server.ask(method, path);
            assert_eq!((answer.code, answer.header("allow")), (405, Some("GET,HEAD")), "{method} {path}");
        }
    }
}

/// Waits for the server to hang up.
fn wait_for_end(mut stream: TcpStream) {
    stream.set_read_timeout(Some(CONNECTION_TIME + PATIENCE)).expect("a socket");
    if let Err(error) = stream.read_to_end(&mut Vec::new()) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "it stays open: {error}");
    }
}

/// Goes on sending until the server hangs up.
fn drip(mut stream: TcpStream) {
    let since = Instant::now();
    while stream.write_all(b"x").is_ok() {
        assert!(since.elapsed() < CONNECTION_TIME + PATIENCE, "it is still listened to");
        thread::sleep(Duration::from_millis(100));
    }
}

/// Reads nothing for longer than a connection lives; what comes then has been cut short.
fn read_late(mut stream: TcpStream) {
    thread::sleep(CONNECTION_TIME + Duration::from_secs(1));
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    assert!(bytes.starts_with(b"HTTP/1.1 200 "), "{} bytes", bytes.len());
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = str::from_utf8(&bytes[..head]).expect("UTF-8").to_owned();
    let answer = Answer { code: 200, head, body: String::new() };
    let len: usize = answer.header("content-length").expect("a length").parse().expect("a number");
    assert!(bytes.len() < len, "all {len} bytes of it came");
}

/// What a client does wrong, what it sends, what it does then.
type Misbehaviour = (&'static str, &'static [u8], fn(TcpStream));

const MISBEHAVIOURS: [Misbehaviour; 5] = [
    ("says nothing", b"", wait_for_end),
    ("stops within its request's head", b"GET /metrics HTTP/1.1\r\nX-Slow: ", wait_for_end),
    ("sends its request byte by byte", b"GET /metrics HTTP/1.1\r\nX-Slow: ", drip),
    ("wants to be kept", b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\n\r\n", wait_for_end),
    ("does not read its answer", b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", read_late),
];

/// So many targets that their metrics fit into no socket's buffers.
fn with_a_long_answer() -> State {
    let state = made_up::state(Told::default(), made_up::attached(), View::default());
    let watched = state.watched.get();
    let slots = watched.slots.iter().cycle().take(30_000).cloned().collect();
    state.watched.set(Watched { slots, ..Watched::default() });
    state
}

#[test]
fn clients_that_never_finish_are_hung_up_on_and_meanwhile_others_are_answered() {
    let server = Server::start(with_a_long_answer());
    thread::scope(|scope| {
        for (description, sent, then) in MISBEHAVIOURS {
            for _ in 0..CONNECTIONS_MAX / 2 / MISBEHAVIOURS.len() {
                let mut stream = server.connect();
                stream.write_all(sent).expect(description);
                scope.spawn(move || then(stream));
            }
        }
        let since = Instant::now();
        assert_eq!(server.get("/healthz").code, 200);
        assert!(since.elapsed() < PATIENCE);
    });
}

/// Each kind of client that never finishes, many more of them than there is room for.
#[test]
fn however_many_clients_never_finish_the_oldest_makes_room_and_the_next_is_answered_at_once() {
    let server = Server::start(with_a_long_answer());
    for (description, sent, _) in MISBEHAVIOURS {
        let stuck: Vec<_> = (0..CONNECTIONS_MAX * 4)
            .map(|_| {
                let mut stream = server.connect();
                // The oldest may have been hung up on by now, but this one is the newest.
                stream.write_all(sent).expect(description);
                stream
            })
            .collect();
        let since = Instant::now();
        assert_eq!(server.get("/healthz").code, 200, "{description}");
        // As long as it takes on a busy machine, and less than the others would have kept it waiting.
        assert!(since.elapsed() < PATIENCE, "{description}: only when the others' time was over");
        drop(stuck);
    }
}

#[test]
fn it_is_the_oldest_connection_that_makes_room_and_not_another() {
    let server = Server::busy();
    let oldest = server.connect();
    let _others: Vec<_> = (0..CONNECTIONS_MAX).map(|_| server.connect()).collect();
    let since = Instant::now();
    wait_for_end(oldest);
    assert!(since.elapsed() < HEAD_TIME / 2, "only when its time was over");
}

#[test]
fn answers_are_made_a_few_at_a_time_also_for_clients_that_are_gone() {
    let busy = Busy::default();
    let server = Server::start(made_up::state(busy.clone(), made_up::attached(), View::default()));
    for _ in 0..CONNECTIONS_MAX {
        let mut stream = server.connect();
        write!(stream, "GET /api/v1/targets HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is sent");
    }
    assert_eq!(server.get("/api/v1/targets").code, 200);
    assert_eq!(busy.most.load(Ordering::Relaxed), ANSWERS_MAX);
}

/// Sends a head of one line of this length; the status that it is answered with, if any comes.
fn status_of_a_head_of(server: &Server, len: usize) -> Option<u16> {
    let mut stream = server.connect();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nX-Filler: ").expect("it is sent");
    let filler = [b'x'; 4096];
    for sent in (0..len).step_by(filler.len()) {
        // The server may hang up before it was sent all of it.
        if stream.write_all(&filler[..filler.len().min(len - sent)]).is_err() {
            break;
        }
    }
    let _ = stream.write_all(b"\r\n\r\n");
    let mut bytes = [0; 12];
    stream.read_exact(&mut bytes).ok()?;
    str::from_utf8(&bytes).ok()?.strip_prefix("HTTP/1.1 ")?.parse().ok()
}

#[test]
fn a_head_that_is_too_long_is_refused_before_it_is_read_to_its_end() {
    let server = Server::busy();
    assert_eq!(status_of_a_head_of(&server, HEAD_MAX_BYTES / 2), Some(200));
    for len in [HEAD_MAX_BYTES * 2, 1 << 20] {
        // A reset may overtake the answer.
        assert!(matches!(status_of_a_head_of(&server, len), Some(431) | None), "{len}");
    }
    assert_eq!(server.get("/healthz").code, 200);
}

#[test]
fn one_after_another_they_are_all_answered() {
    let server = Server::busy();
    for _ in 0..CONNECTIONS_MAX * 4 {
        assert_eq!(server.get("/healthz").code, 200);
    }
}

/// A kernel half that takes its time.
struct Slow;

impl Kernel for Slow {
    fn totals(&self, _: u32) -> anyhow::Result<Totals> {
        thread::sleep(Duration::from_millis(100));
        Ok(Totals::default())
    }

    fn own(&self) -> anyhow::Result<Own> {
        Ok(Own::default())
    }

    fn costs(&self) -> anyhow::Result<Vec<Cost>> {
        Ok(Vec::new())
    }
}

/// A kernel half that counts how many are reading it.
#[derive(Clone, Default)]
struct Busy {
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Kernel for Busy {
    fn totals(&self, _: u32) -> anyhow::Result<Totals> {
        let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
        self.most.fetch_max(now, Ordering::Relaxed);
        thread::sleep(Duration::from_millis(20));
        self.now.fetch_sub(1, Ordering::Relaxed);
        Ok(Totals::default())
    }

    fn own(&self) -> anyhow::Result<Own> {
        Ok(Own::default())
    }

    fn costs(&self) -> anyhow::Result<Vec<Cost>> {
        Ok(Vec::new())
    }
}

#[test]
fn a_stop_lets_answers_that_are_under_way_end_and_waits_for_no_one_else() {
    let server = Server::start(made_up::state(Slow, made_up::attached(), View::default()));
    let silent = server.connect();
    let mut asking = server.connect();
    write!(asking, "GET /api/v1/targets HTTP/1.1\r\nHost: poolwatch\r\n\r\n").expect("it is sent");
    thread::sleep(Duration::from_millis(200));
    server.stop.send(true).expect("it runs");
    let since = Instant::now();
    let answer = answer(asking);
    assert_eq!(answer.json().as_array().expect("a list").len(), made_up::TARGETS.len());
    server.thread.join().expect("no panic").expect("a good end");
    assert!(since.elapsed() < CONNECTION_TIME / 2, "it waited for the silent one");
    assert!(TcpStream::connect(server.address).is_err(), "it does not listen any more");
    drop(silent);
}
