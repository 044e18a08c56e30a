//! Programs of the operating system whose verdict tests ask for. One that is missing fails the test
//! and names the Debian package that brings it.

#![allow(dead_code, reason = "each test binary asks some of them")]

use std::fs::File;
use std::io::{ErrorKind, Seek as _, Write as _};
use std::process::{Command, Stdio};

pub struct Tool {
    pub name: &'static str,
    /// The Debian package that brings it.
    pub package: &'static str,
}

pub const CURL: Tool = Tool { name: "curl", package: "curl" };
pub const OPENSSL: Tool = Tool { name: "openssl", package: "openssl" };
pub const PROMTOOL: Tool = Tool { name: "promtool", package: "prometheus" };
pub const PROMETHEUS: Tool = Tool { name: "prometheus", package: "prometheus" };
pub const ALERTMANAGER: Tool = Tool { name: "prometheus-alertmanager", package: "prometheus-alertmanager" };
pub const KUBECTL: Tool = Tool { name: "kubectl", package: "kubernetes-client" };
pub const SYSTEMD_ANALYZE: Tool = Tool { name: "systemd-analyze", package: "systemd" };

/// How a tool ended and everything that it wrote.
pub struct Verdict {
    pub success: bool,
    pub said: String,
}

impl Tool {
    pub fn ask(&self, arguments: &[&str]) -> Result<Verdict, String> {
        self.start(arguments, Stdio::null())
    }

    /// For what the tool must find nothing wrong with.
    pub fn approve(&self, arguments: &[&str]) {
        let verdict = self.ask(arguments).unwrap_or_else(|error| panic!("{error}"));
        assert!(verdict.success, "{} {}:\n{}", self.name, arguments.join(" "), verdict.said);
    }

    /// Asks about a text, which the tool reads from its standard input.
    pub fn ask_about(&self, text: &str, arguments: &[&str]) -> Result<Verdict, String> {
        self.start(arguments, Stdio::from(written(text).map_err(|error| error.to_string())?))
    }

    fn start(&self, arguments: &[&str], input: Stdio) -> Result<Verdict, String> {
        let output = Command::new(self.name)
            .args(arguments)
            .stdin(input)
            // These change where units are looked for and how much is said about them.
            .env_remove("SYSTEMD_UNIT_PATH")
            .env_remove("SYSTEMD_LOG_LEVEL")
            .output()
            .map_err(|error| match error.kind() {
                ErrorKind::NotFound => {
                    format!("{} is not installed; the Debian package {} has it", self.name, self.package)
                }
                _ => format!("{} did not start: {error}", self.name),
            })?;
        let said = [output.stdout, output.stderr].concat();
        Ok(Verdict { success: output.status.success(), said: String::from_utf8_lossy(&said).into_owned() })
    }
}

/// A file and no pipe: the tool may stop reading whenever it likes.
fn written(text: &str) -> std::io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    Ok(file)
}
