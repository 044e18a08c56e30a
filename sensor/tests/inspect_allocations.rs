//! What is not mining costs no memory: inspecting it never asks the allocator.

#[path = "../benches/price/scrape/allocations.rs"]
mod allocations;

use allocations::counted;
use sensor::inspect::{Payload, getwork, stratum};

/// What is found in the bytes by either inspector, and how often memory was asked for.
fn inspected(bytes: &[u8]) -> (bool, u64) {
    counted(|| {
        [false, true].into_iter().fold(false, |is_found, is_cut| {
            let payload = Payload { bytes, is_cut };
            stratum::inspect(payload).is_some() | getwork::inspect(payload).is_some() | is_found
        })
    })
}

#[test]
fn what_is_not_mining_is_refused_without_memory() {
    let deep = r#"{"params":"#.repeat(1000);
    let nested = format!(r#"{{"params":[{}{}],"method":"x"}}"#, "[".repeat(20), "]".repeat(20));
    for (what, text) in [
        ("a call", r#"{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":["latest",{"a":[1,{}]}]}"#),
        (
            "an answer",
            r#"{"id":1,"result":{"status":"OK","data":"5eed","items":[{"target":"x"}]},"error":null}"#,
        ),
        (
            "escapes",
            r#"{"m\u0065thod":"textDocument\/didOpen","params":{"login":"a\nb","text":"{\"a\":\u0031}"}}"#,
        ),
        ("nested calls", &nested),
        ("nesting without end", &deep),
        ("a cut call", r#"{"id":1,"method":"server.ver"#),
        ("broken JSON", r#"{"id":1,"method":}"#),
        ("a document", "{\"index\":{}}\n{\"message\":\"mining\"}\n"),
        (
            "a request",
            "GET / HTTP/1.1\r\nHost: www.example\r\nAuthorization: Basic eDp5\r\nAccept: */*\r\n\r\n",
        ),
        (
            "a posted body",
            "POST /api HTTP/1.1\r\nHost: www.example\r\n\r\n{\"method\":\"list\",\"params\":{\"a\":\"\\n\"}}",
        ),
        ("a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html></html>"),
        ("text", "220 mail.example ESMTP\r\n"),
    ] {
        assert_eq!(inspected(text.as_bytes()), (false, 0), "{what}");
    }
}

#[test]
fn memory_is_counted_where_something_is_found() {
    let (is_found, asked) = inspected(br#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.10.0"]}"#);
    assert!(is_found && asked > 0);
}
