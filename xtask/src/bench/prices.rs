//! The figures as the benchmark writes them (sensor/benches/price/figure.rs), read back.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// One figure: the median of its runs with their quartiles.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Figure {
    /// `part/what/subject`, and `/size` where that matters.
    pub(super) id: String,
    pub(super) part: String,
    pub(super) what: String,
    pub(super) subject: String,
    /// Length of the list, or what else makes it larger.
    pub(super) prefixes: Option<u32>,
    pub(super) unit: String,
    pub(super) median: f64,
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) runs: usize,
}

/// Something that is the same in each run, and its limit.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Judged {
    pub(super) what: String,
    pub(super) value: u64,
    pub(super) unit: String,
    pub(super) at_most: u64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Prices {
    pub(super) figures: Vec<Figure>,
    pub(super) judged: Vec<Judged>,
}

impl Prices {
    /// The median of a figure, if it was measured.
    pub(super) fn median(&self, id: &str) -> Option<f64> {
        self.figures.iter().find(|figure| figure.id == id).map(|figure| figure.median)
    }

    /// The parts that were measured, in their order.
    pub(super) fn parts(&self) -> impl Iterator<Item = &str> {
        let mut parts: Vec<&str> = Vec::new();
        for figure in &self.figures {
            if !parts.contains(&figure.part.as_str()) {
                parts.push(&figure.part);
            }
        }
        parts.into_iter()
    }
}

/// `None`: the benchmark ended before it wrote any.
pub(super) fn read(path: &Path) -> Result<Option<Prices>> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    if text.is_empty() {
        return Ok(None);
    }
    let prices = serde_json::from_str(&text)
        .with_context(|| format!("{} is not what the benchmark writes", path.display()))?;
    Ok(Some(prices))
}

/// For tests: prices that nobody measured.
#[cfg(test)]
pub(super) fn made_up() -> Prices {
    let figure = |what: &str, subject: &str, prefixes: u32, median: f64| Figure {
        id: format!("{what}/{subject}/{prefixes}"),
        part: what.split('/').next().unwrap().to_owned(),
        what: what.split('/').nth(1).unwrap().replace('_', " "),
        subject: subject.to_owned(),
        prefixes: Some(prefixes),
        unit: "ns".to_owned(),
        median,
        low: median - 1.0,
        high: median + 1.0,
        runs: 21,
    };
    Prices {
        figures: vec![
            figure("packet/tcp_ack_outside", "poolwatch", 3, 7.0),
            figure("packet/tcp_ack_outside", "poolwatch", 1_000_000, 20.0),
            figure("packet/tcp_data_outside", "poolwatch", 3, 13.5),
            figure("traffic/share_ns", "poolwatch", 100_000, 25.0),
            figure("traffic/share_ns", "nftables", 3, 120.0),
            figure("traffic/share_ns", "nftables", 100_000, 320.0),
        ],
        judged: vec![Judged {
            what: "a program: verified".to_owned(),
            value: 37_000,
            unit: "instructions".to_owned(),
            at_most: 100_000,
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_benchmark_writes_is_read_back() {
        let text = r#"{"figures": [{"id": "packet/wrapper/rotate", "part": "packet", "what": "the wrapper",
            "subject": "rotate", "prefixes": null, "unit": "ns", "median": 5.5, "low": 5.0, "high": 6.0,
            "runs": 21}], "judged": []}"#;
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("figures.json");
        fs::write(&path, text).unwrap();
        let prices = read(&path).unwrap().unwrap();
        assert_eq!(prices.median("packet/wrapper/rotate"), Some(5.5));
        assert_eq!(prices.median("packet/wrapper"), None);
        fs::write(&path, "").unwrap();
        assert!(read(&path).unwrap().is_none());
        fs::write(&path, "{}").unwrap();
        assert!(read(&path).is_err());
    }

    #[test]
    fn parts_come_in_the_order_in_which_they_were_measured() {
        assert_eq!(made_up().parts().collect::<Vec<_>>(), ["packet", "traffic"]);
    }
}
