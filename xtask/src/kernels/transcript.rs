//! What a guest prints, read line by line: which group of tests runs, what its harness says, on which
//! hooks its daemons hung, and whether the guest came to its end.

use std::collections::VecDeque;

use crate::libtest::Summary;

/// The lines that the init prints between what the harnesses print.
pub(crate) const BEGIN: &str = "guest: begin";
pub(crate) const HOOKS: &str = "guest: hooks";
pub(crate) const STDERR: &str = "guest: stderr";
pub(crate) const END: &str = "guest: end";
pub(crate) const DONE: &str = "guest: done";

/// As much of what went wrong as is shown: the rest is in the log.
const EXCERPT_LINES: usize = 150;
/// The last lines of a group that came to no end.
const TAIL_LINES: usize = 20;

/// One test binary on one kernel.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) summary: Summary,
    /// `tcx`, `clsact`: what its daemons' programs hung on.
    pub(crate) hooks: Vec<String>,
    /// What the harness says about tests that failed, or the last lines of one that came to no end.
    pub(crate) excerpt: Vec<String>,
}

impl Outcome {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }
}

/// A guest's console, as far as it was read.
#[derive(Default)]
pub(crate) struct Transcript {
    ended: Vec<Outcome>,
    running: Option<Outcome>,
    tail: VecDeque<String>,
    /// How many `failures:` headings the group had: between the first and the second stand the reasons.
    failures: usize,
    done: bool,
}

impl Transcript {
    /// Takes one line; returns the group that ended with it.
    pub(crate) fn read(&mut self, line: &str) -> Option<&Outcome> {
        if let Some(name) = after(line, BEGIN) {
            self.lose_running();
            self.running = Some(Outcome::new(name));
            self.failures = 0;
            self.tail.clear();
        } else if line == DONE {
            self.done = true;
        } else if let Some(outcome) = &mut self.running {
            if let Some(hooks) = after(line, HOOKS) {
                outcome.hooks = hooks.split_whitespace().map(str::to_owned).collect();
            } else if let Some(ended) = after(line, END) {
                let succeeded = ended.split(' ').nth(1) == Some("0");
                return self.end_running(succeeded);
            } else {
                outcome.summary.read(line);
                if line == "failures:" {
                    self.failures += 1;
                }
                if self.failures == 1 && outcome.excerpt.len() < EXCERPT_LINES {
                    outcome.excerpt.push(line.to_owned());
                }
                if self.tail.len() == TAIL_LINES {
                    self.tail.pop_front();
                }
                self.tail.push_back(line.to_owned());
            }
        }
        None
    }

    fn end_running(&mut self, succeeded: bool) -> Option<&Outcome> {
        let mut outcome = self.running.take()?;
        outcome.summary.judge(succeeded);
        if outcome.excerpt.is_empty() && outcome.summary.tally.failed > 0 {
            outcome.excerpt = self.tail.drain(..).collect();
        }
        self.ended.push(outcome);
        self.ended.last()
    }

    /// A group that never said how it ended.
    fn lose_running(&mut self) {
        self.end_running(false);
    }

    /// Has this group come to its end?
    pub(crate) fn has_ended(&self, name: &str) -> bool {
        self.ended.iter().any(|outcome| outcome.name == name)
    }

    /// The group that was running when the guest stopped is to run once more; returns its name.
    pub(crate) fn forget_running(&mut self) -> Option<String> {
        self.running.take().map(|outcome| outcome.name)
    }

    /// All groups that were to run; one that did not come to its end failed.
    pub(crate) fn finish<'a>(mut self, expected: impl Iterator<Item = &'a str>) -> Vec<Outcome> {
        self.lose_running();
        for name in expected {
            if self.ended.iter().all(|outcome| outcome.name != name) {
                let mut outcome = Outcome::new(name);
                outcome.summary.tally.failed = 1;
                outcome.summary.red.push("(never ran)".to_owned());
                self.ended.push(outcome);
            }
        }
        self.ended.sort_by(|a, b| a.name.cmp(&b.name));
        self.ended
    }

    pub(crate) const fn is_done(&self) -> bool {
        self.done
    }
}

fn after<'a>(line: &'a str, mark: &str) -> Option<&'a str> {
    line.strip_prefix(mark).filter(|rest| rest.is_empty() || rest.starts_with(' ')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESULT: &str =
        "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 9s";

    fn read(lines: &[&str]) -> Transcript {
        let mut transcript = Transcript::default();
        for line in lines {
            transcript.read(line);
        }
        transcript
    }

    #[test]
    fn a_group_that_passed_has_its_tally_and_its_hooks() {
        let begun = ["guest: begin kernel_attach", "running 2 tests", "test a ... ok", "test b ... ok"];
        let ended = [RESULT, "guest: hooks clsact tcx", "guest: end kernel_attach 0", "guest: done"];
        let transcript = read(&[begun.as_slice(), &ended].concat());
        assert!(transcript.is_done());
        let outcomes = transcript.finish(["kernel_attach"].into_iter());
        assert_eq!(outcomes.len(), 1);
        assert_eq!((outcomes[0].summary.tally.passed, outcomes[0].summary.tally.failed), (2, 0));
        assert_eq!(outcomes[0].hooks, ["clsact", "tcx"]);
        assert_eq!(outcomes[0].excerpt, Vec::<String>::new());
    }

    #[test]
    fn what_the_harness_says_about_a_failure_is_the_excerpt() {
        let transcript = read(&[
            "guest: begin kernel_attach",
            "test a ... FAILED",
            "failures:",
            "---- a stdout ----",
            "assertion failed",
            "failures:",
            "    a",
            "test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out",
            "guest: hooks",
            "guest: end kernel_attach 101",
        ]);
        let outcomes = transcript.finish(["kernel_attach"].into_iter());
        assert_eq!(outcomes[0].summary.red, ["a"]);
        assert_eq!(outcomes[0].excerpt, ["failures:", "---- a stdout ----", "assertion failed"]);
    }

    #[test]
    fn a_group_that_hangs_or_is_never_reached_has_failed() {
        let transcript = read(&["guest: begin kernel_attach", "test a ... "]);
        assert!(!transcript.is_done());
        let outcomes = transcript.finish(["kernel_attach", "kernel_batch"].into_iter());
        let red: Vec<_> = outcomes.iter().map(|o| (o.name.as_str(), o.summary.red[0].as_str())).collect();
        assert_eq!(red, [("kernel_attach", "(ended without a result)"), ("kernel_batch", "(never ran)")]);
        assert_eq!(outcomes[0].excerpt, ["test a ... "]);
    }

    #[test]
    fn a_group_that_runs_once_more_counts_as_it_ended_then() {
        let mut transcript =
            read(&["guest: begin a", RESULT, "guest: end a 0", "guest: begin b", "test x ... "]);
        assert_eq!(transcript.forget_running().as_deref(), Some("b"));
        assert!(transcript.has_ended("a") && !transcript.has_ended("b"));
        for line in ["guest: begin b", RESULT, "guest: end b 0", "guest: done"] {
            transcript.read(line);
        }
        let outcomes = transcript.finish(["a", "b"].into_iter());
        assert_eq!(outcomes.iter().map(|o| o.summary.tally.passed).collect::<Vec<_>>(), [2, 2]);
        assert!(outcomes.iter().all(|outcome| outcome.summary.red.is_empty()));
    }

    #[test]
    fn a_group_killed_after_its_time_has_failed_and_the_next_one_counts() {
        let transcript = read(&[
            "guest: begin a",
            "test x ... ",
            "guest: end a 137",
            "guest: begin b",
            RESULT,
            "guest: end b 0",
        ]);
        let outcomes = transcript.finish(["a", "b"].into_iter());
        assert_eq!(outcomes.iter().map(|o| o.summary.tally.failed).collect::<Vec<_>>(), [1, 0]);
    }
}
