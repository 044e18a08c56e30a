//! The table against the rules by example, and against the plain search that people ask.

use proptest::prelude::*;

use super::*;
use crate::watchlists::{Allow, Category, Entry, Target, Watchlist};

/// (watchlist, target, domains)
type Lines<'a> = &'a [(&'a str, &'a str, &'a [&'a str])];

fn entries<T: AsRef<str>>(domains: &[T]) -> Vec<Entry<String>> {
    let entry = |domain: &T| Entry { indicator: domain.as_ref().to_owned(), source: 0, line: 0 };
    domains.iter().map(entry).collect()
}

fn watchlists(lines: Lines<'_>, allowed: &[&str]) -> Watchlists {
    let mut lists: Vec<Watchlist> = Vec::new();
    for &(name, target, domains) in lines {
        if lists.last().is_none_or(|list| list.name != name) {
            let (name, category) = (name.to_owned(), Category::Custom);
            lists.push(Watchlist { name, category, targets: Vec::new(), updated: None });
        }
        let target = Target { domains: entries(domains), ..Target::new(target) };
        lists.last_mut().unwrap().targets.push(target);
    }
    let allow = Allow { domains: entries(allowed), ..Allow::default() };
    Watchlists { lists, allow, notes: Vec::new() }
}

fn compile(watchlists: &Watchlists) -> Domains {
    let mut slots = 0..;
    Domains::of(watchlists, |_, _| slots.next()).unwrap()
}

/// `watchlist/target indicator` of each match.
fn found(watchlists: &Watchlists, domains: &Domains, name: &[u8]) -> Vec<String> {
    let matches = domains.find(name);
    let slots: Vec<u32> = matches.iter().map(|found| found.slot).collect();
    assert_eq!(matches.targets().slots().collect::<Vec<_>>(), slots, "in the order of the config");
    matches
        .iter()
        .map(|found| {
            let list = &watchlists.lists[found.watchlist];
            format!("{}/{} {}", list.name, list.targets[found.target].name, found.indicator)
        })
        .collect()
}

/// The same by the plain search; `None`: that is no name.
fn searched(watchlists: &Watchlists, name: &str) -> Option<Vec<String>> {
    let matches = watchlists.lookup_domain(name)?;
    let counted = matches.iter().filter(|found| found.allowed.is_none());
    let text = |found: &crate::watchlists::Match<'_>| {
        format!("{}/{} {}", found.watchlist.name, found.target.name, found.indicator)
    };
    Some(counted.map(text).collect())
}

#[test]
fn the_longest_suffix_wins_in_each_watchlist_and_what_is_allowed_matches_nothing() {
    let watchlists = watchlists(
        &[
            ("pools", "one", &["pool.example", "deep.eu.pool.example"]),
            ("pools", "two", &["eu.pool.example", "pool.example"]),
            ("office", "all", &["example"]),
            ("office", "eu", &["eu.pool.example"]),
        ],
        &["www.pool.example", "free.example", "listed.example"],
    );
    let domains = compile(&watchlists);
    let name_of_253 = format!("{}pool.example", "a.".repeat(120) + "b");
    assert_eq!(name_of_253.len(), NAME_BYTES_MAX);
    let name_of_254 = format!("a{name_of_253}");
    let table: [(&str, &[u8], &[&str]); 17] = [
        ("itself, in two watchlists", b"pool.example", &["pools/one pool.example", "office/all example"]),
        ("a subdomain", b"x.y.pool.example", &["pools/one pool.example", "office/all example"]),
        ("any case, final dot", b"X.Pool.EXAMPLE.", &["pools/one pool.example", "office/all example"]),
        ("longer in both", b"eu.pool.example", &["pools/two eu.pool.example", "office/eu eu.pool.example"]),
        (
            "longest in one, inherited in the other",
            b"a.deep.eu.pool.example",
            &["pools/one deep.eu.pool.example", "office/eu eu.pool.example"],
        ),
        ("only the top", b"other.example", &["office/all example"]),
        ("not at a dot", b"carpool.example", &["office/all example"]),
        ("allowed", b"www.pool.example", &[]),
        ("beneath what is allowed", b"a.www.pool.example", &[]),
        ("allowed beneath the top", b"free.example", &[]),
        ("a stranger", b"pool.test", &[]),
        (
            "bytes that are no name before it",
            b"\xff\0 .pool.example",
            &["pools/one pool.example", "office/all example"],
        ),
        ("other letters", "pool.exämple".as_bytes(), &[]),
        ("two final dots", b"pool.example..", &[]),
        ("nothing", b"", &[]),
        ("a dot", b".", &[]),
        ("too long for a name", name_of_254.as_bytes(), &[]),
    ];
    for (description, name, expected) in table {
        assert_eq!(found(&watchlists, &domains, name), expected, "{description}");
    }
    let longest = ["office/all example"];
    assert_eq!(found(&watchlists, &domains, name_of_253.as_bytes()), longest, "the longest name");
}

#[test]
fn a_name_under_an_allowed_one_is_left_out_and_a_list_of_none_matches_nothing() {
    let lists = watchlists(&[("a", "t", &["x.y.example", "y.example"])], &["y.example"]);
    let domains = compile(&lists);
    assert_eq!(domains.len(), 1);
    assert!(domains.find(b"x.y.example").is_empty());
    let none = compile(&Watchlists::default());
    assert!(none.is_empty() && none.find(b"pool.example").is_empty());
}

#[test]
fn a_name_of_more_watchlists_than_a_packet_may_concern_is_refused_with_their_names() {
    let domain: &[&str] = &["a.b.example"];
    let lists = watchlists(
        &[
            ("1", "t", &["example"]),
            ("2", "t", &["b.example"]),
            ("3", "t", domain),
            ("4", "t", domain),
            ("5", "t", domain),
        ],
        &[],
    );
    let mut slots = 0..;
    let error = Domains::of(&lists, |_, _| slots.next()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "a.b.example concerns 5 watchlists (1, 2, 3, 4, 5), and a packet counts for at most 4"
    );
}

#[test]
fn a_target_without_a_slot_is_refused() {
    let lists = watchlists(&[("a", "t", &["pool.example"])], &[]);
    assert!(matches!(Domains::of(&lists, |_, _| None), Err(CompileError::Slot { .. })));
}

/// Names of few labels, so that they meet, lie within one another, and almost do.
fn name() -> impl Strategy<Value = String> {
    let label = prop_oneof![Just("a"), Just("b"), Just("ab"), Just("x-1"), Just("_tcp")];
    prop::collection::vec(label, 1..6).prop_map(|labels| labels.join("."))
}

proptest! {
    #[test]
    fn the_table_answers_as_the_plain_search_does(
        lists in prop::collection::vec(prop::collection::vec(prop::collection::vec(name(), 0..6), 0..4), 0..5),
        allowed in prop::collection::vec(name(), 0..3),
        asked in prop::collection::vec((name(), any::<bool>(), any::<bool>()), 1..40),
    ) {
        let target = |(number, domains): (usize, &Vec<String>)| {
            Target { domains: entries(domains), ..Target::new(&format!("t{number}")) }
        };
        let list = |(number, targets): (usize, &Vec<Vec<String>>)| Watchlist {
            name: format!("w{number}"),
            category: Category::Custom,
            targets: targets.iter().enumerate().map(target).collect(),
            updated: None,
        };
        let watchlists = Watchlists {
            lists: lists.iter().enumerate().map(list).collect(),
            allow: Allow { domains: entries(&allowed), ..Allow::default() },
            notes: Vec::new(),
        };
        let domains = compile(&watchlists);
        for (name, upper, dot) in asked {
            let name = if upper { name.to_ascii_uppercase() } else { name };
            let name = if dot { format!("{name}.") } else { name };
            prop_assert_eq!(
                Some(found(&watchlists, &domains, name.as_bytes())), searched(&watchlists, &name), "{}", name
            );
        }
    }

    #[test]
    fn no_bytes_panic_and_what_ends_in_a_listed_name_is_found(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
    ) {
        let lists = watchlists(&[("a", "t", &["pool.example"])], &[]);
        let domains = compile(&lists);
        domains.find(&bytes);
        let mut ended = bytes;
        ended.extend(b".pool.example");
        prop_assert_eq!(!domains.find(&ended).is_empty(), ended.len() <= NAME_BYTES_MAX);
    }
}
