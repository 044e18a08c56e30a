//! Names on the wire: queries, answers and TLS hellos, as small as they may be.

use std::net::Ipv4Addr;

const A: [u8; 2] = [0, 1];
const IN: [u8; 2] = [0, 1];

/// A query for the address of a name (RFC 1035, 4.1).
pub(super) fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = header(id, 0x0100, 0);
    message.extend(question(name));
    message
}

/// Its answer: one address.
pub(super) fn answer(id: u16, name: &str, ttl_s: u32, address: &str) -> Vec<u8> {
    let mut message = header(id, 0x8180, 1);
    message.extend(question(name));
    // The question's name, by its offset.
    message.extend([0xc0, 12]);
    message.extend(A);
    message.extend(IN);
    message.extend(ttl_s.to_be_bytes());
    message.extend([0, 4]);
    message.extend(address.parse::<Ipv4Addr>().unwrap().octets());
    message
}

fn header(id: u16, flags: u16, answers: u16) -> Vec<u8> {
    [id, flags, 1, answers, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect()
}

fn question(name: &str) -> Vec<u8> {
    let mut question = Vec::new();
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend(label.as_bytes());
    }
    question.push(0);
    question.extend(A);
    question.extend(IN);
    question
}

/// A ClientHello that names a server (RFC 8446, 4.1.2; RFC 6066, 3).
pub(super) fn hello(name: &str) -> Vec<u8> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    let name = [&[0][..], &sized(name.as_bytes())].concat();
    let extension = [&[0, 0][..], &sized(&sized(&name))].concat();
    let mut body = vec![3, 3];
    body.extend([0x5e; 32]);
    // No session, one cipher suite, no compression.
    body.extend([0, 0, 2, 0x13, 0x01, 1, 0]);
    body.extend(sized(&extension));
    let message = [&[CLIENT_HELLO, 0][..], &sized(&body)].concat();
    [&[HANDSHAKE, 3, 1][..], &sized(&message)].concat()
}

/// With its length before it.
fn sized(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}
