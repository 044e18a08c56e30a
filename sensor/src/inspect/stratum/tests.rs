//! Each dialect from both sides: as documented, as others write JSON, cut off, coalesced, joined late.

mod properties;
mod traps;

use super::*;
use crate::inspect::samples::{Sample, filled, lines};
use crate::inspect::{About, Signal, Speaker, Weight};

fn found(text: &str) -> Option<Mining> {
    inspect(Payload { bytes: text.as_bytes(), is_cut: false })
}

fn found_in_a_part(text: &[u8]) -> Option<Mining> {
    inspect(Payload { bytes: text, is_cut: true })
}

/// What is said of a miner is what was said in full, or nothing.
fn assert_part(what: &str, part: Option<Mining>, whole: &Mining) {
    let Some(part) = part else { return };
    assert_eq!(
        (part.signal, part.speaker, part.weight),
        (whole.signal, whole.speaker, whole.weight),
        "{what}"
    );
    let both = part.about.clone().or(whole.about.clone());
    assert_eq!(both, whole.about, "{what}");
}

#[test]
fn each_dialect_is_heard_from_both_sides() {
    for Sample { what, text, found: expected } in lines() {
        assert_eq!(found(&text), Some(expected), "{what}");
    }
}

#[test]
fn no_spacing_order_or_quoting_hides_a_message() {
    for Sample { what, text, found: expected } in lines() {
        let json: serde_json::Value = serde_json::from_str(&text).expect(what);
        let ordered = json.to_string();
        let spread = serde_json::to_string_pretty(&json).expect(what);
        for (how, text) in [
            ("keys in another order", format!("{ordered}\n")),
            ("spread over lines", format!("{spread}\r\n")),
            ("without a line feed", ordered.clone()),
            ("a zero byte at the end", format!("{ordered}\0")),
            ("blank lines before", format!("\r\n \n{ordered}\n")),
            ("slashes escaped, as PHP does", ordered.replace('/', r"\/")),
            ("letters escaped", ordered.replace("method", r"m\u0065thod").replace("mining", r"m\u0069ning")),
            ("identifiers as texts", ordered.replace(r#""id":1"#, r#""id":"1""#)),
        ] {
            assert_eq!(found(&text), Some(expected.clone()), "{what}: {how}");
        }
    }
}

#[test]
fn a_cut_message_says_what_is_certain_or_nothing() {
    for Sample { what, text, found: expected } in lines() {
        for end in 0..text.len() {
            let begun = &text.as_bytes()[..end];
            assert_part(&format!("{what}, {end} bytes"), found_in_a_part(begun), &expected);
        }
        assert_eq!(found_in_a_part(text.as_bytes()), Some(expected), "{what}, whole with more behind it");
    }
}

#[test]
fn a_session_joined_within_a_line_is_heard_from_the_next_line_on() {
    let next = lines().into_iter().find(|sample| sample.what == "a job").expect("a job");
    for Sample { what, text, .. } in lines() {
        for begin in 1..text.len() - 2 {
            let joined = format!("{}{}", &text[begin..], next.text);
            // An object within the message looks like a message of its own, and a foreign one.
            let expected = (!joined.trim_start().starts_with('{')).then(|| next.found.clone());
            let heard = found(&joined);
            if heard.is_some() || expected.is_some() {
                assert_eq!(heard, Some(next.found.clone()), "{what}, from byte {begin} on");
            }
        }
    }
}

#[test]
fn of_several_messages_the_strongest_decides_and_all_tell() {
    let lines = [
        r#"{"id":1,"method":"eth_getWork","params":[]}"#,
        r#"{"id":2,"method":"mining.subscribe","params":["cgminer/4.10.0"]}"#,
        r#"{"id":3,"method":"mining.authorize","params":["user.rig7","secret"]}"#,
        r#"{"id":4,"method":"mining.authorize","params":["other.rig8","secret"]}"#,
    ];
    let about = About {
        agent: Some("cgminer/4.10.0".into()),
        coin: Some("ethash".into()),
        wallet: Some("user".into()),
        worker: Some("rig7".into()),
    };
    let (signal, speaker, weight) = (Signal::Stratum, Speaker::Miner, Weight::Enough);
    let expected = Mining { signal, speaker, weight, about };
    for (how, separator) in [("line feeds", "\n"), ("both", "\r\n"), ("none", ""), ("zeros", "\0")] {
        assert_eq!(found(&lines.join(separator)).as_ref(), Some(&expected), "{how}");
    }
    let session = lines.join("\n");
    for end in lines[0].len() + lines[1].len() + 1..session.len() {
        let heard = found_in_a_part(&session.as_bytes()[..end]).expect("two messages are whole");
        assert_eq!((heard.speaker, heard.weight), (Speaker::Miner, Weight::Enough), "{end} bytes");
    }
}

#[test]
fn names_alone_and_what_both_sides_say_tell_nothing() {
    for (what, line) in [
        ("login by name", r#"{"id":1,"method":"login","params":[]}"#),
        ("a login to something else", r#"{"id":1,"method":"login","params":{"login":"me","password":"x"}}"#),
        (
            "FreeSWITCH's login",
            r#"{"jsonrpc":"2.0","method":"login","params":{"login":"1008@pbx","passwd":"x"},"id":3}"#,
        ),
        ("an agent without a login", r#"{"method":"login","params":{"agent":"x","pass":"x"}}"#),
        ("submit by name", r#"{"id":1,"method":"submit","params":{"form":"x","nonce":"1"}}"#),
        ("submit without a nonce", r#"{"id":1,"method":"submit","params":{"job_id":"1"}}"#),
        ("job by name", r#"{"method":"job","params":{"job_id":"29","state":"done"}}"#),
        ("a job for a place", r#"{"method":"job","params":{"job_id":"29","target":"staging"}}"#),
        ("a deployment", r#"{"method":"deploy","params":{"job_id":"29","target":"cafe5eed"}}"#),
        ("a job deeper down", r#"{"result":{"jobs":[{"blob":"5eed","job_id":"29"}]}}"#),
        ("keepalive", r#"{"id":1,"method":"keepalived","params":{"id":"5eed"}}"#),
        ("an answer", r#"{"id":4,"jsonrpc":"2.0","result":true,"error":null}"#),
        ("an error", r#"{"id":4,"result":null,"error":[21,"Job not found",null]}"#),
        ("said by both", r#"{"id":4,"method":"mining.noop"}"#),
        ("a method that only begins so", r#"{"id":4,"method":"mining.subscribers","params":[]}"#),
        ("a company's own", r#"{"id":4,"method":"mining.report","params":["coal"]}"#),
        ("a method further down", r#"{"result":{"method":"mining.subscribe","params":[]}}"#),
        ("a method in params", r#"{"method":"log","params":{"method":"mining.subscribe"}}"#),
        ("a version in params", r#"{"method":"log","params":["EthereumStratum/1.0.0"]}"#),
        ("names in an answer", r#"{"result":["mining.notify","mining.set_difficulty"],"id":1}"#),
        ("addresses", r#"{"id":1,"result":["<eth>","<eth>","<eth>"]}"#),
        ("two hashes", r#"{"id":1,"result":["0x<hash>","0x<hash>"]}"#),
        ("a batch", r#"[{"id":1,"method":"mining.subscribe","params":[]}]"#),
        ("half a message", r#""method":"mining.subscribe","params":[]}"#),
    ] {
        assert_eq!(found(&filled(&format!("{line}\n"))), None, "{what}");
    }
}

#[test]
fn duino_coin_is_heard_in_its_introduction() {
    let introduced = found("FROM,PC Miner,user,x").expect("an introduction");
    assert_eq!((introduced.speaker, introduced.weight), (Speaker::Miner, Weight::Enough));
    assert_eq!(introduced.about.coin.as_deref(), Some("duino-coin"));
    for (what, text) in [
        ("another word", "FROM,me,to,you\n"),
        ("a part of one", "FROM,PC Min"),
        ("a job asked for, as a printer's might be", "JOB,user,LOW\n"),
    ] {
        assert_eq!(found(text), None, "{what}");
    }
}
