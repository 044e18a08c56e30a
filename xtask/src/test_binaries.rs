//! Test binaries: have cargo build them, and start one as `cargo test` would, from its package's
//! directory and with its package's environment.
//!
//! Which of them run, and as whom, is decided elsewhere.

use std::{
    ffi::OsString,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{cargo, libtest::Summary};

/// One executable full of tests.
#[derive(Debug, PartialEq)]
pub(crate) struct TestBinary {
    pub(crate) package: String,
    pub(crate) name: String,
    /// `lib`, `bin`, `test`, …
    kind: String,
    version: String,
    manifest: PathBuf,
    pub(crate) executable: PathBuf,
}

/// Build with a cargo command that prints JSON messages; its test binaries, in a fixed order.
pub(crate) fn build(command: &mut Command) -> Result<Vec<TestBinary>> {
    let output = command
        .stdout(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("cannot start `{}`", cargo::describe(command)))?;
    if !output.status.success() {
        bail!("`{}` failed ({})", cargo::describe(command), output.status);
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let mut binaries: Vec<TestBinary> = messages.lines().filter_map(test_binary).collect();
    binaries.sort_by(|a, b| (&a.package, &a.kind, &a.name).cmp(&(&b.package, &b.kind, &b.name)));
    Ok(binaries)
}

/// The test binary that one of cargo's messages announces.
fn test_binary(message: &str) -> Option<TestBinary> {
    let message: Value = serde_json::from_str(message).ok()?;
    let is_test = message["reason"] == "compiler-artifact" && message["profile"]["test"] == true;
    if !is_test {
        return None;
    }
    let manifest = PathBuf::from(message["manifest_path"].as_str()?);
    let (package, version) = name_and_version(message["package_id"].as_str()?)?;
    Some(TestBinary {
        package,
        name: message["target"]["name"].as_str()?.to_owned(),
        kind: message["target"]["kind"][0].as_str()?.to_owned(),
        version,
        manifest,
        executable: PathBuf::from(message["executable"].as_str()?),
    })
}

/// `path+file:///x/sensor#0.1.0`, or `path+file:///x/dir#name@0.1.0` where the two names differ.
fn name_and_version(package_id: &str) -> Option<(String, String)> {
    let (source, fragment) = package_id.rsplit_once('#')?;
    let (name, version) = match fragment.split_once('@') {
        Some(both) => both,
        None => (source.rsplit('/').next()?, fragment),
    };
    Some((name.to_owned(), version.to_owned()))
}

impl TestBinary {
    /// Whether its tests load programs into the kernel or make namespaces.
    pub(crate) fn needs_root(&self) -> bool {
        self.kind == "test" && self.name.starts_with("kernel_")
    }

    /// Whether its tests are those beside the code, which start no other program of ours.
    pub(crate) fn is_of_units(&self) -> bool {
        self.kind == "lib"
    }

    /// One that was never built, for tests of what is done with them.
    #[cfg(test)]
    pub(crate) fn made_up(name: &str) -> Self {
        Self {
            package: "sensor".to_owned(),
            name: name.to_owned(),
            kind: "test".to_owned(),
            version: "0.1.0".to_owned(),
            manifest: PathBuf::from("/a checkout/sensor/Cargo.toml"),
            executable: PathBuf::from(format!("/a checkout/target/release/deps/{name}-1")),
        }
    }

    pub(crate) fn label(&self) -> String {
        format!("{} {} ({})", self.package, self.name, self.kind)
    }

    /// The directory that its tests find themselves in.
    pub(crate) fn directory(&self) -> &Path {
        self.manifest.parent().unwrap_or(Path::new("/"))
    }

    /// What cargo would set at run time, for this package instead of xtask's.
    pub(crate) fn environment(&self) -> Vec<(&'static str, OsString)> {
        vec![
            ("PATH", cargo::search_path()),
            ("CARGO_MANIFEST_DIR", self.directory().into()),
            ("CARGO_MANIFEST_PATH", self.manifest.clone().into()),
            ("CARGO_PKG_NAME", self.package.clone().into()),
            ("CARGO_PKG_VERSION", self.version.clone().into()),
        ]
    }
}

/// Run a test harness, showing what it prints, and sum that up; red tests are named with `label`.
pub(crate) fn run(command: &mut Command, label: &str) -> Result<Summary> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start `{}`", cargo::describe(command)))?;
    let mut summary = Summary::default();
    let output = child.stdout.take().context("its output is not piped")?;
    for line in BufReader::new(output).split(b'\n') {
        let line = line.with_context(|| format!("cannot read what {label} prints"))?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        summary.read(&line);
    }
    let status = child.wait().with_context(|| format!("lost {label}"))?;
    summary.judge(status.success());
    for test in &mut summary.red {
        *test = format!("{label}: {test}");
    }
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MESSAGE: &str = r#"{"reason":"compiler-artifact",
        "package_id":"path+file:///p/sensor#0.1.0","manifest_path":"/p/sensor/Cargo.toml",
        "target":{"kind":["test"],"name":"kernel_tc"},"profile":{"test":true},
        "executable":"/p/target/debug/deps/kernel_tc-1"}"#;

    #[test]
    fn a_test_binary_is_read_from_cargo_s_message() {
        let binary = test_binary(MESSAGE).unwrap();
        assert_eq!(binary.label(), "sensor kernel_tc (test)");
        assert_eq!(binary.directory(), Path::new("/p/sensor"));
        assert_eq!(binary.executable, Path::new("/p/target/debug/deps/kernel_tc-1"));
        assert!(binary.needs_root());
    }

    #[test]
    fn what_is_built_beside_the_tests_is_not_run_as_one() {
        for (what, message) in [
            ("the program itself", MESSAGE.replace(r#""test":true"#, r#""test":false"#)),
            ("a library", MESSAGE.replace(r#""/p/target/debug/deps/kernel_tc-1""#, "null")),
            ("another message", MESSAGE.replace("compiler-artifact", "build-finished")),
            ("no message", "warning: something".to_owned()),
        ] {
            assert_eq!(test_binary(&message), None, "{what}");
        }
    }

    #[test]
    fn only_integration_tests_of_that_name_need_root() {
        let other_name = MESSAGE.replace("kernel_tc", "metrics");
        assert!(!test_binary(&other_name).unwrap().needs_root());
        let unit_tests = MESSAGE.replace(r#"["test"]"#, r#"["lib"]"#);
        let unit_tests = test_binary(&unit_tests).unwrap();
        assert!(!unit_tests.needs_root() && unit_tests.is_of_units());
        assert!(!test_binary(&other_name).unwrap().is_of_units());
    }

    #[test]
    fn the_package_is_named_by_its_id() {
        let named = |id| name_and_version(id).unwrap().0;
        assert_eq!(named("path+file:///p/sensor#0.1.0"), "sensor");
        assert_eq!(named("path+file:///p/other#sensor@0.1.0"), "sensor");
    }

    #[test]
    fn a_harness_is_shown_and_summed_up() {
        let script = "echo 'test a ... FAILED'; \
                      echo 'test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured'; exit 101";
        let summary = run(Command::new("sh").args(["-c", script]), "x").unwrap();
        assert_eq!((summary.tally.passed, summary.tally.failed), (2, 1));
        assert_eq!(summary.red, ["x: a"]);
    }
}
