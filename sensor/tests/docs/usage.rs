//! What readers type and follow: commands that the real command line takes, configs that the real
//! config takes, links that lead somewhere, and an index that lacks no page. Of the manual and of
//! README.md alike.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Parser as _;
use sensor::cli::Cli;
use sensor::config::Config;

use super::{Page, blocks, code_spans, pages, prose, readme, with_fault};

/// What may stand before the program on a line.
const WRAPPERS: [&str; 2] = ["sudo", "nsenter"];
const INDEX: &str = "README.md";

fn everything() -> Vec<Page> {
    pages().into_iter().chain([readme()]).collect()
}

/// The commands on one line of a shell.
fn commands(line: &str) -> impl Iterator<Item = Vec<String>> {
    let line = line.split(" #").next().unwrap_or_default().replace("||", ";").replace("&&", ";");
    let commands: Vec<_> = line.split(['|', ';', '&']).map(words).collect();
    commands.into_iter()
}

/// Words as a shell would split them, quotes taken off; a redirection ends them.
fn words(command: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for character in command.chars() {
        match (quote, character) {
            (None, '\'' | '"') => quote = Some(character),
            (Some(open), _) if open == character => quote = None,
            (None, '>' | '<') => break,
            (None, _) if character.is_whitespace() => words.push(String::new()),
            _ => words.last_mut().expect("a word").push(character),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Our command, where it is one, from the program's name on.
fn own(words: &[String]) -> Option<&[String]> {
    let at = words.iter().position(|word| !word.starts_with('-') && !WRAPPERS.contains(&word.as_str()))?;
    let is_ours = words[at] == "poolwatch" || words[at].ends_with("/poolwatch");
    is_ours.then(|| &words[at..])
}

/// Lines of shell on a page, and what looks like a command within its sentences.
fn shell_lines(page: &Page) -> Vec<String> {
    let in_blocks = blocks(&page.text, "sh").concat().replace("\\\n", " ");
    let prose = prose(&page.text);
    let spans = prose.lines().flat_map(|line| code_spans(line).into_iter().map(str::to_owned));
    in_blocks.lines().map(str::to_owned).chain(spans).collect()
}

fn own_commands(page: &Page) -> Vec<Vec<String>> {
    let lines = shell_lines(page);
    let found = lines.iter().flat_map(|line| commands(line));
    // By itself it is the program's name.
    found.filter_map(|words| own(&words).map(<[String]>::to_vec)).filter(|words| words.len() > 1).collect()
}

fn command_faults(page: &Page) -> Vec<String> {
    let refused = |words: &Vec<String>| match Cli::try_parse_from(words) {
        Ok(_) => None,
        Err(error) if !error.use_stderr() => None,
        Err(error) => {
            let why = error.to_string().lines().next().unwrap_or_default().to_owned();
            Some(format!("{}: {}: {why}", page.name(), words.join(" ")))
        }
    };
    own_commands(page).iter().filter_map(refused).collect()
}

fn config_faults(page: &Page) -> Vec<String> {
    let parse = |text: &&str| Config::parse(Path::new(page.name()), (*text).to_owned());
    let blocks = blocks(&page.text, "toml");
    blocks.iter().filter_map(|text| parse(text).err()).map(|error| format!("{error:#}")).collect()
}

/// `key = value` within a sentence.
fn settings(page: &Page) -> Vec<String> {
    let is_key = |key: &str| {
        key.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
        })
    };
    let prose = prose(&page.text);
    let spans = prose.lines().flat_map(code_spans).map(str::to_owned);
    let is_setting = |span: &String| {
        span.split_once(" = ").is_some_and(|(key, _)| is_key(key))
            && toml::from_str::<toml::Table>(span).is_ok()
    };
    spans.filter(is_setting).collect()
}

/// A sentence may leave out the table that it speaks of.
fn setting_faults(page: &Page) -> Vec<String> {
    let within = ["", "[limits]\n", "[[watchlist]]\nname = \"a\"\n[[watchlist.feed]]\npath = \"/a\"\n"];
    let is_taken = |setting: &str| {
        let parse = |table| Config::parse(Path::new(page.name()), format!("{table}{setting}\n"));
        within.into_iter().any(|table| parse(table).is_ok())
    };
    let refused = settings(page).into_iter().filter(|setting| !is_taken(setting));
    refused.map(|setting| format!("{}: no such key: {setting}", page.name())).collect()
}

/// The name under which a heading can be linked to, as the forges make it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> BTreeSet<String> {
    let prose = prose(text);
    let headings = prose.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| anchor(line.trim_start_matches('#'))).collect()
}

/// Targets of links, those in code left out.
fn links(text: &str) -> Vec<String> {
    let prose = prose(text);
    let without_code: String = prose.split('`').step_by(2).collect();
    let targets = without_code.split("](").skip(1);
    targets.filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned()).collect()
}

fn link_faults(page: &Page) -> Vec<String> {
    let folder = page.path.parent().expect("a folder");
    let is_broken = |target: &String| {
        if target.starts_with("https://") {
            return false;
        }
        let (file, anchor) = target.split_once('#').map_or((target.as_str(), None), |(f, a)| (f, Some(a)));
        let text = match file {
            "" => Some(page.text.clone()),
            file if folder.join(file).is_dir() => Some(String::new()),
            file => fs::read_to_string(folder.join(file)).ok(),
        };
        text.is_none_or(|text| anchor.is_some_and(|anchor| !anchors(&text).contains(anchor)))
    };
    let broken = links(&page.text).into_iter().filter(is_broken);
    broken.map(|target| format!("{}: {target} leads nowhere", page.name())).collect()
}

/// What an index of these pages gets wrong.
fn index_faults(index: &str, pages: &[Page]) -> Vec<String> {
    let is_page =
        |target: &String| !target.contains('/') && Path::new(target).extension().is_some_and(|it| it == "md");
    let listed: Vec<String> = links(index).into_iter().filter(is_page).collect();
    let names: Vec<&str> = pages.iter().map(Page::name).filter(|name| *name != INDEX).collect();
    let count = |name: &str| listed.iter().filter(|target| *target == name).count();
    let unlisted = names.iter().filter(|name| count(name) != 1);
    let unlisted = unlisted.map(|name| format!("{name} is listed {} times", count(name)));
    let absent = listed.iter().filter(|target| !names.contains(&target.as_str()));
    unlisted.chain(absent.map(|target| format!("{target} is not there"))).collect()
}

fn none() -> Vec<String> {
    Vec::new()
}

#[test]
fn every_command_is_one_that_poolwatch_takes() {
    let pages = everything();
    let found: Vec<_> = pages.iter().flat_map(own_commands).collect();
    assert!(found.len() > 30, "{found:?}");
    assert_eq!(pages.iter().flat_map(command_faults).collect::<Vec<_>>(), none());
}

#[test]
fn every_config_is_one_that_poolwatch_takes() {
    let pages = everything();
    assert!(pages.iter().map(|page| blocks(&page.text, "toml").len()).sum::<usize>() >= 5);
    assert_eq!(pages.iter().flat_map(config_faults).collect::<Vec<_>>(), none());
}

#[test]
fn every_key_that_a_sentence_sets_is_one_of_the_config() {
    let pages = everything();
    assert!(pages.iter().flat_map(settings).count() > 3);
    assert_eq!(pages.iter().flat_map(setting_faults).collect::<Vec<_>>(), none());
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_are_there() {
    assert_eq!(everything().iter().flat_map(link_faults).collect::<Vec<_>>(), none());
}

#[test]
fn the_index_lists_every_page_once_and_no_other() {
    let pages = pages();
    assert_eq!(index_faults(&super::page(INDEX), &pages), none());
}

#[test]
fn each_fault_put_into_a_page_is_found() {
    let sound = Page {
        path: readme().path.with_file_name("deploy/docs/page.md"),
        text: "# A page\n\nSee [the README](../../README.md#security) and [below](#below-it).\n\n```sh\n\
               sudo nsenter --net=/run/netns/web poolwatch run --interface 'ens*' --listen 0.0.0.0:9750\n\
               poolwatch check && systemctl reload poolwatch | poolwatch status > /tmp/x\n```\n\n\
               ```toml\nbuiltin.dprk = false\n```\n\n## Below `it`\n\nRun `poolwatch lists --lookup a.example`, \
               or set `inspect.dns = false`.\n"
            .to_owned(),
    };
    let all = |page: &Page| {
        [command_faults(page), config_faults(page), setting_faults(page), link_faults(page)].concat()
    };
    assert_eq!(all(&sound), none());
    assert_eq!(own_commands(&sound).len(), 4);
    #[rustfmt::skip]
    let table = [
        ("a command that is none", "poolwatch status", "poolwatch statsu", "page.md: poolwatch statsu: error: unrecognized subcommand 'statsu'"),
        ("an option that is none", "--listen 0.0.0.0:9750", "--port 9750", "page.md: poolwatch run --interface ens* --port 9750: error: unexpected argument '--port' found"),
        ("a value that is none", "0.0.0.0:9750", "localhost", "page.md: poolwatch run --interface ens* --listen localhost: error: invalid value 'localhost' for '--listen <ADDR>': invalid socket address syntax"),
        ("a command in a sentence", "lists --lookup a.example", "list a.example", "page.md: poolwatch list a.example: error: unrecognized subcommand 'list'"),
        ("a key that is none", "builtin.dprk", "builtin.kp", "page.md:1: builtin.kp: unknown key, expected `mining` or `dprk`"),
        ("a key in a sentence", "inspect.dns", "inspect.http", "page.md: no such key: inspect.http = false"),
        ("a file that is not there", "../../README.md", "../README.mkd", "page.md: ../README.mkd#security leads nowhere"),
        ("a heading that is not there", "README.md#security", "README.md#safety", "page.md: ../../README.md#safety leads nowhere"),
        ("a heading of its own that is not there", "## Below", "## Above", "page.md: #below-it leads nowhere"),
    ];
    for (fault, right, wrong, expected) in table {
        let page = Page { text: with_fault(&sound.text, right, wrong), ..sound.clone() };
        assert_eq!(all(&page), [expected], "{fault}");
    }
    let pages = [sound];
    assert_eq!(index_faults("- [a](page.md)\n", &pages), none());
    assert_eq!(index_faults("- [a](page.md)\n- [b](page.md)\n", &pages), ["page.md is listed 2 times"]);
    assert_eq!(
        index_faults("- [b](other.md)\n", &pages),
        ["page.md is listed 0 times", "other.md is not there"]
    );
}
