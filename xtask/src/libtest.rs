//! What Rust's test harness prints, read line by line: its tallies and the names that went red.
//!
//! Takes text only; running the tests is `test_binaries`' work.

use std::ops::AddAssign;

/// Tests counted by how they ended.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    pub(crate) ignored: u64,
}

impl AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
    }
}

/// What one run of the harness said.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Summary {
    pub(crate) tally: Tally,
    /// Result lines: one a test binary, one or more for doc tests.
    pub(crate) results: usize,
    pub(crate) red: Vec<String>,
    /// Tests that are about something that the running kernel does not have; not among the passed.
    pub(crate) lacking: Vec<Lacking>,
    /// Of those, the ones whose result line is still to come.
    uncounted: u64,
}

/// A test that cannot be on this kernel.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Lacking {
    pub(crate) test: String,
    /// The first kernel that has it: `6.6`.
    pub(crate) since: String,
    pub(crate) what: String,
}

impl Summary {
    /// Take one line of output into account.
    pub(crate) fn read(&mut self, line: &str) {
        if let Some(mut tally) = result_line(line) {
            tally.passed = tally.passed.saturating_sub(std::mem::take(&mut self.uncounted));
            self.tally += tally;
            self.results += 1;
        } else if let Some(name) = red_test(line) {
            self.red.push(name.to_owned());
        } else if let Some(lacking) = lacking_test(line) {
            self.lacking.push(lacking);
            self.uncounted += 1;
        }
    }

    /// Add what the process itself says: a crash or an early exit is a failure, too.
    pub(crate) fn judge(&mut self, succeeded: bool) {
        if self.results == 0 {
            self.tally.failed += 1;
            self.red.push("(ended without a result)".to_owned());
        } else if !succeeded && self.tally.failed == 0 {
            self.tally.failed += 1;
            self.red.push("(exited with an error)".to_owned());
        }
    }
}

/// `test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s`
fn result_line(line: &str) -> Option<Tally> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        counts.split("; ").find_map(|part| {
            let (number, name) = part.split_once(' ')?;
            (name == word).then(|| number.parse().ok()).flatten()
        })
    };
    Some(Tally { passed: count("passed")?, failed: count("failed")?, ignored: count("ignored")? })
}

/// `test module::name ... FAILED`
fn red_test(line: &str) -> Option<&str> {
    line.strip_prefix("test ")?.strip_suffix(" ... FAILED")
}

/// `test module::name ... needs linux 6.6: TCX`: sensor/tests/support/kernel.rs writes it behind the name.
fn lacking_test(line: &str) -> Option<Lacking> {
    let (test, need) = line.strip_prefix("test ")?.split_once(" ... needs linux ")?;
    let (since, what) = need.split_once(": ")?;
    Some(Lacking { test: test.to_owned(), since: since.to_owned(), what: what.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_result_line_is_counted_and_other_lines_are_not() {
        for (line, expected) in [
            (
                "test result: ok. 5 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.01s",
                Some((5, 0, 1)),
            ),
            (
                "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.20s",
                Some((3, 2, 0)),
            ),
            ("test result: ok. 5 passed", None),
            ("running 5 tests", None),
            ("test a::result: ok", None),
            ("", None),
        ] {
            let found = result_line(line).map(|t| (t.passed, t.failed, t.ignored));
            assert_eq!(found, expected, "{line}");
        }
    }

    #[test]
    fn the_names_of_red_tests_are_kept_in_order() {
        let mut summary = Summary::default();
        for line in [
            "test a::works ... ok",
            "test a::breaks ... FAILED",
            "test b - should panic ... FAILED",
            "test result: FAILED. 1 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            summary.read(line);
        }
        summary.judge(false);
        assert_eq!(summary.red, ["a::breaks", "b - should panic"]);
        assert_eq!((summary.tally.passed, summary.tally.failed), (1, 2));
    }

    #[test]
    fn a_test_that_the_kernel_has_nothing_for_is_named_and_has_not_passed() {
        let mut summary = Summary::default();
        for line in [
            "test a::works ... ok",
            "test a::tcx ... needs linux 6.6: TCX",
            "ok",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        ] {
            summary.read(line);
        }
        summary.judge(true);
        assert_eq!((summary.tally.passed, summary.tally.failed), (1, 0));
        let [lacking] = summary.lacking.as_slice() else { panic!("{summary:?}") };
        assert_eq!((&*lacking.test, &*lacking.since, &*lacking.what), ("a::tcx", "6.6", "TCX"));
    }

    #[test]
    fn a_crash_before_the_result_is_a_failure() {
        let mut summary = Summary::default();
        summary.read("test a::works ... ok");
        summary.judge(false);
        assert_eq!(summary.tally.failed, 1);
        assert_eq!(summary.red, ["(ended without a result)"]);
    }

    #[test]
    fn an_error_after_a_green_result_is_a_failure() {
        let mut summary = Summary::default();
        summary.read(
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
        );
        summary.judge(false);
        assert_eq!(summary.tally.failed, 1);
    }
}
