//! What is not mining costs no memory: inspecting it never asks the allocator.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use sensor::inspect::{Payload, getwork, stratum};

thread_local! {
    /// What this thread asked for.
    static ASKED: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; counting allocates nothing, since
// the counter is a constant at first and has nothing to drop.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = ASKED.try_with(|asked| asked.set(asked.get() + 1));
        // SAFETY: as the caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What is found in the bytes by either inspector, and how often memory was asked for.
fn inspected(bytes: &[u8]) -> (bool, u64) {
    let before = ASKED.get();
    let mut is_found = false;
    for is_cut in [false, true] {
        let payload = Payload { bytes, is_cut };
        is_found |= stratum::inspect(payload).is_some();
        is_found |= getwork::inspect(payload).is_some();
    }
    (is_found, ASKED.get() - before)
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
