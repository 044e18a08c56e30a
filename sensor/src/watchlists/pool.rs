//! What a list knows of a mining pool beside its names: whether sources still speak of it, and
//! what is mined there. Nobody asks the pool itself.

use time::{Date, Duration};

use super::Confidence;

/// Longest time between the source that calls a pool alive and the review: 12 months.
const ALIVE_FOR: Duration = Duration::days(366);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pool {
    pub status: Status,
    /// The date of the newest source that names it, where there is one.
    pub seen: Option<Date>,
    /// Tickers, the main ones; empty where the source names none.
    pub coins: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// A source of the 12 months before the review names it as a pool.
    Alive,
    /// Known as a pool, but by no source of those 12 months.
    Undated,
    /// Closed, or gone: who still asks for it runs something old.
    Retired,
    /// Mines in web pages, or did.
    Browser,
}

impl Status {
    /// As tables show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Undated => "undated",
            Self::Retired => "retired",
            Self::Browser => "browser",
        }
    }
}

impl Pool {
    /// Does this agree with the rest of its entry? The error reads on after the target's name.
    pub(super) fn check(&self, confidence: Confidence, reviewed: Date) -> Result<(), &'static str> {
        if self.seen.is_some_and(|seen| seen > reviewed) {
            return Err("was seen after it was reviewed");
        }
        match (self.status, self.seen) {
            (Status::Alive, None) => Err("is alive, and `seen` does not say by which date"),
            (Status::Alive, Some(seen)) if reviewed - seen > ALIVE_FOR => {
                Err("is alive, and was seen more than 12 months before it was reviewed")
            }
            (Status::Retired, _) if confidence != Confidence::Historical => {
                Err("is retired, and its confidence is not historical")
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use time::macros::date;

    use super::*;

    #[test]
    fn a_pool_is_alive_by_a_source_of_the_last_12_months_and_retired_ones_are_historical() {
        const REVIEWED: Date = date!(2026 - 11 - 24);
        let alive = Some("is alive, and `seen` does not say by which date");
        let too_old = Some("is alive, and was seen more than 12 months before it was reviewed");
        let later = Some("was seen after it was reviewed");
        let retired = Some("is retired, and its confidence is not historical");
        let table = [
            ("seen on the day", Status::Alive, Some(REVIEWED), Confidence::Confirmed, None),
            ("seen a year ago", Status::Alive, Some(date!(2025 - 11 - 24)), Confidence::Associated, None),
            ("seen longer ago", Status::Alive, Some(date!(2025 - 11 - 22)), Confidence::Confirmed, too_old),
            ("seen by nobody", Status::Alive, None, Confidence::Confirmed, alive),
            ("seen tomorrow", Status::Alive, Some(date!(2026 - 11 - 25)), Confidence::Confirmed, later),
            ("undated", Status::Undated, None, Confidence::Associated, None),
            ("closed", Status::Retired, None, Confidence::Historical, None),
            ("closed, and sure", Status::Retired, None, Confidence::Confirmed, retired),
            ("in browsers", Status::Browser, Some(date!(2017 - 12 - 16)), Confidence::Historical, None),
        ];
        for (description, status, seen, confidence, wrong) in table {
            let pool = Pool { status, seen, coins: Vec::new() };
            assert_eq!(pool.check(confidence, REVIEWED).err(), wrong, "{description}");
        }
    }
}
