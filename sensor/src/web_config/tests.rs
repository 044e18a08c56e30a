//! What a web config may say, and what each fault in it is called: by file, line and key. Certificates
//! come in with `tests/web_config`.

use super::*;

/// What is wrong, the file, and what is said of it.
type Case = (&'static str, &'static str, &'static str);

const HASH: &str = "$2y$04$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u";

/// What a web config with this text comes to. HASH stands for a hash, and the certificate is not there.
fn read(text: &str) -> Result<Web> {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("web.yml");
    std::fs::write(&path, text.replace("HASH", HASH)).expect("a web config");
    let folder = folder.path().display().to_string();
    Web::read(&path).map_err(|error| anyhow!("{}", format!("{error:#}").replace(&folder, "DIR")))
}

fn all_are_refused(cases: &[Case]) {
    for (description, text, expected) in cases {
        let error = read(text).err().unwrap_or_else(|| panic!("{description}: no fault was found"));
        assert_eq!(&error.to_string(), expected, "{description}");
    }
}

#[rustfmt::skip]
const KEYS: &[Case] = &[
    ("an unknown section", "http_server_config:\n  http2: false\ntls_config:\n  cert_file: a\n",
        "DIR/web.yml:3: tls_config: unknown key, expected one of `tls_server_config`, `http_server_config`, \
         `rate_limit`, `basic_auth_users`"),
    ("an unknown key", "tls_server_config:\n  cert_file: a\n  keyfile: b\n",
        "DIR/web.yml:3: tls_server_config.keyfile: unknown key, expected one of `cert`, `key`, `client_ca`, \
         `cert_file`, `key_file`, `client_auth_type`, `client_ca_file`, `client_allowed_sans`, `min_version`, \
         `max_version`, `cipher_suites`, `prefer_server_cipher_suites`, `curve_preferences`"),
    ("a key twice", "tls_server_config:\n  cert_file: a\n  cert_file: b\n",
        "DIR/web.yml:3: tls_server_config.cert_file: this key is there already"),
    ("a user twice", "basic_auth_users:\n  a: HASH\n  b: HASH\n  a: HASH\n",
        "DIR/web.yml:4: basic_auth_users.a: this key is there already"),
    ("a text where a section is", "tls_server_config: TLS12\n",
        "DIR/web.yml:1: tls_server_config: expected a mapping"),
    ("a list where a text is", "tls_server_config:\n  cert_file: [a, b]\n",
        "DIR/web.yml:2: tls_server_config.cert_file: expected a text"),
    ("a text where a list is", "tls_server_config:\n  cipher_suites: TLS_AES_128_GCM_SHA256\n",
        "DIR/web.yml:2: tls_server_config.cipher_suites: expected a list"),
    ("no boolean", "http_server_config:\n  http2: maybe\n",
        "DIR/web.yml:2: http_server_config.http2: expected true or false"),
    ("no number", "rate_limit:\n  interval: 1s\n  burst: some\n",
        "DIR/web.yml:3: rate_limit.burst: expected a whole number"),
    ("a hash is not told", "basic_auth_users: HASH\n",
        "DIR/web.yml:1: basic_auth_users: expected a mapping"),
    ("no mapping at all", "- a\n", "DIR/web.yml:1: expected a mapping"),
];

#[rustfmt::skip]
const TLS: &[Case] = &[
    ("neither certificate nor key", "\ntls_server_config:\n  min_version: TLS13\n",
        "DIR/web.yml:3: tls_server_config: TLS takes cert or cert_file; without TLS, leave the section out"),
    ("no key", "tls_server_config:\n  cert: x\n",
        "DIR/web.yml:2: tls_server_config: TLS takes key or key_file; without TLS, leave the section out"),
    ("a certificate twice", "tls_server_config:\n  cert: x\n  cert_file: x\n  key_file: x\n",
        "DIR/web.yml:3: tls_server_config.cert_file: cert is given as well, and one of them is enough"),
    ("a broken version", "tls_server_config:\n  min_version: TLS10\n",
        "DIR/web.yml:2: tls_server_config.min_version: TLS10 is not spoken, being broken (RFC 8996): TLS12 or TLS13"),
    ("another", "tls_server_config:\n  max_version: TLS11\n",
        "DIR/web.yml:2: tls_server_config.max_version: TLS11 is not spoken, being broken (RFC 8996): TLS12 or TLS13"),
    ("no version", "tls_server_config:\n  max_version: \"1.3\"\n",
        "DIR/web.yml:2: tls_server_config.max_version: \"1.3\" is no version of TLS: TLS12 or TLS13"),
    ("no version left", "tls_server_config:\n  min_version: TLS13\n  max_version: TLS12\n",
        "DIR/web.yml:3: tls_server_config.max_version: it is below min_version, so that none is left"),
    ("a weak suite", "tls_server_config:\n  cipher_suites:\n    - TLS_AES_128_GCM_SHA256\n    - TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\n",
        "DIR/web.yml:4: tls_server_config.cipher_suites: \"TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA\" is not spoken, being \
         weak: there are TLS_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256, TLS_CHACHA20_POLY1305_SHA256, \
         TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, \
         TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, \
         TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256"),
    ("a curve that ring lacks", "tls_server_config:\n  curve_preferences: [X25519, CurveP521]\n",
        "DIR/web.yml:2: tls_server_config.curve_preferences: \"CurveP521\" is no curve that is spoken: there are \
         X25519, CurveP256, CurveP384"),
];

#[rustfmt::skip]
const OTHERS: &[Case] = &[
    ("a header that cannot be set", "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    Server: x\n",
        "DIR/web.yml:4: http_server_config.headers.Server: this header cannot be set; there are \
         Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"),
    ("a header in other case, which the toolkit refuses too", "http_server_config:\n  headers:\n    x-frame-options: deny\n",
        "DIR/web.yml:3: http_server_config.headers.x-frame-options: this header cannot be set; there are \
         Content-Security-Policy, Strict-Transport-Security, X-Content-Type-Options, X-Frame-Options, X-XSS-Protection"),
    ("a value that a header cannot have", "http_server_config:\n  headers:\n    X-Frame-Options: allow\n",
        "DIR/web.yml:3: http_server_config.headers.X-Frame-Options: \"allow\" is not one of deny, sameorigin"),
    ("a value over two lines", "http_server_config:\n  headers:\n    Content-Security-Policy: \"a\\nb\"\n",
        "DIR/web.yml:3: http_server_config.headers.Content-Security-Policy: \"a\\nb\" cannot be the value of a header"),
    ("no duration", "rate_limit:\n  interval: 5\n  burst: 1\n",
        "DIR/web.yml:2: rate_limit.interval: \"5\" is no duration such as 1s, 500ms or 1m30s"),
    ("a burst of none", "rate_limit:\n  interval: 1s\n  burst: 0\n",
        "DIR/web.yml:3: rate_limit.burst: 0, its default, answers nobody: at least 1"),
    ("no burst", "rate_limit:\n  interval: 1s\n",
        "DIR/web.yml:2: rate_limit.burst: 0, its default, answers nobody: at least 1"),
    ("a password instead of its hash", "basic_auth_users:\n  a: HASH\n  b: secret\n",
        "DIR/web.yml:3: basic_auth_users.b: not a bcrypt hash; htpasswd -nBC 10 \"\" | tr -d ':\\n' makes one"),
    ("a hash that takes a minute", "basic_auth_users:\n  a: $2y$20$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u\n",
        "DIR/web.yml:2: basic_auth_users.a: a cost of 20 is not within 4 to 15, which takes seconds; \
         htpasswd -nBC 10 \"\" | tr -d ':\\n' makes one"),
    ("a hash by another bcrypt", "basic_auth_users:\n  a: $2x$04$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u\n",
        "DIR/web.yml:2: basic_auth_users.a: $2x$ marks a hash by a faulty bcrypt, which is not imitated; \
         htpasswd -nBC 10 \"\" | tr -d ':\\n' makes one"),
    ("a user without a name", "basic_auth_users:\n  \"\": HASH\n",
        "DIR/web.yml:2: basic_auth_users.: a user has a name"),
    ("a name that no request can hold", "basic_auth_users:\n  \"a:b\": HASH\n",
        "DIR/web.yml:2: basic_auth_users.a:b: a name cannot hold \":\", which ends it in the request (RFC 7617)"),
];

#[test]
fn keys_and_kinds_of_values_are_the_toolkit_s() {
    all_are_refused(KEYS);
}

#[test]
fn what_tls_cannot_do_is_refused_by_name() {
    all_are_refused(TLS);
}

#[test]
fn headers_limits_and_users_are_checked_before_they_take_effect() {
    all_are_refused(OTHERS);
}

#[test]
fn a_text_that_is_no_yaml_is_named_by_its_line() {
    for (text, place) in [
        ("tls_server_config:\n  cert_file: \"a\n", "DIR/web.yml:"),
        ("http_server_config:\n  headers: {\n", "DIR/web.yml:"),
        ("tls_server_config:\n  cert_file: *a\n", "DIR/web.yml:2: tls_server_config.cert_file: "),
    ] {
        let error = read(text).err().expect(text).to_string();
        let rest = error.strip_prefix(place).unwrap_or_else(|| panic!("{error}"));
        assert!(place.ends_with(": ") || rest.starts_with(|c: char| c.is_ascii_digit()), "{error}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn what_is_asked_of_clients_must_fit_together() {
    for (lines, expected) in [
        (
            "  client_auth_type: Always\n",
            "web.yml:2: tls_server_config.client_auth_type: \"Always\" is not NoClientCert, RequestClientCert, \
             RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert",
        ),
        (
            "  client_ca: x\n",
            "web.yml:2: tls_server_config.client_ca: no client is asked for a certificate: client_auth_type: \
             RequireAndVerifyClientCert does",
        ),
        (
            "  client_auth_type: RequireAndVerifyClientCert\n",
            "web.yml:2: tls_server_config.client_auth_type: it takes client_ca_file: the system's CAs are not asked, \
             since whoever has a certificate of one of them would be let in",
        ),
        (
            "  client_auth_type: VerifyClientCertIfGiven\n  client_ca: x\n  client_allowed_sans: [a]\n",
            "web.yml:4: tls_server_config.client_allowed_sans: a client need not show a certificate: \
             client_auth_type: RequireAndVerifyClientCert makes it",
        ),
        (
            "  client_auth_type: RequireAnyClientCert\n  client_allowed_sans: []\n",
            "web.yml:3: tls_server_config.client_allowed_sans: an empty list lets nobody in: name somebody, or \
             leave it out",
        ),
        (
            "  client_auth_type: RequireAnyClientCert\n  client_ca: x\n",
            "web.yml:3: tls_server_config.client_ca: it holds no certificate in PEM",
        ),
    ] {
        let error = read(&format!("tls_server_config:\n{lines}")).err().expect(lines).to_string();
        assert_eq!(error, format!("DIR/{expected}"));
    }
}

#[test]
fn what_says_nothing_is_refused_so_that_an_emptied_file_opens_nothing() {
    const USERS: &str = "basic_auth_users:\n  a: HASH\n";
    for text in ["", "\n", "# all of it commented out\n", "{}\n", "null\n"] {
        let error = read(text).err().unwrap_or_else(|| panic!("{text:?}: no fault was found")).to_string();
        assert!(error.starts_with("DIR/web.yml: it says nothing, and a file"), "{text:?}: {error}");
    }
    for (section, line) in [
        ("tls_server_config:\n", "3: tls_server_config"),
        ("tls_server_config: {}\n", "3: tls_server_config"),
        ("tls_server_config: null\n", "3: tls_server_config"),
        ("tls_server_config:\n  cert_file: \"\"\n  key_file: \"\"\n", "4: tls_server_config"),
        ("http_server_config:\n  headers: {}\n", "4: http_server_config"),
        ("rate_limit: ~\n", "3: rate_limit"),
        ("rate_limit:\n  burst: 5\n", "4: rate_limit"),
    ] {
        let text = format!("{USERS}{section}");
        let error = read(&text).err().unwrap_or_else(|| panic!("{text}: no fault was found")).to_string();
        let expected = format!("DIR/web.yml:{line}: it says nothing; leave it out if that is meant");
        assert_eq!(error, expected, "{text}");
    }
    for users in ["basic_auth_users:\n", "basic_auth_users: {}\n", "basic_auth_users: # a: HASH\n"] {
        let error = read(&format!("http_server_config:\n  http2: false\n{users}")).err().expect(users);
        let expected = "DIR/web.yml:3: basic_auth_users: it says nothing; leave it out if that is meant";
        assert_eq!(error.to_string(), expected, "{users}");
    }
}

#[test]
fn a_key_without_a_value_is_not_taken_for_one_that_is_not_there() {
    for key in [
        "cert_file",
        "client_auth_type",
        "client_ca_file",
        "client_allowed_sans",
        "min_version",
        "cipher_suites",
    ] {
        for nothing in ["", " null", " ~", " # prometheus.example"] {
            let error = read(&format!("tls_server_config:\n  key_file: x\n  {key}:{nothing}\n"))
                .err()
                .expect(key)
                .to_string();
            assert!(error.starts_with("DIR/web.yml:"), "{key}:{nothing}: {error}");
            assert!(error.contains("null") || error.contains("expected a list"), "{key}:{nothing}: {error}");
        }
    }
    for key in ["client_auth_type", "min_version", "max_version"] {
        let error =
            read(&format!("tls_server_config:\n  cert: x\n  {key}: \"\"\n")).err().expect(key).to_string();
        assert!(error.starts_with(&format!("DIR/web.yml:3: tls_server_config.{key}: \"\" is")), "{error}");
    }
}

#[test]
fn what_secures_nothing_is_noted() {
    let web = read("http_server_config:\n  http2: false\n").expect("headers alone");
    assert_eq!(web.secured_by(), "nothing");
    assert!(web.notes[0].contains("neither TLS nor passwords"), "{:?}", web.notes);
}

#[test]
fn what_is_right_arrives_as_written() {
    let web = read(
        "http_server_config:\n  http2: false\n  headers:\n    X-XSS-Protection: 0\n    X-Frame-Options: \"\"\n\
         rate_limit:\n  interval: 0\n  burst: 5\nbasic_auth_users:\n  007: HASH\n  ops: HASH\n",
    );
    let web = web.expect("a web config");
    assert_eq!(web.headers.len(), 1, "blank means unset");
    assert_eq!(web.headers["x-xss-protection"], "0");
    assert!(web.rate.is_none(), "an interval of 0 is no limit");
    assert_eq!(web.users.hash_of("007"), (HASH, true));
    assert_eq!(web.secured_by(), "passwords");
}
