//! Stratum in all its dialects: one JSON-RPC message a line, spoken over TCP by miners and pools.
//!
//! A payload is such lines through and through, or says nothing: mail, logs and bulk documents that
//! hold a miner's words in one of their lines are no mining. The strongest message decides, what
//! miners and pools say of themselves is gathered from all. Each dialect is a file of its own.

mod duino;
pub(super) mod ethereum;
mod monero;
#[cfg(test)]
mod tests;
mod v1;

use super::getwork::work;
use super::json::{self, End, Listener, Step, Value};
use super::{Mining, Payload};

/// What the payload says of mining, if anything.
///
/// Raw JSON lines that ask for work as over HTTP are reported as [`super::Signal::Getwork`].
pub fn inspect(payload: Payload<'_>) -> Option<Mining> {
    let mut rest = blank_trimmed(payload.bytes);
    if rest.first() != Some(&b'{') {
        if let Some(found) = duino::inspect(payload) {
            return Some(found);
        }
        rest = behind_a_tail(rest)?;
    }
    let mut found = None;
    while !rest.is_empty() {
        let mut message = Message::default();
        let (end, behind) = json::read(rest, &mut message);
        match end {
            End::Whole if message.is_rpc => {}
            End::Cut => {}
            End::Whole | End::Broken => return None,
        }
        found = [found, message.conclude()].into_iter().flatten().reduce(Mining::and);
        rest = blank_trimmed(behind);
    }
    found
}

/// Lines end in a line feed, with a carriage return or, from some pools, a zero byte.
fn blank_trimmed(bytes: &[u8]) -> &[u8] {
    let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace() || **byte == 0).count();
    &bytes[blank..]
}

/// What follows the end of a line whose beginning was not seen, if the line may have been JSON.
fn behind_a_tail(bytes: &[u8]) -> Option<&[u8]> {
    let line_feed = bytes.iter().position(|byte| *byte == b'\n')?;
    let (tail, rest) = bytes.split_at(line_feed);
    let is_json =
        tail.trim_ascii_end().ends_with(b"}") && !tail.trim_ascii_end().iter().any(|byte| *byte < b' ');
    is_json.then(|| blank_trimmed(rest))
}

/// One message, as each dialect hears it.
#[derive(Default)]
struct Message<'a> {
    /// It says what a call or an answer says.
    is_rpc: bool,
    v1: v1::Message<'a>,
    monero: monero::Message<'a>,
    ethereum: ethereum::Message<'a>,
    work: work::Message<'a>,
}

impl<'a> Listener<'a> for Message<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        self.is_rpc |= matches!(path, [Step::Method | Step::Result | Step::Error]);
        self.v1.hear(path, value);
        self.monero.hear(path, value);
        self.ethereum.hear(path, value);
        self.work.hear(path, value);
    }
}

impl Message<'_> {
    fn conclude(&self) -> Option<Mining> {
        let dialects =
            [self.v1.conclude(), self.monero.conclude(), self.ethereum.conclude(), self.work.conclude()];
        dialects.into_iter().flatten().reduce(Mining::and)
    }
}
