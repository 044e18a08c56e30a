//! Passwords, a rate limit and headers: before every path there is, and those that are not.

use std::thread;
use std::time::{Duration, Instant};

use sensor::http::CONNECTIONS_MAX;

use crate::curl::{over_tls, plain};
use crate::files::{Files, TLS};
use crate::made_up::server::{PATIENCE, Server};

const PATHS: [&str; 8] = [
    "/",
    "/metrics",
    "/healthz",
    "/readyz",
    "/api/v1/targets",
    "/api/v1/detections",
    "/api/v1/interfaces",
    "/none",
];

/// As htpasswd makes them.
fn user(name: &str, password: &str, cost: u32) -> String {
    format!("  {name}: {}\n", bcrypt::hash(password, cost).expect("a hash"))
}

fn users(users: &[String]) -> String {
    format!("basic_auth_users:\n{}", users.concat())
}

#[test]
fn every_path_is_for_users_with_their_passwords_alone() {
    let files = Files::new();
    let text = users(&[user("prometheus", "s3cr:et ü", 4), user("ops", "other", 4)]);
    let server = Server::secured(files.web(&format!("{TLS}{text}")));
    for path in PATHS {
        for (description, credentials, admitted) in [
            ("the right password", Some("prometheus:s3cr:et ü"), true),
            ("another user's", Some("ops:other"), true),
            ("a wrong password", Some("prometheus:s3cr:et"), false),
            ("an empty one", Some("prometheus:"), false),
            ("the other user's", Some("prometheus:other"), false),
            ("an unknown user", Some("nobody:other"), false),
            ("no name", Some(":other"), false),
            ("nothing", None, false),
        ] {
            let arguments = credentials.map_or(vec![], |credentials| vec!["--user", credentials]);
            let asked = over_tls(&server, &files, path, &arguments);
            let answer = asked.answer.unwrap_or_else(|| panic!("{description}: {}", asked.log));
            let expected = match path {
                _ if !admitted => 401,
                "/none" => 404,
                _ => 200,
            };
            assert_eq!(answer.code, expected, "{path}, {description}");
            let challenge = answer.header("www-authenticate");
            assert_eq!(
                challenge.is_some_and(|text| text.starts_with("Basic ")),
                !admitted,
                "{path}, {description}"
            );
            assert!(admitted || answer.body == "unauthorized\n", "{}", answer.body);
        }
    }
}

#[test]
fn passwords_hold_without_tls_too_and_other_schemes_do_not() {
    let files = Files::new();
    let web = files.web(&users(&[user("prometheus", "secret", 4)]));
    assert!(web.notes[0].ends_with("without TLS, passwords can be read on the way"), "{:?}", web.notes);
    let server = Server::secured(web);
    assert_eq!(plain(&server, "/metrics", &["--user", "prometheus:secret"]).status(), Some(200));
    assert_eq!(plain(&server, "/metrics", &[]).status(), Some(401));
    for header in ["Bearer secret", "Basic", "Basic !", "Basic cHJvbWV0aGV1cw==", "secret"] {
        let header = format!("Authorization: {header}");
        assert_eq!(plain(&server, "/metrics", &["--header", &header]).status(), Some(401), "{header}");
    }
}

/// The shortest of a few times: what else the machine does only ever adds to it.
fn time(server: &Server, credentials: &str, expected: u16) -> Duration {
    let once = || {
        let since = Instant::now();
        let asked = plain(server, "/healthz", &["--user", credentials]);
        assert_eq!(asked.status(), Some(expected), "{credentials}: {}", asked.log);
        since.elapsed()
    };
    (0..4).map(|_| once()).min().expect("some")
}

/// High enough for its time to show beside curl's own.
fn slow_cost() -> u32 {
    let took = |cost: u32| {
        let since = Instant::now();
        bcrypt::hash("x", cost).expect("a hash");
        since.elapsed()
    };
    (4..=12).find(|cost| took(*cost) > Duration::from_millis(400)).expect("bcrypt is slow")
}

#[test]
fn an_unknown_user_takes_as_long_as_a_wrong_password_and_a_right_one_is_remembered() {
    let files = Files::new();
    let cost = slow_cost();
    let server =
        Server::secured(files.web(&users(&[user("prometheus", "secret", cost), user("fast", "x", 4)])));
    let wrong = time(&server, "prometheus:wrong", 401);
    let unknown = time(&server, "nobody:secret", 401);
    assert!(unknown > wrong / 2 && wrong > unknown / 2, "unknown: {unknown:?}, wrong: {wrong:?}");
    let right = time(&server, "prometheus:secret", 200);
    assert!(right < wrong / 2, "it is remembered: {right:?} beside {wrong:?}");
}

#[test]
fn who_tries_passwords_keeps_nobody_waiting_whose_password_was_right() {
    let files = Files::new();
    let server = Server::secured(files.web(&users(&[user("prometheus", "secret", slow_cost())])));
    let one = time(&server, "prometheus:wrong", 401);
    time(&server, "prometheus:secret", 200);
    thread::scope(|scope| {
        for number in 0..16 {
            let server = &server;
            scope.spawn(move || plain(server, "/healthz", &["--user", &format!("prometheus:{number}")]));
        }
        thread::sleep(one / 2);
        let took = time(&server, "prometheus:secret", 200);
        assert!(took < one, "{took:?}, where one trial takes {one:?} and sixteen wait");
    });
}

#[test]
fn a_changed_password_is_the_one_that_counts_though_the_old_one_is_remembered() {
    let files = Files::new();
    let server = Server::secured(files.web(&users(&[user("prometheus", "old", 4)])));
    assert_eq!(plain(&server, "/healthz", &["--user", "prometheus:old"]).status(), Some(200));
    server.state.web.set(files.web(&users(&[user("prometheus", "new", 4)])));
    assert_eq!(plain(&server, "/healthz", &["--user", "prometheus:old"]).status(), Some(401));
    assert_eq!(plain(&server, "/healthz", &["--user", "prometheus:new"]).status(), Some(200));
}

#[test]
fn headers_are_in_every_answer_and_the_rate_limit_comes_before_all_else() {
    const HEADERS: [(&str, &str); 5] = [
        ("Content-Security-Policy", "default-src 'self'"),
        ("Strict-Transport-Security", "max-age=31536000"),
        ("X-Content-Type-Options", "nosniff"),
        ("X-Frame-Options", "deny"),
        ("X-XSS-Protection", "0"),
    ];
    let lines = HEADERS.map(|(name, value)| format!("    {name}: {value}\n")).concat();
    let text = format!(
        "http_server_config:\n  headers:\n{lines}rate_limit:\n  interval: 1h\n  burst: 4\n{}",
        users(&[user("prometheus", "secret", 4)])
    );
    let files = Files::new();
    let server = Server::secured(files.web(&text));
    let right = ["--user", "prometheus:secret"];
    for (path, arguments, expected) in [
        ("/metrics", &right[..], 200),
        ("/none", &right, 404),
        ("/healthz", &["--request", "POST", right[0], right[1]], 405),
        ("/metrics", &[], 401),
        ("/metrics", &right, 429),
        ("/healthz", &[], 429),
    ] {
        let answer = plain(&server, path, arguments).answer.expect("an answer");
        assert_eq!(answer.code, expected, "{path} {arguments:?}");
        for (name, value) in HEADERS {
            assert_eq!(answer.header(name), Some(value), "{path} {arguments:?}");
        }
    }
    server.state.web.set(files.web(&text.replace("1h", "100ms")));
    for _ in 0..10 {
        assert_eq!(plain(&server, "/metrics", &right).status(), Some(200), "one in 100 ms is let through");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn more_passwords_than_connections_are_all_answered() {
    let files = Files::new();
    let server = Server::secured(files.web(&users(&[user("prometheus", "secret", 4)])));
    let since = Instant::now();
    for _ in 0..CONNECTIONS_MAX {
        assert_eq!(plain(&server, "/healthz", &["--user", "prometheus:wrong"]).status(), Some(401));
    }
    assert_eq!(plain(&server, "/healthz", &["--user", "prometheus:secret"]).status(), Some(200));
    assert!(since.elapsed() < PATIENCE * 4);
}
