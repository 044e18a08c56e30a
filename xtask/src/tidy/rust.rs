//! House rules for Rust source: size, header, reasons, unfinished work, where `unsafe` may be.
//!
//! Rules on code look at the source without comments and literals, so that a message or a test's
//! sample text never counts.

use super::{Finding, has_word};
use crate::rust_text::code_of;

/// A file longer than this hides a seam, unless its header says why it has none.
const LINES_MAX: usize = 400;
const LONG_BECAUSE: &str = "//! tidy: long because ";

/// Where `unsafe` may be: the kernel half, the only user of aya, tests of the two, what the kernel
/// half is measured with, the benchmark's counting allocator, and what the daemon tells its own.
const UNSAFE_PLACES: &[&str] = &[
    "sensor-ebpf/src/bench/",
    "sensor-ebpf/src/kernel/",
    "sensor-ebpf/src/main.rs",
    "sensor/benches/price/scrape/",
    "sensor/src/bpf/",
    "sensor/src/heap.rs",
    "sensor/tests/",
];

/// Code that stands for work not done.
const UNFINISHED: &[&str] = &["todo!", "unimplemented!", "#[ignore"];

pub(super) fn findings(path: &str, text: &str) -> Vec<Finding> {
    let code = code_of(text);
    let mut findings = Vec::new();
    findings.extend(too_long(text));
    findings.extend(headless(text));
    findings.extend(whitespace(text));
    findings.extend(unfinished(&code));
    findings.extend(unexplained(&code));
    if !UNSAFE_PLACES.iter().any(|place| path.starts_with(place)) {
        findings.extend(unsafe_code(&code));
    }
    findings
}

fn too_long(text: &str) -> Option<Finding> {
    let lines = text.lines().count();
    let excused = header(text).any(|line| line.starts_with(LONG_BECAUSE));
    (lines > LINES_MAX && !excused)
        .then(|| Finding::new(0, format!("{lines} lines: split it, or say in the header `{LONG_BECAUSE}…`")))
}

/// The lines of the module's header.
fn header(text: &str) -> impl Iterator<Item = &str> {
    text.lines()
        .skip_while(|line| line.is_empty() || line.starts_with("#!"))
        .take_while(|line| line.starts_with("//!"))
}

fn headless(text: &str) -> Option<Finding> {
    header(text)
        .next()
        .is_none()
        .then(|| Finding::new(1, "no `//!` header: say what it is and what it does not do"))
}

fn whitespace(text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(text.split('\n')) {
        if content.contains('\t') {
            findings.push(Finding::new(line, "a tab"));
        } else if content.ends_with(char::is_whitespace) {
            findings.push(Finding::new(line, "white space at the end of the line"));
        }
    }
    findings
}

fn unfinished(code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(code.lines()) {
        for &mark in UNFINISHED.iter().filter(|&&mark| content.contains(mark)) {
            findings.push(Finding::new(line, format!("`{mark}`: finish it, or leave it out")));
        }
    }
    findings
}

/// An attribute that silences a lint and gives no reason.
fn unexplained(code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for opening in ["#[allow(", "#![allow(", "#[expect(", "#![expect("] {
        for (at, _) in code.match_indices(opening) {
            let attribute = code[at..].split(")]").next().unwrap_or_default();
            if !has_word(attribute, "reason") {
                let line = 1 + code[..at].matches('\n').count();
                findings.push(Finding::new(line, format!("`{opening}…)]` without a reason")));
            }
        }
    }
    findings
}

fn unsafe_code(code: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, content) in (1..).zip(code.lines()) {
        if has_word(content, "unsafe") {
            let places = UNSAFE_PLACES.join(", ");
            findings.push(Finding::new(line, format!("`unsafe` outside {places}")));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "//! About.\n";

    fn lines_found(path: &str, body: &str) -> Vec<usize> {
        findings(path, &format!("{HEADER}{body}")).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn each_rule_finds_its_line() {
        for (what, body, lines) in [
            ("clean code", "fn f() {}\n", vec![]),
            ("an allow with its reason", "#[allow(x, reason = \"y\")]\n", vec![]),
            ("an allow without", "\n#[allow(x)]\n", vec![3]),
            ("an inner expect without", "#![expect(x)]\n", vec![2]),
            ("a reason two lines below", "#[expect(\n    x,\n    reason = \"y\"\n)]\n", vec![]),
            ("a reason of the next one", "#[allow(x)]\n#[allow(y, reason = \"z\")]\n", vec![2]),
            ("an allow in a string", "const A: &str = \"#[allow(x)]\";\n", vec![]),
            ("work to do", "fn f() { todo!() }\n", vec![2]),
            ("an ignored test", "#[ignore = \"slow\"]\n", vec![2]),
            ("work to do, only mentioned", "// no todo! here\n", vec![]),
            ("unsafe code", "\nfn f() { unsafe { g() } }\n", vec![3]),
            ("the word in a comment", "// unsafe is elsewhere\n", vec![]),
            ("a lint's name", "#![forbid(unsafe_code)]\n", vec![]),
            ("a tab", "\tfn f() {}\n", vec![2]),
            ("a space at the end", "fn f() {} \n", vec![2]),
            ("a carriage return", "fn f() {}\r\n", vec![2]),
        ] {
            assert_eq!(lines_found("sensor/src/a.rs", body), lines, "{what}");
        }
    }

    #[test]
    fn unsafe_is_welcome_only_in_its_places() {
        let body = "unsafe fn f() {}\n";
        for path in ["sensor-ebpf/src/kernel/tc.rs", "sensor/src/bpf/attach.rs"] {
            assert_eq!(lines_found(path, body), Vec::<usize>::new(), "{path}");
        }
        for path in ["sensor-ebpf/src/headers.rs", "sensor/src/bpf.rs", "xtask/src/run.rs"] {
            assert_eq!(lines_found(path, body), [2], "{path}");
        }
    }

    #[test]
    fn a_module_begins_with_its_header() {
        assert!(headless("use std::fs;\n").is_some());
        assert!(headless("// not a header\n").is_some());
        assert!(headless("").is_some());
        assert!(headless("#![no_std]\n\n//! About.\n").is_none());
    }

    #[test]
    fn a_long_file_needs_a_reason_in_its_header() {
        let body = "fn f() {}\n".repeat(LINES_MAX);
        assert!(too_long(&body).is_none(), "exactly the limit");
        assert!(too_long(&format!("{HEADER}{body}")).is_some());
        assert!(too_long(&format!("{HEADER}{LONG_BECAUSE}a table.\n{body}")).is_none());
        assert!(too_long(&format!("{HEADER}{body}{LONG_BECAUSE}late.\n")).is_some());
    }
}
