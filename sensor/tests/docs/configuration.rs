//! configuration.md against the config: the same keys, each with its type, what it may hold, its
//! default, and whether it is read at the start or at each reload.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use sensor::config::Config;
use serde_json::{Map, Value};

use super::{Row, code_spans, page, rows, with_fault};

/// The least that shows every key: those of lists have no default while there is no list.
const WRITTEN: &str = "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"/a\"\n";

const START: &str = "start";
const RELOAD: &str = "reload";

fn parse(text: &str) -> anyhow::Result<Config> {
    Config::parse(Path::new("c.toml"), text.to_owned())
}

/// The lines of a table but that of this key.
fn without(table: &str, name: &str) -> String {
    let key = format!("{name} = ");
    table.split_inclusive('\n').filter(|line| !line.starts_with(&key)).collect()
}

/// [`WRITTEN`] with this key as well, or in place of its own.
fn with(key: &str, value: &str) -> String {
    let (head, feed) = WRITTEN.split_once("[[watchlist.feed]]\n").expect("a feed");
    let replaced = |table: &str, name: &str| without(table, name) + &format!("{name} = {value}\n");
    match (key.strip_prefix("watchlist.feed."), key.strip_prefix("watchlist.")) {
        (Some(name), _) => format!("{head}[[watchlist.feed]]\n{}", replaced(feed, name)),
        (None, Some(name)) => format!("{}[[watchlist.feed]]\n{feed}", replaced(head, name)),
        (None, None) => format!("{key} = {value}\n{WRITTEN}"),
    }
}

/// What a key has when nobody writes it; `None`: it must be written.
type Default = Option<Value>;

fn defaults() -> BTreeMap<String, Default> {
    let shown = serde_json::to_value(parse(WRITTEN).expect("it is sound")).expect("it can be shown");
    let mut found = BTreeMap::new();
    flatten("", &shown, &mut found);
    let name = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let may_lack = |key: &str| parse(&without(WRITTEN, &name(key))).is_ok();
    found.into_iter().map(|(key, value)| (key.clone(), may_lack(&key).then_some(value))).collect()
}

fn flatten(prefix: &str, value: &Value, found: &mut BTreeMap<String, Value>) {
    let inside = |table: &Map<String, Value>, found: &mut BTreeMap<String, Value>| {
        for (name, value) in table {
            let key = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            flatten(&key, value, found);
        }
    };
    match value {
        Value::Object(table) => inside(table, found),
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            inside(items[0].as_object().expect("a table"), found);
        }
        other => {
            found.insert(prefix.to_owned(), other.clone());
        }
    }
}

/// A code span as the value that it is in TOML; `None`: it is none.
fn value_of(span: &str) -> Option<Value> {
    let mut table: toml::Table = toml::from_str(&format!("it = {span}")).ok()?;
    serde_json::to_value(table.remove("it")?).ok()
}

/// Everything that the page gets wrong.
fn faults(text: &str) -> Vec<String> {
    let rows = rows(text, "key");
    let actual = defaults();
    let mut faults = Vec::new();
    let mut documented = BTreeSet::new();
    for row in &rows {
        let key = row.subject();
        if !documented.insert(key) {
            faults.push(format!("{key}: is there twice"));
        }
        match actual.get(key) {
            Some(default) => faults.extend(faults_of(key, row, default.as_ref())),
            None => faults.push(format!("{key}: there is no such key")),
        }
    }
    let missing = actual.keys().filter(|key| !documented.contains(key.as_str()));
    faults.extend(missing.map(|key| format!("{key}: is not described")));
    faults
}

fn faults_of(key: &str, row: &Row<'_>, default: Option<&Value>) -> Vec<String> {
    let (kind, allowed) = (row.cell("type"), row.cell("allowed"));
    let values = examples(kind, allowed);
    let mut faults = Vec::new();
    if row.cell("what for").is_empty() {
        faults.push("does not say what for".to_owned());
    }
    faults.extend(wrong_default(row.cell("default"), default));
    for (value, is_taken) in &values {
        if parse(&with(key, value)).is_ok() != *is_taken {
            faults.push(format!("{value} is {}", if *is_taken { "refused" } else { "taken" }));
        }
    }
    let effect = effect(key, &values, default);
    if effect != Some(row.cell("takes effect")) {
        faults.push(format!("takes effect: {}", effect.unwrap_or("no other value to try it with")));
    }
    faults.into_iter().map(|fault| format!("{key}: {fault}")).collect()
}

fn wrong_default(cell: &str, default: Option<&Value>) -> Option<String> {
    let said = code_spans(cell).first().copied();
    match (default, said) {
        (None, _) => (cell != "required").then(|| "is required".to_owned()),
        // Words stand for what is not there.
        (Some(Value::Null), None) => cell.is_empty().then(|| "does not say its default".to_owned()),
        (Some(value), said) => {
            (said.and_then(value_of).as_ref() != Some(value)).then(|| format!("the default is {value}"))
        }
    }
}

/// Values to try, in TOML, and whether they are to be taken, by what the page says of a key.
fn examples(kind: &str, allowed: &str) -> Vec<(String, bool)> {
    let spans = code_spans(allowed);
    let taken = |value: &&str| ((*value).to_owned(), true);
    let refused = |value: &str| (value.to_owned(), false);
    match kind {
        "integer" => {
            let (least, most) = allowed.split_once(" to ").expect("a range");
            let number = |text: &str| text.parse::<i64>().expect("a whole number");
            let (least, most) = (number(least), number(most));
            [(least - 1, false), (least, true), (most, true), (most + 1, false)]
                .map(|(value, is_taken)| (value.to_string(), is_taken))
                .to_vec()
        }
        "boolean" => spans.iter().map(taken).chain([refused("1")]).collect(),
        "word" => spans.iter().map(taken).chain([refused("\"none-such\"")]).collect(),
        "string" => {
            let texts = spans.iter().filter(|span| span.starts_with('"'));
            texts.map(taken).chain([refused("1")]).collect()
        }
        "list of strings" => {
            let texts = spans.iter().filter(|span| span.starts_with('"'));
            texts.map(|span| (format!("[{span}]"), true)).chain([refused("[1]"), refused("\"a\"")]).collect()
        }
        other => panic!("no such type: {other:?}"),
    }
}

/// When another value than the default takes effect; `None`: none is known.
fn effect(key: &str, values: &[(String, bool)], default: Option<&Value>) -> Option<&'static str> {
    let before = parse(WRITTEN).expect("it is sound");
    let is_other = |value: &&(String, bool)| value.1 && value_of(&value.0).as_ref() != default;
    let after = match values.iter().find(is_other) {
        Some((value, _)) => parse(&with(key, value)).ok()?,
        None => return None,
    };
    Some(if before.read_at_start(&after).is_empty() { RELOAD } else { START })
}

#[test]
fn every_key_of_the_config_is_described_with_its_type_its_values_its_default_and_when_it_takes_effect() {
    let found = defaults();
    let (of_lists, others): (Vec<_>, Vec<_>) =
        found.keys().map(String::as_str).partition(|key| key.starts_with("watchlist."));
    let mut default = BTreeMap::new();
    flatten("", &serde_json::to_value(Config::default()).expect("it can be shown"), &mut default);
    assert_eq!(others, default.keys().collect::<Vec<_>>(), "the config without a list");
    assert!(of_lists.len() > 5, "{of_lists:?}");
    assert_eq!(faults(&page("configuration.md")), Vec::<String>::new());
}

#[test]
fn each_fault_put_into_the_description_of_a_key_is_found() {
    let page = page("configuration.md");
    let line = |key: &str| {
        let row = page.lines().find(|line| line.starts_with(&format!("| `{key}` ")));
        row.unwrap_or_else(|| panic!("no row {key}")).to_owned() + "\n"
    };
    let flows = line("limits.flows");
    #[rustfmt::skip]
    let table = [
        ("a key is missing", flows.clone(), String::new(), "limits.flows: is not described"),
        ("a key of a list is missing", line("watchlist.feed.kind"), String::new(), "watchlist.feed.kind: is not described"),
        ("a key is there twice", flows.clone(), flows.repeat(2), "limits.flows: is there twice"),
        ("a key that is none", flows.clone(), flows.clone() + &flows.replace("limits.flows", "limits.flow"), "limits.flow: there is no such key"),
        ("another default", flows.clone(), flows.replace("`65536`", "`65537`"), "limits.flows: the default is 65536"),
        ("no default", flows.clone(), flows.replace("`65536`", ""), "limits.flows: the default is 65536"),
        ("a default of what is required", "| required |".to_owned(), "| `\"office\"` |".to_owned(), "watchlist.name: is required"),
        ("required, and is not", line("allow.domains"), line("allow.domains").replace("`[]`", "required"), "allow.domains: the default is []"),
        ("a range that begins later", flows.clone(), flows.replace("1 to", "2 to"), "limits.flows: 1 is taken"),
        ("a range that ends later", flows.clone(), flows.replace("16777216", "16777217"), "limits.flows: 16777217 is refused"),
        ("a word that is none", "`\"clsact\"`".to_owned(), "`\"xdp\"`".to_owned(), "attach: \"xdp\" is refused"),
        ("another type", line("inspect.dns"), line("inspect.dns").replace("boolean", "string"), "inspect.dns: takes effect: no other value to try it with"),
        ("an example that is refused", "`\"[::1]:9750\"`".to_owned(), "`\"::1\"`".to_owned(), "http.listen: \"::1\" is refused"),
        ("said to take effect sooner", flows.clone(), flows.replace("| start |", "| reload |"), "limits.flows: takes effect: start"),
        ("said to take effect later", line("inspect.tls"), line("inspect.tls").replace("| reload |", "| start |"), "inspect.tls: takes effect: reload"),
    ];
    for (fault, right, wrong, expected) in table {
        let found = faults(&with_fault(&page, &right, &wrong));
        assert!(found.iter().any(|it| it == expected), "{fault}: {found:?}");
    }
}
