//! Ethereum's work: `eth_submitLogin`, `eth_getWork`, `eth_submitWork`, `eth_submitHashrate`, over
//! lines as eth-proxy made them (github.com/Atrides/eth-proxy) or over HTTP as nodes answer them.
//!
//! A node answers the same calls to anyone (ethereum.org, JSON-RPC API), and arrays of hashes to many
//! others: asking for work and giving it count only together.

use crate::inspect::json::{Listener, Step, Step::Index, Text, Value};
use crate::inspect::{About, Mining, Signal, Speaker, Weight, Work, about};

/// Digits of a hash of 256 bits.
const HASH_DIGITS: usize = 64;

#[derive(Default)]
pub struct Message<'a> {
    method: Option<Method>,
    /// The wallet of a login.
    first: Option<Text<'a>>,
    worker: Option<Text<'a>>,
    /// Header hash, seed hash and boundary in the answer.
    has_work: [bool; 3],
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    SubmitLogin,
    SubmitWork,
    GetWork,
    SubmitHashrate,
    Foreign,
}

impl<'a> Listener<'a> for Message<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        match (path, value) {
            ([Step::Method], Value::Text(method)) => {
                self.method = Some(match method.start(&mut [0; _]) {
                    "eth_submitLogin" => Method::SubmitLogin,
                    "eth_submitWork" => Method::SubmitWork,
                    "eth_getWork" => Method::GetWork,
                    "eth_submitHashrate" => Method::SubmitHashrate,
                    _ => Method::Foreign,
                });
            }
            ([Step::Worker], Value::Text(worker)) => self.worker = Some(worker),
            ([Step::Params, Index(0)], Value::Text(first)) => self.first = Some(first),
            ([Step::Result, Index(index @ 0..=1)], Value::Text(hash)) => {
                self.has_work[usize::from(*index)] = hash.is_0x(HASH_DIGITS..=HASH_DIGITS);
            }
            // Pools write boundaries without leading zeros, too.
            ([Step::Result, Index(2)], Value::Text(boundary)) => {
                self.has_work[2] = boundary.is_0x(HASH_DIGITS / 2..=HASH_DIGITS);
            }
            _ => {}
        }
    }
}

impl Message<'_> {
    pub fn conclude(&self) -> Option<Mining> {
        let half = Weight::Half(Work::Ethash);
        let (speaker, weight) = match self.method {
            Some(Method::SubmitLogin | Method::SubmitWork) => (Speaker::Miner, Weight::Enough),
            Some(Method::GetWork | Method::SubmitHashrate) => (Speaker::Miner, half),
            None if self.has_work == [true; 3] => (Speaker::Pool, half),
            Some(Method::Foreign) | None => return None,
        };
        Some(Mining { signal: Signal::Stratum, speaker, weight, about: self.about() })
    }

    fn about(&self) -> About {
        let login = match self.method {
            Some(Method::SubmitLogin) => self.first.map(about::account).unwrap_or_default(),
            _ => About::default(),
        };
        let said = About {
            coin: Some("ethash".into()),
            worker: self.worker.and_then(Text::printable),
            ..About::default()
        };
        said.or(login)
    }
}
