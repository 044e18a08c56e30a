//! What a web config may say, and what each fault in it is called: by file, line and key. Certificates
//! come in with `tests/web_config.rs`.

use std::fs;

use super::*;

/// What the file says, and what is said of it. DIR stands for the folder of the case's files.
type Case = (&'static str, &'static str, &'static str);

const HASH: &str = "$2y$04$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u";

#[test]
fn probe() {
    for text in [
        "",
        "# x\n",
        "{}",
        "tls_server_confi:\n  a: b\n",
        "tls_server_config:\n  cert_file: a\n  ceert: b\n",
        "tls_server_config: yes please\n",
        "tls_server_config:\n  cert_file: [a]\n",
        "a: [\n",
        "a: b\n  c: d\n",
        "http_server_config:\n  http2: maybe\n",
        "rate_limit:\n  burst: -1\n",
        "rate_limit:\n  burst: x\n",
        "basic_auth_users: $2y$\n",
        "basic_auth_users:\n  a: b\n  a: c\n",
        "tls_server_config:\n  cipher_suites: x\n",
        "tls_server_config:\n  cipher_suites:\n    - [x]\n",
        "http_server_config:\n  headers:\n    X-XSS-Protection: 0\n",
        "--- \na: b\n---\nb: c\n",
        "\ttls_server_config:\n",
        "tls_server_config:\n  min_version: *x\n",
        "tls_server_config:\n  client_allowed_sans: x\n",
        "- a\n",
        "tls_server_config:\n",
        "basic_auth_users:\n  007: x\n",
        "tls_server_config:\n  min_version: TLS13\n  min_version: TLS12\n",
    ] {
        let parsed = Written::parse(Path::new("web.yml"), text);
        println!(
            "{text:?}\n    {}",
            parsed.map_or_else(
                |e| e.to_string(),
                |w| format!(
                    "ok {:?} {:?}",
                    w.http_server_config
                        .and_then(|h| h.headers)
                        .map(|h| h.into_values().map(|v| (v.value, v.defined.line())).collect::<Vec<_>>()),
                    w.basic_auth_users.map(|u| u.into_keys().collect::<Vec<_>>())
                )
            )
        );
    }
}
