//! Asking a node or a pool for work and giving it: Bitcoin's `getwork` and `getblocktemplate`
//! (BIP 22), and Monero's block templates, which XMRig's daemon mode fetches.
//!
//! A node answers anyone who asks: the two halves count only together.

use crate::inspect::json::{Listener, Step, Text, Value};
use crate::inspect::{Mining, Signal, Speaker, Weight, Work, about};

/// A block header, the shortest thing that `getwork` gives out.
const HEADER_BYTES: usize = 80;
/// What Monero's miners hash: the shortest block header, a Merkle root, a number of transactions.
const HASHING_BYTES: usize = 76;
/// What a hash has to stay below.
const TARGET_BYTES: usize = 32;

#[derive(Default)]
pub struct Message<'a> {
    is_asking: Option<bool>,
    wallet: Option<Text<'a>>,
    header: Header,
    template: Template,
}

/// What `getwork` answers.
#[derive(Default)]
struct Header {
    has_data: bool,
    has_target: bool,
}

/// What `getblocktemplate` answers.
#[derive(Default)]
struct Template {
    /// The transaction that pays the miner, how much it may pay, or the others of the block, which are
    /// so many that a sample holds nothing behind them.
    has_contents: bool,
    has_previous: bool,
    is_monero: bool,
}

impl<'a> Listener<'a> for Message<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        match (path, value) {
            ([Step::Method], Value::Text(method)) => {
                let asks = ["getblocktemplate", "getwork", "submitblock"];
                self.is_asking = Some(asks.iter().any(|asks| method.is(asks)));
            }
            ([Step::Params, Step::WalletAddress], Value::Text(wallet)) => self.wallet = Some(wallet),
            ([Step::Result, Step::Data], Value::Text(data)) => {
                self.header.has_data = data.is_hex(HEADER_BYTES);
            }
            ([Step::Result, Step::Target], Value::Text(target)) => {
                self.header.has_target = target.is_hex(TARGET_BYTES);
            }
            ([Step::Result, Step::CoinbaseTxn], Value::Object)
            | ([Step::Result, Step::CoinbaseValue], Value::Number)
            | ([Step::Result, Step::Transactions], Value::Array) => self.template.has_contents = true,
            ([Step::Result, Step::PreviousBlockHash], Value::Text(hash)) => {
                self.template.has_previous = hash.is_hex(TARGET_BYTES);
            }
            ([Step::Result, Step::BlockTemplateBlob], Value::Text(blob)) => {
                self.template.is_monero |= blob.is_hex(HEADER_BYTES);
            }
            // Comes first, and the other is longer than a sample.
            ([Step::Result, Step::BlockHashingBlob], Value::Text(blob)) => {
                self.template.is_monero |= blob.is_hex(HASHING_BYTES);
            }
            _ => {}
        }
    }
}

impl Message<'_> {
    pub fn conclude(&self) -> Option<Mining> {
        let (header, template) = (&self.header, &self.template);
        let is_work = header.has_data && header.has_target
            || template.has_previous && template.has_contents
            || template.is_monero;
        let speaker = match self.is_asking {
            Some(true) => Speaker::Miner,
            None if is_work => Speaker::Pool,
            Some(false) | None => return None,
        };
        let about = self.wallet.map(about::account).unwrap_or_default();
        Some(Mining { signal: Signal::Getwork, speaker, weight: Weight::Half(Work::Block), about })
    }
}
