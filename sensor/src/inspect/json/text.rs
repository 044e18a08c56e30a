//! A text as JSON writes it: compared and kept with its escapes undone, and copied only then.

use std::borrow::Cow;

use hifijson::escape::{self, Lex as _};
use hifijson::str::{Error, LexAlloc as _, LexWrite as _};
use hifijson::{Read as _, SliceLexer};

use crate::inspect::about;

/// Room for the start of a text with escapes: longer than every key, method and name looked for.
pub const SPARE: usize = 48;
pub type Spare = [u8; SPARE];

/// What stands between the quotes.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    raw: &'a [u8],
    has_escapes: bool,
}

impl<'a> Text<'a> {
    /// Reads the text behind an opening quote, and its closing quote.
    pub fn read(lexer: &mut SliceLexer<'a>) -> Result<Self, Error> {
        let all = lexer.as_slice();
        let plain = |_: &mut &[u8], _: &mut bool| Ok::<_, Error>(());
        let has_escapes = lexer.str_fold(false, plain, |lexer, has_escapes| {
            *has_escapes = true;
            let kind = lexer.take_next().ok_or(escape::Error::Eof)?;
            lexer.escape(kind)?;
            Ok(())
        })?;
        let quote = all.len() - lexer.as_slice().len() - 1;
        Ok(Self { raw: &all[..quote], has_escapes })
    }

    pub fn is_empty(self) -> bool {
        self.raw.is_empty()
    }

    pub fn is(self, word: &str) -> bool {
        // Escapes only ever make a text longer.
        self.raw.len() >= word.len() && self.start(&mut [0; _]) == word
    }

    pub fn starts_with(self, word: &str) -> bool {
        self.start(&mut [0; _]).starts_with(word)
    }

    /// Hexadecimal digits and nothing else, in whole bytes, at least so many of them.
    pub fn is_hex(self, bytes_min: usize) -> bool {
        let is_even = self.raw.len().is_multiple_of(2);
        is_even && self.raw.len() / 2 >= bytes_min && self.raw.iter().all(u8::is_ascii_hexdigit)
    }

    /// `0x` and so many hexadecimal digits at most, as Ethereum writes numbers and hashes.
    pub fn is_0x(self, digits: std::ops::RangeInclusive<usize>) -> bool {
        let number = self.raw.strip_prefix(b"0x").unwrap_or_default();
        digits.contains(&number.len()) && number.iter().all(u8::is_ascii_hexdigit)
    }

    /// The text, or as much of it as fits where it has escapes; empty where it is not UTF-8.
    pub fn start<'b>(self, spare: &'b mut Spare) -> &'b str
    where
        'a: 'b,
    {
        if !self.has_escapes {
            return str::from_utf8(self.raw).unwrap_or_default();
        }
        let mut len = 0;
        let mut rest = SliceLexer::new(self.raw);
        while let Some(byte) = rest.take_next() {
            let mut decoded = [byte, 0, 0, 0];
            let mut piece = &decoded[..1];
            if byte == b'\\' {
                let Some(Ok(c)) = rest.take_next().map(|kind| rest.escape(kind)) else { break };
                piece = c.encode_utf8(&mut decoded).as_bytes();
            }
            let Some(room) = spare.get_mut(len..len + piece.len()) else { break };
            room.copy_from_slice(piece);
            len += piece.len();
        }
        let full = &spare[..len];
        // What did not fit may have cut a character.
        full.utf8_chunks().next().map_or("", |chunk| chunk.valid())
    }

    /// The text as it may be shown, if it says anything.
    pub fn printable(self) -> Option<String> {
        let text = if self.has_escapes { self.unescaped() } else { String::from_utf8_lossy(self.raw) };
        about::printable(&text)
    }

    fn unescaped(self) -> Cow<'a, str> {
        let mut quoted = Vec::with_capacity(self.raw.len() + 1);
        quoted.extend_from_slice(self.raw);
        quoted.push(b'"');
        SliceLexer::new(&quoted).str_string().map(Cow::into_owned).unwrap_or_default().into()
    }
}
