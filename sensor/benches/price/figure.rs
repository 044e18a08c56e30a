//! Figures: what was measured, as medians with their quartiles, and what is held against a limit.

use serde::Serialize;

/// One figure of the price list.
#[derive(Clone, Debug, Serialize)]
pub struct Figure {
    /// What it is called in the price list's conditions: `part/what/subject`, and `/prefixes` where
    /// the size of the list matters: `packet/tcp_ack_outside/poolwatch/1000000`.
    pub id: String,
    pub part: &'static str,
    /// In words, for the table.
    pub what: String,
    /// Whose cost it is: `poolwatch`, `nftables`, `ipset`, `ndpiReader`, `nothing`.
    pub subject: String,
    /// Prefixes loaded, where that matters.
    pub prefixes: Option<u32>,
    /// `ns`, `s`, `ms`, `MiB`, `packets/s`, `Gbit/s`, `bytes`, `allocations`, `instructions`, …
    pub unit: &'static str,
    pub median: f64,
    /// First and third quartile.
    pub low: f64,
    pub high: f64,
    pub runs: usize,
}

/// Something that is the same in each run, and may not grow beyond its limit unnoticed.
#[derive(Clone, Debug, Serialize)]
pub struct Judged {
    pub what: String,
    pub value: u64,
    pub unit: &'static str,
    pub at_most: u64,
}

#[derive(Debug, Default, Serialize)]
pub struct Report {
    pub figures: Vec<Figure>,
    pub judged: Vec<Judged>,
}

/// What a figure is about.
#[derive(Clone, Debug)]
pub struct About<'a> {
    pub part: &'static str,
    /// The second word of the id.
    pub key: &'a str,
    pub what: &'a str,
    pub subject: &'a str,
    pub prefixes: Option<u32>,
    pub unit: &'static str,
}

impl Report {
    /// Adds the median of these runs. Panics where there are none: a figure without a run is none.
    pub fn add(&mut self, about: &About<'_>, runs: &[f64]) {
        assert!(!runs.is_empty(), "{about:?} was not measured");
        let mut sorted = runs.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: usize| sorted[(sorted.len() - 1) * share / 4];
        let mut id = format!("{}/{}/{}", about.part, about.key, about.subject);
        if let Some(prefixes) = about.prefixes {
            id = format!("{id}/{prefixes}");
        }
        let figure = Figure {
            id,
            part: about.part,
            what: about.what.to_owned(),
            subject: about.subject.to_owned(),
            prefixes: about.prefixes,
            unit: about.unit,
            median: at(2),
            low: at(1),
            high: at(3),
            runs: runs.len(),
        };
        eprintln!(
            "{:<60} {:>14.2} {} ({:.2} to {:.2})",
            figure.id, figure.median, figure.unit, figure.low, figure.high
        );
        self.figures.push(figure);
    }

    /// Holds something that does not vary against its limit.
    pub fn judge(&mut self, what: &str, value: u64, unit: &'static str, at_most: u64) {
        eprintln!("{what:<60} {value:>14} {unit}, at most {at_most}");
        self.judged.push(Judged { what: what.to_owned(), value, unit, at_most });
    }

    /// What is over its limit, a line each.
    pub fn broken(&self) -> Vec<String> {
        let over = self.judged.iter().filter(|judged| judged.value > judged.at_most);
        over.map(|it| format!("{}: {} {}, at most {}", it.what, it.value, it.unit, it.at_most)).collect()
    }
}
