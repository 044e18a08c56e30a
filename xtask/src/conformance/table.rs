//! The tables that are printed: numbers to the right, the verdict, the capture's name last.

/// What a comparison came to.
pub(super) enum Verdict {
    Equal,
    /// What differs, one thing a line.
    Differs(Vec<String>),
    /// Nothing to compare, and why.
    Left(String),
}

pub(super) struct Row {
    pub(super) cells: Vec<String>,
    pub(super) verdict: Verdict,
    pub(super) name: String,
}

/// Prints it, and returns how many rows differ.
pub(super) fn print(title: &str, columns: &[&str], rows: &[Row]) -> usize {
    println!("\n{title}");
    let cell = |row: &Row, column: usize| row.cells.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| cell(row, column).len()).chain([columns[column].len()]).max())
        .map(|width| width.unwrap_or(0))
        .collect();
    let line = |cells: Vec<String>| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}"));
        cells.collect::<Vec<_>>().join("  ")
    };
    println!("{}", line(columns.iter().map(ToString::to_string).collect()));
    for row in rows {
        let cells = line((0..columns.len()).map(|column| cell(row, column)).collect());
        match &row.verdict {
            Verdict::Equal => println!("{cells}  ok       {}", row.name),
            Verdict::Left(why) => println!("{cells}  -        {}: {why}", row.name),
            Verdict::Differs(what) => {
                println!("{cells}  DIFFERS  {}\n    {}", row.name, what.join("\n    "));
            }
        }
    }
    let count = |is: fn(&Verdict) -> bool| rows.iter().filter(|row| is(&row.verdict)).count();
    let wrong = count(|verdict| matches!(verdict, Verdict::Differs(_)));
    let equal = count(|verdict| matches!(verdict, Verdict::Equal));
    println!("{equal} equal, {wrong} differ, {} not compared", rows.len() - equal - wrong);
    wrong
}

/// `Equal` when nothing differs.
pub(super) fn verdict(differences: Vec<String>) -> Verdict {
    if differences.is_empty() { Verdict::Equal } else { Verdict::Differs(differences) }
}
