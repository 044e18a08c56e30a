//! The lists that come with poolwatch: facts with their source, the date they were last held
//! against it, and how sure they are. Each is a TOML file beside this one, embedded; a new
//! list is such a file and a line in `LISTS`. Of a pool an entry says more: whether sources
//! still speak of it, and its coins.
//!
//! Their names belong to them whether they are on or off: a count under `dprk` always means
//! the same list.

use std::time::SystemTime;

use anyhow::{Context, anyhow, bail};
use serde::Deserialize;
use time::{Date, Time};

use super::{Category, Confidence, Entry, Pool, Read, Refused, Status, Target, Watchlist};
use super::{domains, endpoints, prefixes};
use crate::config::{Builtin, UNLISTED, quote};

/// Names that no watchlist of the config may take.
pub(crate) const NAMES: [&str; 2] = ["mining", "dprk"];

/// In the order in which they count.
const LISTS: [Embedded; 2] = [
    Embedded { name: "mining", is_on: |builtin| builtin.mining, text: include_str!("mining.toml") },
    Embedded { name: "dprk", is_on: |builtin| builtin.dprk, text: include_str!("dprk.toml") },
];

struct Embedded {
    /// One of [`NAMES`].
    name: &'static str,
    /// Its key of the config.
    is_on: fn(Builtin) -> bool,
    text: &'static str,
}

time::serde::format_description!(iso_date, Date, "[year]-[month]-[day]");

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenList {
    category: Category,
    target: Vec<WrittenTarget>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenTarget {
    name: String,
    confidence: Confidence,
    /// Who says so, and since when it is so.
    source: String,
    /// When this was last held against the source.
    #[serde(with = "iso_date")]
    reviewed: Date,
    /// Of a pool, as the next two.
    status: Option<Status>,
    #[serde(default, with = "iso_date::option")]
    seen: Option<Date>,
    #[serde(default)]
    coins: Vec<String>,
    #[serde(default)]
    prefixes: Vec<String>,
    #[serde(default)]
    endpoints: Vec<String>,
    #[serde(default)]
    domains: Vec<String>,
}

/// Those that are on.
pub(super) fn load(builtin: Builtin) -> anyhow::Result<Vec<Watchlist>> {
    LISTS.iter().filter(|list| (list.is_on)(builtin)).map(|list| parse(list.name, list.text)).collect()
}

fn parse(name: &str, text: &str) -> anyhow::Result<Watchlist> {
    let list = format!("built-in list {name}");
    let written: WrittenList = toml::from_str(text).with_context(|| list.clone())?;
    let oldest = written.target.iter().map(|target| target.reviewed).min();
    let read = |target| read_target(target, written.category);
    let targets = written.target.into_iter().map(read).collect::<anyhow::Result<_>>();
    Ok(Watchlist {
        name: name.to_owned(),
        category: written.category,
        targets: targets.context(list)?,
        updated: oldest.map(|date| SystemTime::from(date.with_time(Time::MIDNIGHT).assume_utc())),
    })
}

fn read_target(written: WrittenTarget, category: Category) -> anyhow::Result<Target> {
    let name = written.name.clone();
    let pool = match written.status {
        Some(status) => Some(Pool { status, seen: written.seen, coins: written.coins }),
        None if written.seen.is_some() || !written.coins.is_empty() => {
            bail!("{name} has `seen` or `coins`, and no `status`")
        }
        None => None,
    };
    if let Some(pool) = &pool {
        pool.check(written.confidence, written.reviewed).map_err(|why| anyhow!("{name} {why}"))?;
    }
    if pool.is_some() != (category == Category::Mining && name != UNLISTED) {
        bail!("{name}: a pool has a `status`, and nothing else has one");
    }
    Ok(Target {
        confidence: written.confidence,
        reviewed: Some(written.reviewed),
        pool,
        sources: vec![written.source],
        prefixes: read_all(&written.prefixes, prefixes::parse)?,
        endpoints: read_all(&written.endpoints, endpoints::parse)?,
        domains: read_all(&written.domains, domains::parse)?,
        ..Target::new(&name)
    })
}

fn read_all<T>(
    written: &[String],
    parse: fn(&str) -> Result<Read<T>, Refused>,
) -> anyhow::Result<Vec<Entry<T>>> {
    let entry = |text: &String| {
        let indicator = parse(text).map_err(|why| anyhow!("{} {why}", quote(text)))?.indicator;
        Ok(Entry { indicator, source: 0, line: 0 })
    };
    written.iter().map(entry).collect()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    const SOUND: &str = r#"
        category = "sanctioned"
        [[target]]
        name = "route"
        confidence = "associated"
        source = "a registry, 2010"
        reviewed = "2026-11-22"
        prefixes = ["192.0.2.0/24"]
    "#;

    fn without(key: &str) -> String {
        SOUND.lines().filter(|line| !line.trim().starts_with(key)).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn an_entry_without_source_date_or_confidence_is_refused() {
        assert!(parse("test", SOUND).is_ok());
        for key in ["source", "reviewed", "confidence", "name"] {
            let error = format!("{:#}", parse("test", &without(key)).unwrap_err());
            assert!(error.contains(&format!("missing field `{key}`")), "{key}: {error}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused() {
        let error = parse("test", &format!("{SOUND}\nsauce = \"a typo\"")).unwrap_err();
        assert!(format!("{error:#}").contains("unknown field `sauce`"), "{error:#}");
    }

    #[test]
    fn a_list_is_as_old_as_its_oldest_target() {
        let second =
            "[[target]]\nname = \"b\"\nconfidence = \"confirmed\"\nsource = \"x\"\nreviewed = \"2025-01-02\"";
        let list = parse("test", &format!("{SOUND}\n{second}")).unwrap();
        assert_eq!(list.updated, Some(datetime!(2025-01-02 0:00 UTC).into()));
    }

    #[test]
    fn every_list_parses_and_has_a_reserved_name_and_sources_that_say_something() {
        for Embedded { name, text, .. } in LISTS {
            assert!(NAMES.contains(&name), "{name}");
            for target in parse(name, text).unwrap().targets {
                assert!(target.source().len() > 20, "{name}/{}", target.name);
                let indicators = target.prefixes.len() + target.endpoints.len() + target.domains.len();
                // What a protocol reveals and no list names has nothing by which a list could name it.
                assert_eq!(indicators > 0, target.name != UNLISTED, "{name}/{}", target.name);
            }
        }
    }

    #[test]
    fn dprk_has_its_three_routes() {
        let lists = load(Builtin { mining: false, dprk: true }).unwrap();
        let [dprk] = lists.as_slice() else { panic!("{lists:?}") };
        assert_eq!((dprk.name.as_str(), dprk.category), ("dprk", Category::Sanctioned));
        let routes: Vec<_> = dprk
            .targets
            .iter()
            .map(|route| {
                let prefixes: Vec<_> = route.prefixes.iter().map(|p| p.indicator.to_string()).collect();
                (route.name.as_str(), prefixes.join(" "), route.confidence)
            })
            .collect();
        assert_eq!(
            routes,
            [
                ("star-kp", "175.45.176.0/22".to_owned(), Confidence::Confirmed),
                ("unicom", "210.52.109.0/24".to_owned(), Confidence::Associated),
                ("satgate", "77.94.35.0/24".to_owned(), Confidence::Historical),
            ]
        );
    }

    #[test]
    fn a_list_that_is_off_is_not_there() {
        assert!(load(Builtin { mining: false, dprk: false }).unwrap().is_empty());
        let names = |mining, dprk| -> Vec<String> {
            load(Builtin { mining, dprk }).unwrap().into_iter().map(|list| list.name).collect()
        };
        assert_eq!(names(true, false), ["mining"]);
        assert_eq!(names(true, true), ["mining", "dprk"], "in the order in which they count");
    }
}

#[cfg(test)]
mod mining;
