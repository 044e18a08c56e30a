//! Whatever is wrong with a config or a list is one message that names file, line and key.
//! Each case is checked whole, through `poolwatch check`; DIR stands for the folder that the
//! case's files lie in.

#![expect(clippy::unwrap_used, reason = "a test may unwrap: its panic is its message")]

use std::fs;
use std::path::Path;

use sensor::commands::check::check;

/// What is wrong, the config, and the message.
type InConfig = (&'static str, &'static str, &'static str);

/// What is wrong, the feed's kind and text, and the message.
type InFeed = (&'static str, &'static str, &'static [u8], &'static str);

#[rustfmt::skip]
const TOML: &[InConfig] = &[
    ("no TOML", "interfaces = [\"auto\"]\nattach tcx\n",
        "DIR/c.toml:2: key with no value, expected `=`"),
    ("an unfinished string", "attach = \"tcx\n",
        "DIR/c.toml:1: invalid basic string, expected `\"`"),
    ("a key twice", "attach = \"tcx\"\nattach = \"auto\"\n",
        "DIR/c.toml:2: duplicate key"),
    ("an unknown key", "\ncolour = \"red\"\n",
        "DIR/c.toml:2: colour: unknown key, expected one of `interfaces`, `attach`, `state`, `http`, \
         `builtin`, `inspect`, `limits`, `events`, `allow`, `watchlist`"),
    ("an unknown key in a table", "[http]\nlisten = \"[::1]:1\"\nlisen = \"\"\n",
        "DIR/c.toml:3: http.lisen: unknown key, expected `listen` or `web_config`"),
    ("an unknown key in a watchlist", "[[watchlist]]\nname = \"office\"\nprefix = []\n",
        "DIR/c.toml:3: watchlist \"office\": prefix: unknown key, expected one of `name`, `category`, \
         `prefixes`, `endpoints`, `domains`, `feed`"),
    ("an unknown key in a feed",
        "[[watchlist]]\nname = \"office\"\n[[watchlist.feed]]\ntarget = \"a\"\nurl = \"x\"\n",
        "DIR/c.toml:5: watchlist \"office\": feed \"a\": url: unknown key, expected one of `target`, `path`, `kind`"),
    ("a value of another type", "[builtin]\ndprk = \"yes\"\n",
        "DIR/c.toml:2: builtin.dprk: invalid type: string \"yes\", expected a boolean"),
    ("a table where a list is", "allow.prefixes = \"10.0.0.0/8\"\n",
        "DIR/c.toml:1: allow.prefixes: invalid type: string \"10.0.0.0/8\", expected a sequence"),
    ("a number in a list of texts", "[allow]\nprefixes = [\n  \"10.0.0.0/8\",\n  7,\n]\n",
        "DIR/c.toml:4: allow.prefixes: invalid type: integer `7`, expected a string"),
];

#[rustfmt::skip]
const VALUES: &[InConfig] = &[
    ("no interface", "interfaces = []\n",
        "DIR/c.toml:1: interfaces: an empty list watches nothing: name an interface, or \"auto\""),
    ("an interface name that no kernel has", "interfaces = [\n\"eth0\",\n\"a-name-of-16-byte\"]\n",
        "DIR/c.toml:3: interfaces: invalid value: string \"a-name-of-16-byte\", expected \"auto\", \
         a name of at most 15 bytes, or a glob such as \"ens*\""),
    ("a broken glob", "interfaces = [\"ens[\"]\n",
        "DIR/c.toml:1: interfaces: invalid value: string \"ens[\", expected \"auto\", \
         a name of at most 15 bytes, or a glob such as \"ens*\""),
    ("an unknown way to attach", "attach = \"xdp\"\n",
        "DIR/c.toml:1: attach: unknown variant `xdp`, expected one of `auto`, `tcx`, `clsact`"),
    ("no way to attach", "attach = 3\n",
        "DIR/c.toml:1: attach: expected a string"),
    ("a relative pins directory", "[state]\npins = \"poolwatch\"\n",
        "DIR/c.toml:2: state.pins: invalid value: string \"poolwatch\", expected an absolute path"),
    ("a listen address without a port", "[http]\nlisten = \"127.0.0.1\"\n",
        "DIR/c.toml:2: http.listen: invalid value: string \"127.0.0.1\", expected an IP address with a port, \
         such as \"127.0.0.1:9750\" or \"[::1]:9750\""),
    ("a listen address by name", "[http]\nlisten = \"localhost:9750\"\n",
        "DIR/c.toml:2: http.listen: invalid value: string \"localhost:9750\", expected an IP address with a port, \
         such as \"127.0.0.1:9750\" or \"[::1]:9750\""),
    ("a web config that is not there", "[http]\nlisten = \"[::1]:1\"\nweb_config = \"none/web.yml\"\n",
        "DIR/c.toml:3: http.web_config: DIR/none/web.yml: cannot be read: No such file or directory (os error 2)"),
    ("a web config that is none", "[http]\nweb_config = \"c.toml\"\n",
        "DIR/c.toml:2: http.web_config: DIR/c.toml:1: expected a mapping"),
    ("no flows", "[limits]\nflows = 0\n",
        "DIR/c.toml:2: limits.flows: invalid value: integer `0`, expected a whole number from 1 to 16777216"),
    ("more targets than slots", "[limits]\ntargets = 16383\n",
        "DIR/c.toml:2: limits.targets: invalid value: integer `16383`, expected a whole number from 1 to 16382"),
    ("a negative limit", "[limits]\nprefixes = -1\n",
        "DIR/c.toml:2: limits.prefixes: invalid value: integer `-1`, expected a whole number from 1 to 16777216"),
    ("an absurd limit", "[limits]\nendpoints = 99999999999999\n",
        "DIR/c.toml:2: limits.endpoints: invalid value: integer `99999999999999`, expected a whole number \
         from 1 to 16777216"),
    ("a limit that is no number", "[limits]\nflows = \"many\"\n",
        "DIR/c.toml:2: limits.flows: invalid type: string \"many\", expected a whole number from 1 to 16777216"),
    ("no samples", "[inspect]\nsamples_per_second = 0\n",
        "DIR/c.toml:2: inspect.samples_per_second: invalid value: integer `0`, expected a whole number \
         from 1 to 10000000"),
    ("a mistyped output", "[events]\noutput = \"stdot\"\n",
        "DIR/c.toml:2: events.output: invalid value: string \"stdot\", expected \"stdout\", \"none\" or an absolute path"),
    ("an allowed prefix that is none", "[allow]\nprefixes = [\"10.0.0.0/8\",\n \"10.0.0\"]\n",
        "DIR/c.toml:3: allow.prefixes: \"10.0.0\" is not an IPv4 or IPv6 prefix"),
    ("an allowed endpoint that is none", "[allow]\nendpoints = [\"10.0.0.1\"]\n",
        "DIR/c.toml:2: allow.endpoints: \"10.0.0.1\" is not an endpoint: \"address:port\" or \"[address]:port\", \
         port 1 to 65535"),
    ("an allowed domain that is none", "[allow]\ndomains = [\"a b\"]\n",
        "DIR/c.toml:2: allow.domains: \"a b\" is not a domain name"),
];

#[rustfmt::skip]
const WATCHLISTS: &[InConfig] = &[
    ("no name", "\n[[watchlist]]\ncategory = \"custom\"\n",
        "DIR/c.toml:2: watchlist 1: missing field `name`"),
    ("a name with a blank", "[[watchlist]]\nname = \"my office\"\n",
        "DIR/c.toml:2: watchlist \"my office\": name: \"my office\" is not a name: 1 to 63 of A-Z, a-z, 0-9, \
         \".\", \"_\", \"-\""),
    ("an empty name", "[[watchlist]]\nname = \"\"\n",
        "DIR/c.toml:2: watchlist \"\": name: \"\" is not a name: 1 to 63 of A-Z, a-z, 0-9, \".\", \"_\", \"-\""),
    ("a name of 64",
        "[[watchlist]]\nname = \"0123456789012345678901234567890123456789012345678901234567890123\"\n",
        "DIR/c.toml:2: watchlist \"0123456789012345678901234567890123456789012345678901234567890123\": name: \
         \"0123456789012345678901234567890123456789012345678901234567890123\" is not a name: \
         1 to 63 of A-Z, a-z, 0-9, \".\", \"_\", \"-\""),
    ("control characters, which a terminal must not see", "[[watchlist]]\nname = \"a\\u001b[2J\"\n",
        "DIR/c.toml:2: watchlist \"a\\u{1b}[2J\": name: \"a\\u{1b}[2J\" is not a name: 1 to 63 of A-Z, a-z, 0-9, \
         \".\", \"_\", \"-\""),
    ("a name twice", "[[watchlist]]\nname = \"a\"\n[[watchlist]]\nname = \"b\"\n[[watchlist]]\nname = \"a\"\n",
        "DIR/c.toml:6: watchlist \"a\": name: the watchlist on line 2 has this name already"),
    ("a built-in list's name", "[[watchlist]]\nname = \"mining\"\n",
        "DIR/c.toml:2: watchlist \"mining\": name: this is the name of a built-in watchlist"),
    ("a built-in list's name, though it is off", "builtin.dprk = false\n[[watchlist]]\nname = \"dprk\"\n",
        "DIR/c.toml:3: watchlist \"dprk\": name: this is the name of a built-in watchlist"),
    ("a reserved name, which would be a target's", "[[watchlist]]\nname = \"unlisted\"\n",
        "DIR/c.toml:2: watchlist \"unlisted\": name: \"unlisted\" is reserved for mining that no list names"),
    ("the test alert's name", "[[watchlist]]\nname = \"test-alert\"\n",
        "DIR/c.toml:2: watchlist \"test-alert\": name: \"test-alert\" is reserved for `poolwatch test-alert`"),
    ("an unknown category", "[[watchlist]]\nname = \"a\"\ncategory = \"pools\"\n",
        "DIR/c.toml:3: watchlist \"a\": category: unknown variant `pools`, expected one of `mining`, `sanctioned`, \
         `custom`"),
    ("a prefix that is none", "[[watchlist]]\nname = \"office\"\nprefixes = [\n  \"10.0.0.0/8\",\n  \"300.1.2.3/8\",\n]\n",
        "DIR/c.toml:5: watchlist \"office\": prefixes: \"300.1.2.3/8\" is not an IPv4 or IPv6 prefix"),
    ("an endpoint that is none", "[[watchlist]]\nname = \"office\"\nendpoints = [\"10.0.0.1:0\"]\n",
        "DIR/c.toml:3: watchlist \"office\": endpoints: \"10.0.0.1:0\" is not an endpoint: \"address:port\" or \
         \"[address]:port\", port 1 to 65535"),
    ("a domain that is an address", "[[watchlist]]\nname = \"office\"\ndomains = [\"10.0.0.1\"]\n",
        "DIR/c.toml:3: watchlist \"office\": domains: \"10.0.0.1\" is an IP address, not a domain name"),
    ("more prefixes than allowed",
        "[limits]\nprefixes = 1\n[[watchlist]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\"]\n[builtin]\ndprk = true\n",
        "DIR/c.toml:2: limits.prefixes: 1 are too few: the lists need 4"),
    ("more targets than allowed",
        "builtin.mining = false\nlimits.targets = 3\n[[watchlist]]\nname = \"a\"\nprefixes = [\"10.0.0.0/8\"]\n",
        "DIR/c.toml:2: limits.targets: 3 are too few: the lists need 4"),
    ("more endpoints than allowed",
        "limits.endpoints = 1\n[[watchlist]]\nname = \"a\"\nendpoints = [\"10.0.0.1:1\", \"10.0.0.1:2\"]\n",
        "DIR/c.toml:1: limits.endpoints: 1 are too few: the lists need 2"),
    ("five watchlists for one address",
        "[[watchlist]]\nname = \"a\"\nprefixes = [\"175.45.176.0/24\"]\n\
         [[watchlist]]\nname = \"b\"\nprefixes = [\"175.45.176.0/24\"]\n\
         [[watchlist]]\nname = \"c\"\nprefixes = [\"175.45.176.0/24\"]\n\
         [[watchlist]]\nname = \"d\"\nprefixes = [\"175.45.176.0/24\"]\n",
        "DIR/c.toml: watchlist: 175.45.176.0/24 concerns 5 watchlists (dprk, a, b, c, d), and a packet counts \
         for at most 4"),
];

#[rustfmt::skip]
const FEEDS: &[InConfig] = &[
    ("no path", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\ntarget = \"t\"\n",
        "DIR/c.toml:3: watchlist \"a\": feed \"t\": missing field `path`"),
    ("an empty path", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"\"\n",
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: an empty path names no file"),
    ("an unknown kind", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"x\"\nkind = \"urls\"\n",
        "DIR/c.toml:5: watchlist \"a\": feed 1: kind: unknown variant `urls`, expected one of `prefixes`, \
         `endpoints`, `domains`"),
    ("a reserved target", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"x\"\ntarget = \"unlisted\"\n",
        "DIR/c.toml:5: watchlist \"a\": feed \"unlisted\": target: \"unlisted\" is reserved for mining that no list names"),
    ("the test alert's target", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"x\"\ntarget = \"test-alert\"\n",
        "DIR/c.toml:5: watchlist \"a\": feed \"test-alert\": target: \"test-alert\" is reserved for `poolwatch test-alert`"),
    ("a target that is no name", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"x\"\ntarget = \"a/b\"\n",
        "DIR/c.toml:5: watchlist \"a\": feed \"a/b\": target: \"a/b\" is not a name: 1 to 63 of A-Z, a-z, 0-9, \
         \".\", \"_\", \"-\""),
    ("a file that is not there", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"gone.txt\"\n",
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: DIR/gone.txt: cannot be read: \
         No such file or directory (os error 2)"),
    ("a directory", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \".\"\n",
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: DIR/.: a directory is not a regular file"),
    ("a device", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"/dev/zero\"\n",
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: /dev/zero: a device, fifo or socket is not a regular file"),
    ("a fifo, which would hang the reader", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"fifo\"\n",
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: DIR/fifo: a device, fifo or socket is not a regular file"),
];

#[rustfmt::skip]
const FEED_TEXTS: &[InFeed] = &[
    ("empty", "prefixes", b"",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt: an empty feed file is refused: \
         a list that lost its content would watch nothing"),
    ("nothing but comments", "domains", b"# moved\r\n\r\n; elsewhere\n0.0.0.0 localhost\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt: an empty feed file is refused: \
         a list that lost its content would watch nothing"),
    ("a page instead of a list", "prefixes", b"<!DOCTYPE html>\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: \"<!DOCTYPE html>\" is not an IPv4 or IPv6 prefix"),
    ("a bad prefix, its line counted through comments and blanks", "prefixes", b"# list\r\n\r\n10.0.0.0/8 # ok\r\n10.0.0.0/33\r\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:4: \"10.0.0.0/33\" is not an IPv4 prefix: its length is over 32"),
    ("cut off in a line, which would be another prefix", "prefixes", b"10.0.0.0/8\n192.0.2.0/2",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:2: the last line does not end in a newline: the file was cut off, or wants one"),
    ("a crash that left NULs, in a comment too", "prefixes", b"10.0.0.0/8\n# list\0\0\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:2: the line holds a NUL byte: the file is damaged, or not UTF-8"),
    ("a bad endpoint", "endpoints", b"10.0.0.1:1\n10.0.0.1\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:2: \"10.0.0.1\" is not an endpoint: \"address:port\" or \"[address]:port\", port 1 to 65535"),
    ("a domain in a list of prefixes", "prefixes", b"pool.example\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: \"pool.example\" is not an IPv4 or IPv6 prefix"),
    ("an address in a list of domains", "domains", b"pool.example\n10.0.0.1\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:2: \"10.0.0.1\" is an IP address, not a domain name"),
    ("a hosts file that resolves", "domains", b"10.0.0.1 pool.example\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: \"10.0.0.1 pool.example\" is a hosts-file line whose address is not 0.0.0.0, ::, 127.0.0.1 or ::1"),
    ("control characters, which a terminal must not see", "domains", b"\x1b]0;pwned\x07.example\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: \"\\u{1b}]0\" is not a domain name"),
    ("a long word, of which 80 characters are enough", "domains",
        b"a..........................................................................................b\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: \"a...............................................................................\"\u{2026} is not a domain name"),
    ("not UTF-8", "domains", b"pool.example\np\xf6ol.example\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:2: \"p\u{fffd}ol.example\" is not UTF-8"),
    ("UTF-16", "prefixes", b"\xff\xfe1\x000\x00\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:1: the line holds a NUL byte: the file is damaged, or not UTF-8"),
    ("more entries than allowed", "prefixes", b"10.0.0.0/8\n11.0.0.0/8\n12.0.0.0/8\n13.0.0.0/8\n14.0.0.0/8\n15.0.0.0/8\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:6: \"15.0.0.0/8\" is one entry more than limits.prefixes = 5 allows in a file"),
    ("more endpoints than allowed", "endpoints", b"10.0.0.1:1\n10.0.0.1:2\n10.0.0.1:3\n",
        "DIR/c.toml:7: watchlist \"office\": feed \"f\": path: DIR/feed.txt:3: \"10.0.0.1:3\" is one entry more than limits.endpoints = 2 allows in a file"),
];

/// What `check` says of the config `c.toml` in `folder`, the folder called DIR.
fn message(folder: &Path, config: impl AsRef<[u8]>) -> String {
    let path = folder.join("c.toml");
    fs::write(&path, config).unwrap();
    message_of(&path, folder)
}

fn message_of(path: &Path, folder: &Path) -> String {
    match check(Some(path), &mut Vec::new()) {
        Ok(()) => "no error".to_owned(),
        Err(error) => format!("{error:#}").replace(folder.to_str().unwrap(), "DIR"),
    }
}

fn run(table: &[InConfig]) {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    for (description, config, expected) in table {
        assert_eq!(message(folder.path(), config), *expected, "{description}");
    }
}

#[test]
fn what_is_no_toml_or_no_key_is_named_by_its_line() {
    run(TOML);
}

#[test]
fn what_a_key_may_not_hold_is_named_with_what_it_may() {
    run(VALUES);
}

#[test]
fn what_is_wrong_with_a_watchlist_is_named_by_the_watchlist() {
    run(WATCHLISTS);
}

#[test]
fn a_feed_that_cannot_be_read_is_named_by_the_line_of_the_config() {
    run(FEEDS);
}

#[test]
fn a_bad_line_of_a_feed_is_named_by_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    for (description, kind, text, expected) in FEED_TEXTS {
        let config = format!(
            "limits = {{ prefixes = 5, endpoints = 2 }}\nbuiltin.dprk = false\n[[watchlist]]\nname = \"office\"\n\
             [[watchlist.feed]]\ntarget = \"f\"\npath = \"feed.txt\"\nkind = \"{kind}\"\n"
        );
        fs::write(folder.path().join("feed.txt"), text).unwrap();
        assert_eq!(message(folder.path(), config), *expected, "{description}");
    }
}

#[test]
fn a_line_without_an_end_is_not_read_into_memory() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"feed.txt\"\n";
    let feed = folder.path().join("feed.txt");
    fs::write(&feed, format!("10.0.0.0/8\n# {}", "x".repeat(4095))).unwrap();
    assert_eq!(
        message(folder.path(), config),
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: DIR/feed.txt:2: the line is longer than 4096 bytes"
    );
    fs::write(&feed, format!("10.0.0.0/8\n#{}\n", "x".repeat(4094))).unwrap();
    assert_eq!(message(folder.path(), config), "no error", "4096 bytes with its end");
}

#[test]
fn a_feed_far_too_large_is_refused_unread() {
    let folder = tempfile::tempdir().unwrap();
    let config = "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"feed.txt\"\n";
    fs::File::create(folder.path().join("feed.txt")).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(
        message(folder.path(), config),
        "DIR/c.toml:4: watchlist \"a\": feed 1: path: DIR/feed.txt: larger than 1024 MiB"
    );
}

#[test]
fn a_config_that_cannot_be_read_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone.toml");
    assert_eq!(
        message_of(&gone, folder.path()),
        "DIR/gone.toml: cannot be read: No such file or directory (os error 2)"
    );
    assert_eq!(message_of(folder.path(), folder.path()), "DIR: a directory is not a regular file");
    assert_eq!(message(folder.path(), b"attach = \"auto\"\n# caf\xe9\n"), "DIR/c.toml:2: is not UTF-8");
    assert_eq!(
        message(folder.path(), "#".repeat((16 << 20) + 1)),
        "DIR/c.toml: larger than 16 MiB; long lists belong into feed files"
    );
}
