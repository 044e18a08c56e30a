//! What miners and pools say, and what is to be found in it: the table that the tests of the
//! inspectors share. Made up after the protocols' documents; no one's wallet.

use super::{About, Mining, Signal, Speaker, Weight, Work};

/// One message.
pub struct Sample {
    pub what: &'static str,
    pub text: String,
    pub found: Mining,
}

impl Sample {
    fn new(speaker: Speaker, what: &'static str, text: &str) -> Self {
        let (signal, weight, about) = (Signal::Stratum, Weight::Enough, About::default());
        Self { what, text: filled(text), found: Mining { signal, speaker, weight, about } }
    }

    fn half(mut self, work: Work) -> Self {
        self.found.weight = Weight::Half(work);
        self
    }

    fn getwork(mut self) -> Self {
        self.found.signal = Signal::Getwork;
        self.half(Work::Block)
    }

    fn agent(mut self, agent: &str) -> Self {
        self.found.about.agent = Some(agent.into());
        self
    }

    fn coin(mut self, coin: &str) -> Self {
        self.found.about.coin = Some(coin.into());
        self
    }

    fn wallet(mut self, wallet: &str) -> Self {
        self.found.about.wallet = Some(filled(wallet));
        self
    }

    fn worker(mut self, worker: &str) -> Self {
        self.found.about.worker = Some(worker.into());
        self
    }
}

fn miner(what: &'static str, text: &str) -> Sample {
    Sample::new(Speaker::Miner, what, text)
}

fn pool(what: &'static str, text: &str) -> Sample {
    Sample::new(Speaker::Pool, what, text)
}

/// The text with its `<words>` made numbers and addresses of the right length.
pub fn filled(text: &str) -> String {
    text.replace("<hash>", &"5eed".repeat(16))
        .replace("<sha1>", &"5eed".repeat(10))
        .replace("<header>", &"5eed".repeat(64))
        .replace("<blob>", &"0e0e5eed".repeat(19))
        .replace("<xmr>", &format!("4{}", "Poolwatch1".repeat(9)))
        .replace("<eth>", &format!("0x{}", "5eed".repeat(10)))
}

/// Messages of every dialect that is spoken in lines.
pub fn lines() -> Vec<Sample> {
    let mut lines = v1();
    lines.extend(monero());
    lines.extend(ethereum());
    lines.extend(work());
    for line in &mut lines {
        line.text.push('\n');
    }
    lines
}

fn v1() -> Vec<Sample> {
    vec![
        miner("a subscription", r#"{"id": 0, "method": "mining.subscribe", "params": ["cgminer/3.7.2"]}"#)
            .agent("cgminer/3.7.2"),
        miner(
            "a subscription that resumes a session",
            r#"{"method":"mining.subscribe","params":["bfgminer/5.2.0","04d567b212"],"id":"1"}"#,
        )
        .agent("bfgminer/5.2.0"),
        miner("a subscription that says nothing", r#"{"id":1,"method":"mining.subscribe","params":[]}"#),
        miner("an authorisation", r#"{"params": ["user.rig7", "x"], "id": 2, "method": "mining.authorize"}"#)
            .wallet("user")
            .worker("rig7"),
        miner(
            "version rolling, before anything else",
            r#"{"id":1,"method":"mining.configure","params":[["version-rolling"],{"version-rolling.mask":"1fffe000"}]}"#,
        ),
        miner("extranonces", r#"{"id":3,"method":"mining.extranonce.subscribe","params":[]}"#),
        miner("a difficulty wanted", r#"{"id":3,"method":"mining.suggest_difficulty","params":[1024]}"#),
        miner(
            "a share",
            r#"{"params":["user.rig7","bf","00000001","504e86ed","b2957c02"],"id":4,"method":"mining.submit"}"#,
        )
        .wallet("user")
        .worker("rig7"),
        pool(
            "a subscription granted",
            r#"{"id":1,"result":[[["mining.set_difficulty","b4b6"],["mining.notify","ae68"]],"08000002",4],"error":null}"#,
        ),
        pool(
            "a subscription granted in short",
            r#"{"error":null,"id":1,"result":[["mining.notify","ae68"],"08000002",4]}"#,
        ),
        pool(
            "a job",
            r#"{"params":["bf","<hash>","01000000","072f",[],"00000002","1c2ac4af","504e86b9",false],"id":null,"method":"mining.notify"}"#,
        ),
        pool("a difficulty", r#"{"id":null,"method":"mining.set_difficulty","params":["2"]}"#),
        pool("an extranonce", r#"{"id":null,"method":"mining.set_extranonce","params":["08000002",4]}"#),
        pool("a version mask", r#"{"id":null,"method":"mining.set_version_mask","params":["1fffe000"]}"#),
        miner(
            "Equihash",
            r#"{"id":1,"method":"mining.subscribe","params":["EWBF 0.3.4b",null,"pool.example","3333"]}"#,
        )
        .agent("EWBF 0.3.4b")
        .coin("equihash"),
        pool("an Equihash target", r#"{"id":null,"method":"mining.set_target","params":["<hash>"]}"#),
    ]
}

fn monero() -> Vec<Sample> {
    vec![
        miner(
            "XMRig's login",
            r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"<xmr>","pass":"secret","agent":"XMRig/6.26.0 (Linux x86_64) libuv/1.51.0 gcc/13.2.1","rigid":"rig7","algo":["rx/0","cn/2","cn/r"]}}"#,
        )
        .agent("XMRig/6.26.0 (Linux x86_64) libuv/1.51.0 gcc/13.2.1")
        .coin("rx/0")
        .wallet("<xmr>")
        .worker("rig7"),
        miner(
            "xmr-stak's login",
            r#"{"method":"login","params":{"login":"<xmr>.rig7","pass":"secret","agent":"xmr-stak-cpu/1.3.0-1.5.0"},"id":1}"#,
        )
        .agent("xmr-stak-cpu/1.3.0-1.5.0")
        .wallet("<xmr>")
        .worker("rig7"),
        miner(
            "a login without an agent",
            r#"{ "id": "1", "method": "login", "params": { "login": "<xmr>+5000", "pass": "" } }"#,
        )
        .wallet("<xmr>"),
        miner(
            "a share",
            r#"{"id":7,"jsonrpc":"2.0","method":"submit","params":{"id":"5eed","job_id":"1/aB","nonce":"d0030040","result":"<hash>"}}"#,
        ),
        pool(
            "a login granted",
            r#"{"id":1,"jsonrpc":"2.0","error":null,"result":{"id":"5eed","job":{"blob":"<blob>","job_id":"1/aB","target":"b88d0600","algo":"rx/0","height":3200000,"seed_hash":"<hash>"},"extensions":["algo","keepalive"],"status":"OK"}}"#,
        )
        .coin("rx/0"),
        pool(
            "a job",
            r#"{"jsonrpc":"2.0","method":"job","params":{"blob":"<blob>","job_id":"29","target":"b88d0600"}}"#,
        ),
        pool("a job asked for", r#"{"id":2,"error":null,"result":{"job_id":29,"target":"b88d0600"}}"#),
    ]
}

fn ethereum() -> Vec<Sample> {
    vec![
        miner(
            "eth-proxy's login",
            r#"{"worker": "eth1.0", "jsonrpc": "2.0", "params": ["<eth>.rig7", "x"], "id": 2, "method": "eth_submitLogin"}"#,
        )
        .coin("ethash")
        .wallet("<eth>")
        .worker("eth1.0"),
        miner("work asked for", r#"{"worker":"","jsonrpc":"2.0","params":[],"id":3,"method":"eth_getWork"}"#)
            .half(Work::Ethash)
            .coin("ethash"),
        miner(
            "a share",
            r#"{"worker":"rig7","jsonrpc":"2.0","params":["0x5eed5eed5eed5eed","0x<hash>","0x<hash>"],"id":4,"method":"eth_submitWork"}"#,
        )
        .coin("ethash")
        .worker("rig7"),
        miner(
            "a hash rate",
            r#"{"id":6,"jsonrpc":"2.0","method":"eth_submitHashrate","params":["0x500000","0x<hash>"]}"#,
        )
        .half(Work::Ethash)
        .coin("ethash"),
        pool("work", r#"{"id":0,"jsonrpc":"2.0","result":["0x<hash>","0x<hash>","0x<hash>"]}"#)
            .half(Work::Ethash)
            .coin("ethash"),
        pool(
            "work with a short boundary and a height",
            r#"{"id":0,"jsonrpc":"2.0","result":["0x<hash>","0x<hash>","0x0112e0be826d694b2e62d01511f12a6061fbaec8bc02357593e70e52ba","0x5f5e10"]}"#,
        )
        .half(Work::Ethash)
        .coin("ethash"),
        miner(
            "EthereumStratum/1.0.0",
            r#"{"id":1,"method":"mining.subscribe","params":["PhoenixMiner/4.7c","EthereumStratum/1.0.0"]}"#,
        )
        .agent("PhoenixMiner/4.7c"),
        pool(
            "EthereumStratum/1.0.0 granted",
            r#"{"id":1,"result":[["mining.notify","ae68","EthereumStratum/1.0.0"],"080c"],"error":null}"#,
        ),
        miner(
            "EthereumStratum/2.0.0",
            r#"{"id":0,"method":"mining.hello","params":{"agent":"ethminer-0.17","host":"pool.example","port":"4d2","proto":"EthereumStratum/2.0.0"}}"#,
        )
        .agent("ethminer-0.17"),
        pool(
            "EthereumStratum/2.0.0 granted",
            r#"{"id":0,"result":{"proto":"EthereumStratum/2.0.0","encoding":"gzip","resume":"1","timeout":"b4","maxerrors":"5","node":"Geth/v1.8.18"}}"#,
        ),
        miner("a share of EthereumStratum", r#"{"id":244,"method":"mining.submit","params":["<eth>","bf00","6a90"]}"#),
    ]
}

/// What goes over HTTP elsewhere, in lines; bodies of HTTP are the same without their line feed.
pub fn work() -> Vec<Sample> {
    vec![
        miner("getwork", r#"{"method": "getwork", "params": [], "id": 0}"#).getwork(),
        miner("getwork, solved", r#"{"method":"getwork","params":["<header>"],"id":1}"#).getwork(),
        miner(
            "a template asked for",
            r#"{"id":0,"method":"getblocktemplate","params":[{"capabilities":["coinbasetxn","workid","coinbase/append"]}]}"#,
        )
        .getwork(),
        miner("a block", r#"{"id":1,"method":"submitblock","params":["<header>",{"workid":"5eed"}]}"#).getwork(),
        miner(
            "a template asked of a Monero daemon",
            r#"{"id":1,"jsonrpc":"2.0","method":"getblocktemplate","params":{"wallet_address":"<xmr>","reserve_size":8}}"#,
        )
        .getwork()
        .wallet("<xmr>"),
        pool(
            "work",
            r#"{"result":{"midstate":"<hash>","data":"<header>","hash1":"<header>","target":"<hash>"},"error":null,"id":0}"#,
        )
        .getwork(),
        pool(
            "a template with a coinbase transaction",
            r#"{"error":null,"result":{"coinbasetxn":{"data":"5eed","required":true},"previousblockhash":"<hash>","transactions":[],"expires":120,"target":"<hash>","longpollid":"x","height":55555,"version":2,"curtime":1352848000,"bits":"1c2ac4af"},"id":0}"#,
        )
        .getwork(),
        pool(
            "a template with a value",
            r#"{"id":0,"result":{"version":4,"previousblockhash":"<hash>","transactions":[],"coinbasevalue":312500000,"bits":"1c2ac4af"}}"#,
        )
        .getwork(),
        pool(
            "a template that goes on with transactions",
            r#"{"result":{"capabilities":["proposal"],"version":536870912,"previousblockhash":"<hash>","transactions":[{"data":"5eed","depends":[]}],"coinbasevalue":312500000},"error":null,"id":0}"#,
        )
        .getwork(),
        pool(
            "a Monero daemon's template",
            r#"{"id":1,"jsonrpc":"2.0","result":{"blockhashing_blob":"<blob>","blocktemplate_blob":"<header>","difficulty":61043624293,"status":"OK"}}"#,
        )
        .getwork(),
    ]
}
