//! Which interfaces the config means: names, globs, or `auto` for every interface that carries
//! a default route. Pure.

use anyhow::{Context, Result};
use globset::{Glob, GlobMatcher};

use crate::bpf::interfaces::Interface;

/// One entry of `interfaces`.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Every interface that carries a default route.
    Auto,
    /// This one, whether it is there or not.
    Name(String),
    /// Those that match, as they come and go.
    Glob(Box<GlobMatcher>),
}

impl Wanted {
    /// `text`: `auto`, a name, or a pattern with `*`, `?`, `[…]` or `{…}`.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "auto" {
            return Ok(Self::Auto);
        }
        if text.contains(['*', '?', '[', '{']) {
            let glob = Glob::new(text).with_context(|| format!("interfaces: {text:?} is not a pattern"))?;
            return Ok(Self::Glob(Box::new(glob.compile_matcher())));
        }
        Ok(Self::Name(text.to_owned()))
    }

    fn means(&self, interface: &Interface) -> bool {
        match self {
            Self::Auto => interface.has_default_route,
            Self::Name(name) => *name == interface.name,
            Self::Glob(glob) => glob.is_match(&interface.name),
        }
    }
}

/// Those of `present` that are meant.
pub fn select<'a>(wanted: &[Wanted], present: &'a [Interface]) -> Vec<&'a Interface> {
    present.iter().filter(|interface| wanted.iter().any(|wanted| wanted.means(interface))).collect()
}

/// Names that the config gives and that are not there.
pub fn absent<'a>(wanted: &'a [Wanted], present: &[Interface]) -> Vec<&'a str> {
    wanted
        .iter()
        .filter_map(|wanted| match wanted {
            Wanted::Name(name) if !present.iter().any(|interface| interface.name == *name) => {
                Some(name.as_str())
            }
            _ => None,
        })
        .collect()
}

/// Pairs of selected interfaces of which the first is a part of the second (a port of its bridge, a VLAN
/// of its parent): each of them counts the same packet.
pub fn stacked<'a>(selected: &[&'a Interface]) -> Vec<(&'a str, &'a str)> {
    let mut pairs = Vec::new();
    for part in selected {
        for whole in selected {
            if part.part_of == Some(whole.index) {
                pairs.push((part.name.as_str(), whole.name.as_str()));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::interfaces::Framing;

    fn interface(index: u32, name: &str, has_default_route: bool) -> Interface {
        Interface {
            index,
            name: name.into(),
            framing: Framing::Ethernet,
            is_up: true,
            has_default_route,
            part_of: None,
        }
    }

    fn wanted(texts: &[&str]) -> Vec<Wanted> {
        texts.iter().map(|text| Wanted::parse(text).expect("a valid entry")).collect()
    }

    #[test]
    fn auto_names_and_globs_select_what_they_mean() {
        let present = [
            interface(1, "lo", false),
            interface(2, "eth0", true),
            interface(3, "ens3", false),
            interface(4, "ens4", true),
        ];
        for (texts, expected) in [
            (&["auto"][..], &["eth0", "ens4"][..]),
            (&["ens*"], &["ens3", "ens4"]),
            (&["lo", "ens?"], &["lo", "ens3", "ens4"]),
            (&["auto", "eth0"], &["eth0", "ens4"]),
            (&["wg0"], &[]),
        ] {
            let names: Vec<_> =
                select(&wanted(texts), &present).iter().map(|interface| interface.name.as_str()).collect();
            assert_eq!(names, expected, "{texts:?}");
        }
    }

    #[test]
    fn only_a_plain_name_can_be_absent() {
        let present = [interface(2, "eth0", false)];
        assert_eq!(absent(&wanted(&["auto", "ens*", "eth0", "wg0"]), &present), ["wg0"]);
    }

    #[test]
    fn an_interface_that_is_a_part_of_another_is_noticed_when_both_are_selected() {
        let (whole, mut part) = (interface(2, "eth0", true), interface(3, "eth0.7", false));
        part.part_of = Some(2);
        assert_eq!(stacked(&[&whole, &part]), [("eth0.7", "eth0")]);
        assert_eq!(stacked(&[&part]), []);
    }

    #[test]
    fn a_broken_pattern_is_refused_by_name() {
        let error = Wanted::parse("ens[").expect_err("not a pattern");
        assert_eq!(error.to_string(), "interfaces: \"ens[\" is not a pattern");
    }
}
