//! Stratum v1 and what grew from it: Equihash (ZIP 301), version rolling (BIP 310) and
//! `EthereumStratum`, of which nicehash.com made 1.0.0 and EIP-1571 made 2.0.0.
//!
//! Methods as those documents list them, and `en.bitcoin.it/wiki/Stratum_mining_protocol`; what
//! either side may send (`mining.noop`, `mining.bye`) tells nothing.

use crate::inspect::json::{Listener, Step, Step::Index, Text, Value};
use crate::inspect::{About, Mining, Signal, Speaker, Weight, about};

/// What both versions of EthereumStratum call themselves, in a subscription and in its answer.
const ETHEREUM_STRATUM: &str = "EthereumStratum/";

/// Miners of Equihash alone, as their agents begin.
const EQUIHASH_AGENTS: [&str; 4] = ["EWBF ", "zm/", "dstm", "nheqminer"];

/// Fewest params of a share in the dialects that begin it with the worker's name (Stratum v1 and
/// ZIP 301); where there are fewer it may begin with the job's.
const SHARE_PARAMS_MIN: u8 = 5;

#[derive(Default)]
pub struct Message<'a> {
    method: Option<Method>,
    /// The first of the params, where it is a text.
    first: Option<Text<'a>>,
    params: u8,
    agent: Option<Text<'a>>,
    /// The miner names EthereumStratum among its params.
    is_offered: bool,
    /// The answer names what a subscription brings, or EthereumStratum.
    is_granted: bool,
}

#[derive(Clone, Copy)]
enum Method {
    Subscribe,
    Authorize,
    Submit,
    OtherOfMiner,
    OtherOfPool,
    Foreign,
}

impl Method {
    fn of(method: Text<'_>) -> Self {
        if !method.starts_with("mining.") {
            return Self::Foreign;
        }
        match method.start(&mut [0; _]) {
            "mining.subscribe" => Self::Subscribe,
            "mining.authorize" => Self::Authorize,
            "mining.submit" => Self::Submit,
            "mining.capabilities"
            | "mining.configure"
            | "mining.extranonce.subscribe"
            | "mining.get_transactions"
            | "mining.hashrate"
            | "mining.hello"
            | "mining.multi_version"
            | "mining.suggest_difficulty"
            | "mining.suggest_target" => Self::OtherOfMiner,
            "mining.notify"
            | "mining.reconnect"
            | "mining.set"
            | "mining.set_difficulty"
            | "mining.set_extranonce"
            | "mining.set_goal"
            | "mining.set_target"
            | "mining.set_version_mask" => Self::OtherOfPool,
            _ => Self::Foreign,
        }
    }
}

impl<'a> Listener<'a> for Message<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        match (path, value) {
            ([Step::Method], Value::Text(method)) => self.method = Some(Method::of(method)),
            ([Step::Params, Step::Agent], Value::Text(agent)) => self.agent = Some(agent),
            ([Step::Params, Step::Proto], Value::Text(proto)) => {
                self.is_offered |= proto.starts_with(ETHEREUM_STRATUM);
            }
            ([Step::Result, Step::Proto], Value::Text(proto)) => {
                self.is_granted |= proto.starts_with(ETHEREUM_STRATUM);
            }
            ([Step::Params, Index(index)], value) => self.hear_param(*index, value),
            // `[[["mining.set_difficulty", …], ["mining.notify", …]], …]`, or one of them alone.
            (
                [Step::Result, Index(0), Index(0)] | [Step::Result, Index(0), Index(_), Index(0)],
                Value::Text(name),
            ) => {
                self.is_granted |= name.is("mining.notify") || name.is("mining.set_difficulty");
            }
            (
                [Step::Result, Index(0), Index(2)] | [Step::Result, Index(0), Index(_), Index(2)],
                Value::Text(name),
            ) => {
                self.is_granted |= name.starts_with(ETHEREUM_STRATUM);
            }
            _ => {}
        }
    }
}

impl<'a> Message<'a> {
    fn hear_param(&mut self, index: u8, value: Value<'a>) {
        self.params = index.saturating_add(1);
        if let Value::Text(text) = value {
            self.is_offered |= text.starts_with(ETHEREUM_STRATUM);
            if index == 0 {
                self.first = Some(text);
            }
        }
    }

    pub fn conclude(&self) -> Option<Mining> {
        let speaker = match self.method {
            Some(Method::Subscribe | Method::Authorize | Method::Submit | Method::OtherOfMiner) => {
                Speaker::Miner
            }
            Some(Method::OtherOfPool) => Speaker::Pool,
            None if self.is_offered => Speaker::Miner,
            None if self.is_granted => Speaker::Pool,
            Some(Method::Foreign) | None => return None,
        };
        Some(Mining { signal: Signal::Stratum, speaker, weight: Weight::Enough, about: self.about() })
    }

    fn about(&self) -> About {
        let first = self.first.filter(|first| !first.starts_with(ETHEREUM_STRATUM));
        match self.method {
            Some(Method::Subscribe) => by_agent(first),
            Some(Method::OtherOfMiner) => by_agent(self.agent),
            Some(Method::Authorize) => first.map(about::account).unwrap_or_default(),
            Some(Method::Submit) if self.params >= SHARE_PARAMS_MIN => {
                first.map(about::account).unwrap_or_default()
            }
            _ => About::default(),
        }
    }
}

fn by_agent(agent: Option<Text<'_>>) -> About {
    let is_equihash = |agent: Text<'_>| EQUIHASH_AGENTS.iter().any(|start| agent.starts_with(start));
    About {
        agent: agent.and_then(Text::printable),
        coin: agent.filter(|agent| is_equihash(*agent)).map(|_| "equihash".into()),
        ..About::default()
    }
}
