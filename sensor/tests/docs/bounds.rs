//! security.md's table of bounds against the constants that it names: what a reader relies on is what
//! the code has. The constants are read from the source, since most are nobody's business outside of
//! their file.

use std::fs;
use std::path::Path;

use super::{code_spans, page, rows, with_fault};

/// The value of a constant, in its unit: numbers, sums, products, shifts and durations in seconds. A text
/// of the same name is none.
fn constant(source: &str, name: &str) -> Option<u64> {
    source.lines().find_map(|line| {
        let line = line.trim_start().trim_start_matches("pub(super) ").trim_start_matches("pub ");
        let declared = line.strip_prefix("const ")?.strip_prefix(name)?.strip_prefix(": ")?;
        let written = declared.split_once(" = ")?.1.strip_suffix(';')?;
        let seconds = written.strip_prefix("Duration::from_secs(").and_then(|rest| rest.strip_suffix(')'));
        value(seconds.unwrap_or(written))
    })
}

/// Weakest operator first.
fn value(written: &str) -> Option<u64> {
    let fold = |operator: &str, with: fn(u64, u64) -> u64| {
        let (left, right) = written.rsplit_once(operator)?;
        Some(with(value(left)?, value(right)?))
    };
    fold(" << ", |left, right| left << right)
        .or_else(|| fold(" + ", |left, right| left + right))
        .or_else(|| fold(" * ", |left, right| left * right))
        .or_else(|| written.replace('_', "").parse().ok())
}

/// Everything that the page gets wrong.
fn faults(text: &str) -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut faults = Vec::new();
    for row in rows(text, "bound") {
        let bound = row.cell("bound");
        let [file, name] = code_spans(row.cell("in the source"))[..] else {
            faults.push(format!("{bound}: names no file and constant"));
            continue;
        };
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        let Some(actual) = constant(&source, name) else {
            faults.push(format!("{bound}: there is no {name} in {file}"));
            continue;
        };
        let said = row.cell("value").replace(',', "");
        if said.parse() != Ok(actual) {
            faults.push(format!("{bound}: is {actual}"));
        }
    }
    faults
}

#[test]
fn every_bound_is_the_constant_that_it_names() {
    let text = page("security.md");
    assert!(rows(&text, "bound").len() > 20, "the table of bounds");
    assert_eq!(faults(&text), Vec::<String>::new());
}

#[test]
fn constants_are_read_as_rust_reads_them() {
    let source = "pub const A: &str = \"A\";\n    pub(super) const A: u64 = 24 * 60 * 60;\npub const B: usize = 16 << 10;\n\
                  const C: Duration = Duration::from_secs(10);\nconst D: usize = 2048 + 4096;\nconst AB: u8 = 1_0;\n";
    for (name, expected) in [
        ("A", Some(86_400)),
        ("B", Some(16_384)),
        ("C", Some(10)),
        ("D", Some(6144)),
        ("AB", Some(10)),
        ("E", None),
    ] {
        assert_eq!(constant(source, name), expected, "{name}");
    }
}

#[test]
fn each_fault_put_into_a_bound_is_found() {
    let page = page("security.md");
    #[rustfmt::skip]
    let table = [
        ("another value", "| HTTP connections at a time | 64 |", "| HTTP connections at a time | 65 |", "HTTP connections at a time: is 64"),
        ("no value", "| HTTP connections at a time | 64 |", "| HTTP connections at a time | many |", "HTTP connections at a time: is 64"),
        ("a constant that is none", "`CONNECTIONS_MAX` |", "`CONNECTIONS_LIMIT` |", "HTTP connections at a time: there is no CONNECTIONS_LIMIT in sensor/src/http.rs"),
        ("no constant", "`sensor/src/http.rs` `CONNECTIONS_MAX`", "", "HTTP connections at a time: names no file and constant"),
    ];
    for (fault, right, wrong, expected) in table {
        assert_eq!(faults(&with_fault(&page, right, wrong)), [expected], "{fault}");
    }
}
