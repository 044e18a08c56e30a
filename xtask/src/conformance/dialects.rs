//! Mining sessions as their protocols' documents write them, one a dialect: who says what, and by which
//! signal it is to be recognised. Nobody's wallet is among them.

use Speaker::{Miner, Pool};

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Speaker {
    Miner,
    Pool,
}

pub(super) struct Dialect {
    pub(super) name: &'static str,
    pub(super) signal: &'static str,
    said: Vec<(Speaker, &'static str)>,
    /// How much of it is said only once, at the beginning; `None`: what comes later tells nobody anything.
    opening: Option<usize>,
}

impl Dialect {
    /// The whole session.
    pub(super) fn whole(&self) -> Vec<(Speaker, Vec<u8>)> {
        self.said.iter().map(|(speaker, text)| (*speaker, filled(text).into_bytes())).collect()
    }

    /// What is said later on, where that tells anything.
    pub(super) fn middle(&self) -> Option<Vec<(Speaker, Vec<u8>)>> {
        self.opening.map(|opening| self.whole().split_off(opening))
    }
}

/// With hashes, work and accounts of the right length.
fn filled(text: &str) -> String {
    text.replace("<hash>", &"5eed".repeat(16))
        .replace("<header>", &"5eed".repeat(64))
        .replace("<blob>", &"0e0e5eed".repeat(19))
        .replace("<xmr>", &format!("4{}", "Poolwatch1".repeat(9)))
        .replace("<eth>", &format!("0x{}", "5eed".repeat(10)))
}

#[rustfmt::skip]
pub(super) fn dialects() -> Vec<Dialect> {
    let stratum = |name, opening, said| Dialect { name, signal: "stratum", said, opening: Some(opening) };
    let getwork = |name, said| Dialect { name, signal: "getwork", said, opening: Some(0) };
    vec![
        stratum("Stratum", 5, vec![
            (Miner, "{\"id\": 0, \"method\": \"mining.subscribe\", \"params\": [\"cgminer/3.7.2\"]}\n"),
            (Pool, "{\"id\":0,\"result\":[[[\"mining.set_difficulty\",\"b4b6\"],[\"mining.notify\",\"ae68\"]],\"08000002\",4],\"error\":null}\n"),
            (Miner, "{\"params\": [\"user.rig7\", \"x\"], \"id\": 2, \"method\": \"mining.authorize\"}\n"),
            (Pool, "{\"id\":2,\"result\":true,\"error\":null}\n"),
            (Pool, "{\"id\":null,\"method\":\"mining.set_difficulty\",\"params\":[2]}\n"),
            (Pool, "{\"params\":[\"bf\",\"<hash>\",\"01000000\",\"072f\",[],\"00000002\",\"1c2ac4af\",\"504e86b9\",false],\"id\":null,\"method\":\"mining.notify\"}\n"),
            (Miner, "{\"params\":[\"user.rig7\",\"bf\",\"00000001\",\"504e86ed\",\"b2957c02\"],\"id\":4,\"method\":\"mining.submit\"}\n"),
            (Pool, "{\"id\":4,\"result\":true,\"error\":null}\n"),
        ]),
        stratum("Equihash", 3, vec![
            (Miner, "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"EWBF 0.3.4b\",null,\"pool.example\",\"3333\"]}\n"),
            (Pool, "{\"id\":1,\"result\":[null,\"5eed5eed\"],\"error\":null}\n"),
            (Miner, "{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"user.rig7\",\"x\"]}\n"),
            (Pool, "{\"id\":null,\"method\":\"mining.set_target\",\"params\":[\"<hash>\"]}\n"),
            (Pool, "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"7a\",\"04000000\",\"<hash>\",\"<hash>\",\"<hash>\",\"5eed5eed\",\"5eed5eed\",true]}\n"),
        ]),
        stratum("XMRig", 2, vec![
            (Miner, "{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"login\":\"<xmr>\",\"pass\":\"x\",\"agent\":\"XMRig/6.26.0 (Linux x86_64) libuv/1.51.0 gcc/13.2.1\",\"algo\":[\"rx/0\",\"cn/2\",\"cn/r\",\"cn/fast\",\"cn/half\",\"cn/xao\",\"cn/rto\",\"cn/rwz\",\"cn/zls\",\"cn/double\",\"rx/wow\",\"rx/arq\",\"argon2/chukwa\"]}}\n"),
            (Pool, "{\"id\":1,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{\"id\":\"5eed\",\"job\":{\"blob\":\"<blob>\",\"job_id\":\"1/aB\",\"target\":\"b88d0600\",\"algo\":\"rx/0\",\"height\":3200000,\"seed_hash\":\"<hash>\"},\"status\":\"OK\"}}\n"),
            (Pool, "{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{\"blob\":\"<blob>\",\"job_id\":\"29\",\"target\":\"b88d0600\"}}\n"),
            (Miner, "{\"id\":7,\"jsonrpc\":\"2.0\",\"method\":\"submit\",\"params\":{\"id\":\"5eed\",\"job_id\":\"29\",\"nonce\":\"d0030040\",\"result\":\"<hash>\"}}\n"),
            (Pool, "{\"id\":7,\"jsonrpc\":\"2.0\",\"error\":null,\"result\":{\"status\":\"OK\"}}\n"),
        ]),
        stratum("xmr-stak", 2, vec![
            (Miner, "{\"method\":\"login\",\"params\":{\"login\":\"<xmr>.rig7\",\"pass\":\"x\",\"agent\":\"xmr-stak-cpu/1.3.0-1.5.0\"},\"id\":1}\n"),
            (Pool, "{ \"id\": 1, \"result\": { \"id\": \"5eed\", \"job\": { \"blob\": \"<blob>\", \"job_id\": \"31\", \"target\": \"b88d0600\" }, \"status\": \"OK\" } }\n"),
            (Miner, "{\"method\":\"submit\",\"params\":{\"id\":\"5eed\",\"job_id\":\"31\",\"nonce\":\"5eed0001\",\"result\":\"<hash>\"},\"id\":1}\n"),
            (Pool, "{\"method\":\"job\",\"params\":{\"blob\":\"<blob>\",\"job_id\":\"32\",\"target\":\"b88d0600\"}}\n"),
        ]),
        stratum("eth-proxy", 2, vec![
            (Miner, "{\"worker\": \"eth1.0\", \"jsonrpc\": \"2.0\", \"params\": [\"<eth>.rig7\", \"x\"], \"id\": 2, \"method\": \"eth_submitLogin\"}\n"),
            (Pool, "{\"id\":2,\"jsonrpc\":\"2.0\",\"result\":true}\n"),
            (Miner, "{\"worker\":\"\",\"jsonrpc\":\"2.0\",\"params\":[],\"id\":3,\"method\":\"eth_getWork\"}\n"),
            (Pool, "{\"id\":3,\"jsonrpc\":\"2.0\",\"result\":[\"0x<hash>\",\"0x<hash>\",\"0x<hash>\"]}\n"),
            (Miner, "{\"worker\":\"rig7\",\"jsonrpc\":\"2.0\",\"params\":[\"0x5eed5eed5eed5eed\",\"0x<hash>\",\"0x<hash>\"],\"id\":4,\"method\":\"eth_submitWork\"}\n"),
        ]),
        stratum("EthereumStratum", 2, vec![
            (Miner, "{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[\"PhoenixMiner/4.7c\",\"EthereumStratum/1.0.0\"]}\n"),
            (Pool, "{\"id\":1,\"result\":[[\"mining.notify\",\"ae68\",\"EthereumStratum/1.0.0\"],\"080c\"],\"error\":null}\n"),
            (Pool, "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"bf00\",\"<hash>\",\"<hash>\",true]}\n"),
            (Miner, "{\"id\":244,\"method\":\"mining.submit\",\"params\":[\"<eth>\",\"bf00\",\"6a909d9bbc0f\"]}\n"),
        ]),
        getwork("getwork", vec![
            (Miner, "POST / HTTP/1.1\r\nAuthorization: Basic dXNlcjp4\r\nHost: pool.example\r\nContent-Type: application/json\r\nContent-Length: 45\r\nUser-Agent: cgminer 2.11.4\r\nX-Mining-Extensions: longpoll midstate rollntime submitold\r\n\r\n"),
            (Miner, "{\"method\": \"getwork\", \"params\": [], \"id\": 0}\n"),
            (Pool, "HTTP/1.1 200 OK\r\nX-Long-Polling: /lp\r\nContent-Type: application/json\r\nContent-Length: 600\r\n\r\n{\"result\":{\"midstate\":\"<hash>\",\"data\":\"<header>\",\"target\":\"<hash>\"},\"error\":null,\"id\":0}"),
        ]),
        getwork("XMRig's daemon mode", vec![
            (Miner, "POST /json_rpc HTTP/1.1\r\nHost: 192.0.2.1:18081\r\nContent-Length: 228\r\nContent-Type: application/json\r\nUser-Agent: XMRig/6.26.0\r\n\r\n{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"getblocktemplate\",\"params\":{\"wallet_address\":\"<xmr>\",\"extra_nonce\":\"5eed\"}}"),
            (Pool, "HTTP/1.1 200 Ok\r\nServer: Epee-based\r\nContent-Length: 1100\r\nContent-Type: application/json\r\nLast-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n\r\n{\n  \"id\": 1,\n  \"jsonrpc\": \"2.0\",\n  \"result\": {\n    \"blockhashing_blob\": \"<blob>\",\n    \"blocktemplate_blob\": \"<header><header>\",\n    \"difficulty\": 61043624293,\n    \"status\": \"OK\"\n  }\n}"),
        ]),
        getwork("Ethereum over HTTP", vec![
            (Miner, "POST /?miner=22.5@rig7 HTTP/1.1\r\nHost: pool.example\r\nContent-Type: application/json\r\nContent-Length: 60\r\n\r\n{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"eth_getWork\",\"params\":[]}"),
            (Pool, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 240\r\n\r\n{\"id\":1,\"jsonrpc\":\"2.0\",\"result\":[\"0x<hash>\",\"0x<hash>\",\"0x<hash>\"]}"),
        ]),
        Dialect { name: "Duino-Coin", signal: "stratum", opening: None, said: vec![
            (Pool, "1.7"),
            (Miner, "FROM,PC Miner,user,MEDIUM"),
            (Pool, "5eed5eed5eed5eed5eed5eed5eed5eed5eed5eed,eed55eed5eed5eed5eed5eed5eed5eed5eed5eed,5"),
        ] },
    ]
}
