//! Where fuzzing begins: the packets of the tests, and messages of each protocol.

use sensor_ebpf::abi::Direction;
use sensor_ebpf::headers::Link;

use super::packets::sampling_cases::{self, hello};
use super::packets::{Step, cases};

/// A chunk as the entries read them.
fn chunk(how: u8, bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).expect("a packet");
    [&[how][..], &len.to_be_bytes(), bytes].concat()
}

fn steps(steps: &[Step]) -> Vec<u8> {
    let mut seed = Vec::new();
    for step in steps {
        let Step::Packet(direction, frame) = step else { continue };
        let link = if frame.link() == Link::Ip { 4 } else { 0 };
        seed.extend(chunk(link | u8::from(*direction == Direction::Egress), &frame.bytes()));
    }
    seed
}

/// Every packet of both tables; of those that are split everywhere, one in sixteen.
pub fn packets() -> Vec<Vec<u8>> {
    let sampled = sampling_cases::all();
    let sampled =
        sampled.iter().enumerate().filter(|(at, case)| !case.description.contains("byte") || at % 16 == 0);
    let counted = cases::all();
    counted.iter().map(|case| steps(&case.steps)).chain(sampled.map(|(_, case)| steps(&case.steps))).collect()
}

const LINES: [&str; 12] = [
    r#"{"id": 0, "method": "mining.subscribe", "params": ["cgminer/3.7.2"]}"#,
    r#"{"params": ["user.rig7", "x"], "id": 2, "method": "mining.authorize"}"#,
    r#"{"id":1,"result":[[["mining.set_difficulty","b4"],["mining.notify","ae"]],"08",4],"error":null}"#,
    r#"{"id":1,"jsonrpc":"2.0","method":"login","params":{"login":"w.rig","pass":"x","agent":"XMRig/6","algo":["rx/0"]}}"#,
    r#"{"id":1,"error":null,"result":{"id":"5","job":{"blob":"0e0e","job_id":"1","target":"b88d0600","algo":"rx/0"}}}"#,
    r#"{"jsonrpc":"2.0","method":"job","params":{"blob":"0e0e","job_id":"29","target":"b88d0600"}}"#,
    r#"{"id":7,"method":"submit","params":{"id":"5","job_id":"1","nonce":"d0030040","result":"5eed"}}"#,
    r#"{"worker": "eth1.0", "jsonrpc": "2.0", "params": ["0x5eed", "x"], "id": 2, "method": "eth_submitLogin"}"#,
    r#"{"id":1,"method":"mining.subscribe","params":["PhoenixMiner/4.7c","EthereumStratum/1.0.0"]}"#,
    r#"{"id":1,"m\u0065thod":"mining.\u0073ubmit","params":["\ud83d\ude00",{"a":[1.5e9,true,null]}]}"#,
    r#"{"method":"getblocktemplate","params":[{"capabilities":["coinbasetxn"]}],"id":0}"#,
    "FROM,PC Miner,1.0,user,",
];

const HEADS: [&str; 4] = [
    "POST / HTTP/1.1\r\nAuthorization: Basic dXNlcjp4\r\nX-Mining-Extensions: midstate\r\nUser-Agent: cgminer/4\r\n\r\n",
    "POST /?miner=22.5@rig7 HTTP/1.1\r\nHost: pool.example\r\n\r\n",
    "HTTP/1.1 200 OK\r\nX-Stratum: stratum+tcp://pool.example:3333\r\nX-Long-Polling: /LP\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5a\r\n",
];

pub fn lines() -> Vec<Vec<u8>> {
    let lines = LINES.map(|line| format!("{line}\n").into_bytes());
    let all = lines.concat();
    lines.into_iter().chain([all]).collect()
}

pub fn http() -> Vec<Vec<u8>> {
    HEADS.iter().flat_map(|head| LINES.iter().map(move |line| [*head, line].concat().into_bytes())).collect()
}

/// Two records, a name among other extensions.
pub fn tls() -> Vec<Vec<u8>> {
    let name = b"\x00\x00\x00\x11\x00\x0f\x00\x00\x0cpool.example";
    let extensions = [&b"\x1a\x1a\x00\x00"[..], name, b"\xfe\x0d\x00\x02\x00\x00"].concat();
    let len = |bytes: &[u8]| u16::try_from(bytes.len()).expect("short").to_be_bytes();
    let body = [&[3, 3][..], &[9; 32], &[0, 0, 2, 0x13, 1, 1, 0], &len(&extensions), &extensions].concat();
    let message = [&[1, 0][..], &len(&body), &body].concat();
    let record = |part: &[u8]| [&[22, 3, 1][..], &len(part), part].concat();
    let (first, second) = message.split_at(50);
    vec![record(&message), [record(first), record(second)].concat(), hello(300), hello(20)]
}

pub fn dns() -> Vec<Vec<u8>> {
    let question = b"\x04pool\x07example\x00\x00\x01\x00\x01";
    let head = |flags: u8, answers: u8| [0x12, 0x34, flags, 0x80, 0, 1, 0, answers, 0, 0, 0, 0];
    let query = [&head(1, 0)[..], question].concat();
    let a = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\xc0\x00\x02\x50";
    let cname = b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x01\x2c\x00\x07\x04edge\xc0\x11";
    let end = b"\xc0\x2a\x00\x1c\x00\x01\x00\x00\x00\x3c\x00\x10\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";
    let answer = [&head(0x81, 1)[..], question, a].concat();
    let chain = [&head(0x81, 2)[..], question, cname, end].concat();
    let looped = [&head(1, 0)[..], b"\xc0\x0c\x00\x01\x00\x01"].concat();
    let sized = |bytes: &[u8]| [&[0, u8::try_from(bytes.len()).unwrap_or(u8::MAX)][..], bytes].concat();
    let stream = [sized(&query), sized(&answer)].concat();
    vec![query, answer, chain, looped, stream]
}

/// Each kind both ways, each side's lines in one connection.
pub fn sessions() -> Vec<Vec<u8>> {
    let of = |kind: u8, messages: Vec<Vec<u8>>| -> Vec<u8> {
        let both = messages.iter().enumerate();
        both.flat_map(|(at, message)| chunk(kind | u8::from(at % 2 == 0) << 2, message)).collect()
    };
    let halves =
        lines().iter().flat_map(|line| [chunk(4, &line[..9]), chunk(4, &line[9..])].concat()).collect();
    vec![of(0, lines()), of(1, http()), of(2, tls()), of(3, dns()), of(3 | 16, dns()), halves]
}

pub fn lists() -> Vec<Vec<u8>> {
    [
        "# a list\n192.0.2.0/24\n2001:db8::/32 ; why\n198.51.100.7\n",
        "192.0.2.1:3333\n[2001:db8::1]:3333\n",
        "pool.example\n*.münze.example\n0.0.0.0 pool.example other.example\n",
        "\u{feff}192.0.2.0/24\r\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}

pub fn config() -> Vec<Vec<u8>> {
    [
        "interfaces = [\"ens*\"]\nattach = \"tcx\"\n[limits]\nflows = 1024\n[inspect]\ndns = false\nsamples_per_second = 9\n",
        "[builtin]\nmining = false\n[[watchlist]]\nname = \"a\"\ncategory = \"mining\"\nprefixes = [\"192.0.2.0/24\"]\ndomains = [\"pool.example\"]\nendpoints = [\"192.0.2.1:1\"]\n",
        "[allow]\nprefixes = [\"192.0.2.0/24\"]\ndomains = [\"a.example\"]\n[http]\nlisten = \"[::1]:9\"\n[events]\noutput = \"none\"\n",
    ]
    .map(|text| text.as_bytes().to_vec())
    .to_vec()
}
