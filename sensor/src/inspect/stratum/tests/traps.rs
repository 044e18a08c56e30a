//! What is not mining, whichever inspector reads it: JSON of others, and miners' words in others' text.

use crate::inspect::samples::filled;
use crate::inspect::{Payload, getwork, stratum};

/// A miner's words.
const SUBSCRIPTION: &str = r#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.10.0"]}"#;

#[track_caller]
fn assert_nothing(what: &str, bytes: &[u8]) {
    for is_cut in [false, true] {
        let payload = Payload { bytes, is_cut };
        assert_eq!(stratum::inspect(payload), None, "{what}, as lines");
        assert_eq!(getwork::inspect(payload), None, "{what}, as HTTP");
    }
}

#[test]
fn other_services_on_json_are_not_mining() {
    for (what, text) in [
        (
            "a language server",
            "Content-Length: 44\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"shutdown\"}",
        ),
        (
            "a language server's document about mining",
            r#"{"jsonrpc":"2.0","method":"textDocument/didOpen","params":{"textDocument":{"uri":"file:///a.json","text":"{\"method\":\"mining.subscribe\"}\n"}}}"#,
        ),
        ("an Ethereum node", r#"{"jsonrpc":"2.0","method":"eth_blockNumber","params":[],"id":83}"#),
        (
            "an Ethereum node's block",
            r#"{"jsonrpc":"2.0","id":1,"result":{"hash":"0x<hash>","miner":"<eth>","nonce":"0x5eed5eed5eed5eed","difficulty":"0x5eed"}}"#,
        ),
        (
            "a call of an Ethereum node",
            r#"{"jsonrpc":"2.0","method":"eth_call","params":[{"to":"<eth>","data":"0x5eed"},"latest"],"id":1}"#,
        ),
        ("a Bitcoin node", r#"{"method":"getblock","params":["<hash>"],"id":1}"#),
        ("a Bitcoin node asked about mining", r#"{"method":"getmininginfo","params":[],"id":1}"#),
        ("Electrum", r#"{"id":0,"method":"server.version","params":["electrum/4.5","1.4"]}"#),
        ("Electrum's subscription", r#"{"id":1,"method":"blockchain.headers.subscribe","params":[]}"#),
        (
            "Electrum's header",
            r#"{"jsonrpc":"2.0","method":"blockchain.headers.subscribe","params":[{"hex":"<header>","height":800000}]}"#,
        ),
        ("a smart plug", r#"{"system":{"get_sysinfo":{}}}"#),
        (
            "a smart plug's answer",
            r#"{"system":{"get_sysinfo":{"sw_ver":"1.0","relay_state":1,"err_code":0}}}"#,
        ),
        ("a smart bulb", r#"{"id":1,"method":"set_power","params":["on","smooth",500]}"#),
        ("an exchange's subscription", r#"{"method":"SUBSCRIBE","params":["btcusdt@trade"],"id":1}"#),
        (
            "an exchange's login",
            r#"{"method":"login","params":{"algo":"HS256","pKey":"x","nonce":"1","signature":"x"}}"#,
        ),
        ("an exchange's data", r#"{"result":{"data":[["BTC","1"]],"target":"USD"},"id":1}"#),
    ] {
        assert_nothing(what, filled(&format!("{text}\n")).as_bytes());
    }
    let zabbix = b"ZBXD\x01\x31\0\0\0\0\0\0\0".as_slice();
    assert_nothing("Zabbix", &[zabbix, br#"{"request":"active checks","host":"web1"}"#].concat());
    assert_nothing("Zabbix with a miner's words", &[zabbix, SUBSCRIPTION.as_bytes()].concat());
}

#[test]
fn miners_words_inside_other_protocols_are_not_mining() {
    for (what, text) in [
        ("mail", format!("DATA\r\nSubject: pools\r\n\r\n{SUBSCRIPTION}\r\n.\r\n")),
        ("mail in its own segment", format!("Subject: pools\r\n\r\n{SUBSCRIPTION}\r\n.\r\n")),
        ("mail that begins with it", format!("{SUBSCRIPTION}\r\n.\r\nQUIT\r\n")),
        ("mail that quotes it", format!("you wrote:\r\n> {SUBSCRIPTION}\r\n{SUBSCRIPTION}\r\n")),
        ("chat", format!("PRIVMSG #pools :{SUBSCRIPTION}\r\n")),
        ("chat from a server", format!(":me!me@host PRIVMSG #pools :{SUBSCRIPTION}\r\nPING :x\r\n")),
        (
            "bulk documents over HTTP",
            format!(
                "POST /_bulk HTTP/1.1\r\nHost: search.example\r\n\r\n{{\"index\":{{}}}}\n{SUBSCRIPTION}\n"
            ),
        ),
        ("bulk documents", format!("{{\"index\":{{\"_index\":\"ids\"}}}}\n{SUBSCRIPTION}\n")),
        ("a log in lines", format!("{{\"@timestamp\":\"2026-01-01\",\"message\":\"x\"}}\n{SUBSCRIPTION}\n")),
        ("a paste", format!("POST /paste HTTP/1.1\r\nHost: paste.example\r\n\r\n{SUBSCRIPTION}")),
        ("a page", format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{SUBSCRIPTION}\n")),
        ("a page about headers", "HTTP/1.1 200 OK\r\n\r\nX-Mining-Extensions: midstate\r\n".into()),
        ("a search", "GET /?q=X-Mining-Extensions HTTP/1.1\r\nHost: search.example\r\n\r\n".into()),
        ("a presence", "<?xml version='1.0'?><stream:stream to='chat.example' xmlns='jabber:client'>".into()),
        (
            "a message",
            format!("<message to='a@chat.example'><body>{SUBSCRIPTION}</body></message>\n{SUBSCRIPTION}\n"),
        ),
        ("a script", format!("echo '{SUBSCRIPTION}' | nc pool.example 3333\n{SUBSCRIPTION}\n")),
    ] {
        assert_nothing(what, text.as_bytes());
    }
}

#[test]
fn binary_protocols_are_not_mining() {
    let query = format!("INSERT INTO rules VALUES ('{SUBSCRIPTION}')\0");
    let row = format!("\0\x01\0\0\0\u{7f}alert tcp {{}}\n{SUBSCRIPTION}");
    for (what, bytes) in [
        ("a database's query", [b"Q\0\0\0\x60".as_slice(), query.as_bytes()].concat()),
        ("a database's row of several lines", [b"D\0\0\0\x7b".as_slice(), row.as_bytes()].concat()),
        ("a row behind another's end", [b"}\0D\0\0\0\x50}\n".as_slice(), SUBSCRIPTION.as_bytes()].concat()),
        ("Monero's peers", b"\x01\x21\x01\x01\x01\x01\x01\x01\x10\0\0\0\0\0\0\0\x01".to_vec()),
        ("Bitcoin's peers", b"\xf9\xbe\xb4\xd9version\0\0\0\0\0\x66\0\0\0".to_vec()),
        ("a shell", b"SSH-2.0-OpenSSH_9.9\r\n".to_vec()),
        ("a TLS hello", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03".to_vec()),
        ("a game", vec![b'{'; 64]),
        ("nothing", Vec::new()),
    ] {
        assert_nothing(what, &bytes);
    }
}
