//! What miners and pools of each dialect say to one another, from the beginning.

use crate::inspect::Signal;
use crate::inspect::Speaker::{self, Miner, Pool};
use crate::inspect::samples::{filled, lines};
use crate::verdict::Role;

/// A session in the order in which it is spoken, and what is said of it.
#[derive(Clone)]
pub struct Dialect {
    pub name: &'static str,
    pub signal: Signal,
    pub turns: Vec<(Speaker, String)>,
    pub agent: Option<&'static str>,
    /// What its pools say is no JSON and begins with nothing in particular, so that it is not sampled.
    pub is_one_sided: bool,
}

impl Dialect {
    /// Those in which this host can be found.
    pub const fn roles(&self) -> &'static [Role] {
        if self.is_one_sided { &[Role::Miner] } else { &[Role::Miner, Role::Pool] }
    }
}

/// The line of the inspectors' table.
fn line(what: &str, speaker: Speaker) -> (Speaker, String) {
    let found = lines().into_iter().find(|it| it.what == what && it.found.speaker == speaker);
    (speaker, found.unwrap_or_else(|| panic!("no line {what}")).text)
}

fn turns(whats: &[(Speaker, &str)]) -> Vec<(Speaker, String)> {
    whats.iter().map(|(speaker, what)| line(what, *speaker)).collect()
}

pub fn request(path: &str, headers: &str, body: &str) -> (Speaker, String) {
    let (length, body) = (filled(body).len(), filled(body));
    let head =
        format!("POST {path} HTTP/1.1\r\nHost: pool.example\r\n{headers}Content-Length: {length}\r\n\r\n");
    (Miner, head + &body)
}

pub fn answer(headers: &str, body: &str) -> (Speaker, String) {
    let (length, body) = (filled(body).len(), filled(body));
    (Pool, format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: {length}\r\n\r\n") + &body)
}

fn stratum(name: &'static str, agent: Option<&'static str>, whats: &[(Speaker, &str)]) -> Dialect {
    Dialect { name, signal: Signal::Stratum, turns: turns(whats), agent, is_one_sided: false }
}

fn http(name: &'static str, agent: Option<&'static str>, turns: Vec<(Speaker, String)>) -> Dialect {
    Dialect { name, signal: Signal::Getwork, turns, agent, is_one_sided: false }
}

#[allow(clippy::too_many_lines, reason = "a table")]
pub fn all() -> Vec<Dialect> {
    let duino = |speaker, text: &str| (speaker, filled(text));
    vec![
        stratum(
            "Stratum v1",
            Some("cgminer/3.7.2"),
            &[
                (Miner, "a subscription"),
                (Pool, "a subscription granted"),
                (Miner, "an authorisation"),
                (Pool, "a job"),
                (Miner, "a share"),
            ],
        ),
        stratum("Equihash", Some("EWBF 0.3.4b"), &[(Miner, "Equihash"), (Pool, "an Equihash target")]),
        stratum(
            "RandomX",
            Some("XMRig/6.26.0 (Linux x86_64) libuv/1.51.0 gcc/13.2.1"),
            &[(Miner, "XMRig's login"), (Pool, "a login granted"), (Pool, "a job")],
        ),
        stratum(
            "xmr-stak",
            Some("xmr-stak-cpu/1.3.0-1.5.0"),
            &[(Miner, "xmr-stak's login"), (Pool, "a login granted")],
        ),
        stratum(
            "eth-proxy",
            None,
            &[
                (Miner, "eth-proxy's login"),
                (Miner, "work asked for"),
                (Pool, "work"),
                (Miner, "a hash rate"),
            ],
        ),
        stratum(
            "EthereumStratum/1.0.0",
            Some("PhoenixMiner/4.7c"),
            &[
                (Miner, "EthereumStratum/1.0.0"),
                (Pool, "EthereumStratum/1.0.0 granted"),
                (Miner, "a share of EthereumStratum"),
            ],
        ),
        stratum(
            "EthereumStratum/2.0.0",
            Some("ethminer-0.17"),
            &[(Miner, "EthereumStratum/2.0.0"), (Pool, "EthereumStratum/2.0.0 granted")],
        ),
        Dialect {
            name: "Duino-Coin",
            signal: Signal::Stratum,
            turns: vec![duino(Miner, "FROM,PC Miner,1.0,user,\n"), duino(Pool, "<sha1>,<sha1>,100\n")],
            agent: None,
            is_one_sided: true,
        },
        http(
            "getwork",
            Some("cgminer/3.7.2"),
            vec![
                request(
                    "/",
                    "User-Agent: cgminer/3.7.2\r\nX-Mining-Extensions: longpoll midstate\r\n",
                    r#"{"method":"getwork","params":[],"id":0}"#,
                ),
                answer(
                    "X-Long-Polling: /LP\r\n",
                    r#"{"result":{"data":"<header>","target":"<hash>"},"id":0}"#,
                ),
            ],
        ),
        http(
            "getblocktemplate",
            None,
            vec![
                request(
                    "/",
                    "",
                    r#"{"id":0,"method":"getblocktemplate","params":[{"capabilities":["workid"]}]}"#,
                ),
                answer(
                    "",
                    r#"{"id":0,"result":{"coinbasetxn":{"data":"5eed"},"previousblockhash":"<hash>","bits":"1c2a"}}"#,
                ),
            ],
        ),
        http(
            "Ethereum over HTTP",
            None,
            vec![
                request(
                    "/?miner=22.5@rig7",
                    "",
                    r#"{"jsonrpc":"2.0","method":"eth_getWork","params":[],"id":1}"#,
                ),
                answer("", r#"{"id":1,"jsonrpc":"2.0","result":["0x<hash>","0x<hash>","0x<hash>"]}"#),
            ],
        ),
        http(
            "XMRig's daemon mode",
            Some("XMRig/6.26.0"),
            vec![
                request(
                    "/json_rpc",
                    "User-Agent: XMRig/6.26.0\r\n",
                    r#"{"id":1,"jsonrpc":"2.0","method":"getblocktemplate","params":{"wallet_address":"<xmr>","reserve_size":8}}"#,
                ),
                answer(
                    "",
                    r#"{"id":1,"jsonrpc":"2.0","result":{"blockhashing_blob":"<blob>","blocktemplate_blob":"<header><header><header>","difficulty":1,"status":"OK"}}"#,
                ),
            ],
        ),
    ]
}
