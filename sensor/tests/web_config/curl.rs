//! Asks a server with curl.

use std::process::Command;

use crate::files::{Files, HOST};
use crate::made_up::server::{Answer, Server, whole};
use crate::tools::CURL;

/// What came of it.
pub struct Asked {
    /// None where no answer came.
    pub answer: Option<Answer>,
    /// curl's exit code.
    pub code: i32,
    /// What it did, and what went wrong.
    pub log: String,
}

impl Asked {
    pub fn status(&self) -> Option<u16> {
        self.answer.as_ref().map(|answer| answer.code)
    }
}

/// Over TLS, knowing the CA `ca` of these files.
pub fn over_tls(server: &Server, files: &Files, path: &str, more: &[&str]) -> Asked {
    let ca = files.text("ca.crt");
    ask("https", server, path, &[&["--cacert", &ca], more].concat())
}

/// Over plain HTTP.
pub fn plain(server: &Server, path: &str, more: &[&str]) -> Asked {
    ask("http", server, path, more)
}

fn ask(scheme: &str, server: &Server, path: &str, more: &[&str]) -> Asked {
    let port = server.address.port();
    let output = Command::new(CURL.name)
        // Whatever the user's own config says.
        .arg("--disable")
        .args(["--silent", "--show-error", "--verbose", "--include", "--path-as-is", "--max-time", "15"])
        .args(["--noproxy", "*", "--resolve", &format!("{HOST}:{port}:{}", server.address.ip())])
        .args(more)
        .arg(format!("{scheme}://{HOST}:{port}{path}"))
        .output()
        .unwrap_or_else(|error| panic!("{} (Debian package {}): {error}", CURL.name, CURL.package));
    Asked {
        answer: whole(&output.stdout),
        code: output.status.code().expect("it was not killed"),
        log: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}
