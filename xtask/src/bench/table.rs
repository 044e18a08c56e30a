//! Tables in Markdown whose columns line up in a terminal as well.

use super::{
    prices::{Figure, Judged, Prices},
    reach::Reached,
};

/// The figures of one part; the last number of an id is a length of the list, or of targets.
pub(super) fn of_part(part: &str, prices: &Prices) -> String {
    let figures: Vec<&Figure> = prices.figures.iter().filter(|figure| figure.part == part).collect();
    let size = if part == "scrape" { "targets" } else { "prefixes" };
    let header = ["what", size, "whose", "median", "quartiles", "unit"];
    let rows: Vec<_> = figures
        .iter()
        .map(|figure| {
            [
                figure.what.clone(),
                figure.prefixes.map_or_else(String::new, |prefixes| grouped(&prefixes.to_string())),
                figure.subject.clone(),
                number(figure.median),
                format!("{} to {}", number(figure.low), number(figure.high)),
                figure.unit.clone(),
            ]
        })
        .collect();
    format!("**{part}**\n\n{}", markdown(&header, "lrlrrl", &rows))
}

/// What does not vary, against its limit.
pub(super) fn of_judged(judged: &[Judged]) -> String {
    if judged.is_empty() {
        return String::new();
    }
    let rows: Vec<_> = judged
        .iter()
        .map(|it| {
            let (value, at_most) = (grouped(&it.value.to_string()), grouped(&it.at_most.to_string()));
            let verdict = if it.value > it.at_most { "over" } else { "within" };
            [it.what.clone(), value, at_most, it.unit.clone(), verdict.to_owned()]
        })
        .collect();
    markdown(&["the same in each run", "value", "at most", "unit", ""], "lrrll", &rows)
}

pub(super) fn of_reach(reach: &[Reached]) -> String {
    let rows: Vec<_> = reach
        .iter()
        .map(|row| {
            let measured =
                row.value.map_or_else(String::new, |value| format!("{} {}", number(value), row.unit));
            [row.what.to_owned(), row.bound.clone(), measured, row.outcome.to_string()]
        })
        .collect();
    markdown(&["target", "bound", "measured", ""], "lrrl", &rows)
}

/// `alignment`: `l` or `r` for each column.
fn markdown<const N: usize>(header: &[&str; N], alignment: &str, rows: &[[String; N]]) -> String {
    let to_right: Vec<bool> = alignment.chars().map(|side| side == 'r').collect();
    let widths: Vec<usize> = (0..N)
        .map(|column| {
            let cells = rows.iter().map(|row| row[column].chars().count());
            cells.chain([header[column].chars().count(), 3]).max().unwrap_or(3)
        })
        .collect();
    let line = |cells: &[String]| {
        let padded: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(column, cell)| {
                let width = widths[column];
                if to_right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
            })
            .collect();
        format!("| {} |", padded.join(" | "))
    };
    let rule = (0..N).map(|column| {
        let dashes = "-".repeat(widths[column] - 1);
        if to_right[column] { format!("{dashes}:") } else { format!("{dashes}-") }
    });
    let mut lines = vec![line(&header.map(str::to_owned)), line(&rule.collect::<Vec<_>>())];
    lines.extend(rows.iter().map(|row| line(row)));
    lines.join("\n")
}

/// Three digits that mean something, or all of the integer part.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        0.0..10.0 => 2,
        10.0..100.0 => 1,
        _ => 0,
    };
    let text = format!("{value:.decimals$}");
    grouped(text.trim_end_matches(".00").trim_end_matches(".0"))
}

/// Thousands apart: `1,000,000`.
fn grouped(number: &str) -> String {
    let (whole, rest) = number.split_at(number.find('.').unwrap_or(number.len()));
    let digits = whole.trim_start_matches('-').len();
    let mut text = String::new();
    for (index, digit) in whole.trim_start_matches('-').chars().enumerate() {
        if index > 0 && (digits - index) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    let sign = if whole.starts_with('-') { "-" } else { "" };
    format!("{sign}{text}{rest}")
}

#[cfg(test)]
mod tests {
    use super::super::prices::made_up;
    use super::*;

    #[test]
    fn a_part_is_a_markdown_table_whose_columns_line_up() {
        assert_eq!(
            of_part("packet", &made_up()),
            "\
**packet**

| what             |  prefixes | whose     | median |    quartiles | unit |
| ---------------- | --------: | --------- | -----: | -----------: | ---- |
| tcp ack outside  |         3 | poolwatch |      7 |       6 to 8 | ns   |
| tcp ack outside  | 1,000,000 | poolwatch |     20 |     19 to 21 | ns   |
| tcp data outside |         3 | poolwatch |   13.5 | 12.5 to 14.5 | ns   |"
        );
    }

    #[test]
    fn what_is_over_its_limit_says_so() {
        let mut judged = made_up().judged;
        assert!(of_judged(&judged).ends_with("| 37,000 | 100,000 | instructions | within |"));
        judged[0].value = 100_001;
        assert!(of_judged(&judged).ends_with("| 100,001 | 100,000 | instructions | over |"));
        assert_eq!(of_judged(&[]), "");
    }

    #[test]
    fn numbers_have_as_many_digits_as_they_mean() {
        for (value, text) in [
            (0.0, "0"),
            (0.333, "0.33"),
            (7.0, "7"),
            (87.000_000_01, "87"),
            (99.96, "100"),
            (-3.25, "-3.25"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.5, "1,234"),
            (-1_000_000.0, "-1,000,000"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
