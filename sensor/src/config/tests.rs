//! What a sound config comes to, and that the shipped example and the code say the same. What is
//! refused is in `tests/config_errors.rs`.

use super::*;

const SHIPPED: &str = include_str!("../../../deploy/poolwatch.toml");

fn parse(text: &str) -> Config {
    Config::parse(Path::new("/etc/poolwatch/poolwatch.toml"), text.to_owned()).unwrap()
}

/// Without the file that it came from.
fn values(config: Config) -> Config {
    Config { document: Document::default(), ..config }
}

/// Every key there is, as a table.
fn keys(config: Config) -> toml::Table {
    toml::Table::try_from(config).unwrap()
}

#[test]
fn an_empty_file_means_the_defaults() {
    assert_eq!(values(parse("")), Config::default());
}

#[test]
fn a_file_that_is_not_there_means_the_defaults_unless_it_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("poolwatch.toml");
    assert_eq!(Config::load_if_present(&path).unwrap(), Config::default());
    assert!(Config::load(Some(&path)).is_err());
    std::fs::write(&path, "attach = \"tcx\"").unwrap();
    assert_eq!(Config::load_if_present(&path).unwrap().attach, Attach::Tcx);
}

#[test]
fn the_shipped_example_shows_every_key_with_its_default() {
    assert_eq!(SHIPPED.parse::<toml::Table>().unwrap(), keys(Config::default()));
    assert_eq!(values(parse(SHIPPED)), Config::default());
}

#[test]
fn the_shipped_examples_of_watchlists_show_every_key_and_are_valid() {
    let uncomment = |line: &'static str| match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    };
    let text = SHIPPED.lines().map(uncomment).collect::<Vec<_>>().join("\n");
    assert_eq!(text.parse::<toml::Table>().unwrap(), keys(parse(&text)));
    assert_eq!(parse(&text).watchlists[0].feeds.len(), 1);
}

#[test]
fn values_arrive_as_written() {
    let config = parse(
        r#"
        interfaces = ["ens*", "wg0"]
        attach = "clsact"
        http.listen = "[::1]:0"
        builtin.dprk = false
        limits = { flows = 1, targets = 16382 }
        events.output = "/var/log/poolwatch.json"
        "#,
    );
    assert_eq!(config.interfaces, ["ens*", "wg0"]);
    assert_eq!(config.attach, Attach::Clsact);
    assert_eq!(config.http.listen.to_string(), "[::1]:0");
    assert_eq!(config.builtin, Builtin { mining: true, dprk: false });
    assert_eq!((config.limits.flows, config.limits.targets), (1, 16_382));
    assert_eq!(config.events.output, Output::File("/var/log/poolwatch.json".into()));
}

#[test]
fn a_feed_has_a_default_for_all_but_its_path_which_is_relative_to_the_config() {
    let config = parse("[[watchlist]]\nname = \"office\"\n[[watchlist.feed]]\npath = \"feeds/a.txt\"");
    let feed = &config.watchlists[0].feeds[0];
    assert_eq!(feed.path.get_ref(), Path::new("/etc/poolwatch/feeds/a.txt"));
    assert_eq!((feed.kind, &feed.target), (Kind::Prefixes, &None));
}

#[test]
fn a_byte_order_mark_and_windows_line_ends_are_no_error() {
    let config = parse("\u{feff}attach = \"tcx\"\r\n[builtin]\r\ndprk = false\r\n");
    assert_eq!((config.attach, config.builtin.dprk), (Attach::Tcx, false));
}
