//! Certificates, keys, CAs and the web config itself change while the server runs. That the daemon
//! notices is in `tests/kernel_web.rs`; here is what it notices, and what comes of it.

use std::fs;
use std::io::Write as _;
use std::thread;

use sensor::config::Config;
use sensor::feeds::Feeds;
use sensor::web_config::{Web, files as files_of};

use crate::curl::{over_tls, plain};
use crate::files::{Files, TLS};
use crate::made_up::server::{Server, answer};

const MUTUAL: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n";

fn config(files: &Files) -> Config {
    let path = files.write("poolwatch.toml", "http.web_config = \"web.yml\"\n");
    Config::load(Some(&path)).expect("a config")
}

#[test]
fn a_new_web_config_holds_from_the_next_connection_on_with_tls_and_without() {
    let files = Files::new();
    files.authority("new-ca");
    let server = Server::secured(files.web(TLS));
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));

    files.certificate("server", "new-ca", "DNS:poolwatch.test");
    server.state.web.set(files.web(TLS));
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).code, 60, "the old CA signed the old one");
    let new_ca = files.text("new-ca.crt");
    assert_eq!(over_tls(&server, &files, "/healthz", &["--cacert", &new_ca]).status(), Some(200));

    server.state.web.set(files.web("http_server_config:\n  http2: false\n"));
    assert_eq!(plain(&server, "/healthz", &[]).status(), Some(200));
    server.state.web.set(files.web(TLS));
    assert_eq!(plain(&server, "/healthz", &[]).status(), None);
    assert_eq!(over_tls(&server, &files, "/healthz", &["--cacert", &new_ca]).status(), Some(200));
}

/// Otherwise, who connected while there was only TLS would be asked for nothing at all.
#[test]
fn a_connection_is_served_as_the_web_config_said_when_it_was_taken() {
    let files = Files::new();
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let server = Server::secured(files.web(&format!("basic_auth_users:\n  ops: {hash}\n")));
    let mut early = server.connect();
    thread::sleep(std::time::Duration::from_millis(200));
    server.state.web.set(files.web(TLS));
    write!(early, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is sent");
    assert_eq!(answer(early).code, 401);
}

#[test]
fn what_is_looked_at_is_the_web_config_and_what_it_names() {
    let files = Files::new();
    files.authority("clients");
    files.web(&format!("{TLS}{MUTUAL}"));
    let config = config(&files);
    let mut paths = files_of(&config);
    paths.sort();
    let expected = ["clients.crt", "server.crt", "server.key", "web.yml"].map(|name| files.path(name));
    assert_eq!(paths, expected);
    for path in expected {
        let feeds = Feeds::of(&config);
        feeds.ensure_unchanged().expect("nothing changed yet");
        let content = fs::read(&path).expect("a file");
        fs::write(files.path("new"), content).expect("a file");
        fs::rename(files.path("new"), &path).expect("it is replaced");
        let error = feeds.ensure_unchanged().expect_err("it was replaced");
        assert!(error.to_string().starts_with(path.to_str().expect("UTF-8")), "{error}");
    }
    // Of one that is broken there is still itself to look at.
    files.write("web.yml", "tls_server_config: [\n");
    assert_eq!(files_of(&config), [files.path("web.yml")]);
}

#[test]
fn what_is_broken_is_said_by_line_of_the_config_and_of_the_web_config() {
    let files = Files::new();
    files.web(TLS);
    let config = config(&files);
    assert!(Web::load(&config).is_ok());
    files.write("server.key", "");
    let error = format!("{:#}", Web::load(&config).err().expect("no key"));
    let folder = files.path("");
    let folder = folder.to_str().expect("UTF-8").trim_end_matches('/');
    assert_eq!(
        error.replace(folder, "DIR"),
        "DIR/poolwatch.toml:1: http.web_config: DIR/web.yml:3: tls_server_config.key_file: DIR/server.key: \
         it holds no private key in PEM"
    );
}
