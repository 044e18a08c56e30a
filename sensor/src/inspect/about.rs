//! What is kept of a miner's own words: printable, short, and never a password.

use super::json::Text;
use super::{ABOUT_MAX, About};

impl About {
    /// What is known, and from the other what is not.
    pub(crate) fn or(self, other: Self) -> Self {
        Self {
            agent: self.agent.or(other.agent),
            coin: self.coin.or(other.coin),
            wallet: self.wallet.or(other.wallet),
            worker: self.worker.or(other.worker),
        }
    }
}

/// Printable ASCII as it came, `?` for each other character; `None` where nothing is said.
pub fn printable(text: &str) -> Option<String> {
    let shown = |c: char| if c == ' ' || c.is_ascii_graphic() { c } else { '?' };
    let text: String = text.trim().chars().take(ABOUT_MAX).map(shown).collect();
    (!text.is_empty()).then_some(text)
}

/// The account and the worker that a miner's login names.
pub fn account(login: Text<'_>) -> About {
    login.printable().map(|login| named(&login)).unwrap_or_default()
}

/// Pools take `wallet.worker`, `wallet/worker/email` and `wallet+difficulty`; in an email address the
/// dot is its own.
pub fn named(login: &str) -> About {
    let is_email = login.split('/').next().is_some_and(|account| account.contains('@'));
    let is_end = |c: char| c == '/' || !is_email && (c == '.' || c == '+');
    let (wallet, rest) = login.split_at(login.find(is_end).unwrap_or(login.len()));
    let worker = rest.split_once(['.', '/']).and_then(|(_, worker)| worker.split('/').next());
    About { wallet: printable(wallet), worker: worker.and_then(printable), ..About::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_names_a_wallet_and_perhaps_a_worker() {
        for (what, login, wallet, worker) in [
            ("a wallet", "44AFFq5k", Some("44AFFq5k"), None),
            ("a wallet and a worker", "44AFFq5k.rig7", Some("44AFFq5k"), Some("rig7")),
            ("a worker with dots", "user.house.1", Some("user"), Some("house.1")),
            ("a fixed difficulty", "44AFFq5k+25000", Some("44AFFq5k"), None),
            ("a difficulty and a worker", "44AFFq5k+25000.rig7", Some("44AFFq5k"), Some("rig7")),
            ("an email address", "me@pool.example", Some("me@pool.example"), None),
            ("an email behind the worker", "0x5eed/rig7/me@pool.example", Some("0x5eed"), Some("rig7")),
            ("an email address and a worker", "me@pool.example/rig7", Some("me@pool.example"), Some("rig7")),
            ("no wallet", ".rig7", None, Some("rig7")),
            ("no worker", "44AFFq5k.", Some("44AFFq5k"), None),
            ("nothing", "", None, None),
        ] {
            let about = named(login);
            assert_eq!((about.wallet.as_deref(), about.worker.as_deref()), (wallet, worker), "{what}");
        }
    }

    #[test]
    fn what_is_shown_is_printable_and_short() {
        for (what, text, shown) in [
            ("ASCII", "XMRig/6.26.0 (Linux)", Some("XMRig/6.26.0 (Linux)")),
            ("a terminal's escape", "a\u{1b}[2Jb", Some("a?[2Jb")),
            ("lines", "a\r\nb", Some("a??b")),
            ("other letters", "Bergmänn\u{202e}", Some("Bergm?nn?")),
            ("spaces alone", "  ", None),
        ] {
            assert_eq!(printable(text).as_deref(), shown, "{what}");
        }
        assert_eq!(printable(&"é".repeat(4 * ABOUT_MAX)), Some("?".repeat(ABOUT_MAX)));
    }
}
