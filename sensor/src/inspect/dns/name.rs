//! A domain name as text of bounded size, to compare with those of watchlists.
//!
//! Not the name's exact bytes: a label's dot, backslash or any byte that no watched name holds
//! becomes a question mark, so that such a label equals none, and text for people stays clean.

use std::fmt;

use domain::base::ParsedName;

/// Longest name as text without the final dot, in bytes: 255 on the wire (RFC 1035 2.3.4).
pub const NAME_MAX: usize = 253;

/// Longest label, in bytes (RFC 1035 2.3.4).
const LABEL_MAX: usize = 63;

/// Letters are lower case (RFC 4343); no final dot; the root is empty.
#[derive(Clone, Copy)]
pub struct Name {
    bytes: [u8; NAME_MAX],
    /// Bytes in use, of ASCII.
    length: u8,
}

impl Name {
    /// A name of a message.
    pub(super) fn of(name: &ParsedName<&[u8]>) -> Self {
        let mut text = Self::empty();
        for label in name.iter().filter(|label| !label.is_root()) {
            if text.length > 0 {
                text.push(b'.');
            }
            for byte in label {
                text.push(plain(byte).unwrap_or(b'?'));
            }
        }
        text
    }

    /// A host name as TLS writes it (RFC 6066 3), where it is one: an IP address is not.
    pub fn of_host(host: &[u8]) -> Option<Self> {
        let host = host.strip_suffix(b".").unwrap_or(host);
        let is_label = |label: &[u8]| (1..=LABEL_MAX).contains(&label.len());
        if host.len() > NAME_MAX || !host.split(|byte| *byte == b'.').all(is_label) {
            return None;
        }
        // A last label of digits makes it an address (WHATWG URL, "ends in a number").
        let last = host.rsplit(|byte| *byte == b'.').next()?;
        if last.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let mut text = Self::empty();
        for byte in host {
            text.push(if *byte == b'.' { b'.' } else { plain(*byte)? });
        }
        Some(text)
    }

    const fn empty() -> Self {
        Self { bytes: [0; NAME_MAX], length: 0 }
    }

    /// What does not fit cannot be in a name.
    fn push(&mut self, byte: u8) {
        if let Some(free) = self.bytes.get_mut(usize::from(self.length)) {
            *free = byte;
            self.length += 1;
        }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    pub fn as_str(&self) -> &str {
        str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

/// The byte in lower case, if a watched name may hold it in a label.
fn plain(byte: u8) -> Option<u8> {
    (byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')).then_some(byte.to_ascii_lowercase())
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_name_is_kept_in_lower_case_and_anything_else_refused() {
        let label = "a".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "b".repeat(61));
        let cases: &[(&str, &str, Option<&str>)] = &[
            ("a host", "pool.example", Some("pool.example")),
            ("upper case", "Pool.EXAMPLE", Some("pool.example")),
            ("a final dot, which RFC 6066 forbids and clients send", "pool.example.", Some("pool.example")),
            ("underscores", "_stratum._tcp.pool.example", Some("_stratum._tcp.pool.example")),
            ("an international name", "xn--bcher-kva.example", Some("xn--bcher-kva.example")),
            ("one label", "localhost", Some("localhost")),
            ("the longest name", &longest, Some(&longest)),
            ("a longer one", &format!("{longest}b"), None),
            ("a label of 64 bytes", &format!("{label}a.example"), None),
            ("an empty name", "", None),
            ("the root", ".", None),
            ("an empty label", "pool..example", None),
            ("a leading dot", ".pool.example", None),
            ("an IPv4 address", "192.0.2.1", None),
            ("an IPv6 address", "2001:db8::1", None),
            ("an IPv6 address in brackets", "[2001:db8::1]", None),
            ("a port behind it", "pool.example:443", None),
            ("a space", "pool .example", None),
            ("a control byte", "pool\0.example", None),
            ("a line end", "pool.example\n", None),
            ("letters beyond ASCII", "bücher.example", None),
            ("a wildcard", "*.pool.example", None),
        ];
        for (what, host, expected) in cases {
            assert_eq!(Name::of_host(host.as_bytes()).as_ref().map(Name::as_str), *expected, "{what}");
        }
    }

    #[test]
    fn names_are_equal_whatever_their_case() {
        assert_eq!(Name::of_host(b"POOL.example"), Name::of_host(b"pool.EXAMPLE"));
        assert_ne!(Name::of_host(b"pool.example"), Name::of_host(b"pool.example2"));
    }
}
