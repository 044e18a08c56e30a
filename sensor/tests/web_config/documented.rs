//! deploy/docs/web-config.md, done as it says: its files are written, its commands run in their order,
//! against a server that is secured as the file says at that point.

use std::path::Path;
use std::process::Command;

use sensor::web_config::Web;

use crate::binary::BINARY;
use crate::files::utf8;
use crate::made_up::server::Server;
use crate::tools::PROMTOOL;

const DOCUMENT: &str = include_str!("../../../deploy/docs/web-config.md");

/// Language and text of each block of code.
fn blocks() -> Vec<(&'static str, &'static str)> {
    let blocks = DOCUMENT.split("```").skip(1).step_by(2);
    blocks.map(|block| block.split_once('\n').expect("a language")).collect()
}

/// The reader's machine: a folder for /etc, the server for poolwatch's service.
struct Machine {
    folder: tempfile::TempDir,
    server: Server,
}

impl Machine {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["etc/poolwatch", "etc/prometheus"] {
            std::fs::create_dir_all(folder.path().join(name)).expect("a folder");
        }
        Self { folder, server: Server::secured(Web::default()) }
    }

    fn here(&self, text: &str) -> String {
        let (etc, port) = (self.folder.path().join("etc"), self.server.address.port());
        text.replace("/etc/", &format!("{}/", utf8(&etc))).replace(":9750", &format!(":{port}"))
    }

    /// Writes a file whose first line is its path; returns that as it is here.
    fn write(&self, text: &str) -> String {
        let text = self.here(text);
        let path = text.lines().next().and_then(|line| line.strip_prefix("# ")).expect("a path");
        std::fs::write(path, &text).expect(path);
        path.to_owned()
    }

    fn run(&self, script: &str) {
        // In a build for tests a hash of this cost takes longer than `status` waits.
        let script = self.here(script).replace("-niBC 10", "-niBC 5");
        let curlrc =
            format!("resolve = \"host.example:{}:127.0.0.1\"\nnoproxy = \"*\"\n", self.server.address.port());
        std::fs::write(self.folder.path().join(".curlrc"), curlrc).expect("curl's config");
        let programs = Path::new(BINARY).parent().expect("a directory");
        let path = std::env::var("PATH").expect("a PATH");
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", utf8(programs)))
            .env("CURL_HOME", self.folder.path())
            .output()
            .expect("bash starts");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}\n{out}\n{err}");
    }

    /// What the service does when it is started or told to reload.
    fn reload(&self) {
        let path = self.folder.path().join("etc/poolwatch/web.yml");
        let web = Web::read(&path).unwrap_or_else(|error| panic!("{error:#}"));
        assert_eq!(web.notes, Vec::<String>::new());
        self.server.state.web.set(web);
    }
}

/// What takes the package's user; `cargo xtask test-deploy` tries that.
const OF_THE_PACKAGE: &str = "cd /etc/poolwatch\nchgrp poolwatch ";

#[test]
fn the_document_leads_where_it_says() {
    let machine = Machine::new();
    let (mut scripts, mut reloads) = (0, 0);
    for (language, text) in blocks() {
        match language {
            "sh" => {
                machine.run(text);
                scripts += 1;
            }
            "console" if text.starts_with(OF_THE_PACKAGE) => {}
            "console" => {
                assert!(text.starts_with("systemctl "), "{text}");
                machine.reload();
                reloads += 1;
            }
            "yaml" | "toml" => {
                let path = machine.write(text);
                if path.ends_with("prometheus.yml") {
                    PROMTOOL.approve(&["check", "config", &path]);
                }
            }
            other => panic!("{other}: what is to be done with it?"),
        }
    }
    assert_eq!((scripts, reloads), (6, 2));
}

/// The web config of the certificates lets nobody in without one, nor that of passwords.
#[test]
fn what_it_leads_to_is_closed_to_others() {
    let machine = Machine::new();
    let ca = || utf8(&machine.folder.path().join("etc/poolwatch/ca.crt")).to_owned();
    for (language, text) in blocks() {
        match language {
            // Asking is for the other test.
            "sh" if !text.contains("curl") => machine.run(text),
            "yaml" | "toml" => drop(machine.write(text)),
            "console" if text.starts_with(OF_THE_PACKAGE) => {}
            "console" => {
                machine.reload();
                let port = machine.server.address.port();
                let asked = Command::new("curl")
                    .args([
                        "--disable",
                        "--silent",
                        "--output",
                        "-",
                        "--write-out",
                        "%{http_code}",
                        "--noproxy",
                        "*",
                    ])
                    .args(["--cacert", &ca(), &format!("https://127.0.0.1:{port}/metrics")])
                    .output()
                    .expect("curl starts");
                let said = String::from_utf8_lossy(&asked.stdout).into_owned();
                assert!(["000", "unauthorized\n401"].contains(&said.as_str()), "{said}");
            }
            _ => {}
        }
    }
}
