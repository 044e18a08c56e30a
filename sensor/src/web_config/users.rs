//! Who may ask: names and bcrypt hashes of passwords. Hashes are checked here; passwords are held
//! against them in `http::passwords`.

use std::collections::BTreeMap;

use anyhow::Result;
use bcrypt::HashParts;

use super::Place;
use super::written::Texts;

/// The highest cost of a hash. Each step doubles the time: 15 takes seconds, and a connection lasts ten.
pub const COST_MAX: u32 = 15;

/// The hash of a password that nobody knows any more, for users that do not exist: without its cost.
const DECOY: [&str; 2] = ["$2y$", "$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u"];

/// Names and the hashes of their passwords.
#[derive(Default)]
pub struct Users {
    hashes: BTreeMap<String, String>,
    /// What a password is held against where the name is unknown: as slow as the slowest hash.
    decoy: String,
}

impl Users {
    pub(super) fn new(place: &Place<'_>, written: Texts) -> Result<Self> {
        let mut hashes = BTreeMap::new();
        let mut slowest = 0;
        for (name, hash) in written {
            let refuse = |message: &str| {
                place.error(hash.defined.line(), &format!("basic_auth_users.{name}"), message)
            };
            if name.is_empty() {
                return Err(refuse("a user has a name"));
            }
            if name.contains(':') {
                return Err(refuse("a name cannot hold \":\", which ends it in the request (RFC 7617)"));
            }
            let cost = cost(&hash.value).map_err(|message| refuse(&message))?;
            slowest = slowest.max(cost);
            hashes.insert(name, hash.value);
        }
        Ok(Self { hashes, decoy: format!("{}{slowest:02}{}", DECOY[0], DECOY[1]) })
    }

    /// Then everybody is answered.
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The hash to hold a password against, and whether there is such a user at all.
    pub fn hash_of(&self, name: &str) -> (&str, bool) {
        self.hashes.get(name).map_or((&self.decoy, false), |hash| (hash, true))
    }
}

/// The cost of a hash, or what is wrong with it; it is not told itself.
fn cost(hash: &str) -> Result<u32, String> {
    const HOW: &str = "htpasswd -nBC 10 \"\" | tr -d ':\\n' makes one";
    let parts: HashParts = hash.parse().map_err(|_| format!("not a bcrypt hash; {HOW}"))?;
    if hash.starts_with("$2x$") {
        return Err(format!("$2x$ marks a hash by a faulty bcrypt, which is not imitated; {HOW}"));
    }
    match parts.get_cost() {
        cost @ 4..=COST_MAX => Ok(cost),
        cost => Err(format!("a cost of {cost} is not within 4 to {COST_MAX}, which takes seconds; {HOW}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_of_an_unknown_user_is_held_against_a_hash_as_slow_as_the_slowest() {
        let fast = "$2y$04$kywnDqAArsEtTANTwz19uuVOom3ZrMCeIG/9yixzVyLNYmNWK2X2u";
        let slow = fast.replace("$04$", "$12$");
        let written = format!("basic_auth_users:\n  a: {fast}\n  b: {slow}\n");
        let path = std::path::Path::new("web.yml");
        let written = super::super::Written::parse(path, &written).expect("two users");
        let users =
            Users::new(&Place { path }, written.basic_auth_users.expect("two").value).expect("two users");
        assert_eq!(users.hash_of("a"), (fast, true));
        assert_eq!(users.hash_of("b"), (slow.as_str(), true));
        let (decoy, known) = users.hash_of("c");
        assert!(!known);
        assert_eq!(cost(decoy), Ok(12));
    }
}
