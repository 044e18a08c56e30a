//! Reads JSON-RPC messages as they lie in a payload: each value is told to a listener as soon as it
//! is complete, so that a message that is cut off has said what is certain. Allocates nothing.
//!
//! Texts are not checked for UTF-8 and keys given twice are told twice: this decides what a message
//! says, not whether it is good JSON.

mod step;
#[cfg(test)]
mod tests;
mod text;

use hifijson::num::Lex as _;
use hifijson::token::Lex as _;
use hifijson::{Expect, Read as _, SliceLexer, escape, str};

pub use step::Step;
pub use text::Text;

/// Objects and arrays within one another; mining needs five.
const DEPTH_MAX: usize = 32;

/// How far down values are told, counted in steps from the message.
const STEPS_MAX: usize = 4;

#[derive(Clone, Copy)]
pub enum Value<'a> {
    Text(Text<'a>),
    Number,
    /// `true`, `false` or `null`.
    Word,
    /// Told before what it holds.
    Object,
    Array,
}

/// What wants to know of a message's values.
pub trait Listener<'a> {
    fn hear(&mut self, path: &[Step], value: Value<'a>);
}

/// How the reading of a message ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Whole,
    /// The bytes end within it.
    Cut,
    /// This is no JSON, or nested too deep.
    Broken,
}

/// Reads the object that the bytes begin with; returns what follows where it is whole.
pub fn read<'a>(bytes: &'a [u8], listener: &mut impl Listener<'a>) -> (End, &'a [u8]) {
    let mut lexer = SliceLexer::new(bytes);
    let read = match lexer.ws_peek() {
        Some(b'{') => object(lexer.discarded(), Some(Place::MESSAGE), DEPTH_MAX, listener),
        _ => Err(Stop::Unmet),
    };
    let end = match read {
        Ok(()) => End::Whole,
        Err(Stop::Unmet) if lexer.as_slice().is_empty() => End::Cut,
        Err(Stop::Unmet | Stop::Broken) => End::Broken,
    };
    (end, lexer.as_slice())
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct Place {
    steps: [Step; STEPS_MAX],
    len: usize,
}

impl Place {
    const MESSAGE: Self = Self { steps: [Step::Index(0); STEPS_MAX], len: 0 };

    /// The place one step inside this one, unless that is farther in than anybody asks.
    fn then(mut self, step: Step) -> Option<Self> {
        *self.steps.get_mut(self.len)? = step;
        self.len += 1;
        Some(self)
    }
}

/// Why reading stops.
enum Stop {
    /// Something else has to stand here: no JSON, unless the bytes end here.
    Unmet,
    Broken,
}

impl From<Expect> for Stop {
    fn from(_: Expect) -> Self {
        Self::Unmet
    }
}

impl From<str::Error> for Stop {
    fn from(error: str::Error) -> Self {
        match error {
            str::Error::Eof | str::Error::Escape(escape::Error::Eof) => Self::Unmet,
            _ => Self::Broken,
        }
    }
}

/// Reads the value that begins with `next`, at most `depth` levels deep; tells it where it has a place.
fn value<'a>(
    next: u8,
    lexer: &mut SliceLexer<'a>,
    place: Option<Place>,
    depth: usize,
    listener: &mut impl Listener<'a>,
) -> Result<(), Stop> {
    let mut tell = |value| {
        if let Some(place) = place.as_ref().filter(|place| place.len > 0) {
            listener.hear(&place.steps[..place.len], value);
        }
    };
    match next {
        b'"' => tell(Value::Text(Text::read(lexer.discarded())?)),
        b'0'..=b'9' | b'-' => {
            lexer.num_ignore().validate().map_err(|_| Stop::Unmet)?;
            tell(Value::Number);
        }
        b'{' => {
            tell(Value::Object);
            return object(lexer.discarded(), place, depth, listener);
        }
        b'[' => {
            tell(Value::Array);
            return array(lexer.discarded(), place, depth, listener);
        }
        _ => {
            word(lexer)?;
            tell(Value::Word);
        }
    }
    Ok(())
}

fn object<'a>(
    lexer: &mut SliceLexer<'a>,
    place: Option<Place>,
    depth: usize,
    listener: &mut impl Listener<'a>,
) -> Result<(), Stop> {
    let depth = depth.checked_sub(1).ok_or(Stop::Broken)?;
    lexer.seq(b'}', SliceLexer::ws_peek, |next, lexer| {
        let (key, next) = key(next, lexer)?;
        let inner = place.and_then(|place| place.then(Step::named(key.start(&mut [0; _]))?));
        value(next, lexer, inner, depth, listener)
    })
}

fn array<'a>(
    lexer: &mut SliceLexer<'a>,
    place: Option<Place>,
    depth: usize,
    listener: &mut impl Listener<'a>,
) -> Result<(), Stop> {
    let depth = depth.checked_sub(1).ok_or(Stop::Broken)?;
    let mut index = 0_u8;
    lexer.seq(b']', SliceLexer::ws_peek, |next, lexer| {
        let inner = place.and_then(|place| place.then(Step::Index(index)));
        index = index.saturating_add(1);
        value(next, lexer, inner, depth, listener)
    })
}

/// A member's key, and the first byte of its value.
fn key<'a>(next: u8, lexer: &mut SliceLexer<'a>) -> Result<(Text<'a>, u8), Stop> {
    if next != b'"' {
        return Err(Stop::Unmet);
    }
    let key = Text::read(lexer.discarded())?;
    lexer.expect(SliceLexer::ws_peek, b':').ok_or(Stop::Unmet)?;
    Ok((key, lexer.ws_peek().ok_or(Stop::Unmet)?))
}

/// Reads `true`, `false` or `null`. What the bytes end within is cut off, not wrong.
fn word(lexer: &mut SliceLexer<'_>) -> Result<(), Stop> {
    let rest = lexer.as_slice();
    for word in [b"true".as_slice(), b"false", b"null"] {
        if lexer.strip_prefix(word) {
            return Ok(());
        }
        if word.starts_with(rest) {
            lexer.strip_prefix(rest);
        }
    }
    Err(Stop::Unmet)
}
