//! Lists as people meet them: feed files in the forms in which they are published, what
//! `check` and `lists` print of them, and what `lists --lookup` says and returns.

#![expect(clippy::unwrap_used, reason = "a test may unwrap: its panic is its message")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sensor::commands::{check::check, lists::lists};
use sensor::config::Config;
use sensor::watchlists::{Target, Watchlist, Watchlists};
use tempfile::TempDir;

/// A folder with a config of one watchlist, `office`, and the feeds of it.
struct Office {
    folder: TempDir,
}

impl Office {
    /// `feeds`: target, kind and text.
    fn new(inline: &str, feeds: &[(&str, &str, &str)]) -> Self {
        let office = Self { folder: tempfile::tempdir().unwrap() };
        let mut config = format!("builtin.mining = false\nbuiltin.dprk = false\n{inline}\n");
        for (number, (target, kind, text)) in feeds.iter().enumerate() {
            fs::write(office.path(&format!("{number}.txt")), text).unwrap();
            writeln!(
                config,
                "[[watchlist.feed]]\ntarget = \"{target}\"\npath = \"{number}.txt\"\nkind = \"{kind}\""
            )
            .unwrap();
        }
        fs::write(office.config(), config).unwrap();
        office
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> PathBuf {
        self.path("c.toml")
    }

    fn load(&self) -> Watchlists {
        Watchlists::load(&Config::load(Some(&self.config())).unwrap()).unwrap()
    }

    fn only_list(&self) -> Watchlist {
        let mut lists = self.load().lists;
        assert_eq!(lists.len(), 1);
        lists.remove(0)
    }

    /// A printed text without the name of the folder.
    fn normalised(&self, text: &[u8]) -> String {
        String::from_utf8(text.to_vec()).unwrap().replace(self.folder.path().to_str().unwrap(), "DIR")
    }

    fn lookup(&self, asked: &str) -> (String, bool) {
        let mut out = Vec::new();
        let matched = lists(Some(&self.config()), Some(asked), &mut out).unwrap();
        (self.normalised(&out), matched)
    }
}

const NAMED: &str = "[[watchlist]]\nname = \"office\"";

fn prefixes(target: &Target) -> Vec<String> {
    target.prefixes.iter().map(|entry| entry.indicator.to_string()).collect()
}

fn domains(target: &Target) -> Vec<&str> {
    target.domains.iter().map(|entry| entry.indicator.as_str()).collect()
}

#[test]
fn a_netset_is_read_with_its_comments_blanks_and_line_ends() {
    let text = "\u{feff}# firehol_level1\r\n#\r\n\r\n10.0.0.0/8\r\n  192.0.2.1\t# one host\r\n\
                198.51.100.0/24 ; SBL1\r\n2001:db8::/32\r\n192.0.2.1/32\r\n";
    let list = Office::new(NAMED, &[("firehol", "prefixes", text)]).only_list();
    assert_eq!(list.targets[0].name, "firehol");
    assert_eq!(
        prefixes(&list.targets[0]),
        ["10.0.0.0/8", "192.0.2.1/32", "198.51.100.0/24", "2001:db8::/32"],
        "each once"
    );
    assert_eq!(list.targets[0].prefixes[1].line, 5, "where it is written first");
}

#[test]
fn a_hosts_file_is_read_without_what_it_says_of_its_own_host() {
    let text = "127.0.0.1 localhost\n::1 localhost ip6-localhost\nfe80::1%lo0 localhost\n\
                255.255.255.255 broadcasthost\nff02::1 ip6-allnodes\n0.0.0.0 0.0.0.0\n\n\
                # Start\n0.0.0.0 Pool.Example # mining\n0.0.0.0 a.example b.example\n:: pool.example.\n";
    let list = Office::new(NAMED, &[("hosts", "domains", text)]).only_list();
    assert_eq!(domains(&list.targets[0]), ["a.example", "b.example", "pool.example"]);
}

#[test]
fn domains_are_also_read_one_a_line() {
    let text = "*.pool.example\n.pool.example\nШАХТА.example ; in other letters\n";
    let list = Office::new(NAMED, &[("names", "domains", text)]).only_list();
    assert_eq!(domains(&list.targets[0]), ["pool.example", "xn--80aa7cln.example"]);
}

#[test]
fn inline_indicators_count_under_the_watchlists_own_name_and_merge_with_feeds_of_that_target() {
    let office = Office::new(
        "[[watchlist]]\nname = \"office\"\nprefixes = [\"10.0.0.0/8\"]",
        &[
            ("office", "prefixes", "10.0.0.0/8\n11.0.0.0/8\n"),
            ("pools", "endpoints", "203.0.113.7:3333\n"),
            ("office", "domains", "pool.example\n"),
        ],
    );
    let list = office.only_list();
    let names: Vec<&str> = list.targets.iter().map(|target| target.name.as_str()).collect();
    assert_eq!(names, ["office", "pools"]);
    assert_eq!(prefixes(&list.targets[0]), ["10.0.0.0/8", "11.0.0.0/8"]);
    assert_eq!(domains(&list.targets[0]), ["pool.example"]);
    let source = list.targets[0].source();
    assert_eq!(office.normalised(source.as_bytes()), "DIR/c.toml, DIR/0.txt, DIR/2.txt");
}

#[test]
fn a_feed_without_a_target_counts_under_the_watchlists_own_name() {
    let office = Office::new(&format!("{NAMED}\n[[watchlist.feed]]\npath = \"f.txt\""), &[]);
    fs::write(office.path("f.txt"), "10.0.0.0/8\n").unwrap();
    assert_eq!(office.only_list().targets[0].name, "office");
}

#[test]
fn a_watchlist_is_as_old_as_its_oldest_feed_and_has_no_age_when_all_is_inline() {
    let office = Office::new(NAMED, &[("a", "prefixes", "10.0.0.0/8\n"), ("b", "prefixes", "11.0.0.0/8\n")]);
    let old = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    fs::File::options().write(true).open(office.path("1.txt")).unwrap().set_modified(old).unwrap();
    assert_eq!(office.only_list().updated, Some(old));
    let inline = Office::new("[[watchlist]]\nname = \"office\"\nprefixes = [\"10.0.0.0/8\"]", &[]);
    assert_eq!(inline.only_list().updated, None);
}

#[test]
fn what_is_taken_otherwise_than_written_is_noted_with_its_place() {
    let office = Office::new(
        "[allow]\nprefixes = [\"192.0.2.1/24\"]\n[[watchlist]]\nname = \"empty\"\n\
         [[watchlist]]\nname = \"office\"\nprefixes = [\n\"10.0.0.1/8\"]\nendpoints = [\"[::ffff:192.0.2.1]:80\"]",
        &[("f", "prefixes", "# comment\n::ffff:192.0.2.0/120\n2001:db8::1/32\n")],
    );
    let notes = office.load().notes.join("\n");
    assert_eq!(
        office.normalised(notes.as_bytes()),
        "DIR/c.toml:6: watchlist \"empty\" has no indicators\n\
         DIR/c.toml:10: \"10.0.0.1/8\" has host bits set: taken as 10.0.0.0/8\n\
         DIR/c.toml:11: \"[::ffff:192.0.2.1]:80\" is IPv4 written as IPv6: taken as 192.0.2.1:80\n\
         DIR/0.txt:2: \"::ffff:192.0.2.0/120\" is IPv4 written as IPv6: taken as 192.0.2.0/24\n\
         DIR/0.txt:3: \"2001:db8::1/32\" has host bits set: taken as 2001:db8::/32\n\
         DIR/c.toml:4: \"192.0.2.1/24\" has host bits set: taken as 192.0.2.0/24"
    );
}

#[test]
fn a_feed_full_of_host_bits_is_noted_twenty_times_and_summed_up() {
    let text = (0..30).map(|i| format!("10.{i}.0.1/16")).collect::<Vec<_>>().join("\n") + "\n";
    let notes = Office::new(NAMED, &[("f", "prefixes", &text)]).load().notes;
    assert_eq!(notes.len(), 21);
    assert!(notes[20].ends_with("0.txt: 10 more lines like these"), "{}", notes[20]);
}

#[test]
fn check_prints_what_would_be_watched() {
    let office = Office::new(
        "[limits]\nendpoints = 10\n[[watchlist]]\nname = \"office\"\nprefixes = [\"10.0.0.1/8\", \"2001:db8::/32\"]",
        &[("pools", "endpoints", "203.0.113.7:3333\n")],
    );
    let mut out = Vec::new();
    check(Some(&office.config()), &mut out).unwrap();
    let expected = "\
WATCHLIST  CATEGORY  TARGET  CONFIDENCE  PREFIXES  ENDPOINTS  DOMAINS  SOURCE
office     custom    office  confirmed          2          0        0  DIR/c.toml
office     custom    pools   confirmed          0          1        0  DIR/0.txt

targets           2 of 1024
prefixes          2 of 1048576
endpoints         1 of 10
note: DIR/c.toml:7: \"10.0.0.1/8\" has host bits set: taken as 10.0.0.0/8
DIR/c.toml is good
";
    assert_eq!(office.normalised(&out), expected);
}

#[test]
fn lists_prints_every_target_with_its_source_and_of_built_in_ones_all_that_is_known() {
    let office = Office::new(
        "[[watchlist]]\nname = \"office\"\ncategory = \"sanctioned\"\ndomains = [\"a.example\"]",
        &[],
    );
    let config = fs::read_to_string(office.config()).unwrap().replace("false", "true");
    fs::write(office.config(), config).unwrap();
    let mut out = Vec::new();
    assert!(lists(Some(&office.config()), None, &mut out).unwrap());
    let out = office.normalised(&out);
    for line in [
        "mining (mining, as of 2026-11-24)",
        "  supportxmr (confirmed, alive): 0 prefixes, 0 endpoints, 1 domain",
        "    supportxmr.com",
        "    coins: XMR",
        "    source: Maltrail, list crypto_mining (2026-08-16); seen 2026-08-16; reviewed 2026-11-24",
        "  coinhive (historical, browser): 0 prefixes, 0 endpoints, 4 domains",
        "  bitminter (historical, retired): 0 prefixes, 0 endpoints, 1 domain",
        "  unlisted (confirmed): 0 prefixes, 0 endpoints, 0 domains",
        "dprk (sanctioned, as of 2026-11-22)",
        "  star-kp (confirmed): 1 prefix, 0 endpoints, 0 domains",
        "    175.45.176.0/22",
        "    source: APNIC: delegated to KP on 2010-01-22 (1,024 addresses, the only delegation; no IPv6), \
         AS131279 Star JV; reviewed 2026-11-22",
        "  unicom (associated): 1 prefix, 0 endpoints, 0 domains",
        "    210.52.109.0/24",
        "  satgate (historical): 1 prefix, 0 endpoints, 0 domains",
        "    77.94.35.0/24",
        "office (sanctioned)",
        "  office (confirmed): 0 prefixes, 0 endpoints, 1 domain",
        "    source: DIR/c.toml",
        "allow: 0 prefixes, 0 endpoints, 0 domains",
    ] {
        assert!(out.lines().any(|printed| printed == line), "{line}\n---\n{out}");
    }
}

#[test]
fn lookup_says_what_would_match_and_why() {
    let office = Office::new(
        "[allow]\nprefixes = [\"10.9.0.0/16\"]\nendpoints = [\"10.0.0.1:53\"]\ndomains = [\"www.pool.example\"]\n\
         [[watchlist]]\nname = \"office\"\nprefixes = [\"10.0.0.0/8\", \"2001:db8::/32\"]",
        &[
            ("hosts", "prefixes", "10.0.0.1\n"),
            ("pools", "endpoints", "10.0.0.1:3333\n[2001:db8::1]:3333\n"),
            ("names", "domains", "pool.example\n"),
        ],
    );
    #[rustfmt::skip]
    let table = [
        ("an address in a prefix", "10.1.2.3", true,
            "10.1.2.3 → office/office (prefix 10.0.0.0/8, confirmed): source: DIR/c.toml:9\n"),
        ("the longest prefix, with the endpoints at that address", "10.0.0.1", true,
            "10.0.0.1 → office/pools (endpoint 10.0.0.1:3333, confirmed): source: DIR/1.txt:1\n\
             10.0.0.1 → office/hosts (prefix 10.0.0.1/32, confirmed): source: DIR/0.txt:1\n"),
        ("an endpoint", "10.0.0.1:3333", true,
            "10.0.0.1:3333 → office/pools (endpoint 10.0.0.1:3333, confirmed): source: DIR/1.txt:1\n"),
        ("another port", "10.0.0.1:80", true,
            "10.0.0.1:80 → office/hosts (prefix 10.0.0.1/32, confirmed): source: DIR/0.txt:1\n"),
        ("an IPv6 endpoint", "[2001:db8::1]:3333", true,
            "[2001:db8::1]:3333 → office/pools (endpoint [2001:db8::1]:3333, confirmed): source: DIR/1.txt:2\n"),
        ("an IPv6 address", "2001:db8::2", true,
            "2001:db8::2 → office/office (prefix 2001:db8::/32, confirmed): source: DIR/c.toml:9\n"),
        ("IPv4 written as IPv6", "::ffff:10.1.2.3", true,
            "::ffff:10.1.2.3 → office/office (prefix 10.0.0.0/8, confirmed): source: DIR/c.toml:9\n"),
        ("an allowed prefix", "10.9.0.1", false,
            "10.9.0.1 → office/office (prefix 10.0.0.0/8, confirmed): source: DIR/c.toml:9; \
             not counted: 10.9.0.0/16 is allowed (line 4 of the config)\n"),
        ("an allowed endpoint", "10.0.0.1:53", false,
            "10.0.0.1:53 → office/hosts (prefix 10.0.0.1/32, confirmed): source: DIR/0.txt:1; \
             not counted: 10.0.0.1:53 is allowed (line 5 of the config)\n"),
        ("a domain", "Pool.Example", true,
            "Pool.Example → office/names (domain pool.example, confirmed): source: DIR/2.txt:1\n"),
        ("a subdomain", "eu.pool.example.", true,
            "eu.pool.example. → office/names (domain pool.example, confirmed): source: DIR/2.txt:1\n"),
        ("a domain as a pool is written", "pool.example:3333", true,
            "pool.example:3333 → office/names (domain pool.example, confirmed): source: DIR/2.txt:1\n"),
        ("an allowed domain", "a.www.pool.example", false,
            "a.www.pool.example → office/names (domain pool.example, confirmed): source: DIR/2.txt:1; \
             not counted: www.pool.example is allowed (line 6 of the config)\n"),
        ("a stranger", "192.0.2.1", false, "192.0.2.1 → nothing matches\n"),
        ("a strange name", "carpool.example", false, "carpool.example → nothing matches\n"),
    ];
    for (description, asked, matched, expected) in table {
        assert_eq!(office.lookup(asked), (expected.to_owned(), matched), "{description}: {asked}");
    }
}

#[test]
fn lookup_of_something_else_is_an_error() {
    let office = Office::new(NAMED, &[("f", "prefixes", "10.0.0.0/8\n")]);
    let error = lists(Some(&office.config()), Some("http://x/"), &mut Vec::new()).unwrap_err();
    assert_eq!(error.to_string(), "\"http://x/\" is not an address or a host name, with or without a port");
}

#[test]
fn the_shipped_config_is_good_apart_from_the_feed_that_each_site_brings() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/poolwatch.toml");
    let mut out = Vec::new();
    check(Some(&shipped), &mut out).unwrap();
    assert!(String::from_utf8(out).unwrap().contains("star-kp"));
}
