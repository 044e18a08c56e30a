//! The configuration as it is written: a struct for each table of the file, a default for
//! each key, unknown keys refused. What a key may hold is decided here; what the lists
//! hold is read in the second stage, [`crate::watchlists`].
//!
//! Nothing here touches the kernel or opens a feed: a feed's path is only made absolute.

mod document;
mod file;
mod values;

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sensor_ebpf::abi::capacity;
use serde::{Deserialize, Serialize};
use toml::Spanned;

pub use document::Document;
pub(crate) use document::quote;
pub(crate) use file::{open_regular, read_small};

use crate::test_alert;
use crate::watchlists::builtin;

/// Read when no `--config` is given and it exists.
pub const DEFAULT_PATH: &str = "/etc/poolwatch/poolwatch.toml";

/// The target under which mining counts that no list names: no feed may call itself that.
pub const UNLISTED: &str = "unlisted";

/// The whole file. Where it came from stays beside it, so that later stages can name the line.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Interface names, globs, or `auto` for every interface that carries a default route.
    #[serde(deserialize_with = "values::interfaces")]
    pub interfaces: Vec<String>,
    pub attach: Attach,
    pub state: State,
    pub http: Http,
    pub builtin: Builtin,
    pub inspect: Inspect,
    pub limits: Limits,
    pub events: Events,
    pub allow: Allow,
    #[serde(rename = "watchlist", skip_serializing_if = "Vec::is_empty")]
    pub watchlists: Vec<Watchlist>,
    /// The file itself; empty for the built-in defaults.
    #[serde(skip)]
    pub document: Document,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            interfaces: vec!["auto".to_owned()],
            attach: Attach::default(),
            state: State::default(),
            http: Http::default(),
            builtin: Builtin::default(),
            inspect: Inspect::default(),
            limits: Limits::default(),
            events: Events::default(),
            allow: Allow::default(),
            watchlists: Vec::new(),
            document: Document::default(),
        }
    }
}

impl Config {
    /// Keys that are read at start only and that `newer` has changed.
    pub fn read_at_start(&self, newer: &Self) -> Vec<&'static str> {
        [
            ("interfaces", self.interfaces != newer.interfaces),
            ("attach", self.attach != newer.attach),
            ("state.pins", self.state != newer.state),
            ("http.listen", self.http.listen != newer.http.listen),
            ("limits", self.limits != newer.limits),
            ("events", self.events != newer.events),
        ]
        .into_iter()
        .filter_map(|(key, changed)| changed.then_some(key))
        .collect()
    }
}

/// How the programs are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Attach {
    /// TCX where the kernel has it, else clsact.
    #[default]
    Auto,
    Tcx,
    Clsact,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct State {
    /// An absolute path on a bpffs; one daemon a directory.
    #[serde(deserialize_with = "values::absolute")]
    pub pins: PathBuf,
}

impl Default for State {
    fn default() -> Self {
        Self { pins: "/sys/fs/bpf/poolwatch".into() }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Port 0: any free one.
    #[serde(deserialize_with = "values::listen")]
    pub listen: SocketAddr,
    /// Absolute once loaded, as a feed's is; empty: plain HTTP, and everybody is answered.
    pub web_config: PathBuf,
}

impl Default for Http {
    fn default() -> Self {
        Self { listen: (Ipv4Addr::LOCALHOST, 9750).into(), web_config: PathBuf::new() }
    }
}

/// Which of the lists that come with poolwatch are on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Builtin {
    pub mining: bool,
    pub dprk: bool,
}

impl Default for Builtin {
    fn default() -> Self {
        Self { mining: true, dprk: true }
    }
}

/// What payload is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Inspect {
    pub dns: bool,
    pub tls: bool,
    pub mining: bool,
    /// Samples a second and CPU, over all kinds.
    #[serde(deserialize_with = "values::within::<_, 1, 10_000_000>")]
    pub samples_per_second: u32,
}

impl Default for Inspect {
    fn default() -> Self {
        Self { dns: true, tls: true, mining: true, samples_per_second: 20_000 }
    }
}

/// Entries that the kernel's tables hold at most.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    #[serde(deserialize_with = "values::within::<_, 1, 16_777_216>")]
    pub flows: u32,
    #[serde(deserialize_with = "values::within::<_, 1, 16_382>")]
    pub targets: u32,
    /// IPv4 and IPv6 together, as compiled; also the entries that one feed file may hold.
    #[serde(deserialize_with = "values::within::<_, 1, 16_777_216>")]
    pub prefixes: u32,
    /// Also the entries that one feed file of endpoints may hold.
    #[serde(deserialize_with = "values::within::<_, 1, 16_777_216>")]
    pub endpoints: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            flows: capacity::FLOWS,
            targets: capacity::TARGETS,
            prefixes: capacity::PREFIXES,
            endpoints: capacity::ENDPOINTS,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Events {
    #[serde(deserialize_with = "values::output", serialize_with = "values::displayed")]
    pub output: Output,
    /// Do they hold what miners say of wallet and worker?
    pub wallets: bool,
}

impl Default for Events {
    fn default() -> Self {
        Self { output: Output::default(), wallets: true }
    }
}

/// Where events go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Output {
    #[default]
    Stdout,
    None,
    /// An absolute path.
    File(PathBuf),
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::None => f.write_str("none"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

/// What never matches, whatever a list says; not yet parsed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Allow {
    pub prefixes: Vec<Spanned<String>>,
    pub domains: Vec<Spanned<String>>,
    pub endpoints: Vec<Spanned<String>>,
}

/// What a watchlist is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Category {
    Mining,
    Sanctioned,
    #[default]
    Custom,
}

impl Category {
    /// As labels and tables show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mining => "mining",
            Self::Sanctioned => "sanctioned",
            Self::Custom => "custom",
        }
    }
}

/// A `[[watchlist]]`, its indicators not yet parsed. Those written inline stand for a target
/// that is called what the watchlist is called.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Watchlist {
    pub name: Spanned<String>,
    #[serde(default)]
    pub category: Category,
    #[serde(default)]
    pub prefixes: Vec<Spanned<String>>,
    #[serde(default)]
    pub endpoints: Vec<Spanned<String>>,
    #[serde(default)]
    pub domains: Vec<Spanned<String>>,
    #[serde(default, rename = "feed", skip_serializing_if = "Vec::is_empty")]
    pub feeds: Vec<Feed>,
}

/// A `[[watchlist.feed]]`: a file of indicators of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Feed {
    /// `None`: the target that is called what the watchlist is called.
    pub target: Option<Spanned<String>>,
    /// Absolute once loaded, or relative to the working directory where the config's own path was.
    pub path: Spanned<PathBuf>,
    #[serde(default)]
    pub kind: Kind,
}

/// Kinds of indicators.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    #[default]
    Prefixes,
    Endpoints,
    Domains,
}

impl Config {
    /// Reads the file, or [`DEFAULT_PATH`] where none is given and it exists; without it, the
    /// defaults.
    ///
    /// # Errors
    /// When the file cannot be read, or says what it may not: with file, line and key.
    pub fn load(path: Option<&Path>) -> anyhow::Result<Self> {
        match path {
            Some(path) => Self::parse(path, file::read(path)?),
            None => Self::load_if_present(Path::new(DEFAULT_PATH)),
        }
    }

    fn load_if_present(path: &Path) -> anyhow::Result<Self> {
        match path.symlink_metadata() {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("{}: cannot be read", path.display())),
            Ok(_) => Self::parse(path, file::read(path)?),
        }
    }

    /// `text` as if it stood in the file `path`, which need not exist.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(path: &Path, text: String) -> anyhow::Result<Self> {
        let document = Document::new(path, text);
        let mut config: Self =
            toml::from_str(document.text()).map_err(|error| document.toml_error(&error))?;
        config.document = document;
        config.check_names()?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for feed in config.watchlists.iter_mut().flat_map(|list| &mut list.feeds) {
            let absolute = folder.join(feed.path.get_ref());
            *feed.path.get_mut() = absolute;
        }
        if !config.http.web_config.as_os_str().is_empty() {
            config.http.web_config = folder.join(&config.http.web_config);
        }
        Ok(config)
    }

    /// What no single value can tell: names that clash, or that stand for something else.
    fn check_names(&self) -> anyhow::Result<()> {
        let document = &self.document;
        let mut lines = HashMap::new();
        for list in &self.watchlists {
            let span = list.name.span();
            let name = check_name(document, &list.name)?;
            if builtin::NAMES.contains(&name) {
                return Err(document.error(&span, "this is the name of a built-in watchlist"));
            }
            let line = document.line(&span);
            if let Some(first) = lines.insert(name, line) {
                let message = format!("the watchlist on line {first} has this name already");
                return Err(document.error(&span, message));
            }
            for feed in &list.feeds {
                if let Some(target) = &feed.target {
                    check_name(document, target)?;
                }
                if feed.path.get_ref().as_os_str().is_empty() {
                    return Err(document.error(&feed.path.span(), "an empty path names no file"));
                }
            }
        }
        Ok(())
    }
}

/// A name of a watchlist or a target: both may be a target's.
fn check_name<'c>(document: &Document, name: &'c Spanned<String>) -> anyhow::Result<&'c str> {
    let text = name.get_ref().as_str();
    if !values::is_name(text) {
        return Err(document.error(
            &name.span(),
            format!("{} is not a name: 1 to 63 of A-Z, a-z, 0-9, \".\", \"_\", \"-\"", quote(text)),
        ));
    }
    if text == UNLISTED {
        return Err(
            document.error(&name.span(), format!("{text:?} is reserved for mining that no list names"))
        );
    }
    if text == test_alert::NAME {
        return Err(document.error(&name.span(), format!("{text:?} is reserved for `poolwatch test-alert`")));
    }
    Ok(text)
}

#[cfg(test)]
mod tests;
