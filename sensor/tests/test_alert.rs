//! The test alert without a kernel half: what is shown of it and what is not touched by it, and whom the
//! command signals. The whole way, to Alertmanager, is `kernel_deployed`'s.

mod binary;
mod made_up;
mod tools;

use std::collections::BTreeSet;
use std::fs::File;

use binary::{BINARY, Folder, Said, poolwatch};
use made_up::server::Server;
use rustix::fs::{FlockOperation, flock};
use sensor::clock::now_ns;
use sensor::metrics::{Process, text};
use sensor::state::State;
use sensor::test_alert::SHOWN_FOR;
use tokio::signal::unix::{SignalKind, signal};
use tools::PROMTOOL;

/// A busy daemon that was asked so many times, the last one so long ago.
fn asked(times: u32, ago_ns: u64) -> State {
    let state = made_up::state(made_up::busy(), made_up::attached(), made_up::flows());
    state.recognised.set(made_up::recognised());
    for _ in 0..times {
        state.test_alert.set(state.test_alert.get().asked(now_ns() - ago_ns));
    }
    state
}

/// The lines of counts, without those that are of the moment.
fn lines(state: &State) -> BTreeSet<String> {
    let text = text(state, &Process::default()).expect("an exposition");
    let of_the_moment = ["process_", "poolwatch_collector_duration_seconds", "poolwatch_last_seen"];
    let lines = text.lines().filter(|line| !of_the_moment.iter().any(|name| line.starts_with(name)));
    lines.map(str::to_owned).collect()
}

#[test]
fn it_adds_three_series_of_its_own_to_the_metrics_and_later_only_its_count_is_left() {
    const DETECTIONS: &str =
        "poolwatch_detections_total{watchlist=\"test-alert\",target=\"test-alert\",role=\"miner\"} 2";
    const SESSIONS: &str =
        "poolwatch_mining_sessions{watchlist=\"test-alert\",target=\"test-alert\",role=\"miner\"} 1";
    const INFO: &str = "poolwatch_target_info{watchlist=\"test-alert\",target=\"test-alert\",\
        category=\"mining\",confidence=\"confirmed\"} 1";
    let never = lines(&asked(0, 0));
    let shown_ns = u64::try_from(SHOWN_FOR.as_nanos()).expect("five minutes");
    for (ago_ns, expected) in [(0, &[DETECTIONS, SESSIONS, INFO][..]), (shown_ns, &[DETECTIONS])] {
        let now = lines(&asked(2, ago_ns));
        let added: BTreeSet<&str> = now.difference(&never).map(String::as_str).collect();
        assert_eq!(added, expected.iter().copied().collect(), "{ago_ns} ns ago");
        assert!(now.is_superset(&never), "nothing else is touched");
    }
    let text = text(&asked(1, 0), &Process::default()).expect("an exposition");
    let verdict = PROMTOOL.ask_about(&text, &["check", "metrics"]).unwrap_or_else(|error| panic!("{error}"));
    assert!(verdict.success && verdict.said.is_empty(), "{}", verdict.said);
}

#[test]
fn the_api_and_status_show_it_with_a_mark_on_it_as_long_as_it_is_shown() {
    let shown_ns = u64::try_from(SHOWN_FOR.as_nanos()).expect("five minutes");
    for (ago_ns, is_shown) in [(0, true), (shown_ns, false)] {
        let server = Server::start(asked(1, ago_ns));
        for path in ["/api/v1/targets", "/api/v1/detections"] {
            let views = server.get(path).json();
            let views = views.as_array().expect("a list");
            let (test, real): (Vec<_>, Vec<_>) =
                views.iter().partition(|view| view["watchlist"] == "test-alert");
            assert_eq!(test.len(), usize::from(is_shown), "{path}");
            assert!(test.iter().all(|view| !view["synthetic"].is_null()), "{test:?}");
            assert!(!real.is_empty() && real.iter().all(|view| view["synthetic"].is_null()), "{real:?}");
        }
        let said = poolwatch(["status", "--listen", &server.address.to_string()]);
        let line = "\ntest-alert/test-alert: 0 connections, 0 established, 0 packets, 0 bytes, 1 recognised, \
            1 mining now (synthetic: a test alert)\n";
        assert_eq!(said.out.contains(line), is_shown, "{}", said.out);
        assert_eq!(said.out.matches("synthetic").count(), usize::from(is_shown), "{}", said.out);
    }
}

#[test]
fn the_command_signals_whoever_holds_the_pins_and_understands_it_and_nobody_else() {
    // Where the lock's device is the directory's on every machine.
    let pins = tempfile::tempdir_in("/dev/shm").expect("a directory");
    let folder = Folder::new(&format!("[state]\npins = \"{}\"\n", pins.path().display()));
    let (config, pins) = (folder.config(), pins.path());
    let ask = || poolwatch(["test-alert", "--config", &config]);
    let nobody = format!("no daemon holds state.pins, {} (is it running?)", pins.display());
    ask().refuses(&nobody);

    let directory = File::open(pins).expect("the directory");
    flock(&directory, FlockOperation::LockExclusive).expect("nobody else locks it");
    let own = format!("process {}, which holds {}", std::process::id(), pins.display());
    ask().refuses(&format!(
        "{own}, does not know test alerts: it is no daemon, an older one, or still starting"
    ));

    let secured = Folder::new(&format!(
        "[state]\npins = \"{}\"\n[http]\nlisten = \"0.0.0.0:9750\"\nweb_config = \"web.yml\"\n",
        pins.display()
    ));
    let first = format!("process {} shows a mining session that nobody has, ", std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (config, metrics) in [
        (&config, "curl -s http://127.0.0.1:9750/metrics | grep test-alert\n"),
        (&secured.config(), "lines with test-alert in what Prometheus reads at 127.0.0.1:9750, by what /"),
    ] {
        let said = runtime.block_on(async {
            let mut asked = signal(SignalKind::user_defined1()).expect("a handler");
            let output = std::process::Command::new(BINARY)
                .args(["test-alert", "--config", config])
                .output()
                .expect("it starts");
            asked.recv().await.expect("a signal");
            Said::of(&output)
        });
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
        assert!(said.out.starts_with(&first), "{}", said.out);
        for hint in ["PoolwatchHostMines", metrics, "poolwatch status", "for 5 minutes"] {
            assert!(said.out.contains(hint), "{hint}: {}", said.out);
        }
    }

    drop(directory);
    ask().refuses(&nobody);
    let gone = Folder::new("[state]\npins = \"/nowhere/pins\"\n");
    poolwatch(["test-alert", "--config", &gone.config()])
        .refuses("no daemon holds state.pins, /nowhere/pins (is it running?)");
}
