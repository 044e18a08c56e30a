//! Passwords in requests (RFC 7617), held against bcrypt hashes. That takes a tenth of a second on
//! purpose: it is done away from the event loop, one at a time, and what was right is remembered.
//!
//! Only what was right, so that who tries passwords pushes nobody out; and none of it in a form that
//! tells a password: it is hashed with a key that this process made for itself.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use axum::http::HeaderValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::SHA256_OUTPUT_LEN;
use ring::hmac::{Context, HMAC_SHA256, Key};
use ring::rand::SystemRandom;
use tokio::sync::Semaphore;

use crate::web_config::Web;

/// Right passwords that are remembered; for the next one the oldest is forgotten.
const REMEMBERED_MAX: usize = 256;
/// Passwords that are held against hashes at a time; the others wait, those that are remembered do not.
const TRIALS_MAX: usize = 1;

type Fingerprint = [u8; SHA256_OUTPUT_LEN];

/// What is known of passwords.
pub(super) struct Passwords {
    key: Key,
    right: Mutex<VecDeque<Fingerprint>>,
    trials: Arc<Semaphore>,
}

impl Passwords {
    /// # Errors
    /// When the kernel gives no random numbers.
    pub fn new() -> Result<Self> {
        let key = Key::generate(HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| anyhow!("the kernel gives no random numbers"))?;
        Ok(Self { key, right: Mutex::default(), trials: Arc::new(Semaphore::new(TRIALS_MAX)) })
    }

    /// Does an `Authorization` header name a user of the web config with its password?
    pub async fn admit(&self, web: &Web, authorization: &HeaderValue) -> bool {
        let Some((name, password)) = credentials(authorization) else { return false };
        let (hash, known) = web.users.hash_of(&name);
        let fingerprint = self.fingerprint(&name, hash, &password);
        if self.remembers(&fingerprint) {
            return true;
        }
        let Ok(turn) = Arc::clone(&self.trials).acquire_owned().await else { return false };
        // Whoever was before us may have asked the same.
        if self.remembers(&fingerprint) {
            return true;
        }
        let hash = hash.to_owned();
        let trial = tokio::task::spawn_blocking(move || {
            // Kept to the end, also when the client is gone.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let is_right = trial.await.unwrap_or(false) && known;
        if is_right {
            self.remember(fingerprint);
        }
        is_right
    }

    /// Of all three, so that a changed hash is another one; with lengths, so that none runs into the next.
    fn fingerprint(&self, name: &str, hash: &str, password: &[u8]) -> Fingerprint {
        let mut context = Context::with_key(&self.key);
        for part in [name.as_bytes(), hash.as_bytes(), password] {
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part);
        }
        let mut fingerprint = Fingerprint::default();
        fingerprint.copy_from_slice(context.sign().as_ref());
        fingerprint
    }

    fn remembers(&self, fingerprint: &Fingerprint) -> bool {
        self.right.lock().unwrap_or_else(PoisonError::into_inner).contains(fingerprint)
    }

    fn remember(&self, fingerprint: Fingerprint) {
        let mut right = self.right.lock().unwrap_or_else(PoisonError::into_inner);
        if right.len() >= REMEMBERED_MAX {
            right.pop_front();
        }
        right.push_back(fingerprint);
    }
}

/// Name and password of `Basic BASE64`, the scheme in any case.
fn credentials(authorization: &HeaderValue) -> Option<(String, Vec<u8>)> {
    let (scheme, encoded) = authorization.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("Basic") {
        return None;
    }
    let mut name = STANDARD.decode(encoded.trim_start_matches(' ')).ok()?;
    let colon = name.iter().position(|byte| *byte == b':')?;
    let password = name.split_off(colon + 1);
    name.truncate(colon);
    Some((String::from_utf8(name).ok()?, password))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<(String, Vec<u8>)> {
        credentials(&HeaderValue::from_str(header).expect("a header"))
    }

    #[test]
    fn name_and_password_are_what_stands_before_and_after_the_first_colon() {
        let header = |scheme: &str, text: &str| format!("{scheme} {}", STANDARD.encode(text));
        for (header, expected) in [
            (header("Basic", "a:b"), Some(("a", "b"))),
            (header("basic", "a:b:c"), Some(("a", "b:c"))),
            (header("BASIC ", ":"), Some(("", ""))),
            (header("Basic", "ab"), None),
            (header("Bearer", "a:b"), None),
            ("Basic".to_owned(), None),
            ("Basic a:b".to_owned(), None),
        ] {
            let expected = expected.map(|(name, password)| (name.to_owned(), password.as_bytes().to_vec()));
            assert_eq!(of(&header), expected, "{header}");
        }
    }

    #[test]
    fn a_fingerprint_is_of_all_three_parts_and_of_this_process() {
        let (one, other) = (Passwords::new().expect("a key"), Passwords::new().expect("a key"));
        let reference = one.fingerprint("a", "b", b"c");
        assert_eq!(one.fingerprint("a", "b", b"c"), reference);
        for (name, hash, password) in [("x", "b", "c"), ("a", "x", "c"), ("a", "b", "x"), ("ab", "", "c")] {
            assert_ne!(
                one.fingerprint(name, hash, password.as_bytes()),
                reference,
                "{name} {hash} {password}"
            );
        }
        assert_ne!(other.fingerprint("a", "b", b"c"), reference);
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let passwords = Passwords::new().expect("a key");
        let fingerprint = |number: usize| {
            let mut fingerprint = Fingerprint::default();
            fingerprint[..8].copy_from_slice(&number.to_be_bytes());
            fingerprint
        };
        (0..=REMEMBERED_MAX).for_each(|number| passwords.remember(fingerprint(number)));
        let remembered: Vec<_> =
            (0..=REMEMBERED_MAX).filter(|number| passwords.remembers(&fingerprint(*number))).collect();
        assert_eq!(remembered, (1..=REMEMBERED_MAX).collect::<Vec<_>>());
    }
}
