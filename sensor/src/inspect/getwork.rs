//! Work fetched over HTTP: by miners from pools that speak `getwork` or `getblocktemplate`, by
//! Ethereum miners (`POST /?miner=…`), and by XMRig from a daemon.
//!
//! Bodies are JSON-RPC and come with their header or in a payload of their own. A header that only
//! mining uses tells by itself; bodies tell halves, since nodes answer the same calls to wallets.
//! Reads neither compressed bodies nor more than the first chunk of chunked ones.

#[cfg(test)]
mod tests;
pub(super) mod work;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use httparse::{EMPTY_HEADER, Header, Request, Response, Status};

use super::json::{self, End, Listener, Step, Value};
use super::stratum::ethereum;
use super::{About, Mining, Payload, Signal, Speaker, Weight, Work, about};

/// Most headers that are looked at: what has more is no miner.
const HEADERS_MAX: usize = 64;

/// Sent by bitcoin miners alone, cgminer's and bfgminer's `getwork` (en.bitcoin.it/wiki/Getwork).
const OF_MINERS: &str = "X-Mining-Extensions";

/// Sent by pools, and by little else.
const OF_POOLS: [&str; 3] = ["X-Long-Polling", "X-Roll-NTime", "X-Stratum"];

/// What the payload says of mining, if anything.
///
/// A payload without HTTP is taken for a body: only the caller knows that the connection speaks HTTP.
pub fn inspect(payload: Payload<'_>) -> Option<Mining> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    match payload.bytes.trim_ascii_start() {
        [b'{', ..] => in_body(payload.bytes),
        start if start.starts_with(b"HTTP/") => response(payload.bytes, &mut headers),
        _ => request(payload.bytes, &mut headers),
    }
}

/// What a request says by its header or its body. A header that is cut off has told what it could.
fn request<'a>(bytes: &'a [u8], headers: &mut [Header<'a>]) -> Option<Mining> {
    let mut request = Request::new(headers);
    let body = behind(bytes, request.parse(bytes).ok()?);
    let weight = match request.path {
        _ if value_of(OF_MINERS, request.headers).is_some() => Some(Weight::Enough),
        Some(path) if path.starts_with("/?miner=") => Some(Weight::Half(Work::Ethash)),
        Some("/getheight") => Some(Weight::Half(Work::Block)),
        _ => None,
    };
    let by_header = weight.map(|weight| said_by(Speaker::Miner, weight));
    let found = [by_header, in_body(body)].into_iter().flatten().reduce(Mining::and)?;
    Some(Mining { about: found.about.clone().or(sender(request.headers)), ..found })
}

fn response<'a>(bytes: &'a [u8], headers: &mut [Header<'a>]) -> Option<Mining> {
    let mut response = Response::new(headers);
    let body = behind(bytes, response.parse(bytes).ok()?);
    let is_pool = OF_POOLS.iter().any(|name| value_of(name, response.headers).is_some());
    let by_header = is_pool.then(|| said_by(Speaker::Pool, Weight::Half(Work::Block)));
    [by_header, in_body(body)].into_iter().flatten().reduce(Mining::and)
}

fn said_by(speaker: Speaker, weight: Weight) -> Mining {
    Mining { signal: Signal::Getwork, speaker, weight, about: About::default() }
}

/// The body, without the size of its first chunk where there is one.
fn behind(bytes: &[u8], status: Status<usize>) -> &[u8] {
    let Status::Complete(head) = status else { return &[] };
    let body = bytes.get(head..).unwrap_or_default();
    match httparse::parse_chunk_size(body) {
        Ok(Status::Complete((size, _))) => body.get(size..).unwrap_or_default(),
        Ok(Status::Partial) | Err(_) => body,
    }
}

/// The header's value; names are compared as HTTP does. Unused places of the list have no name.
fn value_of<'a>(name: &str, headers: &[Header<'a>]) -> Option<&'a [u8]> {
    headers.iter().find(|header| header.name.eq_ignore_ascii_case(name)).map(|header| header.value)
}

/// What a miner says of itself in its header: its program, and whom it works for. Never its password.
fn sender(headers: &[Header<'_>]) -> About {
    let agent =
        value_of("User-Agent", headers).and_then(|agent| about::printable(&String::from_utf8_lossy(agent)));
    let login = value_of("Authorization", headers).and_then(login).unwrap_or_default();
    About { agent, ..login }
}

/// The user of basic authentication (RFC 7617).
fn login(authorization: &[u8]) -> Option<About> {
    let (scheme, credentials) = authorization.split_at_checked("Basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"Basic ") {
        return None;
    }
    let credentials = STANDARD.decode(credentials.trim_ascii()).ok()?;
    let user = credentials.split(|byte| *byte == b':').next()?;
    Some(about::named(&String::from_utf8_lossy(user)))
}

fn in_body(body: &[u8]) -> Option<Mining> {
    let mut message = Body::default();
    match json::read(body, &mut message) {
        (End::Whole | End::Cut, _) => message.conclude(),
        (End::Broken, _) => None,
    }
}

/// The calls of a body that are about work. A Stratum message sent over HTTP is somebody's text.
#[derive(Default)]
struct Body<'a> {
    ethereum: ethereum::Message<'a>,
    work: work::Message<'a>,
}

impl<'a> Listener<'a> for Body<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>) {
        self.ethereum.hear(path, value);
        self.work.hear(path, value);
    }
}

impl Body<'_> {
    fn conclude(&self) -> Option<Mining> {
        let ethereum = self.ethereum.conclude().map(|found| Mining { signal: Signal::Getwork, ..found });
        ethereum.or_else(|| self.work.conclude())
    }
}
