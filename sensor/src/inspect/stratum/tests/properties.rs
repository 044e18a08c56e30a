//! Whatever the bytes, both inspectors return, and tell nothing unprintable.

use proptest::prelude::*;

use crate::inspect::samples::lines;
use crate::inspect::{ABOUT_MAX, Mining, Payload, getwork, stratum};

fn assert_harmless(bytes: &[u8]) {
    for is_cut in [false, true] {
        let payload = Payload { bytes, is_cut };
        for found in [stratum::inspect(payload), getwork::inspect(payload)].into_iter().flatten() {
            let Mining { about, .. } = found;
            for text in [about.agent, about.coin, about.wallet, about.worker].into_iter().flatten() {
                assert!(!text.is_empty() && text.len() <= ABOUT_MAX, "{} bytes", text.len());
                assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text:?}");
            }
        }
    }
}

/// A message with some bytes put in the place of others.
fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<String> = lines().into_iter().map(|sample| sample.text).collect();
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6);
    (prop::sample::select(texts), changes).prop_map(|(text, changes)| {
        let mut bytes = text.into_bytes();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

/// Lines that begin like HTTP's and go on as they like.
const HEADERS: &str = "(GET|POST|HTTP/1\\.[01]) [!-~]{0,20}( HTTP/1\\.1)?\r\n\
                       ([A-Za-z-]{1,20}: [ -~]{0,20}\r\n){0,80}(\r\n)?[{}a-f0-9]{0,20}";

proptest! {
    #[test]
    fn arbitrary_bytes_harm_nothing(bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
        assert_harmless(&bytes);
    }

    #[test]
    fn arbitrary_json_harms_nothing(text in r#"[{}\[\]",:\\a-u0-9 \n]{0,512}"#) {
        assert_harmless(text.as_bytes());
    }

    #[test]
    fn arbitrary_headers_harm_nothing(text in HEADERS) {
        assert_harmless(text.as_bytes());
    }

    #[test]
    fn mutated_messages_harm_nothing(bytes in mutated()) {
        assert_harmless(&bytes);
    }
}

#[test]
fn nesting_without_end_is_left_alone() {
    for opening in [r#"{"params":"#, r#"{"a":"#, "["] {
        for start in ["", r#"{"params":"#, r#"{"id":"#] {
            let deep = start.to_owned() + &opening.repeat(1 << 20);
            let payload = Payload { bytes: deep.as_bytes(), is_cut: false };
            assert_eq!(stratum::inspect(payload), None, "{opening} behind {start}");
            assert_eq!(getwork::inspect(payload), None, "{opening} behind {start}");
        }
    }
}
