//! DNS messages: who asks for what, and which addresses an answer gives to a name.
//!
//! Read by the parser of `NLnet Labs` in place, without allocation. Only what this host's resolver would
//! use is believed: one question, the CNAME chain that begins at it, the addresses at the chain's
//! end. Whether an answer belongs to a query that left this host is the caller's to know; so is
//! what a name means to a watchlist. A message that was cut off says what came before the cut.

mod chain;
mod hints;
mod name;
mod outcome;
mod stream;
#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod written;

use domain::base::iana::Class;
use domain::base::{self, ParsedName, Question};

pub use chain::{ADDRESSES_MAX, Address, CHAIN_MAX, Chain};
pub use domain::base::iana::{Opcode, Rcode, Rtype};
pub use name::{NAME_MAX, Name};
pub use outcome::{Outcome, SINKHOLES};
pub use stream::{Messages, messages};

/// Where the question begins: behind the header (RFC 1035 4.1.1).
const HEADER_LEN: usize = 12;

/// A message with exactly one question, of which all or the beginning of the rest was read.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    raw: &'a base::Message<[u8]>,
    question: Question<ParsedName<&'a [u8]>>,
}

impl<'a> Message<'a> {
    /// Reads what a UDP datagram carries, or what [`messages`] takes out of a TCP stream.
    ///
    /// Nothing where the question cannot be read, or where there is not exactly one (RFC 9619).
    pub fn read(bytes: &'a [u8]) -> Option<Self> {
        let raw = base::Message::from_slice(bytes).ok()?;
        let question = raw.sole_question().ok()?;
        // No name comes before the question's that it could point to (RFC 1035 4.1.4).
        let is_pointer = bytes.get(HEADER_LEN).is_some_and(|length| *length >= 0xc0);
        (!is_pointer && !question.qname().is_compressed()).then_some(Self { raw, question })
    }

    pub fn id(&self) -> u16 {
        self.raw.header().id()
    }

    pub fn is_response(&self) -> bool {
        self.raw.header().qr()
    }

    pub fn opcode(&self) -> Opcode {
        self.raw.header().opcode()
    }

    /// Without the upper bits that EDNS may add (RFC 6891 6.1.3).
    pub fn rcode(&self) -> Rcode {
        self.raw.header().rcode()
    }

    /// The answer did not fit: the asker drops it and asks again over TCP (RFC 2181 9).
    pub fn is_truncated(&self) -> bool {
        self.raw.header().tc()
    }

    /// What is asked for.
    pub fn name(&self) -> Name {
        Name::of(self.question.qname())
    }

    pub fn qtype(&self) -> Rtype {
        self.question.qtype()
    }

    /// In the class of the internet, as all questions but those to a server about itself.
    pub fn is_internet(&self) -> bool {
        self.question.qclass() == Class::IN
    }

    /// The question's name and those that it is an alias for.
    pub fn chain(&self) -> Chain<'a> {
        Chain::follow(*self)
    }
}
