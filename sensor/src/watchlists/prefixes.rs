//! Parses a prefix: `address/length`, or an address alone for the host itself.
//!
//! Addresses are read by the standard library, which refuses octets with leading zeros
//! (`010.0.0.1` is 8.0.0.1 to some tools and 10.0.0.1 to others). No ranges, no netmasks.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::{Read, Refused, refused};

const NOT_A_PREFIX: Refused = refused("is not an IPv4 or IPv6 prefix");

/// Bits of an IPv4-mapped address before the IPv4 address (RFC 4291, 2.5.5.2).
const MAPPED_BITS: u8 = 96;

pub(super) fn parse(text: &str) -> Result<Read<IpNet>, Refused> {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| NOT_A_PREFIX)?;
    let written = match length {
        None => IpNet::from(address),
        Some(length) => IpNet::new(address, parse_length(length)?).map_err(|_| match address {
            IpAddr::V4(_) => refused("is not an IPv4 prefix: its length is over 32"),
            IpAddr::V6(_) => refused("is not an IPv6 prefix: its length is over 128"),
        })?,
    };
    let unmapped = unmap(written);
    let indicator = unmapped.trunc();
    let remark = if unmapped != written {
        Some("is IPv4 written as IPv6")
    } else if indicator != written {
        Some("has host bits set")
    } else {
        None
    };
    Ok(Read { indicator, remark })
}

fn parse_length(text: &str) -> Result<u8, Refused> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let padded = text.len() > 1 && text.starts_with('0');
    if !digits || padded || text.len() > 3 {
        return Err(NOT_A_PREFIX);
    }
    // Whatever overflows is too long in either family.
    text.parse().map_err(|_| NOT_A_PREFIX)
}

/// No packet carries a mapped address as its own: what is meant is the IPv4 one.
fn unmap(prefix: IpNet) -> IpNet {
    let IpNet::V6(v6) = prefix else { return prefix };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(MAPPED_BITS));
    mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok()).map_or(prefix, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, &'static str) {
        match parse(text) {
            Ok(read) => (read.indicator.to_string(), read.remark.unwrap_or_default()),
            Err(Refused(why)) => (String::new(), why.into_owned().leak()),
        }
    }

    #[test]
    fn prefixes_are_read_in_every_form_that_lists_use() {
        let table = [
            ("network with a length", "198.51.100.0/24", "198.51.100.0/24", ""),
            ("address alone", "198.51.100.7", "198.51.100.7/32", ""),
            ("everything", "0.0.0.0/0", "0.0.0.0/0", ""),
            ("IPv6 network", "2001:DB8::/32", "2001:db8::/32", ""),
            ("IPv6 address alone", "2001:db8::1", "2001:db8::1/128", ""),
            ("host bits", "10.0.0.1/8", "10.0.0.0/8", "has host bits set"),
            ("IPv6 host bits", "2001:db8::1/32", "2001:db8::/32", "has host bits set"),
            ("mapped address", "::ffff:192.0.2.1", "192.0.2.1/32", "is IPv4 written as IPv6"),
            ("mapped network", "::ffff:192.0.2.0/120", "192.0.2.0/24", "is IPv4 written as IPv6"),
            ("mapped, host bits", "::ffff:192.0.2.9/120", "192.0.2.0/24", "is IPv4 written as IPv6"),
            ("all mapped ones", "::ffff:0:0/96", "0.0.0.0/0", "is IPv4 written as IPv6"),
            ("shorter than mapped", "::fffe:0:0/95", "::fffe:0:0/95", ""),
        ];
        for (description, text, prefix, remark) in table {
            assert_eq!(read(text), (prefix.to_owned(), remark), "{description}: {text}");
        }
    }

    #[test]
    fn what_is_no_prefix_is_refused_with_the_reason() {
        let table = [
            ("octet over 255", "300.1.2.3/8", "is not an IPv4 or IPv6 prefix"),
            ("octal-looking octet", "010.0.0.1", "is not an IPv4 or IPv6 prefix"),
            ("three octets", "10.0.0/8", "is not an IPv4 or IPv6 prefix"),
            ("no length", "10.0.0.0/", "is not an IPv4 or IPv6 prefix"),
            ("signed length", "10.0.0.0/+8", "is not an IPv4 or IPv6 prefix"),
            ("padded length", "10.0.0.0/08", "is not an IPv4 or IPv6 prefix"),
            ("two lengths", "10.0.0.0/8/8", "is not an IPv4 or IPv6 prefix"),
            ("netmask", "10.0.0.0/255.0.0.0", "is not an IPv4 or IPv6 prefix"),
            ("range", "10.0.0.0-10.0.0.9", "is not an IPv4 or IPv6 prefix"),
            ("zone", "fe80::1%eth0", "is not an IPv4 or IPv6 prefix"),
            ("name", "pool.example", "is not an IPv4 or IPv6 prefix"),
            ("two words", "10.0.0.0/8 10.1.0.0/16", "is not an IPv4 or IPv6 prefix"),
            ("length over 32", "10.0.0.0/33", "is not an IPv4 prefix: its length is over 32"),
            ("length over 128", "2001:db8::/129", "is not an IPv6 prefix: its length is over 128"),
            ("length over 255", "2001:db8::/999", "is not an IPv4 or IPv6 prefix"),
            ("nothing", "", "is not an IPv4 or IPv6 prefix"),
        ];
        for (description, text, why) in table {
            assert_eq!(read(text), (String::new(), why), "{description}: {text}");
        }
    }
}
