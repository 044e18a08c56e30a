//! TLS: the server name that a `ClientHello` asks for (RFC 8446 4.1.2, RFC 6066 3), in whatever
//! records it comes and however much of it was sampled.
//!
//! A reader of our own: the parsers to be had want the whole hello in one piece, and allocate.
//! Nothing is decrypted and nothing but the hello is read; QUIC and DTLS are not.

mod handshake;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod written;

use super::Payload;
use super::dns::{NAME_MAX, Name};
use handshake::{Handshake, Stop};

/// Extensions that are looked at.
const SERVER_NAME: u16 = 0;
/// RFC 9849 5.
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// RFC 8446 4.1.2.
const SESSION_ID_MAX: usize = 32;

/// The only kind of server name there is (RFC 6066 3).
const HOST_NAME: u8 = 0;

/// What is certain of a `ClientHello` that begins a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hello {
    /// Where the client says it wants to go. With ECH, the name for all to see: that of whoever
    /// serves the site.
    pub server_name: Option<Name>,
    /// The client offers Encrypted Client Hello, or does as if (GREASE, RFC 9849 6.2).
    pub has_ech: bool,
    /// Bytes that are missing to the hello's end, at least; 0 where it is complete, and where it is
    /// wrong, so that nothing more can be said.
    pub wanted: usize,
}

/// Reads what a client sent, from the beginning of a TLS record on.
///
/// Nothing where that is no `ClientHello`. A few bytes that may become one are one of which all is
/// wanted still.
pub fn inspect(payload: Payload<'_>) -> Option<Hello> {
    let mut hello = Hello::default();
    let mut handshake = Handshake::new(payload.bytes);
    match read(&mut handshake, &mut hello) {
        Ok(()) | Err(Stop::Wrong) => {}
        Err(Stop::End) => hello.wanted = handshake.wanted(),
        Err(Stop::Other) => return None,
    }
    Some(hello)
}

/// Notes in `hello` what was reached.
fn read(handshake: &mut Handshake<'_>, hello: &mut Hello) -> Result<(), Stop> {
    handshake.open()?;
    // legacy_version, random
    handshake.skip(2 + 32)?;
    let session_id = usize::from(handshake.u8()?);
    if session_id > SESSION_ID_MAX {
        return Err(Stop::Wrong);
    }
    handshake.skip(session_id)?;
    let cipher_suites = usize::from(handshake.u16()?);
    handshake.skip(cipher_suites)?;
    let compressions = usize::from(handshake.u8()?);
    handshake.skip(compressions)?;
    if handshake.left() == 0 {
        // Before TLS 1.3 a hello could do without extensions (RFC 5246 7.4.1.2).
        return Ok(());
    }
    if usize::from(handshake.u16()?) != handshake.left() {
        return Err(Stop::Wrong);
    }
    while handshake.left() > 0 {
        let kind = handshake.u16()?;
        let length = usize::from(handshake.u16()?);
        if length > handshake.left() {
            return Err(Stop::Wrong);
        }
        match kind {
            SERVER_NAME if hello.server_name.is_none() => hello.server_name = server_name(handshake, length)?,
            ENCRYPTED_CLIENT_HELLO => {
                hello.has_ech = true;
                handshake.skip(length)?;
            }
            _ => handshake.skip(length)?,
        }
    }
    Ok(())
}

/// The name of an extension of `length` bytes, if it holds one host name and nothing else: servers
/// refuse more (RFC 6066 3 allows one of a kind, and there is one kind).
fn server_name(handshake: &mut Handshake<'_>, length: usize) -> Result<Option<Name>, Stop> {
    /// Of the list, the kind and the name's length.
    const BEFORE_NAME: usize = 2 + 1 + 2;
    let Some(name_len) = length.checked_sub(BEFORE_NAME) else {
        handshake.skip(length)?;
        return Ok(None);
    };
    let list_len = usize::from(handshake.u16()?);
    let kind = handshake.u8()?;
    let is_alone = usize::from(handshake.u16()?) == name_len && list_len + 2 == length;
    // One more for a final dot.
    let mut name = [0; NAME_MAX + 1];
    match name.get_mut(..name_len) {
        Some(name) if is_alone && kind == HOST_NAME => {
            handshake.fill(name)?;
            Ok(Name::of_host(name))
        }
        _ => {
            handshake.skip(name_len)?;
            Ok(None)
        }
    }
}
