//! Requests and answers, in one payload, in two, cut off; header by header.

use super::*;
use crate::inspect::samples::{Sample, filled, work};

fn found(text: &str) -> Option<Mining> {
    inspect(Payload { bytes: text.as_bytes(), is_cut: false })
}

fn request_with(headers: &str, body: &str) -> String {
    let length = body.len();
    format!("POST / HTTP/1.1\r\nHost: pool.example:8332\r\n{headers}Content-Length: {length}\r\n\r\n{body}")
}

fn answer_with(headers: &str, body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}\r\n{body}")
}

fn said(speaker: Speaker, weight: Weight) -> Mining {
    said_by(speaker, weight)
}

#[test]
fn work_is_heard_in_bodies_with_their_header_and_without() {
    for Sample { what, text, found: expected } in work() {
        let with_header = match expected.speaker {
            Speaker::Miner => request_with("", &text),
            Speaker::Pool => answer_with("", &text),
        };
        let size = text.len();
        let chunked =
            answer_with("Transfer-Encoding: chunked\r\n", &format!("{size:x}\r\n{text}\r\n0\r\n\r\n"));
        for (how, text) in [("alone", &text), ("with its header", &with_header), ("in a chunk", &chunked)] {
            assert_eq!(found(text), Some(expected.clone()), "{what}, {how}");
        }
        for end in 0..with_header.len() {
            let part = inspect(Payload { bytes: &with_header.as_bytes()[..end], is_cut: true });
            assert!(part.is_none_or(|part| part.speaker == expected.speaker), "{what}, {end} bytes");
        }
    }
}

#[test]
fn ethereum_work_over_http_is_getwork() {
    let (miner, pool) = (Speaker::Miner, Speaker::Pool);
    let half = Weight::Half(Work::Ethash);
    let asked = r#"{"jsonrpc":"2.0","method":"eth_getWork","params":[],"id":1}"#;
    let solved =
        r#"{"jsonrpc":"2.0","method":"eth_submitWork","params":["0x5eed","0x<hash>","0x<hash>"],"id":2}"#;
    let given = r#"{"id":1,"jsonrpc":"2.0","result":["0x<hash>","0x<hash>","0x<hash>"]}"#;
    let to_rig = "POST /?miner=22.5@rig7 HTTP/1.1\r\nHost: pool.example\r\n\r\n";
    for (what, text, speaker, weight) in [
        ("work asked for", request_with("", asked), miner, half),
        ("work asked for by body alone", asked.into(), miner, half),
        ("a share", request_with("", solved), miner, Weight::Enough),
        ("work", answer_with("", given), pool, half),
        ("a rig's header alone", to_rig.into(), miner, half),
        ("a rig's header and body", format!("{to_rig}{asked}"), miner, half),
    ] {
        let heard = found(&filled(&text)).expect(what);
        assert_eq!((heard.signal, heard.speaker, heard.weight), (Signal::Getwork, speaker, weight), "{what}");
    }
}

#[test]
fn headers_of_mining_tell_by_themselves() {
    let (miner, pool) = (Speaker::Miner, Speaker::Pool);
    let half = Weight::Half(Work::Block);
    for (what, text, expected) in [
        (
            "a miner's extensions",
            request_with("X-Mining-Extensions: longpoll midstate rollntime\r\n", ""),
            Some(said(miner, Weight::Enough)),
        ),
        (
            "in small letters",
            request_with("x-mining-extensions: midstate\r\n", ""),
            Some(said(miner, Weight::Enough)),
        ),
        (
            "before a cut header",
            "GET / HTTP/1.1\r\nX-Mining-Extensions: midstate\r\nUser-Ag".into(),
            Some(said(miner, Weight::Enough)),
        ),
        ("cut off itself", "GET / HTTP/1.1\r\nX-Mining-Extensions: mid".into(), None),
        (
            "a daemon's height",
            "GET /getheight HTTP/1.1\r\nHost: node.example\r\n\r\n".into(),
            Some(said(miner, half)),
        ),
        (
            "a pool's Stratum",
            answer_with("X-Stratum: stratum+tcp://pool.example:3333\r\n", ""),
            Some(said(pool, half)),
        ),
        ("a pool's long polling", answer_with("X-Long-Polling: /LP\r\n", ""), Some(said(pool, half))),
        ("a pool's times", answer_with("X-Roll-Ntime: expire=120\r\n", ""), Some(said(pool, half))),
        ("another header", request_with("X-Forwarded-For: 192.0.2.1\r\n", ""), None),
        ("another answer", answer_with("X-Powered-By: PHP\r\n", "{}"), None),
    ] {
        assert_eq!(found(&text), expected, "{what}");
    }
}

#[test]
fn a_miner_is_named_by_its_header_but_never_by_its_password() {
    // `user.rig7:secret`
    let authorization = "dXNlci5yaWc3OnNlY3JldA==";
    let text = request_with(
        &format!(
            "User-Agent: bfgminer/5.2.0\r\nAuthorization: Basic {authorization}\r\nX-Mining-Extensions: midstate\r\n"
        ),
        r#"{"method":"getwork","params":[],"id":0}"#,
    );
    let heard = found(&text).expect("a miner");
    let about = About {
        agent: Some("bfgminer/5.2.0".into()),
        coin: None,
        wallet: Some("user".into()),
        worker: Some("rig7".into()),
    };
    assert_eq!(heard, Mining { about, ..said(Speaker::Miner, Weight::Enough) });
    for (what, authorization) in
        [("another scheme", "Bearer dXNlci5yaWc3OnNlY3JldA=="), ("no base64", "Basic !!!"), ("nothing", "")]
    {
        let headers = format!("Authorization: {authorization}\r\nX-Mining-Extensions: midstate\r\n");
        let heard = found(&request_with(&headers, "")).expect(what);
        assert_eq!(heard.about, About::default(), "{what}");
    }
}

#[test]
fn stratum_over_http_and_calls_of_wallets_are_nothing() {
    for (what, body) in [
        ("a subscription", r#"{"id":1,"method":"mining.subscribe","params":[]}"#),
        ("a login", r#"{"method":"login","params":{"login":"me","pass":"x"}}"#),
        ("a block count", r#"{"method":"getblockcount","params":[],"id":1}"#),
        ("a wallet's refresh", r#"{"jsonrpc":"2.0","id":"0","method":"get_info"}"#),
        ("data for a target", r#"{"result":{"data":"<hash>","target":"<hash>"}}"#),
        ("no JSON", "method=getwork"),
        ("a broken body", r#"{"method":"getwork" "params":[]}"#),
    ] {
        assert_eq!(found(&request_with("", &filled(body))), None, "{what}");
        assert_eq!(found(&answer_with("", &filled(body))), None, "{what}");
    }
}
