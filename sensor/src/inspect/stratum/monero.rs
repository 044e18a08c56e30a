//! Monero's dialect: `login`, `submit` and `job`, as XMRig, xmr-stak and their pools and proxies
//! speak it (github.com/xmrig/xmrig-proxy, `doc/STRATUM.md`, `doc/STRATUM_EXT.md`).
//!
//! None of these names says mining by itself: what they carry does.

use crate::inspect::json::{Listener, Step, Step::Index, Text, Value};
use crate::inspect::{About, Mining, Signal, Speaker, Weight, about};

#[derive(Default)]
pub struct Message<'a> {
    method: Option<Method>,
    login: Option<Text<'a>>,
    has_password: bool,
    agent: Option<Text<'a>>,
    /// The name of the machine, where it is apart from the wallet.
    rig: Option<Text<'a>>,
    /// The first algorithm that the miner offers.
    algorithm: Option<Text<'a>>,
    has_nonce: bool,
    /// A job that is sent anew.
    pushed: Job<'a>,
    /// A job that answers a login or a `getjob`.
    answered: Job<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Login,
    Submit,
    Job,
    Foreign,
}

/// What tells a job from other JSON.
#[derive(Default)]
struct Job<'a> {
    has_id: bool,
    has_blob: bool,
    has_target: bool,
    algorithm: Option<Text<'a>>,
}

impl<'a> Job<'a> {
    fn hear(&mut self, step: Step, value: Value<'a>) {
        match (step, value) {
            (Step::JobId, Value::Text(id)) => self.has_id = !id.is_empty(),
            (Step::JobId, Value::Number) => self.has_id = true,
            (Step::Blob, Value::Text(blob)) => self.has_blob = blob.is_hex(1),
            (Step::Target, Value::Text(target)) => self.has_target = target.is_hex(4),
            (Step::Algo, Value::Text(algorithm)) => self.algorithm = Some(algorithm),
            _ => {}
        }
    }

    fn is_one(&self) -> bool {
        self.has_id && (self.has_blob || self.has_target)
    }
}

impl<'a> Listener<'a> for Message<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        match (path, value) {
            ([Step::Method], Value::Text(method)) => {
                self.method = Some(match method.start(&mut [0; _]) {
                    "login" => Method::Login,
                    "submit" => Method::Submit,
                    "job" => Method::Job,
                    _ => Method::Foreign,
                });
            }
            ([Step::Params, step], value) => {
                self.hear_param(*step, value);
                self.pushed.hear(*step, value);
            }
            ([Step::Params, Step::Algo, Index(0)], Value::Text(algorithm)) => {
                self.algorithm = Some(algorithm);
            }
            ([Step::Result, Step::Job, step] | [Step::Result, step], value) => {
                self.answered.hear(*step, value);
            }
            _ => {}
        }
    }
}

impl<'a> Message<'a> {
    fn hear_param(&mut self, step: Step, value: Value<'a>) {
        match (step, value) {
            (Step::Login, Value::Text(login)) => self.login = Some(login),
            (Step::Pass, Value::Text(_)) => self.has_password = true,
            (Step::Agent, Value::Text(agent)) => self.agent = Some(agent),
            (Step::Rigid, Value::Text(rig)) => self.rig = Some(rig),
            (Step::Nonce, Value::Text(_) | Value::Number) => self.has_nonce = true,
            _ => {}
        }
    }

    pub fn conclude(&self) -> Option<Mining> {
        let is_login = self.login.is_some() && (self.has_password || self.agent.is_some());
        let (speaker, about) = match self.method {
            Some(Method::Login) if is_login => (Speaker::Miner, self.miner()),
            Some(Method::Submit) if self.has_nonce && self.pushed.has_id => {
                (Speaker::Miner, About::default())
            }
            Some(Method::Job) | None if self.pushed.is_one() => (Speaker::Pool, by_job(&self.pushed)),
            None if self.answered.is_one() => (Speaker::Pool, by_job(&self.answered)),
            _ => return None,
        };
        Some(Mining { signal: Signal::Stratum, speaker, weight: Weight::Enough, about })
    }

    fn miner(&self) -> About {
        let said = About {
            agent: self.agent.and_then(Text::printable),
            coin: self.algorithm.and_then(Text::printable),
            worker: self.rig.and_then(Text::printable),
            wallet: None,
        };
        said.or(self.login.map(about::account).unwrap_or_default())
    }
}

fn by_job(job: &Job<'_>) -> About {
    About { coin: job.algorithm.and_then(Text::printable), ..About::default() }
}
