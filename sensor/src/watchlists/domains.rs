//! Parses a domain name into the form in which it travels in DNS, and the lines of domain
//! lists: one name, or a hosts file's address with names behind it. Nothing is resolved.
//!
//! Names are IDNA (UTS 46) to ASCII, lower case, without the final dot. Underscores are
//! let through: they are no host name's, but DNS carries them.

use std::net::IpAddr;

use idna::AsciiDenyList;
use idna::uts46::{DnsLength, Hyphens, Uts46};

use super::{Read, Refused, refused};

const NOT_A_DOMAIN: Refused = refused("is not a domain name");

/// Names that hosts files hold for the host itself, with addresses of all sorts.
const HOSTS_OWN: [&str; 12] = [
    "localhost",
    "localhost.localdomain",
    "local",
    "broadcasthost",
    "ip6-localhost",
    "ip6-loopback",
    "ip6-localnet",
    "ip6-mcastprefix",
    "ip6-allnodes",
    "ip6-allrouters",
    "ip6-allhosts",
    "0.0.0.0",
];

/// A domain, with or without a leading `*.` or `.`: it matches its subdomains in any case.
pub(super) fn parse(text: &str) -> Result<Read<String>, Refused> {
    let name = text.strip_prefix("*.").or(text.strip_prefix('.')).unwrap_or(text);
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.parse::<IpAddr>().is_ok() {
        return Err(refused("is an IP address, not a domain name"));
    }
    let ascii = Uts46::new()
        .to_ascii(name.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow, DnsLength::Verify)
        .map_err(|_| NOT_A_DOMAIN)?;
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_' | b'.');
    // A last label of digits is a mistyped address (WHATWG URL, "ends in a number").
    let number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    if !ascii.bytes().all(letters) || ascii.rsplit('.').next().is_none_or(number) {
        return Err(NOT_A_DOMAIN);
    }
    Ok(Read { indicator: ascii.into_owned(), remark: None })
}

/// The names of one line of a list; none where a hosts file only speaks of its own host.
pub(super) fn parse_line(line: &str, take: &mut dyn FnMut(Read<String>)) -> Result<(), Refused> {
    let mut words = line.split_ascii_whitespace();
    let (Some(first), Some(second)) = (words.next(), words.next()) else {
        if line != "0.0.0.0" {
            take(parse(line)?);
        }
        return Ok(());
    };
    let unzoned = first.split_once('%').map_or(first, |(address, _)| address);
    let address: IpAddr = unzoned.parse().map_err(|_| NOT_A_DOMAIN)?;
    for name in std::iter::once(second).chain(words) {
        if HOSTS_OWN.contains(&name.to_ascii_lowercase().as_str()) {
            continue;
        }
        if !address.is_unspecified() && !address.is_loopback() {
            return Err(refused("is a hosts-file line whose address is not 0.0.0.0, ::, 127.0.0.1 or ::1"));
        }
        take(parse(name)?);
    }
    Ok(())
}

/// Is this name the domain itself or one of its subdomains? Both as [`parse`] returns them.
pub(super) fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(line: &str) -> Result<Vec<String>, String> {
        let mut names = Vec::new();
        parse_line(line, &mut |read| names.push(read.indicator)).map_err(|why| why.to_string())?;
        Ok(names)
    }

    #[test]
    fn names_are_read_as_they_travel_in_dns() {
        let long = format!("{}.example", "a".repeat(63));
        let table: [(&str, &str, &[&str]); 14] = [
            ("plain", "pool.example", &["pool.example"]),
            ("upper case, final dot", "Pool.EXAMPLE.", &["pool.example"]),
            ("wildcard", "*.pool.example", &["pool.example"]),
            ("leading dot", ".pool.example", &["pool.example"]),
            ("other script", "шахта.example", &["xn--80aa7cln.example"]),
            ("punycode", "xn--80aa7cln.example", &["xn--80aa7cln.example"]),
            ("underscore", "_stratum._tcp.pool.example", &["_stratum._tcp.pool.example"]),
            ("hyphens anywhere", "r3---sn-a.pool.example", &["r3---sn-a.pool.example"]),
            ("longest label", &long, &[&long]),
            ("hosts line", "0.0.0.0 pool.example", &["pool.example"]),
            ("hosts line of several", "127.0.0.1\tA.example  b.example", &["a.example", "b.example"]),
            ("hosts line, IPv6", "::1 localhost pool.example", &["pool.example"]),
            ("the host's own", "fe80::1%lo0 localhost", &[]),
            ("no name at all", "0.0.0.0 0.0.0.0", &[]),
        ];
        for (description, line, expected) in table {
            let expected: Vec<String> = expected.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(names(line), Ok(expected), "{description}: {line}");
        }
        assert_eq!(names("0.0.0.0"), Ok(vec![]), "a bare address that hosts files hold");
    }

    #[test]
    fn what_is_no_name_is_refused_with_the_reason() {
        let long_label = format!("{}.example", "a".repeat(64));
        let long_name = format!("{}example", "abcdefg.".repeat(31));
        let table = [
            ("empty label", "pool..example", "is not a domain name"),
            ("label over 63", &long_label, "is not a domain name"),
            ("name over 253", &long_name, "is not a domain name"),
            ("address", "192.0.2.1", "is an IP address, not a domain name"),
            ("IPv6 address", "2001:db8::1", "is an IP address, not a domain name"),
            ("almost an address", "300.1.2.3", "is not a domain name"),
            ("with a port", "pool.example:3333", "is not a domain name"),
            ("URL", "https://pool.example/", "is not a domain name"),
            ("wildcard inside", "pool.*.example", "is not a domain name"),
            ("broken punycode", "xn--\u{ff}.example", "is not a domain name"),
            ("two names", "pool.example mine.example", "is not a domain name"),
            ("a dot", ".", "is not a domain name"),
            (
                "a host's address",
                "192.0.2.1 pool.example",
                "is a hosts-file line whose address is not 0.0.0.0, ::, 127.0.0.1 or ::1",
            ),
        ];
        for (description, line, why) in table {
            assert_eq!(names(line), Err(why.to_owned()), "{description}: {line}");
        }
    }

    #[test]
    fn a_domain_covers_itself_and_its_subdomains_only() {
        assert!(is_within("pool.example", "pool.example"));
        assert!(is_within("eu.pool.example", "pool.example"));
        assert!(!is_within("carpool.example", "pool.example"));
        assert!(!is_within("example", "pool.example"));
    }
}
