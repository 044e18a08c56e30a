//! Parses an endpoint, `address:port` or `[address]:port`. An endpoint names no transport: it is
//! TCP and UDP.

use std::net::SocketAddr;

use super::{Read, Refused, refused};

const NOT_AN_ENDPOINT: Refused =
    refused("is not an endpoint: \"address:port\" or \"[address]:port\", port 1 to 65535");

pub(super) fn parse(text: &str) -> Result<Read<SocketAddr>, Refused> {
    let written: SocketAddr = text.parse().map_err(|_| NOT_AN_ENDPOINT)?;
    // A zone ("%1") is a thing of one host, and the library reads past zeros before a port.
    let padded = text.rsplit_once(':').is_some_and(|(_, port)| port.starts_with('0'));
    if written.port() == 0 || padded || text.contains('%') {
        return Err(NOT_AN_ENDPOINT);
    }
    let indicator = SocketAddr::new(written.ip().to_canonical(), written.port());
    let remark = (indicator != written).then_some("is IPv4 written as IPv6");
    Ok(Read { indicator, remark })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_in_both_families() {
        let table = [
            ("IPv4", "203.0.113.7:3333", "203.0.113.7:3333", None),
            ("IPv6", "[2001:DB8::7]:65535", "[2001:db8::7]:65535", None),
            ("mapped", "[::ffff:203.0.113.7]:1", "203.0.113.7:1", Some("is IPv4 written as IPv6")),
        ];
        for (description, text, endpoint, remark) in table {
            let read = parse(text).unwrap();
            assert_eq!(
                (read.indicator.to_string().as_str(), read.remark),
                (endpoint, remark),
                "{description}"
            );
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        let table = [
            ("no port", "203.0.113.7"),
            ("empty port", "203.0.113.7:"),
            ("port 0", "203.0.113.7:0"),
            ("port over 65535", "203.0.113.7:65536"),
            ("padded port", "203.0.113.7:03333"),
            ("IPv6 without brackets", "2001:db8::7:3333"),
            ("zone", "[fe80::1%1]:3333"),
            ("name", "pool.example:3333"),
            ("prefix", "203.0.113.0/24:3333"),
            ("two words", "203.0.113.7:3333 x"),
        ];
        for (description, text) in table {
            assert_eq!(parse(text), Err(NOT_AN_ENDPOINT), "{description}: {text}");
        }
    }
}
