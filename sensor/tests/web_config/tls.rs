//! Versions, cipher suites and curves; what a web config cannot have of them; what remains of HTTP.

use sensor::http::HEAD_MAX_BYTES;

use crate::curl::{over_tls, plain};
use crate::files::{Files, TLS};
use crate::made_up::server::Server;

/// curl's openssl would not even offer the old versions by itself.
const WEAK: [&str; 2] = ["--ciphers", "DEFAULT:@SECLEVEL=0"];

#[test]
fn metrics_are_served_over_tls_to_who_knows_the_ca_and_over_nothing_else() {
    let files = Files::new();
    files.authority("other");
    let server = Server::secured(files.web(TLS));
    let asked = over_tls(&server, &files, "/metrics", &[]);
    let answer = asked.answer.unwrap_or_else(|| panic!("{}", asked.log));
    assert_eq!(answer.code, 200);
    assert!(answer.body.contains("\npoolwatch_flows_evicted_total 29\n"), "{}", answer.body);
    assert!(asked.log.contains("SSL connection using TLSv1.3"), "{}", asked.log);
    // 60: the certificate is not signed by whom curl knows.
    assert_eq!(over_tls(&server, &files, "/metrics", &["--cacert", &files.text("other.crt")]).code, 60);
    let asked = plain(&server, "/metrics", &[]);
    assert!(asked.answer.is_none() && asked.code != 0, "{}", asked.log);
}

#[test]
fn a_certificate_and_its_key_may_be_in_the_web_config_itself() {
    let files = Files::new();
    let inline = |name: &str| std::fs::read_to_string(files.path(name)).expect("PEM").replace('\n', "\n    ");
    let text = format!(
        "tls_server_config:\n  cert: |\n    {}\n  key: |\n    {}\n",
        inline("server.crt"),
        inline("server.key")
    );
    let server = Server::secured(files.web(&text));
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));
}

#[test]
fn versions_cipher_suites_and_curves_are_those_that_the_web_config_names() {
    /// What holds, the web config's lines, how curl asks, and what its log says of the answer.
    type Case<'a> = (&'a str, &'a str, &'a [&'a str], Result<&'a str, &'a str>);
    let refused = Err("alert protocol version");
    let nothing_in_common = Err("alert handshake failure");
    let old: &[&str] = &["--tlsv1.0", "--tls-max", "1.1", WEAK[0], WEAK[1]];
    let at_12: &[&str] = &["--tls-max", "1.2"];
    let gcm_256 = "max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]";
    let two = "max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
               TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]";
    let two_of_the_client_s = format!("{two}\n  prefer_server_cipher_suites: false");
    let client_s: &[&str] = &["--ciphers", "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256"];
    let cases: [Case; 14] = [
        ("TLS 1.1 is never spoken", "", old, nothing_in_common),
        ("TLS 1.2 by default", "", at_12, Ok("using TLSv1.2")),
        ("TLS 1.3 by default", "", &[], Ok("using TLSv1.3")),
        ("1.2 is too old", "min_version: TLS13", at_12, refused),
        ("1.3 is not", "min_version: TLS13", &[], Ok("using TLSv1.3")),
        ("1.3 is too new", "max_version: TLS12", &["--tlsv1.3"], refused),
        ("1.2 is not", "max_version: TLS12", &[], Ok("using TLSv1.2")),
        (
            "a suite that is not named",
            gcm_256,
            &["--ciphers", "ECDHE-ECDSA-AES128-GCM-SHA256"],
            nothing_in_common,
        ),
        ("the suite that is", gcm_256, &[], Ok("ECDHE-ECDSA-AES256-GCM-SHA384")),
        ("the server's order", two, client_s, Ok("ECDHE-ECDSA-AES128-GCM-SHA256")),
        ("the client's order", &two_of_the_client_s, client_s, Ok("ECDHE-ECDSA-AES256-GCM-SHA384")),
        (
            "suites of 1.2 leave 1.3 alone",
            "cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]",
            &[],
            Ok("TLSv1.3"),
        ),
        (
            "a curve that is not named",
            "curve_preferences: [CurveP384]",
            &["--curves", "X25519"],
            nothing_in_common,
        ),
        ("the curve that is", "curve_preferences: [CurveP384]", &["--curves", "P-384"], Ok("using TLSv1.3")),
    ];
    let files = Files::new();
    for (description, lines, arguments, expected) in cases {
        let server = Server::secured(files.web(&format!("{TLS}  {lines}\n")));
        let asked = over_tls(&server, &files, "/healthz", arguments);
        let status = expected.is_ok().then_some(200);
        assert_eq!(asked.status(), status, "{description}: {}", asked.log);
        let said = expected.unwrap_or_else(|said| said);
        assert!(asked.log.contains(said), "{description}: {}", asked.log);
    }
}

#[test]
fn http_1_1_is_what_is_agreed_on() {
    let files = Files::new();
    let web = files.web(&format!("{TLS}http_server_config:\n  http2: true\n"));
    assert_eq!(web.notes.len(), 1, "{:?}", web.notes);
    let asked = over_tls(&Server::secured(web), &files, "/healthz", &["--http2"]);
    assert!(asked.log.contains("ALPN: server accepted http/1.1"), "{}", asked.log);
    assert_eq!(asked.status(), Some(200));
}

#[test]
fn what_is_too_long_or_not_there_is_refused_over_tls_as_without() {
    let files = Files::new();
    let server = Server::secured(files.web(TLS));
    for path in ["/../../etc/passwd", "/metrics/../../etc/passwd", "/%2e%2e/etc/passwd", "//etc/passwd"] {
        assert_eq!(over_tls(&server, &files, path, &[]).status(), Some(404), "{path}");
    }
    let long = format!("X-Filler: {}", "x".repeat(HEAD_MAX_BYTES));
    let refused = |_| match over_tls(&server, &files, "/healthz", &["--header", &long]).status() {
        Some(431) => true,
        // A reset may overtake the answer.
        None => false,
        other => panic!("{other:?}"),
    };
    assert!((0..10).any(refused), "it was never said why");
    assert_eq!(over_tls(&server, &files, "/healthz", &[]).status(), Some(200));
}

#[test]
fn certificates_and_keys_that_cannot_be_used_are_named_with_what_is_wrong() {
    let files = Files::new();
    files.certificate("other", "ca", "DNS:other.test");
    let key = std::fs::read_to_string(files.path("server.key")).expect("a key");
    files.write("cut.key", &key[..key.len() / 2]);
    files.write(
        "locked.key",
        &key.replace("BEGIN PRIVATE", "BEGIN ENCRYPTED PRIVATE")
            .replace("END PRIVATE", "END ENCRYPTED PRIVATE"),
    );
    files.write("bad.crt", "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n");
    files.write("no.crt", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let with =
        |cert: &str, key: &str| format!("tls_server_config:\n  cert_file: {cert}\n  key_file: {key}\n");
    for (description, text, expected) in [
        (
            "no such file",
            with("none.crt", "server.key"),
            "DIR/web.yml:2: tls_server_config.cert_file: \
            DIR/none.crt: cannot be read: No such file or directory (os error 2)",
        ),
        (
            "a directory",
            with("server.crt", "."),
            "DIR/web.yml:3: tls_server_config.key_file: DIR/.: a directory is not a regular file",
        ),
        (
            "the other one",
            with("server.key", "server.key"),
            "DIR/web.yml:2: tls_server_config.cert_file: \
            DIR/server.key: it holds no certificate in PEM",
        ),
        (
            "the other one",
            with("server.crt", "server.crt"),
            "DIR/web.yml:3: tls_server_config.key_file: \
            DIR/server.crt: it holds no private key in PEM",
        ),
        (
            "another's key",
            with("server.crt", "other.key"),
            "DIR/web.yml:3: tls_server_config.key_file: \
            DIR/other.key: it is not the key of the certificate in cert_file",
        ),
        (
            "half a key",
            with("server.crt", "cut.key"),
            "DIR/web.yml:3: tls_server_config.key_file: \
            DIR/cut.key: it is PEM that breaks off: a section does not end",
        ),
        (
            "a locked key",
            with("server.crt", "locked.key"),
            "DIR/web.yml:3: tls_server_config.key_file: \
            DIR/locked.key: the key is encrypted; `openssl pkey -in KEY -out NEW` asks for its password and writes it open",
        ),
        (
            "no base64",
            with("bad.crt", "server.key"),
            "DIR/web.yml:2: tls_server_config.cert_file: \
            DIR/bad.crt: it is damaged PEM: not all of it is base64",
        ),
        (
            "no certificate",
            with("no.crt", "server.key"),
            "DIR/web.yml:2: tls_server_config.cert_file: \
            DIR/no.crt: invalid peer certificate: BadEncoding",
        ),
        (
            "no suite of the version",
            format!("{TLS}  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]\n"),
            "DIR/web.yml:5: tls_server_config.cipher_suites: none of these is of a version that is spoken",
        ),
        (
            "a CA that is none",
            format!("{TLS}  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: no.crt\n"),
            "DIR/web.yml:5: tls_server_config.client_ca_file: DIR/no.crt: certificate 1 of it: invalid peer certificate: BadEncoding",
        ),
    ] {
        assert_eq!(files.refusal(&text), expected, "{description}");
    }
}
