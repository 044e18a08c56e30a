//! What the list of pools must keep to, whoever edits it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::watchlists::Watchlists;

/// What belongs to others: exchanges, coins' own websites, news, hosters. Neither they nor their
/// `www` may match, and no entry may stand for all of them.
const OTHERS: [&str; 40] = [
    "binance.com",
    "bitcoin.org",
    "bitfinex.com",
    "bitget.com",
    "bitstamp.net",
    "blockchain.com",
    "btc.com",
    "bybit.com",
    "cloudflare.com",
    "cloudfront.net",
    "coinbase.com",
    "coindesk.com",
    "coinex.com",
    "coingecko.com",
    "coinmarketcap.com",
    "crypto.com",
    "ddns.net",
    "duckdns.org",
    "ethereum.org",
    "etherscan.io",
    "gate.io",
    "getmonero.org",
    "github.com",
    "github.io",
    "gitlab.com",
    "googleusercontent.com",
    "gupax.io",
    "htx.com",
    "huobi.com",
    "kraken.com",
    "kucoin.com",
    "localmonero.co",
    "mexc.com",
    "mysrv.cloud",
    "nicehash.com",
    "okx.com",
    "p2pool.io",
    "qubic.li",
    "xdag.org",
    "xmrig.com",
];

const SOUND: &str = r#"
    category = "mining"
    [[target]]
    name = "pool"
    status = "alive"
    confidence = "confirmed"
    seen = "2026-04-21"
    source = "a list, 2026"
    reviewed = "2026-11-22"
    coins = ["XMR"]
    domains = ["pool.example"]
"#;

fn mining() -> Watchlist {
    load(Builtin { mining: true, dprk: false }).unwrap().remove(0)
}

fn watched() -> Watchlists {
    Watchlists { lists: vec![mining()], ..Watchlists::default() }
}

/// The target that a name counts for.
fn found(watchlists: &Watchlists, name: &str) -> Option<String> {
    let matches = watchlists.lookup_domain(name).unwrap();
    matches.first().map(|found| found.target.name.clone())
}

fn error(text: &str) -> String {
    format!("{:#}", parse("test", text).unwrap_err())
}

#[test]
fn an_entry_without_source_or_date_or_status_is_refused() {
    assert!(parse("test", SOUND).is_ok());
    let without = |key: &str| {
        error(&SOUND.lines().filter(|line| !line.trim().starts_with(key)).collect::<Vec<_>>().join("\n"))
    };
    for key in ["source", "reviewed"] {
        assert!(without(key).contains(&format!("missing field `{key}`")), "{key}");
    }
    assert_eq!(without("seen"), "built-in list test: pool is alive, and `seen` does not say by which date");
    assert_eq!(without("status"), "built-in list test: pool has `seen` or `coins`, and no `status`");
    let bare = SOUND.replace("status = \"alive\"", "").replace("seen = \"2026-04-21\"", "");
    let bare = bare.replace("coins = [\"XMR\"]", "");
    assert_eq!(error(&bare), "built-in list test: pool: a pool has a `status`, and nothing else has one");
    let route = SOUND.replace("category = \"mining\"", "category = \"sanctioned\"");
    assert_eq!(error(&route), "built-in list test: pool: a pool has a `status`, and nothing else has one");
    assert!(error(&SOUND.replace("2026-04-21", "last year")).contains("seen"));
}

#[test]
fn at_least_150_operators_are_alive_and_the_others_are_marked() {
    let list = mining();
    let mut by_status: BTreeMap<&str, usize> = BTreeMap::new();
    for pool in list.targets.iter().filter_map(|target| target.pool.as_ref()) {
        *by_status.entry(pool.status.name()).or_default() += 1;
    }
    assert!(by_status["alive"] >= 150, "{by_status:?}");
    for status in ["browser", "retired", "undated"] {
        assert!(by_status[status] >= 20, "{by_status:?}");
    }
    let said = format!("{} of {} are *alive*", by_status["alive"], by_status.values().sum::<usize>());
    assert!(include_str!("../../../../README.md").contains(&said), "the README does not say: {said}");
}

#[test]
fn what_no_entry_names_is_the_last_target_and_is_sure() {
    let pools = mining();
    let last = pools.targets.last().unwrap();
    assert_eq!((last.name.as_str(), last.confidence, &last.pool), (UNLISTED, Confidence::Confirmed, &None));
}

#[test]
fn names_are_short_lower_case_and_each_there_once() {
    let list = mining();
    let names: BTreeSet<&str> = list.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names.len(), list.targets.len());
    let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    for name in names {
        assert!(name.len() <= 20 && name.bytes().all(is_plain), "{name}");
    }
    let coins = list.targets.iter().filter_map(|target| target.pool.as_ref()).flat_map(|pool| &pool.coins);
    for coin in coins {
        assert!(
            coin.len() >= 2 && coin.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit()),
            "{coin}"
        );
    }
}

#[test]
fn no_domain_belongs_to_two_targets_or_lies_within_another() {
    let (list, watchlists) = (mining(), watched());
    let mut seen = BTreeSet::new();
    for target in &list.targets {
        for domain in &target.domains {
            let domain = domain.indicator.as_str();
            assert!(seen.insert(domain), "{domain} is there twice");
            let (_, parent) = domain.split_once('.').unwrap();
            let parent_of = parent.contains('.').then(|| found(&watchlists, parent)).flatten();
            assert_eq!(parent_of, None, "{domain} of {} lies within another", target.name);
        }
    }
}

#[test]
fn what_belongs_to_others_matches_nothing() {
    let watchlists = watched();
    for other in OTHERS {
        for name in [other.to_owned(), format!("www.{other}"), format!("an-account.{other}")] {
            assert_eq!(found(&watchlists, &name), None, "{name}");
        }
    }
}

#[test]
fn miners_names_are_found_under_their_operator() {
    let watchlists = watched();
    for (name, target) in [
        ("pool.supportxmr.com", "supportxmr"),
        ("la01.supportxmr.com", "supportxmr"),
        ("xmr-eu1.nanopool.org", "nanopool"),
        ("gulf.moneroocean.stream", "moneroocean"),
        ("donate.v2.xmrig.com", "xmrig"),
        ("randomxmonero.auto.nicehash.com", "nicehash"),
        ("btc-asia.f2pool.com", "f2pool"),
        ("sha256.poolbinance.com", "binance-pool"),
        ("mine.ocean.xyz", "ocean"),
        ("seeds-mini.p2pool.io", "p2pool"),
        ("us1.bitminter.com", "bitminter"),
        ("ws012.coinhive.com", "coinhive"),
    ] {
        assert_eq!(found(&watchlists, name).as_deref(), Some(target), "{name}");
    }
}
