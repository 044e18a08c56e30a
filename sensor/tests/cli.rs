//! The binary as people and scripts meet it: what it prints where, and the exit code. What
//! messages say in detail is for the tests of config, lists and replay.

mod binary;
mod made_up;

use std::fmt::Write as _;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use binary::{BINARY, Folder, Said, poolwatch, poolwatch_without_privileges, text};
use made_up::server::Server;
use sensor::config::Config;
use sensor::flows::View;

const COMMANDS: [&str; 7] = ["run", "check", "replay", "lists", "status", "test-alert", "detach"];

/// What a terminal would obey: an escape sequence that clears it.
const CLEARS: &str = "a\u{1b}[2J";

#[test]
fn every_help_says_what_it_is_about_and_shows_an_example() {
    for command in COMMANDS {
        let help = poolwatch([command, "--help"]);
        assert_eq!((help.code, help.err.as_str()), (Some(0), ""), "{command}");
        assert!(help.out.contains("Usage: poolwatch "), "{}", help.out);
        let (_, examples) = help.out.split_once("Examples:\n").expect(command);
        assert!(examples.contains(&format!("poolwatch {command}")), "{examples}");
    }
    let help = poolwatch(["--help"]);
    assert_eq!((help.code, help.err.as_str()), (Some(0), ""));
    assert!(help.out.contains("Examples:\n  poolwatch run"), "{}", help.out);
    for command in COMMANDS {
        assert!(help.out.contains(&format!("\n  {command} ")), "{command}:\n{}", help.out);
    }
}

#[test]
fn the_version_is_the_package_s() {
    let version = poolwatch(["--version"]);
    assert_eq!(version.code, Some(0));
    assert_eq!(version.out, format!("poolwatch {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn the_readme_shows_every_command_and_a_config_that_is_sound() {
    let readme = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../README.md")).expect("README.md");
    let rows = readme.lines().filter_map(|line| line.strip_prefix("| `poolwatch "));
    let mut commands: Vec<_> = rows.filter_map(|row| row.split(['`', ' ']).next()).collect();
    let mut expected = COMMANDS.to_vec();
    commands.sort_unstable();
    expected.sort_unstable();
    assert_eq!(commands, expected);

    let (_, config) = readme.split_once("```toml\n").expect("a config");
    let (config, _) = config.split_once("```").expect("its end");
    let config = Config::parse(Path::new("README.md"), config.to_owned()).expect("it is sound");
    assert_ne!(config, Config { document: config.document.clone(), ..Config::default() });
}

#[test]
fn bad_usage_is_exit_2_with_the_usage_on_stderr() {
    let table: [&[&str]; 10] = [
        &[],
        &["observe"],
        &["check", "--verbose"],
        &["check", "extra"],
        &["check", "--config"],
        &["run", "--listen", "localhost"],
        &["status", "--listen", "9750"],
        &["test-alert", "now"],
        &["replay"],
        &["replay", "--format", "xml", "x.pcap"],
    ];
    for arguments in table {
        let said = poolwatch(arguments);
        assert_eq!((said.code, said.out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(!said.err.is_empty(), "{arguments:?}");
    }
}

#[test]
fn what_is_wrong_with_config_or_list_is_one_line_and_exit_1_for_every_command_that_reads_them() {
    let folder = Folder::new("[http]\nlisen = \"127.0.0.1:9750\"\n");
    folder.write("feed.txt", "192.0.2.0/24\n192.0.2.0/33\n");
    let list = "[[watchlist]]\nname = \"office\"\n[[watchlist.feed]]\npath = \"feed.txt\"\n";
    let list = text(&folder.write("list.toml", list)).to_owned();
    let (unknown, missing) = (folder.config(), text(&folder.path("missing.toml")).to_owned());
    let feed = text(&folder.path("feed.txt")).to_owned();
    let table = [
        (&unknown, format!("{unknown}:2: http.lisen: unknown key, expected `listen` or `web_config`")),
        (&missing, format!("{missing}: cannot be read: No such file or directory (os error 2)")),
        (
            &list,
            format!(
                "{list}:4: watchlist \"office\": feed 1: path: {feed}:2: \"192.0.2.0/33\" is not an IPv4 \
                 prefix: its length is over 32"
            ),
        ),
    ];
    for (config, expected) in &table {
        for command in ["check", "lists"] {
            poolwatch([command, "--config", config]).refuses(expected);
        }
        poolwatch(["lists", "--lookup", "192.0.2.1", "--config", config]).refuses(expected);
        poolwatch(["replay", "x.pcap", "--config", config]).refuses(expected);
        // Before what it lacks: a config can be seen to be wrong by anyone.
        poolwatch_without_privileges(&["run", "--config", config]).refuses(expected);
    }
    for (config, expected) in &table[..2] {
        poolwatch(["status", "--config", config]).refuses(expected);
        poolwatch(["detach", "--config", config]).refuses(expected);
        poolwatch(["test-alert", "--config", config]).refuses(expected);
    }
}

#[test]
fn check_prints_what_would_be_watched_and_where_it_is_written() {
    let folder = Folder::new(
        "[[watchlist]]\nname = \"office\"\nprefixes = [\"198.51.100.0/24\"]\nendpoints = [\"203.0.113.7:3333\"]\n",
    );
    let config = folder.config();
    let said = poolwatch(["check", "--config", &config]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let cells = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let rows: Vec<_> = said.out.lines().map(cells).collect();
    let targets = rows.iter().skip(1).take_while(|row| !row.is_empty()).count().to_string();
    for row in [
        &["mining", "mining", "supportxmr", "confirmed", "0", "0", "1", "Maltrail,"][..],
        &["mining", "mining", "unlisted", "confirmed", "0", "0", "0"],
        &["dprk", "sanctioned", "star-kp", "confirmed", "1", "0", "0", "APNIC:"],
        &["office", "custom", "office", "confirmed", "1", "1", "0", &config],
        &["targets", &targets, "of", "1024"],
    ] {
        assert!(
            rows.iter()
                .any(|found| found.starts_with(&row.iter().map(|&s| s.to_owned()).collect::<Vec<_>>())),
            "{row:?}:\n{}",
            said.out
        );
    }
    assert!(said.out.ends_with(&format!("{config} is good\n")), "{}", said.out);
}

#[test]
fn lists_answers_a_lookup_by_its_exit_code() {
    let folder = Folder::new("[[watchlist]]\nname = \"office\"\ndomains = [\"pool.example\"]\n");
    let config = folder.config();
    for (asked, code, answer) in [
        ("175.45.176.9", 0, "175.45.176.9 → dprk/star-kp (prefix 175.45.176.0/22, confirmed): source: APNIC"),
        (
            "pool.supportxmr.com",
            0,
            "pool.supportxmr.com → mining/supportxmr (domain supportxmr.com, confirmed, alive): source: Maltrail",
        ),
        ("a.pool.example", 0, "a.pool.example → office/office (domain pool.example, confirmed): source: "),
        ("192.0.2.1", 1, "192.0.2.1 → nothing matches\n"),
        ("192.0.2.1:3333", 1, "192.0.2.1:3333 → nothing matches\n"),
    ] {
        let said = poolwatch(["lists", "--lookup", asked, "--config", &config]);
        assert_eq!((said.code, said.err.as_str()), (Some(code), ""), "{asked}");
        assert!(said.out.starts_with(answer), "{}", said.out);
    }
    let nonsense = poolwatch(["lists", "--lookup", "a b", "--config", &config]);
    nonsense.refuses("\"a b\" is not an address or a host name, with or without a port");
    let all = poolwatch(["lists", "--config", &config]);
    assert_eq!((all.code, all.err.as_str()), (Some(0), ""));
    for line in ["dprk (sanctioned, as of ", "    175.45.176.0/22", "office (custom)"] {
        assert!(all.out.lines().any(|found| found.starts_with(line)), "{line}:\n{}", all.out);
    }
}

#[test]
fn status_says_how_a_daemon_stands_and_returns_it() {
    let state = made_up::state(made_up::busy(), made_up::attached(), View::default());
    state.recognised.set(made_up::recognised());
    let ready = Server::start(state);
    let said = poolwatch(["status", "--listen", &ready.address.to_string()]);
    assert_eq!((said.code, said.err.as_str()), (Some(0), ""));
    let expected = "ready\n\
        interface eth0: tcx\n\
        dprk/star-kp: 90 connections, 50 established, 860 packets, 9007199254748040 bytes, \
        216 recognised, 61 mining now\n\
        office/office: ";
    assert!(said.out.starts_with(expected), "{}", said.out);
    assert!(said.out.ends_with(" targets of which nothing was seen\n"), "{}", said.out);
    assert!(!said.out.contains("unicom"), "{}", said.out);

    let not = Server::busy();
    let said = poolwatch(["status", "--listen", &not.address.to_string()]);
    assert_eq!((said.code, said.err.as_str()), (Some(1), ""), "{}", said.out);
    assert!(said.out.starts_with("not ready: interface ppp0: "), "{}", said.out);
}

#[test]
fn status_without_a_daemon_names_the_address_that_it_asked() {
    let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port").local_addr().expect("an address");
    let folder = Folder::new(&format!("[http]\nlisten = \"{free}\"\n"));
    for arguments in [["--config", &folder.config()], ["--listen", &free.to_string()]] {
        let said = poolwatch(["status"].iter().chain(&arguments));
        assert_eq!((said.code, said.out.as_str()), (Some(1), ""));
        assert!(
            said.err.starts_with(&format!("poolwatch: no daemon answers at {free} (is it running?): ")),
            "{}",
            said.err
        );
        assert_eq!(said.err.lines().count(), 1, "{}", said.err);
    }
}

#[test]
fn run_and_detach_name_the_capabilities_that_are_missing_before_they_touch_anything() {
    let busy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let listen = busy.local_addr().expect("an address");
    let folder = Folder::new(&format!("[http]\nlisten = \"{listen}\"\n[state]\npins = \"/nowhere/pins\"\n"));
    for command in ["run", "detach"] {
        poolwatch_without_privileges(&[command, "--config", &folder.config()]).refuses(
            "missing CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON: run as root, through the systemd unit, or give \
             the binary its capabilities (setcap cap_bpf,cap_net_admin,cap_perfmon+ep)",
        );
    }
}

/// A config whose lists are longer, when they are printed, than a pipe's buffer.
fn long_config() -> String {
    let mut config = "limits.targets = 4000\n".to_owned();
    for number in 0..2000 {
        let name = format!("list-{number}");
        writeln!(config, "[[watchlist]]\nname = \"{name}\"\ndomains = [\"{name}.example\"]")
            .expect("a string");
    }
    config
}

#[test]
fn a_reader_who_has_gone_away_is_a_quiet_end() {
    let folder = Folder::new(&long_config());
    let config = folder.config();
    let table: [&[&str]; 5] = [
        &["check", "--config", &config],
        &["lists", "--config", &config],
        &["check"],
        &["lists", "--lookup", "175.45.176.9"],
        &["--help"],
    ];
    for arguments in table {
        let mut command = Command::new(BINARY);
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let output = command.args(arguments).stdout(writer).output().expect("it starts");
        let said = Said::of(&output);
        assert_eq!((said.code, said.err.as_str()), (Some(0), ""), "{arguments:?}");
    }
}

#[test]
fn an_error_that_nobody_can_read_is_still_exit_1() {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let status = Command::new(BINARY)
        .args(["check", "--config", "/nowhere/poolwatch.toml"])
        .stderr(writer)
        .stdout(Stdio::null())
        .status()
        .expect("it starts");
    assert_eq!(status.code(), Some(1));
}

#[test]
fn a_full_disk_is_an_error_and_no_quiet_end() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = Command::new(BINARY).arg("check").stdout(full).output().expect("it starts");
    Said::of(&output).refuses("No space left on device (os error 28)");
}

#[test]
fn the_names_of_files_do_not_reach_the_terminal_raw() {
    let feed = "[[watchlist]]\nname = \"office\"\n[[watchlist.feed]]\npath = \"a\\u001b[2J.txt\"\n";
    let folder = Folder::new(feed);
    let sound = text(&folder.write(&format!("{CLEARS}.toml"), feed)).to_owned();
    let missing = text(&folder.path(&format!("{CLEARS}-missing.toml"))).to_owned();
    // A bad line of a feed of that name, and then one that only deserves a note.
    for entry in ["192.0.2.0/33\n", "192.0.2.1/24\n"] {
        folder.write(&format!("{CLEARS}.txt"), entry);
        for config in [&sound, &missing, &folder.config()] {
            for arguments in [&["check"][..], &["lists"], &["lists", "--lookup", "192.0.2.9"]] {
                let said = poolwatch(arguments.iter().chain(&["--config", config.as_str()]));
                said.is_harmless();
                let shown = said.out.contains("a\\u{1b}[2J") || said.err.contains("a\\u{1b}[2J");
                assert!(shown, "{arguments:?}: {}{}", said.out, said.err);
            }
        }
    }
    poolwatch(["lists", "--lookup", CLEARS]).is_harmless();
    poolwatch(["replay", &missing]).is_harmless();
    poolwatch_without_privileges(&["run", "--config", &missing]).is_harmless();
}

#[test]
fn what_another_program_answers_does_not_reach_the_terminal_raw() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let bodies = [
        format!("{CLEARS}\n"),
        "[{\"interface\":\"a\\u001b[2J\",\"reason\":\"\\u001b[2J\"}]".to_owned(),
        "[{\"watchlist\":\"\\u001b[2J\",\"target\":\"\\u001b[2J\"}]".to_owned(),
    ];
    let answers = thread::spawn(move || {
        for body in bodies {
            let (mut stream, _) = listener.accept().expect("a client");
            let _ = stream.read(&mut [0; 1024]).expect("a request");
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            stream
                .write_all(head.as_bytes())
                .and_then(|()| stream.write_all(body.as_bytes()))
                .expect("an answer");
        }
    });
    let said = poolwatch(["status", "--listen", &address]);
    answers.join().expect("three requests");
    said.is_harmless();
    assert_eq!(said.out.matches("\\u{1b}[2J").count(), 5, "{}{}", said.out, said.err);
}

#[test]
fn status_asks_nobody_but_the_address_that_it_was_given() {
    let elsewhere = Server::busy();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("an address").to_string();
    let location = format!("http://{}/readyz", elsewhere.address);
    let answers = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let _ = stream.read(&mut [0; 1024]).expect("a request");
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("an answer");
    });
    let said = poolwatch(["status", "--listen", &address]);
    answers.join().expect("a request");
    assert_eq!(said.code, Some(1));
    assert!(!said.out.contains("not ready: interface ppp0"), "{}", said.out);
}
