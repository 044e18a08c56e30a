//! The web config as it is written: the toolkit's keys, unknown ones refused. What a value may be is
//! decided by the module that makes something of it.
//!
//! No error quotes more than one value's kind: keys and hashes of passwords are in here.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::{Result, anyhow, bail};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{DuplicateKeyPolicy, Error, MessageFormatter as _, Spanned, UserMessageFormatter};

/// A text and its line; `None` where the key is not there or has no value.
pub(super) type Text = Option<Spanned<String>>;
/// Texts by their keys.
pub(super) type Texts = BTreeMap<String, Spanned<String>>;

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    #[serde(deserialize_with = "section")]
    pub tls_server_config: Section<Tls>,
    #[serde(deserialize_with = "section")]
    pub http_server_config: Section<Http>,
    #[serde(deserialize_with = "section")]
    pub rate_limit: Section<RateLimit>,
    #[serde(deserialize_with = "section")]
    pub basic_auth_users: Section<Texts>,
}

/// `None` where its key is not there. Each that is there says something, or the web config is refused:
/// the toolkit would take a list of users that came out empty for one that lets everybody in.
type Section<T> = Option<Spanned<T>>;

/// A key without a value is a section that says nothing, and has a line.
fn section<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(
    deserializer: D,
) -> Result<Section<T>, D::Error> {
    let Spanned { value, referenced, defined } = Spanned::<Option<T>>::deserialize(deserializer)?;
    Ok(Some(Spanned { value: value.unwrap_or_default(), referenced, defined }))
}

/// A key without a value is an error: it is what a file that breaks off ends with, and taken for one that is
/// not there it would ask less of who connects.
fn value<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Tls {
    #[serde(deserialize_with = "value")]
    pub cert: Text,
    #[serde(deserialize_with = "value")]
    pub key: Text,
    #[serde(deserialize_with = "value")]
    pub client_ca: Text,
    #[serde(deserialize_with = "value")]
    pub cert_file: Text,
    #[serde(deserialize_with = "value")]
    pub key_file: Text,
    #[serde(deserialize_with = "value")]
    pub client_auth_type: Text,
    #[serde(deserialize_with = "value")]
    pub client_ca_file: Text,
    #[serde(deserialize_with = "value")]
    pub client_allowed_sans: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(deserialize_with = "value")]
    pub min_version: Text,
    #[serde(deserialize_with = "value")]
    pub max_version: Text,
    #[serde(deserialize_with = "value")]
    pub cipher_suites: Option<Vec<Spanned<String>>>,
    #[serde(deserialize_with = "value")]
    pub prefer_server_cipher_suites: Option<bool>,
    #[serde(deserialize_with = "value")]
    pub curve_preferences: Option<Vec<Spanned<String>>>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    pub http2: Option<bool>,
    pub headers: Option<Texts>,
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    pub interval: Text,
    pub burst: Option<Spanned<u32>>,
}

impl Tls {
    /// Is any key of it given? The toolkit serves plain HTTP when those that matter are not; whoever
    /// wrote one of them wanted TLS.
    fn says_anything(&self) -> bool {
        let texts = [&self.cert, &self.key, &self.client_ca, &self.cert_file, &self.key_file];
        let more = [&self.client_auth_type, &self.client_ca_file, &self.min_version, &self.max_version];
        texts.into_iter().chain(more).any(|text| given(text).is_some())
            || self.client_allowed_sans.is_some()
            || self.cipher_suites.is_some()
            || self.prefer_server_cipher_suites.is_some()
            || self.curve_preferences.is_some()
    }

    /// Paths, as they are written.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let files = [&self.cert_file, &self.key_file, &self.client_ca_file];
        files.into_iter().filter_map(|file| given(file).map(|file| file.value.as_str()))
    }
}

impl Http {
    fn says_anything(&self) -> bool {
        self.http2.is_some() || self.headers.as_ref().is_some_and(|headers| !headers.is_empty())
    }
}

/// Empty means not given, as it does to the toolkit.
pub(super) fn given(text: &Text) -> Option<&Spanned<String>> {
    text.as_ref().filter(|text| !text.value.is_empty())
}

impl Written {
    /// # Errors
    /// When it is no YAML, or has keys or kinds of values that it may not have, or says nothing: with
    /// file, line and key.
    pub fn parse(path: &Path, text: &str) -> Result<Self> {
        let options = serde_saphyr::options! { with_snippet: false };
        let written: Option<Self> = serde_saphyr::from_str_with_options(text, options)
            .map_err(|error| refused(path, text, &error))?;
        let written = written.unwrap_or_default();
        let (file, sections) = (path.display(), written.sections());
        match sections.iter().find(|section| !section.says_anything) {
            Some(Said { key, line, .. }) => {
                bail!("{file}:{line}: {key}: it says nothing; leave it out if that is meant")
            }
            None if sections.is_empty() => bail!(
                "{file}: it says nothing, and a file that was emptied must not open what was secured; for plain HTTP \
                 without passwords take http.web_config out of the config and restart"
            ),
            None => Ok(written),
        }
    }

    /// Those that are there.
    fn sections(&self) -> Vec<Said> {
        fn said<T>(key: &'static str, section: Option<&Spanned<T>>, says: fn(&T) -> bool) -> Option<Said> {
            section.map(|section| Said {
                key,
                line: section.defined.line(),
                says_anything: says(&section.value),
            })
        }
        let sections = [
            said("tls_server_config", self.tls_server_config.as_ref(), Tls::says_anything),
            said("http_server_config", self.http_server_config.as_ref(), Http::says_anything),
            said("rate_limit", self.rate_limit.as_ref(), |limit| given(&limit.interval).is_some()),
            said("basic_auth_users", self.basic_auth_users.as_ref(), |users| !users.is_empty()),
        ];
        sections.into_iter().flatten().collect()
    }
}

/// How a section is written.
struct Said {
    key: &'static str,
    line: u64,
    says_anything: bool,
}

fn refused(path: &Path, text: &str, error: &Error) -> anyhow::Error {
    let error = error.without_snippet();
    let message = match error {
        Error::SerdeUnknownField { expected, .. } => {
            let expected: Vec<_> = expected.iter().map(|key| format!("`{key}`")).collect();
            format!("unknown key, expected one of {}", expected.join(", "))
        }
        Error::Unexpected { expected, .. } => format!("expected {}", in_words(expected)),
        Error::SerdeInvalidType { expected, .. } => format!("expected {expected}"),
        Error::InvalidScalar { ty, .. } => format!("expected {}", in_words(ty)),
        Error::DuplicateMappingKey { .. } => "this key is there already".to_owned(),
        error => UserMessageFormatter.format_message(error).into_owned(),
    };
    let Some(location) = error.location() else {
        return anyhow!("{}: {message}", path.display());
    };
    match key_at(text, (location.line(), location.column())) {
        Some(key) => anyhow!("{}:{}: {key}: {message}", path.display(), location.line()),
        None => anyhow!("{}:{}: {message}", path.display(), location.line()),
    }
}

/// The YAML reader speaks of its own events and types.
fn in_words(expected: &'static str) -> &'static str {
    match expected {
        "mapping start" => "a mapping",
        "sequence start" => "a list",
        "string scalar" => "a text",
        "boolean" => "true or false",
        "u32" => "a whole number",
        other => other,
    }
}

/// The last key that begins there or before; of a text that is no YAML, as far as it can be read.
fn key_at(text: &str, at: (u64, u64)) -> Option<String> {
    let mut keys = Vec::new();
    // Past keys that are there twice, which may be what is wrong.
    let options = serde_saphyr::options! { duplicate_keys: DuplicateKeyPolicy::LastWins };
    let _ = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        Keys { prefix: "", found: &mut keys }.deserialize(yaml)
    });
    keys.into_iter().rfind(|(place, _)| *place <= at).map(|(_, key)| key)
}

/// Collects where each key is written, in the order of the text.
struct Keys<'a> {
    prefix: &'a str,
    found: &'a mut Vec<((u64, u64), String)>,
}

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<Spanned<String>>()? {
            let name = format!("{}{}", self.prefix, key.value);
            let prefix = format!("{name}.");
            self.found.push(((key.defined.line(), key.defined.column()), name));
            map.next_value_seed(Keys { prefix: &prefix, found: &mut *self.found })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        Ok(())
    }
}
