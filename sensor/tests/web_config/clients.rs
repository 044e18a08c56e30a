//! Certificates of clients: the five policies, and the names that one must carry.

use crate::curl::{Asked, over_tls};
use crate::files::{Files, TLS};
use crate::made_up::server::Server;

/// How curl shows a certificate of these files, or none.
fn ask_as(server: &Server, files: &Files, client: &str, version: &str) -> Asked {
    let (cert, key) = (files.text(&format!("{client}.crt")), files.text(&format!("{client}.key")));
    let shown = ["--tls-max", version, "--cert", &cert, "--key", &key];
    over_tls(server, files, "/metrics", if client == "none" { &shown[..2] } else { &shown })
}

/// With one certificate of the CA and one of another, which calls itself the same.
fn files() -> Files {
    let files = Files::new();
    files.authority("stranger");
    files.certificate("known", "ca", "DNS:prometheus.test");
    files.certificate("unknown", "stranger", "DNS:prometheus.test");
    files
}

#[test]
fn who_may_connect_is_what_the_policy_says() {
    let files = files();
    for (policy, ca, admitted) in [
        ("NoClientCert", false, ["none", "known", "unknown"].as_slice()),
        ("RequestClientCert", true, &["none", "known", "unknown"]),
        ("RequireAnyClientCert", false, &["known", "unknown"]),
        ("RequireClientCert", true, &["known", "unknown"]),
        ("VerifyClientCertIfGiven", true, &["none", "known"]),
        ("RequireAndVerifyClientCert", true, &["known"]),
    ] {
        let ca = if ca { "  client_ca_file: ca.crt\n" } else { "" };
        let server = Server::secured(files.web(&format!("{TLS}  client_auth_type: {policy}\n{ca}")));
        for client in ["none", "known", "unknown"] {
            for version in ["1.2", "1.3"] {
                let asked = ask_as(&server, &files, client, version);
                let expected = admitted.contains(&client).then_some(200);
                assert_eq!(asked.status(), expected, "{policy}, {client}, {version}: {}", asked.log);
                assert!(asked.code == 0 || asked.log.contains("alert"), "{policy}, {client}: {}", asked.log);
            }
        }
    }
}

#[test]
fn a_certificate_is_admitted_by_any_of_its_names_and_only_by_the_whole_of_it() {
    let files = files();
    for (name, names) in [
        ("ip", "IP:192.0.2.7"),
        ("ip6", "IP:2001:db8::7"),
        ("mail", "email:ops@example.test"),
        ("uri", "URI:spiffe://example.test/prometheus"),
        ("second", "DNS:other.test,DNS:prometheus.test"),
        ("wildcard", "DNS:*.test"),
        ("below", "DNS:x.prometheus.test"),
    ] {
        files.certificate(name, "ca", names);
    }
    let clients = ["known", "ip", "ip6", "mail", "uri", "second", "wildcard", "below", "unknown", "none"];
    let policy = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    for (allowed, admitted) in [
        ("[prometheus.test]", ["known", "second"].as_slice()),
        ("[192.0.2.7]", &["ip"]),
        ("[\"2001:db8:0::7\"]", &["ip6"]),
        ("[ops@example.test]", &["mail"]),
        ("[\"spiffe://example.test/prometheus\"]", &["uri"]),
        ("[nobody.test, other.test, 192.0.2.7]", &["ip", "second"]),
    ] {
        let server = Server::secured(files.web(&format!("{TLS}{policy}  client_allowed_sans: {allowed}\n")));
        for client in clients {
            let asked = ask_as(&server, &files, client, "1.3");
            let expected = admitted.contains(&client).then_some(200);
            assert_eq!(asked.status(), expected, "{allowed}, {client}: {}", asked.log);
        }
    }
}

#[test]
fn policies_that_anybody_passes_are_noted() {
    let files = files();
    for (policy, notes) in [
        ("RequireAnyClientCert", 1),
        ("RequestClientCert", 1),
        ("VerifyClientCertIfGiven", 0),
        ("RequireAndVerifyClientCert", 0),
    ] {
        let web = files.web(&format!("{TLS}  client_auth_type: {policy}\n  client_ca_file: ca.crt\n"));
        // Whoever shows no certificate is answered under the third, which is what it says.
        let about = web.notes.iter().filter(|note| note.contains("client_auth_type")).count();
        assert_eq!(about, notes, "{policy}: {:?}", web.notes);
    }
}

#[test]
fn what_asks_less_of_clients_than_before_is_weaker() {
    let files = files();
    let web = |lines: &str| files.web(&format!("{TLS}{lines}"));
    let (ca, names) = ("  client_ca_file: ca.crt\n", "  client_allowed_sans: [client.test]\n");
    let required = format!("  client_auth_type: RequireAndVerifyClientCert\n{ca}");
    let steps = [
        (web(&format!("{required}{names}")), "TLS, a named client's certificate"),
        (web(&required), "TLS, a client's certificate"),
        (web("  client_auth_type: RequireAnyClientCert\n"), "TLS, any client's certificate"),
        (web(&format!("  client_auth_type: VerifyClientCertIfGiven\n{ca}")), "TLS"),
    ];
    for (web, expected) in &steps {
        assert_eq!(web.secured_by(), *expected);
        assert!(!web.is_weaker_than(web));
    }
    for pair in steps.windows(2) {
        assert!(
            pair[1].0.is_weaker_than(&pair[0].0) && !pair[0].0.is_weaker_than(&pair[1].0),
            "{}",
            pair[1].1
        );
    }
}

/// No reload goes over to what opens it.
#[test]
fn what_answers_everybody_or_in_plain_opens_what_did_not() {
    let files = files();
    let users = format!("basic_auth_users:\n  ops: {}\n", bcrypt::hash("secret", 4).expect("a hash"));
    let (ca, required) = ("  client_ca_file: ca.crt\n", "  client_auth_type: RequireAndVerifyClientCert\n");
    // Each with whether it is TLS, and what it asks for: nothing, what anybody may have, what few have.
    let webs = [
        (false, 0, "http_server_config:\n  http2: false\n".to_owned()),
        (true, 0, TLS.to_owned()),
        (true, 0, format!("{TLS}  client_auth_type: VerifyClientCertIfGiven\n{ca}")),
        (true, 1, format!("{TLS}  client_auth_type: RequireAnyClientCert\n")),
        (false, 2, users.clone()),
        (true, 2, format!("{TLS}{users}")),
        (true, 2, format!("{TLS}{required}{ca}")),
        (true, 2, format!("{TLS}{required}{ca}  client_allowed_sans: [client.test]\n")),
        (true, 2, format!("{TLS}{required}{ca}{users}")),
    ];
    let webs = webs.map(|(tls, asked, text)| (tls, asked, files.web(&text), text));
    for (tls_before, asked_before, before, text_before) in &webs {
        for (tls, asked, now, text) in &webs {
            let opens = *tls_before && !tls || asked < asked_before;
            assert_eq!(now.opens(before), opens, "from\n{text_before}to\n{text}");
        }
    }
}
