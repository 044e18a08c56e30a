//! What looks like mining and is not, on whole connections in both directions.

use sensor_ebpf::abi::Direction::{Egress, Ingress};

use super::wire::{STRANGER, Session, Wire};
use crate::inspect::samples::filled;

const WORDS: &str = r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.10.0"]}"#;

/// A conversation: what the client says, and what the server does.
#[derive(Clone)]
struct Trap {
    what: &'static str,
    port: u16,
    turns: Vec<(bool, Vec<u8>)>,
}

fn trap(what: &'static str, port: u16, turns: &[(bool, &str)]) -> Trap {
    let turns = turns.iter().map(|(client, text)| (*client, filled(text).into_bytes())).collect();
    Trap { what, port, turns }
}

const CLIENT: bool = true;
const SERVER: bool = false;

fn services() -> Vec<Trap> {
    vec![
        trap(
            "a language server",
            2087,
            &[
                (
                    CLIENT,
                    "Content-Length: 58\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{}}",
                ),
                (
                    CLIENT,
                    "{\"jsonrpc\":\"2.0\",\"method\":\"textDocument/didOpen\",\"params\":{\"text\":\"mining.subscribe\"}}",
                ),
                (SERVER, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"capabilities\":{}}}"),
            ],
        ),
        trap(
            "an Ethereum node",
            8545,
            &[
                (CLIENT, "{\"jsonrpc\":\"2.0\",\"method\":\"eth_blockNumber\",\"params\":[],\"id\":83}\n"),
                (SERVER, "{\"jsonrpc\":\"2.0\",\"id\":83,\"result\":\"0x5eed\"}\n"),
                (
                    CLIENT,
                    "{\"jsonrpc\":\"2.0\",\"method\":\"eth_getBlockByNumber\",\"params\":[\"0x5eed\",false],\"id\":84}\n",
                ),
                (
                    SERVER,
                    "{\"jsonrpc\":\"2.0\",\"id\":84,\"result\":{\"hash\":\"0x<hash>\",\"miner\":\"<eth>\",\"nonce\":\"0x5eed\"}}\n",
                ),
            ],
        ),
        trap(
            "an Ethereum node that somebody asks for work",
            8545,
            &[
                (CLIENT, "{\"jsonrpc\":\"2.0\",\"method\":\"eth_getWork\",\"params\":[],\"id\":83}\n"),
                (
                    SERVER,
                    "{\"jsonrpc\":\"2.0\",\"id\":83,\"error\":{\"code\":-32000,\"message\":\"no work\"}}\n",
                ),
            ],
        ),
        trap(
            "Electrum",
            50_001,
            &[
                (CLIENT, "{\"id\":0,\"method\":\"server.version\",\"params\":[\"electrum/4.5\",\"1.4\"]}\n"),
                (SERVER, "{\"id\":0,\"result\":[\"ElectrumX 1.16\",\"1.4\"],\"jsonrpc\":\"2.0\"}\n"),
                (CLIENT, "{\"id\":1,\"method\":\"blockchain.headers.subscribe\",\"params\":[]}\n"),
                (
                    SERVER,
                    "{\"id\":1,\"result\":{\"hex\":\"<header>\",\"height\":800000},\"jsonrpc\":\"2.0\"}\n",
                ),
            ],
        ),
        trap(
            "a login, a submission and a job of another service",
            8000,
            &[
                (CLIENT, "{\"id\":1,\"method\":\"login\",\"params\":{\"user\":\"a\",\"password\":\"b\"}}\n"),
                (CLIENT, "{\"id\":2,\"method\":\"submit\",\"params\":{\"form\":\"a\"}}\n"),
                (SERVER, "{\"id\":2,\"method\":\"job\",\"params\":{\"job_id\":7,\"state\":\"done\"}}\n"),
            ],
        ),
        trap(
            "a smart plug",
            9999,
            &[
                (CLIENT, "{\"system\":{\"get_sysinfo\":{}}}"),
                (SERVER, "{\"system\":{\"get_sysinfo\":{\"relay_state\":1}}}"),
            ],
        ),
        trap(
            "an exchange's wallet",
            9443,
            &[
                (CLIENT, "{\"method\":\"SUBSCRIBE\",\"params\":[\"btcusdt@trade\"],\"id\":1}\n"),
                (SERVER, "{\"result\":{\"data\":[[\"BTC\",\"1\"]],\"target\":\"USD\"},\"id\":1}\n"),
            ],
        ),
        trap(
            "a wallet that asks its own node for a template",
            8332,
            &[
                (
                    CLIENT,
                    "POST / HTTP/1.1\r\nHost: node\r\n\r\n{\"method\":\"getblocktemplate\",\"params\":[{\"rules\":[\"segwit\"]}],\"id\":0}",
                ),
                (
                    SERVER,
                    "HTTP/1.1 500 Internal Server Error\r\n\r\n{\"result\":null,\"error\":{\"code\":-10},\"id\":0}",
                ),
            ],
        ),
    ]
}

/// Miners' words inside of other protocols.
fn carriers() -> Vec<Trap> {
    let with = |text: &str| text.replace("WORDS", WORDS);
    let sized = |what, port, turns: &[(bool, &str)]| {
        let texts: Vec<(bool, String)> = turns.iter().map(|(client, text)| (*client, with(text))).collect();
        let turns: Vec<(bool, &str)> = texts.iter().map(|(client, text)| (*client, text.as_str())).collect();
        trap(what, port, &turns)
    };
    vec![
        sized(
            "mail",
            25,
            &[
                (SERVER, "220 mail.example ESMTP\r\n"),
                (CLIENT, "DATA\r\n"),
                (SERVER, "354 go on\r\n"),
                (CLIENT, "Subject: pools\r\n\r\nWORDS\r\n.\r\n"),
            ],
        ),
        sized("mail whose text begins a segment", 25, &[(CLIENT, "WORDS\r\n.\r\nQUIT\r\n")]),
        sized(
            "chat",
            6667,
            &[(CLIENT, "PRIVMSG #pools :WORDS\r\n"), (SERVER, ":me PRIVMSG #pools :WORDS\r\nPING x\r\n")],
        ),
        sized(
            "a database",
            5432,
            &[
                (CLIENT, "Q\0\0\0\u{60}INSERT INTO rules VALUES ('WORDS')\0"),
                (SERVER, "D\0\0\0\u{7b}\0\u{1}WORDS"),
            ],
        ),
        sized(
            "a search engine's bulk documents",
            9200,
            &[
                (CLIENT, "POST /_bulk HTTP/1.1\r\nHost: search.example\r\n\r\n"),
                (CLIENT, "{\"index\":{}}\nWORDS\n"),
                (SERVER, "HTTP/1.1 200 OK\r\n\r\n{\"took\":1,\"errors\":false}"),
            ],
        ),
        sized(
            "documents whose words begin a segment",
            9200,
            &[
                (CLIENT, "POST /_bulk HTTP/1.1\r\nHost: search.example\r\n\r\n"),
                (CLIENT, "WORDS\n"),
                (SERVER, "HTTP/1.1 200 OK\r\n\r\n{\"took\":1,\"errors\":false}"),
            ],
        ),
        sized(
            "a web server that sends the text of Stratum",
            80,
            &[
                (CLIENT, "GET /stratum.txt HTTP/1.1\r\nHost: www.example\r\n\r\n"),
                (SERVER, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n"),
                (SERVER, "WORDS\n"),
                (SERVER, "{\"id\":null,\"method\":\"mining.notify\",\"params\":[\"bf\",\"5eed\"]}\n"),
            ],
        ),
        sized(
            "chat over XMPP on a port of pools",
            5222,
            &[
                (CLIENT, "<?xml version='1.0'?><stream:stream to='chat.example'>"),
                (CLIENT, "<message to='a@chat.example'><body>WORDS</body></message>"),
            ],
        ),
    ]
}

fn binary() -> Vec<Trap> {
    let of = |what, port, turns: &[(bool, &[u8])]| Trap {
        what,
        port,
        turns: turns.iter().map(|(client, bytes)| (*client, bytes.to_vec())).collect(),
    };
    let levin = b"\x01\x21\x01\x01\x01\x01\x01\x01\x10\0\0\0\0\0\0\0\x01";
    let bitcoin = b"\xf9\xbe\xb4\xd9version\0\0\0\0\0\x66\0\0\0";
    let zabbix = b"ZBXD\x01\x31\0\0\0\0\0\0\0{\"request\":\"active checks\",\"host\":\"web1\"}";
    vec![
        of("Monero's peers", 18_080, &[(CLIENT, levin), (SERVER, levin)]),
        of("Bitcoin's peers", 8333, &[(CLIENT, bitcoin), (SERVER, bitcoin)]),
        of("Zabbix", 10_051, &[(CLIENT, zabbix), (SERVER, zabbix)]),
        of("Zabbix whose JSON begins a segment", 10_051, &[(CLIENT, &zabbix[..13]), (CLIENT, &zabbix[13..])]),
        of("a shell's 64 bytes", 22, &[(CLIENT, &[0x5e; 64]), (SERVER, &[0xd6; 234])]),
        of("a game's 64 bytes", 27_015, &[(CLIENT, &[b'{'; 64]), (SERVER, &[b'{'; 64])]),
        of("17 bytes each way", 37_889, &[(CLIENT, &[0; 17]), (SERVER, &[0; 17])]),
    ]
}

#[test]
fn none_of_the_known_traps_is_taken_for_mining_whoever_is_the_client() {
    for trap in [services(), carriers(), binary()].concat() {
        for is_client in [true, false] {
            let mut wire = Wire::new();
            let mut session = if is_client {
                Session::to(&mut wire, STRANGER, trap.port)
            } else {
                Session::at(&mut wire, trap.port, STRANGER)
            };
            session.open(&mut wire, if is_client { Egress } else { Ingress });
            for (by_client, bytes) in &trap.turns {
                session.send(&mut wire, if *by_client == is_client { Egress } else { Ingress }, bytes);
            }
            let side = if is_client { "as its client" } else { "as its server" };
            assert_eq!(wire.told(), [], "{}, {side}", trap.what);
            assert!(wire.host.known.is_empty(), "{}, {side}", trap.what);
        }
    }
}

#[test]
fn the_same_words_in_lines_of_their_own_are_mining() {
    let mut wire = Wire::new();
    Session::to(&mut wire, STRANGER, 3333).says(&mut wire, &format!("{WORDS}\n"));
    wire.only("what the traps hold");
}
