//! `mutants`: do the tests notice? Faults are put into a copy of the tree, one at a time, and
//! each must turn a test of `sensor-ebpf` red.
//!
//! The faults are chosen by hand, in the table of `mutants/faults.rs`: mistakes one could really
//! make in a packet classifier. The working tree is never touched; only the copy below
//! target/mutants is, and there only files that differ, so that each fault costs one small rebuild.

mod faults;
mod tree;

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use self::tree::Files;
use crate::{
    cargo,
    libtest::Summary,
    setup,
    test_binaries::{self, TestBinary},
};

/// A deliberate mistake: `find`, which must stand exactly once in `file`, becomes `replace`.
struct Fault {
    /// What is wrong then, in a few words.
    breaks: &'static str,
    /// From the root, such as `sensor-ebpf/src/headers.rs`.
    file: &'static str,
    find: &'static str,
    replace: &'static str,
}

/// A fault may make a test run for ever; that is noticed, too.
const TEST_LIMIT: Duration = Duration::from_mins(3);

pub(crate) fn mutants() -> Result<()> {
    setup::for_building()?;
    let survivors = survivors(faults::FAULTS)?;
    if !survivors.is_empty() {
        bail!("no test noticed: {}", survivors.join("; "));
    }
    println!("mutants: every fault turned a test red");
    Ok(())
}

/// Try each fault; return what the tests let pass.
fn survivors(faults: &[Fault]) -> Result<Vec<&'static str>> {
    if faults.is_empty() {
        bail!("the table of faults is empty: nothing was checked");
    }
    let place = cargo::target().join("mutants/tree");
    let original = tree::read_sources()?;
    // All of them, before the first minute goes by.
    for fault in faults {
        faulty(fault, &original)?;
    }

    tree::write(&place, &original)?;
    let width = faults.iter().map(|fault| fault.breaks.len()).max().unwrap_or(0);
    println!("mutants: the tests without a fault …");
    if let Some(red) = first_red_test(&place).context("the tree without a fault")? {
        bail!("{red} is red without any fault");
    }
    let mut survivors = Vec::new();
    for fault in faults {
        tree::write(&place, &faulty(fault, &original)?)?;
        let red = first_red_test(&place).with_context(|| format!("the fault `{}`", fault.breaks))?;
        let told = match &red {
            Some(test) => format!("turns red {test}"),
            None => "SURVIVED".to_owned(),
        };
        println!("mutants: {:<width$}  {told}", fault.breaks);
        if red.is_none() {
            survivors.push(fault.breaks);
        }
    }
    Ok(survivors)
}

/// The files with the fault in.
fn faulty(fault: &Fault, original: &Files) -> Result<Files> {
    let mut files = original.clone();
    let Some((_, bytes)) = files.iter_mut().find(|(path, _)| path == fault.file) else {
        bail!("{}: there is no {}", fault.breaks, fault.file);
    };
    let text = str::from_utf8(bytes).with_context(|| format!("{} is not text", fault.file))?;
    *bytes = apply(fault, text)?.into_bytes();
    Ok(files)
}

fn apply(fault: &Fault, text: &str) -> Result<String> {
    let Fault { breaks, file, find, replace } = fault;
    match text.matches(find).count() {
        1 if find == replace => bail!("{breaks}: the fault changes nothing"),
        1 => Ok(text.replacen(find, replace, 1)),
        0 => bail!("{breaks}: the fault no longer applies, {file} has no `{find}`"),
        many => bail!("{breaks}: the fault no longer applies, {file} has `{find}` {many} times"),
    }
}

/// Build and run the classifier's tests in the tree, up to the first that fails.
fn first_red_test(tree: &Path) -> Result<Option<String>> {
    let mut command = cargo::cargo(["test", "--quiet", "--package", "sensor-ebpf", "--lib"]);
    command
        .args(["--tests", "--no-run", "--message-format=json-render-diagnostics"])
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", cargo::target().join("mutants/build"));
    let binaries = test_binaries::build(&mut command).context("it does not compile")?;
    if binaries.is_empty() {
        bail!("sensor-ebpf has no tests");
    }
    for binary in &binaries {
        let summary = run_silently(binary, TEST_LIMIT)?;
        if let Some(red) = summary.red.into_iter().next() {
            return Ok(Some(red));
        }
    }
    Ok(None)
}

/// Run one test binary with its output in a file, since a pipe might fill up.
fn run_silently(binary: &TestBinary, limit: Duration) -> Result<Summary> {
    let log = cargo::target().join("mutants/output.txt");
    let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let mut child = Command::new(&binary.executable)
        .envs(binary.environment())
        .current_dir(binary.directory())
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("cannot start {}", binary.label()))?;
    let start = Instant::now();
    let succeeded = loop {
        if let Some(status) = child.try_wait()? {
            break status.success();
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break false;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let mut summary = Summary::default();
    for line in String::from_utf8_lossy(&fs::read(&log)?).lines() {
        summary.read(line);
    }
    summary.judge(succeeded);
    Ok(summary)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAULT: Fault =
        Fault { breaks: "an offset", file: "a.rs", find: "offset + 4", replace: "offset + 5" };

    #[test]
    fn each_fault_of_the_table_still_applies() {
        let files = tree::read_sources().unwrap();
        for fault in faults::FAULTS {
            faulty(fault, &files).unwrap();
        }
    }

    #[test]
    fn a_fault_changes_its_one_place() {
        assert_eq!(apply(&FAULT, "let a = offset + 4;\n").unwrap(), "let a = offset + 5;\n");
    }

    #[test]
    fn a_fault_without_its_one_place_is_an_error() {
        for (what, text) in [("gone", "let a = offset + 6;\n"), ("twice", "offset + 4; offset + 4;\n")] {
            let message = apply(&FAULT, text).unwrap_err().to_string();
            assert!(message.contains("no longer applies"), "{what}: {message}");
            assert!(message.starts_with("an offset"), "{what}: {message}");
        }
        let idle = Fault { replace: FAULT.find, ..FAULT };
        assert!(apply(&idle, "offset + 4").is_err());
    }

    #[test]
    fn only_the_faulty_file_differs_and_a_missing_one_is_named() {
        let original: Files =
            vec![("a.rs".to_owned(), b"offset + 4".to_vec()), ("b.rs".to_owned(), b"offset + 4".to_vec())];
        let files = faulty(&FAULT, &original).unwrap();
        assert_eq!(files[0].1, b"offset + 5");
        assert_eq!(files[1], original[1]);
        let message = faulty(&FAULT, &vec![]).unwrap_err().to_string();
        assert!(message.contains("there is no a.rs"), "{message}");
    }

    #[test]
    fn an_empty_table_is_no_success() {
        assert!(survivors(&[]).is_err());
    }
}
