//! The kernels that tests are run on: Debian's cloud kernels of three series, by version and checksum.
//!
//! An archive drops a package some time after a newer one has replaced it. Then, or when asked to,
//! the current one of the series is taken, on apt's own word.

use std::fmt;

use anyhow::{Result, bail};

/// One series of kernels, and the package of it that was known to work.
#[derive(Debug, PartialEq)]
pub(crate) struct Series {
    /// As in `uname -r`: `5.10`.
    pub(crate) name: &'static str,
    /// Debian's release whose security archive has it.
    pub(crate) release: &'static str,
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// Of the package file.
    pub(crate) sha256: &'static str,
}

#[rustfmt::skip]
pub(crate) const SERIES: &[Series] = &[
    Series { name: "5.10", release: "bullseye", package: "linux-image-5.10.0-46-cloud-amd64",       version: "5.10.262-1", sha256: "18d94781d1b3052e21967ac2262239e5f14fbf511d6c3e110629d7aa35340760" },
    Series { name: "6.1",  release: "bookworm", package: "linux-image-6.1.0-56-cloud-amd64",        version: "6.1.192-2",  sha256: "e7d02b943971edcb8790e256c02cfab3bca6c3d37c1bf25392a57c71300615ee" },
    Series { name: "6.12", release: "trixie",   package: "linux-image-6.12.117+deb13-cloud-amd64",  version: "6.12.117-1", sha256: "e9893e5295d0549b8852611f12a4b8b5f6cc4b8128dcc2086b9847793b904ab7" },
];

/// The kernel that is running, in the words of `--only`.
pub(crate) const NATIVE: &str = "native";

/// What a run is to cover: series of the table, and whether the running kernel is among it.
#[derive(Debug, PartialEq)]
pub(crate) struct Chosen {
    pub(crate) series: Vec<&'static Series>,
    pub(crate) native: bool,
}

/// All, or only those named.
pub(crate) fn choose(only: &[String]) -> Result<Chosen> {
    if let Some(unknown) =
        only.iter().find(|name| *name != NATIVE && SERIES.iter().all(|series| series.name != **name))
    {
        let known: Vec<&str> = SERIES.iter().map(|series| series.name).chain([NATIVE]).collect();
        bail!("--only {unknown}: there are {}", known.join(", "));
    }
    let meant = |name: &str| only.is_empty() || only.iter().any(|chosen| chosen == name);
    Ok(Chosen { series: SERIES.iter().filter(|series| meant(series.name)).collect(), native: meant(NATIVE) })
}

/// The first two numbers of a kernel's release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Version(pub(crate) u32, pub(crate) u32);

impl Version {
    /// Of `6.12.117+deb13-cloud-amd64`, or `6.6`.
    pub(crate) fn parse(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        Some(Self(numbers.next()?.ok()?, numbers.next()?.ok()?))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0, self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_package_is_of_its_series_and_has_a_whole_checksum() {
        for series in SERIES {
            assert!(series.package.starts_with(&format!("linux-image-{}.", series.name)), "{series:?}");
            assert!(series.version.starts_with(&format!("{}.", series.name)), "{series:?}");
            assert!(series.package.ends_with("-cloud-amd64"), "{series:?}");
            assert_eq!(series.sha256.len(), 64, "{series:?}");
            assert!(series.sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{series:?}");
        }
    }

    #[test]
    fn all_are_chosen_unless_some_are_named_and_an_unknown_one_is_refused() {
        let all = choose(&[]).unwrap();
        assert_eq!((all.series.len(), all.native), (SERIES.len(), true));
        let one = choose(&["6.1".to_owned()]).unwrap();
        assert_eq!((one.series, one.native), (vec![&SERIES[1]], false));
        let native = choose(&["native".to_owned()]).unwrap();
        assert_eq!((native.series, native.native), (vec![], true));
        let message = choose(&["4.19".to_owned()]).unwrap_err().to_string();
        assert_eq!(message, "--only 4.19: there are 5.10, 6.1, 6.12, native");
    }

    #[test]
    fn versions_are_ordered_by_number() {
        for (release, version) in [
            ("5.10.0-46-cloud-amd64", Some(Version(5, 10))),
            ("6.12.117+deb13-cloud-amd64", Some(Version(6, 12))),
            ("6.6", Some(Version(6, 6))),
            ("6", None),
            ("trixie", None),
        ] {
            assert_eq!(Version::parse(release), version, "{release}");
        }
        assert!(Version(5, 10) < Version(5, 16) && Version(5, 16) < Version(6, 1));
    }
}
