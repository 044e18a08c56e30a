//! The binary, run as a user or a script would, and a folder for its config.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_poolwatch");

/// What the binary printed, and its exit code.
pub struct Said {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Said {
    pub fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    /// Exit 1, nothing on stdout and this one line on stderr.
    pub fn refuses(&self, expected: &str) {
        assert_eq!(self.code, Some(1), "{}{}", self.out, self.err);
        assert_eq!((self.out.as_str(), self.err.as_str()), ("", format!("poolwatch: {expected}\n").as_str()));
    }

    /// No control characters but the ends of lines.
    pub fn is_harmless(&self) {
        let controls = |text: &str| text.chars().any(|c| c.is_control() && c != '\n');
        assert!(!controls(&self.out) && !controls(&self.err), "{:?} {:?}", self.out, self.err);
    }
}

pub fn poolwatch(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Said {
    Said::of(&Command::new(BINARY).args(arguments).output().expect("the binary starts"))
}

/// As one who may do nothing special: whoever runs the tests, but root without root's powers.
pub fn poolwatch_without_privileges(arguments: &[&str]) -> Said {
    let drop_all = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", "--"];
    let mut command = if rustix::process::geteuid().is_root() {
        let mut command = Command::new("setpriv");
        command.args(drop_all).arg(BINARY);
        command
    } else {
        Command::new(BINARY)
    };
    Said::of(&command.args(arguments).output().expect("setpriv is in the Debian package util-linux"))
}

/// A folder with a config in it.
pub struct Folder(TempDir);

impl Folder {
    pub fn new(config: &str) -> Self {
        let folder = Self(tempfile::tempdir().expect("a temporary directory"));
        folder.write("poolwatch.toml", config);
        folder
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn config(&self) -> String {
        text(&self.path("poolwatch.toml")).to_owned()
    }
}

pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
