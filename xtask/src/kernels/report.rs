//! The table: kernel by test group, how many tests passed and on which hooks; below it, by name, what
//! failed and what cannot be on a kernel.

use std::fmt::Write as _;

use super::{series::Version, transcript::Outcome};
use crate::libtest::Lacking;

/// All groups on one kernel.
pub(crate) struct Column {
    /// `5.10.262-1`, or the running kernel's release.
    pub(crate) kernel: String,
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) notes: Vec<String>,
    /// Why the run as a whole is no good: its time was over, the kernel panicked.
    pub(crate) trouble: Option<String>,
    /// Where all of it can be read.
    pub(crate) log: Option<String>,
}

impl Column {
    pub(crate) fn is_good(&self) -> bool {
        self.trouble.is_none()
            && !self.outcomes.is_empty()
            && self.outcomes.iter().all(|outcome| {
                let tally = outcome.summary.tally;
                let lacking = outcome.summary.lacking.len();
                tally.failed == 0 && tally.ignored == 0 && (tally.passed > 0 || lacking > 0)
            })
    }
}

/// A test that says that this kernel lacks what it has is wrong: it counts as failed.
pub(crate) fn judge_lacking(outcome: &mut Outcome, kernel: Version) {
    let summary = &mut outcome.summary;
    let (false_ones, true_ones): (Vec<Lacking>, Vec<Lacking>) = summary
        .lacking
        .drain(..)
        .partition(|lacking| Version::parse(&lacking.since).is_none_or(|since| kernel >= since));
    summary.lacking = true_ones;
    for lacking in false_ones {
        summary.tally.failed += 1;
        summary.red.push(format!("{} (wants linux {}, and this is {kernel})", lacking.test, lacking.since));
    }
}

/// A cell: `9 passed, 2 not here (clsact)`.
fn cell(outcome: &Outcome) -> String {
    let summary = &outcome.summary;
    let mut text = format!("{} passed", summary.tally.passed);
    if summary.tally.failed > 0 {
        text = format!("{} FAILED, {text}", summary.tally.failed);
    }
    if !summary.lacking.is_empty() {
        write!(text, ", {} not here", summary.lacking.len()).expect("writing to a string");
    }
    if !outcome.hooks.is_empty() {
        write!(text, " ({})", outcome.hooks.join(", ")).expect("writing to a string");
    }
    text
}

/// One group on one kernel.
pub(crate) fn row(outcome: &Outcome) -> String {
    format!("{}: {}", outcome.name, cell(outcome))
}

pub(crate) fn table(columns: &[Column]) -> String {
    let mut groups: Vec<&str> =
        columns.iter().flat_map(|column| &column.outcomes).map(|outcome| outcome.name.as_str()).collect();
    groups.sort_unstable();
    groups.dedup();
    let mut rows = vec![vec![String::new()]];
    rows[0].extend(columns.iter().map(|column| column.kernel.clone()));
    for group in groups {
        let mut row = vec![group.to_owned()];
        for column in columns {
            let outcome = column.outcomes.iter().find(|outcome| outcome.name == group);
            row.push(outcome.map_or_else(|| "-".to_owned(), cell));
        }
        rows.push(row);
    }
    aligned(&rows)
}

fn aligned(rows: &[Vec<String>]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(text, "{}", cells.join("  ").trim_end()).expect("writing to a string");
    }
    text
}

/// What stands below the table.
pub(crate) fn details(columns: &[Column]) -> String {
    let mut text = String::new();
    let mut line = |line: String| writeln!(text, "{line}").expect("writing to a string");
    for column in columns {
        for note in &column.notes {
            line(format!("{}: {note}", column.kernel));
        }
        for outcome in &column.outcomes {
            for Lacking { test, since, what } in &outcome.summary.lacking {
                line(format!("{}: not here: {}: {test}: {what}, since {since}", column.kernel, outcome.name));
            }
        }
    }
    for column in columns {
        for outcome in column.outcomes.iter().filter(|outcome| outcome.summary.tally.failed > 0) {
            for test in &outcome.summary.red {
                line(format!("{}: FAILED {}: {test}", column.kernel, outcome.name));
            }
            for excerpt in &outcome.excerpt {
                line(format!("  {excerpt}"));
            }
        }
        for outcome in column.outcomes.iter().filter(|outcome| outcome.summary.tally.ignored > 0) {
            line(format!("{}: {} has ignored tests; finish or delete them", column.kernel, outcome.name));
        }
        if let Some(trouble) = &column.trouble {
            line(format!("{}: {trouble}", column.kernel));
        }
        if let (false, Some(log)) = (column.is_good(), &column.log) {
            line(format!("{}: all of it is in {log}", column.kernel));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(name: &str, passed: u64, failed: u64) -> Outcome {
        let mut outcome = Outcome::new(name);
        outcome.summary.tally.passed = passed;
        outcome.summary.tally.failed = failed;
        outcome
    }

    fn column(kernel: &str, outcomes: Vec<Outcome>) -> Column {
        Column { kernel: kernel.to_owned(), outcomes, notes: Vec::new(), trouble: None, log: None }
    }

    fn lacking() -> Lacking {
        Lacking { test: "t".to_owned(), since: "6.6".to_owned(), what: "TCX".to_owned() }
    }

    #[test]
    fn the_table_has_a_row_a_group_and_a_column_a_kernel() {
        let mut old = outcome("kernel_attach", 9, 0);
        old.summary.lacking.push(lacking());
        old.hooks = vec!["clsact".to_owned()];
        let new = outcome("kernel_attach", 10, 0);
        let red = outcome("kernel_batch", 1, 2);
        let columns = [column("5.10.262-1", vec![old]), column("6.18.44", vec![new, red])];
        let expected = [
            "               5.10.262-1                     6.18.44",
            "kernel_attach  9 passed, 1 not here (clsact)  10 passed",
            "kernel_batch   -                              2 FAILED, 1 passed",
        ];
        assert_eq!(table(&columns).lines().collect::<Vec<_>>(), expected);
        assert_eq!(details(&columns[..1]), "5.10.262-1: not here: kernel_attach: t: TCX, since 6.6\n");
        assert!(columns[0].is_good() && !columns[1].is_good());
    }

    #[test]
    fn nothing_run_and_a_guest_in_trouble_are_not_good() {
        assert!(!column("5.10", vec![]).is_good());
        assert!(!column("5.10", vec![outcome("kernel_attach", 0, 0)]).is_good());
        let trouble = Some("panicked".to_owned());
        assert!(!Column { trouble, ..column("5.10", vec![outcome("kernel_attach", 1, 0)]) }.is_good());
    }

    #[test]
    fn a_kernel_that_has_it_all_lacks_nothing() {
        for (kernel, failed, lacks) in [(Version(6, 1), 0, 1), (Version(6, 6), 1, 0), (Version(6, 18), 1, 0)]
        {
            let mut outcome = outcome("kernel_attach", 1, 0);
            outcome.summary.lacking.push(lacking());
            judge_lacking(&mut outcome, kernel);
            assert_eq!(
                (outcome.summary.tally.failed, outcome.summary.lacking.len()),
                (failed, lacks),
                "{kernel}"
            );
        }
    }
}
