//! `poolwatch status` against a server that is secured, and `poolwatch check` of the web config.

use crate::binary::{Said, poolwatch, poolwatch_without_privileges};
use crate::files::{Files, TLS};
use crate::made_up::server::Server;

const MUTUAL: &str = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";

/// A server behind TLS, client certificates and a password, and a config that tells where it is.
fn secured() -> (Files, Server) {
    let files = Files::new();
    files.certificate("ops", "ca", "DNS:ops.test");
    files.authority("other");
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    let server = Server::secured(files.web(&format!("{TLS}{MUTUAL}basic_auth_users:\n  ops: {hash}\n")));
    let config = format!("[http]\nlisten = \"{}\"\nweb_config = \"web.yml\"\n", server.address);
    files.write("poolwatch.toml", &config);
    files.write("password", "secret\n");
    files.write("wrong", "secrets\n");
    (files, server)
}

/// `status`, with these arguments, of which those that name a file of `files` become its path.
fn status(files: &Files, arguments: &[&str]) -> Said {
    let path = |argument: &&str| match files.path(argument) {
        path if path.is_file() => crate::files::utf8(&path).to_owned(),
        _ => (*argument).to_owned(),
    };
    poolwatch(["status".to_owned()].into_iter().chain(arguments.iter().map(path)))
}

const SHOWN: [&str; 4] = ["--cert-file", "ops.crt", "--key-file", "ops.key"];
const NAMED: [&str; 4] = ["--username", "ops", "--password-file", "password"];
const TRUSTED: [&str; 2] = ["--ca-file", "ca.crt"];
const CONFIG: [&str; 2] = ["--config", "poolwatch.toml"];

#[test]
fn status_comes_in_as_prometheus_does() {
    let (files, server) = secured();
    let listen = ["--listen", &server.address.to_string()];
    let name = ["--server-name", "poolwatch.test"];
    for (description, arguments) in [
        ("by config, and the address in the certificate", [&CONFIG[..], &TRUSTED, &SHOWN, &NAMED].concat()),
        ("by config and name", [&CONFIG[..], &TRUSTED, &SHOWN, &NAMED, &name].concat()),
        ("by address alone", [&listen[..], &TRUSTED, &SHOWN, &NAMED].concat()),
    ] {
        let said = status(&files, &arguments);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{description}");
        assert!(said.out.starts_with("ready\ninterface eth0: tcx\n"), "{description}: {}", said.out);
    }
}

#[test]
fn status_says_what_it_lacks() {
    let (files, server) = secured();
    let address = server.address.to_string();
    let base = format!("https://{address}");
    let named = |file| ["--username", "ops", "--password-file", file];
    let other_ca = ["--ca-file", "other.crt"];
    let other_name = ["--server-name", "elsewhere.test"];
    for (description, arguments, expected) in [
        (
            "no CA",
            [&CONFIG[..], &SHOWN[..0]].concat(),
            "the daemon speaks TLS: --ca-file FILE says who signed its certificate".to_owned(),
        ),
        (
            "another CA",
            [&CONFIG[..], &other_ca, &SHOWN, &NAMED].concat(),
            format!("{base}: TLS: io: invalid peer certificate: UnknownIssuer"),
        ),
        (
            "another name",
            [&CONFIG[..], &TRUSTED, &other_name, &SHOWN, &NAMED].concat(),
            format!(
                "https://elsewhere.test:{}: TLS: io: invalid peer certificate: certificate not valid for name \
                 \"elsewhere.test\"; certificate is only valid for DnsName(\"poolwatch.test\") or \
                 IpAddress(127.0.0.1)",
                server.address.port()
            ),
        ),
        (
            "no certificate",
            [&CONFIG[..], &TRUSTED, &NAMED].concat(),
            format!("{base}: TLS: io: received fatal alert: CertificateRequired"),
        ),
        (
            "no password",
            [&CONFIG[..], &TRUSTED, &SHOWN].concat(),
            format!("{base} wants a name and a password: --username and --password-file"),
        ),
        (
            "a wrong password",
            [&CONFIG[..], &TRUSTED, &SHOWN, &named("wrong")].concat(),
            format!("{base} does not know this name with this password"),
        ),
        (
            "no password file",
            [&CONFIG[..], &TRUSTED, &SHOWN, &named("/none")].concat(),
            "--password-file: /none: cannot be read: No such file or directory (os error 2)".to_owned(),
        ),
        (
            "a certificate that is none",
            [&CONFIG[..], &TRUSTED, &["--cert-file", "password", "--key-file", "ops.key"]].concat(),
            format!("--cert-file: {}: it holds no certificate in PEM", files.text("password")),
        ),
    ] {
        let said = status(&files, &arguments);
        assert_eq!((said.code, said.err), (Some(1), format!("poolwatch: {expected}\n")), "{description}");
    }
    let said = status(&files, &["--listen", &address]);
    assert!(said.err.contains("if it speaks TLS: --ca-file"), "{}", said.err);
    for (description, arguments) in [
        ("a certificate without its key", [&TRUSTED[..], &SHOWN[..2]].concat()),
        ("a name without a password", NAMED[..2].to_vec()),
        ("a server's name without TLS", other_name.to_vec()),
    ] {
        assert_eq!(status(&files, &arguments).code, Some(2), "{description}");
    }
}

#[test]
fn check_reads_the_web_config_and_all_that_it_names() {
    let files = Files::new();
    files.web(TLS);
    let config = files.write("poolwatch.toml", "[http]\nweb_config = \"web.yml\"\n");
    let check = || poolwatch_without_privileges(&["check", "--config", crate::files::utf8(&config)]);
    let said = check();
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    assert!(!said.out.contains("note:"), "{}", said.out);

    files.write("web.yml", "");
    check().refuses(&format!(
        "{}:2: http.web_config: {}: it says nothing, and a file that was emptied must not open what was secured; \
         for plain HTTP without passwords take http.web_config out of the config and restart",
        files.text("poolwatch.toml"),
        files.text("web.yml")
    ));

    files.write("web.yml", "http_server_config:\n  http2: false\n");
    let note = format!(
        "note: {}: neither TLS nor passwords: whoever reaches the port is answered\n",
        files.text("web.yml")
    );
    assert!(check().out.contains(&note), "{}", check().out);

    files.write("web.yml", &format!("{TLS}  min_version: TLS11\n"));
    check().refuses(&format!(
        "{}:2: http.web_config: {}:4: tls_server_config.min_version: TLS11 is not spoken, being broken \
         (RFC 8996): TLS12 or TLS13",
        files.text("poolwatch.toml"),
        files.text("web.yml")
    ));
}
