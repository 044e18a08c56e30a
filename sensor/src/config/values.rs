//! What single values of the configuration may be. Each function is a serde
//! `deserialize_with`, so that the TOML reader knows the place of what is refused;
//! rules that concern several values are not here.

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use globset::Glob;
use sensor_ebpf::abi::NAME_MAX;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};
use serde::ser::Serializer;

use super::Output;

/// Longest name of a network interface, in bytes: IFNAMSIZ less the final zero.
const INTERFACE_NAME_MAX: usize = 15;

/// A whole number from `MIN` to `MAX`.
pub(super) fn within<'de, D: Deserializer<'de>, const MIN: u32, const MAX: u32>(
    deserializer: D,
) -> Result<u32, D::Error> {
    deserializer.deserialize_u32(Within::<MIN, MAX>)
}

struct Within<const MIN: u32, const MAX: u32>;

impl<const MIN: u32, const MAX: u32> Visitor<'_> for Within<MIN, MAX> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u32, E> {
        u32::try_from(number)
            .ok()
            .filter(|number| (MIN..=MAX).contains(number))
            .ok_or_else(|| E::invalid_value(Unexpected::Signed(number), &self))
    }
}

/// A text that `read` makes a `T` of.
struct Text<T> {
    expected: &'static str,
    read: fn(&str) -> Option<T>,
}

impl<T> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

pub(super) fn listen<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "an IP address with a port, such as \"127.0.0.1:9750\" or \"[::1]:9750\"",
        read: |text| text.parse().ok(),
    })
}

pub(super) fn absolute<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PathBuf, D::Error> {
    deserializer.deserialize_str(Text { expected: "an absolute path", read: absolute_path })
}

fn absolute_path(text: &str) -> Option<PathBuf> {
    Path::new(text).is_absolute().then(|| text.into())
}

pub(super) fn output<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Output, D::Error> {
    deserializer.deserialize_str(Text {
        expected: "\"stdout\", \"none\" or an absolute path",
        read: |text| match text {
            "stdout" => Some(Output::Stdout),
            "none" => Some(Output::None),
            _ => absolute_path(text).map(Output::File),
        },
    })
}

pub(super) fn displayed<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn interfaces<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let interfaces = Vec::<Interface>::deserialize(deserializer)?;
    if interfaces.is_empty() {
        return Err(D::Error::custom("an empty list watches nothing: name an interface, or \"auto\""));
    }
    Ok(interfaces.into_iter().map(|Interface(name)| name).collect())
}

struct Interface(String);

impl<'de> Deserialize<'de> for Interface {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text {
            expected: "\"auto\", a name of at most 15 bytes, or a glob such as \"ens*\"",
            read: |text| is_interface(text).then(|| Self(text.to_owned())),
        })
    }
}

fn is_interface(text: &str) -> bool {
    let glob = text.contains(['*', '?', '[', '{']);
    !text.is_empty()
        && !text.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control())
        && (if glob { Glob::new(text).is_ok() } else { text.len() <= INTERFACE_NAME_MAX })
}

/// May a watchlist or a target be called this? Names become labels, file names and slots of
/// fixed size.
pub(super) fn is_name(text: &str) -> bool {
    (1..=NAME_MAX).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}
