//! The web config of a running daemon changes: it finds out by itself or is told, goes over to what is
//! whole, and keeps to the old one where the new one is broken.

#[path = "web_config/files.rs"]
mod files;
mod support;
mod tools;

use std::fs;
use std::io::Write as _;
use std::process::{Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use files::{Files, TLS};
use rustix::process::Signal;
use support::daemon::Daemon;
use support::namespace::Namespace;
use support::{PinsDirectory, patience};

/// A web config that secures nothing.
const HEADERS_ALONE: &str = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
const SUCCESSFUL: &str = "poolwatch_config_last_reload_successful";

/// The certificate that the daemon shows, and its answer.
fn ask(namespace: &Namespace, files: &Files) -> Option<(String, String)> {
    let ca = files.text("ca.crt");
    let mut command = namespace.command("openssl");
    command.args([
        "s_client",
        "-connect",
        "127.0.0.1:9750",
        "-CAfile",
        &ca,
        "-verify_return_error",
        "-ign_eof",
    ]);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
    let mut child = child.expect("openssl starts");
    let mut input = child.stdin.take().expect("a pipe");
    // It may have ended by now.
    let _ = write!(input, "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let Output { stdout, .. } = child.wait_with_output().expect("it ends when the server does");
    drop(input);
    let text = String::from_utf8_lossy(&stdout);
    let (_, rest) = text.split_once("-----BEGIN CERTIFICATE-----")?;
    let (certificate, rest) = rest.split_once("-----END CERTIFICATE-----")?;
    let (_, answer) = rest.split_once("HTTP/1.1 200 OK\r\n")?;
    Some((certificate.to_owned(), answer.to_owned()))
}

/// Waits for an answer over TLS that is as expected.
fn wait_for(
    what: &str,
    daemon: &Daemon<'_>,
    namespace: &Namespace,
    files: &Files,
    is: impl Fn(&str, &str) -> bool,
) -> String {
    let since = Instant::now();
    loop {
        let asked = ask(namespace, files);
        if let Some((certificate, answer)) = &asked
            && is(certificate, answer)
        {
            return certificate.clone();
        }
        assert!(since.elapsed() < patience(), "never {what}:\n{asked:?}\n{}", daemon.log());
        thread::sleep(Duration::from_millis(100));
    }
}

fn is_successful(answer: &str, expected: u8) -> bool {
    answer.lines().any(|line| line == format!("{SUCCESSFUL} {expected}"))
}

#[test]
fn a_web_config_or_certificate_that_changes_is_taken_over_and_a_broken_one_is_not() {
    let (near, _far) = Namespace::pair();
    let files = Files::new();
    let web = files.write("web.yml", HEADERS_ALONE);
    let daemon = Daemon::start(&near, &format!("[http]\nweb_config = \"{}\"\n", web.display()));
    daemon.wait_for("a good start", |metrics| metrics.sum(SUCCESSFUL, &[]) == 1);

    files.write("web.yml", TLS);
    let first =
        wait_for("TLS, once the file says so", &daemon, &near, &files, |_, answer| is_successful(answer, 1));
    assert!(daemon.get("/healthz").is_none_or(|(code, _)| code != 200), "nor plain HTTP any more");

    files.certificate("server", "ca", "DNS:poolwatch.test");
    let second =
        wait_for("the new certificate", &daemon, &near, &files, |certificate, _| certificate != first);

    let key = fs::read_to_string(files.path("server.key")).expect("a key");
    files.write("server.key", &key[..key.len() / 2]);
    let shown = wait_for("a failed reload", &daemon, &near, &files, |_, answer| is_successful(answer, 0));
    assert_eq!(shown, second, "the old key stays in use");
    let config = daemon.config();
    let line = format!(
        "{}:5: http.web_config: {}:3: tls_server_config.key_file: {}: it is PEM that breaks off",
        config.display(),
        web.display(),
        files.text("server.key")
    );
    assert!(daemon.log().contains(&line), "{line}\n{}", daemon.log());

    files.write("server.key", &key);
    daemon.signal(Signal::HUP);
    wait_for("a good reload", &daemon, &near, &files, |_, answer| is_successful(answer, 1));
    files.write("web.yml", &format!("{TLS}  min_version: TLS10\n"));
    daemon.signal(Signal::HUP);
    let shown = wait_for("a failed reload", &daemon, &near, &files, |_, answer| is_successful(answer, 0));
    assert_eq!(shown, second);
    assert!(
        daemon.log().contains("web.yml:4: tls_server_config.min_version: TLS10 is not spoken"),
        "{}",
        daemon.log()
    );

    // Emptied, as by a redirection that went wrong: nobody comes in who did not before.
    files.write("web.yml", "");
    daemon.signal(Signal::HUP);
    let shown = wait_for("a failed reload", &daemon, &near, &files, |_, answer| is_successful(answer, 0));
    assert_eq!(shown, second);
    assert!(daemon.get("/metrics").is_none_or(|(code, _)| code != 200), "nobody without TLS");
    assert!(daemon.log().contains("web.yml: it says nothing"), "{}", daemon.log());

    // Nor by a web config, or a config, that asks for nothing any more.
    let written = fs::read_to_string(&config).expect("its config");
    let opens = "http.web_config: HTTP is secured by TLS, and would be by nothing";
    for (file, text, told) in [
        (&web, HEADERS_ALONE, opens),
        (&config, "[inspect]\n", opens),
        (&config, "# emptied\n", "it says nothing any more"),
    ] {
        let before = daemon.log().matches(told).count();
        files.write("web.yml", TLS);
        fs::write(&config, &written).expect("the config");
        daemon.signal(Signal::HUP);
        wait_for("a good reload", &daemon, &near, &files, |_, answer| is_successful(answer, 1));
        fs::write(file, text).expect("a file of ours");
        daemon.signal(Signal::HUP);
        let shown = wait_for("a failed reload", &daemon, &near, &files, |_, answer| is_successful(answer, 0));
        assert_eq!(shown, second);
        assert!(daemon.get("/metrics").is_none_or(|(code, _)| code != 200), "nobody without TLS");
        // Once for the signal; and, if that took longer, once more when the file was left alone: never on and on.
        let times = daemon.log().matches(told).count() - before;
        assert!((1..=2).contains(&times), "{times} times: {text}\n{}", daemon.log());
    }
}

/// Less than there was, and yet strangers stay out.
#[test]
fn what_leaves_http_less_secured_is_taken_over_and_warned_of_as_is_a_start_that_secures_nothing() {
    let (near, _far) = Namespace::pair();
    let files = Files::new();
    let users = format!("basic_auth_users:\n  ops: {}\n", bcrypt::hash("secret", 4).expect("a hash"));
    let clients = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let web = files.write("web.yml", &format!("{TLS}{clients}{users}"));
    let config = format!("[http]\nweb_config = \"{}\"\n", web.display());
    let everywhere = ["--listen", "0.0.0.0:9750"];
    let spawn = |config: &str| {
        Daemon::spawn(&near, PinsDirectory::new(), "interfaces = [\"eth0\"]\n", config, &everywhere)
    };
    let says = |daemon: &Daemon<'_>, what: &str| {
        let since = Instant::now();
        while !daemon.log().contains(what) {
            assert!(since.elapsed() < patience(), "never {what:?}:\n{}", daemon.log());
            thread::sleep(Duration::from_millis(50));
        }
    };
    let warning = "whoever reaches 0.0.0.0:9750 is answered, in plain text; http.web_config secures it";

    let daemon = spawn(&config);
    says(&daemon, "serving /metrics");
    files.write("web.yml", &format!("{TLS}{users}"));
    daemon.signal(Signal::HUP);
    says(
        &daemon,
        "WARN http.web_config: HTTP was secured by TLS, a client's certificate, passwords, and is by TLS, passwords from here on",
    );
    assert!(!daemon.log().contains(warning), "{}", daemon.log());
    daemon.stop();

    let daemon = spawn("");
    says(&daemon, &format!("WARN {warning}"));
}
