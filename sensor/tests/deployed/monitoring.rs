//! Debian's Prometheus and Alertmanager in a namespace, on the rules that deploy/ ships, and what they
//! answer over HTTP. Ended by process id when dropped; nothing they write outlives them.

use std::env;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::deploy;
use crate::deployed::once;
use crate::support::namespace::Namespace;
use crate::support::patience;
use crate::tools::{ALERTMANAGER, PROMETHEUS, Tool};

const PROMETHEUS_AT: &str = "127.0.0.1:9090";
/// A second one's, which is sent to or sends.
const ANOTHER_AT: &str = "127.0.0.1:9091";
const ALERTMANAGER_AT: &str = "127.0.0.1:9093";
/// Both learn of their targets at most every five seconds, one after the other.
const STEPS: u32 = 3;

/// Lets a Prometheus take what others send.
pub const RECEIVES: &str = "--web.enable-remote-write-receiver";

/// In place of what the shipped files say: tests wait for scrapes and evaluations.
const OFTEN: &str = "1s";

/// Who is told, in Alertmanager's words: nobody, since its API is what tests ask.
const ROUTE: &str = "route:\n  receiver: duty\nreceivers:\n  - name: duty\n";

/// What Debian's Alertmanager reads before anything else, under /usr.
const TEMPLATE: &str = "share/prometheus/alertmanager/default.tmpl";
/// Lays the directory of the first argument over /usr/share, for the program of the others alone.
const OVERLAID: &str =
    r#"mount -t overlay overlay -o "lowerdir=$1:/usr/share" /usr/share && shift && exec "$@""#;

/// Alertmanager, also where its package was unpacked in place of being installed: it then sees the files
/// of the package where it looks for them, in a mount namespace of its own.
fn alertmanager(place: &Namespace) -> Command {
    if Path::new("/usr").join(TEMPLATE).exists() {
        return place.command(ALERTMANAGER.name);
    }
    let search = env::var_os("PATH").unwrap_or_default();
    let program = env::split_paths(&search)
        .find_map(|directory| directory.join(ALERTMANAGER.name).canonicalize().ok())
        .expect("it is installed");
    let share = program.ancestors().nth(2).expect("a package's /usr").join("share");
    let mut command = place.command("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", OVERLAID, "sh"]).arg(share).arg(program);
    command
}

/// A program of the operating system that runs until it is dropped.
struct Program {
    child: Child,
    name: &'static str,
    directory: TempDir,
}

impl Program {
    /// `command` ends in the tool, which keeps its process id.
    fn start(tool: &Tool, mut command: Command, directory: TempDir, arguments: &[String]) -> Self {
        let log = File::create(directory.path().join("log")).expect("a log");
        command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        Self { child: command.spawn().expect("nsenter is installed"), name: tool.name, directory }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).expect("the log")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("── what {} wrote\n{}", self.name, self.log());
        }
    }
}

/// The shipped scrape configuration, scraping often what this says in place of the one host's address.
pub fn scraping(file: &str, discovery: (&str, &str)) -> String {
    let config = deploy::text(file);
    let config = once(&config, "scrape_interval: 30s", &format!("scrape_interval: {OFTEN}"));
    let config = once(&config, "evaluation_interval: 30s", &format!("evaluation_interval: {OFTEN}"));
    once(&config, discovery.0, discovery.1)
}

/// A Prometheus in a namespace.
pub struct Prometheus<'a> {
    place: &'a Namespace,
    at: &'static str,
    _program: Program,
}

impl<'a> Prometheus<'a> {
    /// On the `prometheus.yml` in this directory.
    fn start(place: &'a Namespace, at: &'static str, directory: TempDir, more: &[String]) -> Self {
        PROMETHEUS.approve(&["--version"]);
        let mut arguments = vec![
            format!("--config.file={}", directory.path().join("prometheus.yml").display()),
            format!("--web.listen-address={at}"),
        ];
        arguments.extend_from_slice(more);
        let program = Program::start(&PROMETHEUS, place.command(PROMETHEUS.name), directory, &arguments);
        Self { place, at, _program: program }
    }

    /// One in agent mode, beside another.
    pub fn agent(place: &'a Namespace, config: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("prometheus.yml"), config).expect("a config");
        let data = format!("--storage.agent.path={}", directory.path().join("data").display());
        Self::start(place, ANOTHER_AT, directory, &["--enable-feature=agent".to_owned(), data])
    }

    /// One that scrapes nobody and has what it is sent, beside another.
    pub fn receiver_alone(place: &'a Namespace) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::write(directory.path().join("prometheus.yml"), "").expect("a config");
        let data = format!("--storage.tsdb.path={}", directory.path().join("data").display());
        Self::start(place, ANOTHER_AT, directory, &[RECEIVES.to_owned(), data])
    }

    /// Where it takes what it is sent.
    pub fn receiver(&self) -> String {
        format!("http://{}/api/v1/write", self.at)
    }

    /// What Prometheus says of itself.
    pub fn own_metrics(&self) -> String {
        ask(self.place, &format!("http://{}/metrics", self.at), &[]).expect("Prometheus answers")
    }

    /// The `data` of an answer of Prometheus' API.
    pub fn api(&self, path: &str, query: &[(&str, &str)]) -> Result<Value, String> {
        let text = ask(self.place, &format!("http://{}/api/v1/{path}", self.at), query)?;
        let answer: Value = serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))?;
        if answer["status"] == "success" { Ok(answer["data"].clone()) } else { Err(text) }
    }

    /// The series that an expression gives now: each its labels and its value.
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>, String> {
        let data = self.api("query", &[("query", expression)])?;
        let series = data["result"].as_array().ok_or_else(|| data.to_string())?;
        let value =
            |one: &Value| one["value"][1].as_str().and_then(|text| text.parse().ok()).unwrap_or(f64::NAN);
        Ok(series.iter().map(|one| (one["metric"].clone(), value(one))).collect())
    }

    /// Waits until an expression gives what it should.
    pub fn wait_for(&self, expression: &str, is: impl Fn(&[(Value, f64)]) -> bool) -> Vec<(Value, f64)> {
        let look = || self.query(expression);
        eventually(expression, look, |found| found.as_ref().is_ok_and(|found| is(found))).unwrap_or_default()
    }
}

pub struct Monitoring<'a> {
    place: &'a Namespace,
    pub prometheus: Prometheus<'a>,
    _alertmanager: Program,
}

impl<'a> Monitoring<'a> {
    /// Starts both on this configuration of Prometheus, with all shipped rules beside it, as `change`
    /// leaves them.
    pub fn start(place: &'a Namespace, config: &str, change: impl Fn(&str, String) -> String) -> Self {
        Self::start_with(place, config, &[], change)
    }

    /// The same, with more options of Prometheus.
    pub fn start_with(
        place: &'a Namespace,
        config: &str,
        options: &[&str],
        change: impl Fn(&str, String) -> String,
    ) -> Self {
        ALERTMANAGER.approve(&["--version"]);
        let directory = TempDir::new().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        for entry in fs::read_dir(deploy::path("prometheus")).expect("it is shipped") {
            let name = entry.expect("an entry").file_name().into_string().expect("UTF-8");
            if name.ends_with(".rules.yml") {
                let rules = change(&name, deploy::text(&format!("prometheus/{name}")));
                fs::write(path(&name), rules).expect("rules");
            }
        }
        let told = format!(
            "{config}\nalerting:\n  alertmanagers:\n    - static_configs:\n        - targets: [\"{ALERTMANAGER_AT}\"]\n"
        );
        fs::write(path("prometheus.yml"), told).expect("a config");
        let data = format!("--storage.tsdb.path={}", path("data"));
        let more = options.iter().map(|option| (*option).to_owned()).chain([data]).collect::<Vec<_>>();
        let prometheus = Prometheus::start(place, PROMETHEUS_AT, directory, &more);

        let directory = TempDir::new().expect("a directory");
        let path = |name: &str| directory.path().join(name).display().to_string();
        fs::write(path("alertmanager.yml"), ROUTE).expect("a config");
        let arguments = [
            format!("--config.file={}", path("alertmanager.yml")),
            format!("--storage.path={}", path("data")),
            format!("--web.listen-address={ALERTMANAGER_AT}"),
            "--cluster.listen-address=".to_owned(),
        ];
        let alertmanager = Program::start(&ALERTMANAGER, alertmanager(place), directory, &arguments);
        Self { place, prometheus, _alertmanager: alertmanager }
    }

    /// As [`Prometheus::query`].
    pub fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>, String> {
        self.prometheus.query(expression)
    }

    /// As [`Prometheus::wait_for`].
    pub fn wait_for(&self, expression: &str, is: impl Fn(&[(Value, f64)]) -> bool) -> Vec<(Value, f64)> {
        self.prometheus.wait_for(expression, is)
    }

    /// The alerts of this name that Alertmanager has now.
    pub fn alerts(&self, name: &str) -> Result<Vec<Value>, String> {
        let url = format!("http://{ALERTMANAGER_AT}/api/v2/alerts");
        let text = ask(self.place, &url, &[("filter", &format!("alertname=\"{name}\""))])?;
        serde_json::from_str(&text).map_err(|error| format!("{error}: {text}"))
    }

    /// Alertmanager answers, and has no alert of this name.
    pub fn no_alert(&self, name: &str) {
        let found = eventually("an answer of Alertmanager", || self.alerts(name), Result::is_ok);
        assert_eq!(found, Ok(vec![]), "{name}");
    }

    /// Waits until Alertmanager has an alert of this name with this label, and prints it.
    pub fn alert(&self, name: &str, label: (&str, &str)) -> Value {
        let (key, value) = label;
        let mut alerts = eventually(
            &format!("{name} with {key}=\"{value}\""),
            || self.alerts(name),
            |found| found.as_ref().is_ok_and(|found| found.iter().any(|alert| alert["labels"][key] == value)),
        )
        .unwrap_or_default();
        alerts.retain(|alert| alert["labels"][key] == value);
        assert_eq!(alerts.len(), 1, "{alerts:#?}");
        println!("Alertmanager, GET /api/v2/alerts: {:#}", alerts[0]);
        alerts.remove(0)
    }
}

/// Body of an answer; an error is what was said instead.
fn ask(place: &Namespace, url: &str, query: &[(&str, &str)]) -> Result<String, String> {
    place.enter(|| {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .timeout_global(Some(patience()))
            .http_status_as_error(false)
            .proxy(None)
            .build()
            .into();
        let answer = agent.get(url).query_pairs(query.iter().copied()).call();
        let mut answer = answer.map_err(|error| error.to_string())?;
        let text = answer.body_mut().read_to_string().map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(text) } else { Err(format!("{}: {text}", answer.status())) }
    })
}

/// Looks again and again until it is so; then what was seen.
pub fn eventually<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, is: impl Fn(&T) -> bool) -> T {
    let since = Instant::now();
    loop {
        let seen = look();
        if is(&seen) {
            return seen;
        }
        assert!(since.elapsed() < STEPS * patience(), "never {what}; last: {seen:#?}");
        thread::sleep(Duration::from_millis(200));
    }
}
