//! A real Prometheus scrapes: over client certificates and passwords it comes in, and without it does not.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::files::{Files, TLS, utf8};
use crate::made_up::server::Server;
use crate::tools::PROMETHEUS;

/// It starts in a second or two, and scrapes each second; on a busy machine all of it takes longer.
const PATIENCE: Duration = Duration::from_mins(1);

/// One that runs, ended with its value.
struct Prometheus {
    child: Child,
    port: u16,
    directory: TempDir,
}

impl Prometheus {
    fn start(config: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let path = directory.path().join("prometheus.yml");
        std::fs::write(&path, config).expect("a config");
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = free.local_addr().expect("an address").port();
        drop(free);
        let log = std::fs::File::create(directory.path().join("log")).expect("a log");
        let child = Command::new(PROMETHEUS.name)
            .arg(format!("--config.file={}", utf8(&path)))
            .arg(format!("--storage.tsdb.path={}", utf8(&directory.path().join("data"))))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} (package {}): {error}", PROMETHEUS.name, PROMETHEUS.package));
        Self { child, port, directory }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// Job and value of each series that the query finds; none while it does not answer yet.
    fn query(&self, query: &str) -> Vec<(String, String)> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let agent: ureq::Agent = ureq::Agent::config_builder().proxy(None).build().into();
        let answer = agent.get(url).query("query", query).call();
        let Ok(text) = answer.and_then(|mut answer| answer.body_mut().read_to_string()) else {
            return Vec::new();
        };
        let answer: Value = serde_json::from_str(&text).expect("JSON");
        let series = answer["data"]["result"].as_array().expect("a list");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        series.iter().map(|series| (text(&series["metric"]["job"]), text(&series["value"][1]))).collect()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prometheus_comes_in_with_a_certificate_or_a_password_and_not_without() {
    let files = Files::new();
    files.certificate("prometheus", "ca", "DNS:prometheus.test");
    files.authority("stranger");
    files.certificate("unknown", "stranger", "DNS:prometheus.test");
    let hash = bcrypt::hash("secret", 4).expect("a hash");
    files.write("password", "secret\n");
    files.write("wrong", "secrets\n");
    let mutual = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n  \
                  client_allowed_sans: [prometheus.test]\n";
    let mutual = Server::secured(files.web(&format!("{TLS}{mutual}")));
    let passwords = Server::secured(files.web(&format!("{TLS}basic_auth_users:\n  prometheus: {hash}\n")));

    let trusts = format!("ca_file: {}, server_name: poolwatch.test", files.text("ca.crt"));
    let shows = |name: &str| {
        let [cert, key] = ["crt", "key"].map(|kind| files.text(&format!("{name}.{kind}")));
        format!("tls_config: {{ {trusts}, cert_file: {cert}, key_file: {key} }}")
    };
    let knows = |file: &str| {
        let password = files.text(file);
        format!(
            "tls_config: {{ {trusts} }}\n    basic_auth: {{ username: prometheus, password_file: {password} }}"
        )
    };
    let nothing = format!("tls_config: {{ {trusts} }}");
    let jobs = [
        ("certificate", &mutual, shows("prometheus"), "1"),
        ("no-certificate", &mutual, nothing.clone(), "0"),
        ("unknown-certificate", &mutual, shows("unknown"), "0"),
        ("password", &passwords, knows("password"), "1"),
        ("no-password", &passwords, nothing, "0"),
        ("wrong-password", &passwords, knows("wrong"), "0"),
    ];
    let mut config = "global: { scrape_interval: 1s, scrape_timeout: 1s }\nscrape_configs:\n".to_owned();
    for (job, server, secured, _) in &jobs {
        let target = server.address;
        let _ = write!(
            config,
            "  - job_name: {job}\n    scheme: https\n    {secured}\n    static_configs: [{{ targets: [\"{target}\"] }}]\n"
        );
    }
    let prometheus = Prometheus::start(&config);

    let mut expected: Vec<_> =
        jobs.iter().map(|(job, .., up)| ((*job).to_owned(), (*up).to_owned())).collect();
    expected.sort();
    let since = Instant::now();
    loop {
        let mut up = prometheus.query("up");
        up.sort();
        if up == expected {
            break;
        }
        assert!(since.elapsed() < PATIENCE, "{up:?}\n{}", prometheus.log());
        thread::sleep(Duration::from_millis(200));
    }
    let mut scraped = prometheus.query("poolwatch_flows_evicted_total");
    scraped.sort();
    assert_eq!(
        scraped,
        [("certificate".to_owned(), "29".to_owned()), ("password".to_owned(), "29".to_owned())]
    );
}
