//! From the question along the CNAMEs to the addresses at their end, as a resolver's client reads
//! an answer (RFC 1034 3.6.2), in whatever order its records come. A DNAME comes with the CNAME
//! that was made of it (RFC 6672 3.1) and needs no reading of its own.
//!
//! Records that do not belong to the chain are not looked at: they would let whoever answers for
//! one name speak for others.

use std::net::IpAddr;

use domain::base::iana::Class;
use domain::base::{ParsedName, ParsedRecord};
use domain::rdata::Cname;

use super::hints::Addresses;
use super::{Message, Name, Opcode, Rcode, Rtype};

/// CNAMEs that are followed; resolvers follow 8 to 16.
pub const CHAIN_MAX: usize = 16;

/// Addresses that one answer may give.
pub const ADDRESSES_MAX: usize = 64;

/// Records that are looked at to put a chain in order.
const RECORDS_MAX: usize = 512;

/// Compression pointers on the way through one owner's name. Servers write one or two; the parser
/// would follow 255 in each record.
const POINTERS_MAX: usize = 16;

/// Labels of a name of 255 bytes.
const LABELS_MAX: usize = 127;

/// An address to which the question's name leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address {
    pub ip: IpAddr,
    /// The smallest of the records on the way, in seconds.
    pub ttl_s: u32,
}

/// The question's name and what it is an alias for, one name after the other.
#[derive(Clone)]
pub struct Chain<'a> {
    pub(super) message: Message<'a>,
    names: [ParsedName<&'a [u8]>; 1 + CHAIN_MAX],
    /// Of the names, at least 1.
    length: usize,
    ttl_s: u32,
    end: End,
}

/// How a chain ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// At a name of which no CNAME is known.
    Name,
    /// Where it has been before.
    Loop,
    /// Beyond what is read.
    Unknown,
}

impl<'a> Chain<'a> {
    pub(super) fn follow(message: Message<'a>) -> Self {
        let names = [*message.question.qname(); 1 + CHAIN_MAX];
        let mut chain = Self { message, names, length: 1, ttl_s: u32::MAX, end: End::Name };
        let mut left = RECORDS_MAX;
        // A record that was passed over may belong to a name that came later.
        while chain.end == End::Name && chain.pass(&mut left) {}
        chain
    }

    /// Goes through the records once. Is there reason to do so again?
    fn pass(&mut self, left: &mut usize) -> bool {
        let (mut is_longer, mut has_passed_over) = (false, false);
        for record in records(self.message) {
            if *left == 0 {
                self.end = End::Unknown;
                return false;
            }
            *left -= 1;
            if record.rtype() != Rtype::CNAME || record.class() != Class::IN {
                continue;
            }
            let ttl_s = ttl_s(&record);
            if record.owner() != self.last() {
                has_passed_over = true;
            } else if let Some(target) = target(record) {
                is_longer = true;
                self.ttl_s = self.ttl_s.min(ttl_s);
                if !self.add(target) {
                    return false;
                }
            }
        }
        is_longer && has_passed_over
    }

    fn add(&mut self, target: ParsedName<&'a [u8]>) -> bool {
        if self.known().contains(&target) {
            self.end = End::Loop;
        } else if let Some(free) = self.names.get_mut(self.length) {
            *free = target;
            self.length += 1;
        } else {
            self.end = End::Unknown;
        }
        self.end == End::Name
    }

    fn known(&self) -> &[ParsedName<&'a [u8]>] {
        self.names.get(..self.length).unwrap_or_default()
    }

    fn last(&self) -> ParsedName<&'a [u8]> {
        *self.known().last().unwrap_or_else(|| self.message.question.qname())
    }

    /// The names, that of the question first: whoever watches one of them is concerned.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.known().iter().map(Name::of)
    }

    /// Where a client that asked would connect to: at most [`ADDRESSES_MAX`], none where the answer
    /// says that there are none, or that the client should ask again.
    pub fn addresses(&self) -> impl Iterator<Item = Address> {
        let section = (self.is_answer() && self.end == End::Name).then(|| records(self.message));
        let (end, ttl_of_chain_s) = (self.last(), self.ttl_s);
        let message = self.message;
        section
            .into_iter()
            .flatten()
            .filter(move |record| is_asked_for(message, record.rtype()) && record.class() == Class::IN)
            .filter(move |record| record.owner() == end)
            .flat_map(move |record| {
                let ttl_s = ttl_s(&record).min(ttl_of_chain_s);
                Addresses::of(record).map(move |ip| Address { ip, ttl_s })
            })
            .take(ADDRESSES_MAX)
    }

    /// A positive answer that the asker uses.
    pub(super) fn is_answer(&self) -> bool {
        let header = self.message.raw.header();
        self.is_usable() && header.rcode() == Rcode::NOERROR
    }

    /// An answer that settles the question, for better or worse.
    pub(super) fn is_usable(&self) -> bool {
        let message = self.message;
        message.is_response()
            && message.opcode() == Opcode::QUERY
            && !message.is_truncated()
            && message.is_internet()
    }

    /// The answer holds nothing that was not read.
    pub(super) fn is_whole(&self) -> bool {
        self.end != End::Unknown && records(self.message).count() == self.announced()
    }

    fn announced(&self) -> usize {
        usize::from(self.message.raw.header_counts().ancount())
    }
}

/// The records of the answer section, up to the first that cannot be read, or whose owner no server
/// would write like that.
fn records(message: Message<'_>) -> impl Iterator<Item = ParsedRecord<'_, [u8]>> {
    let mut section = message.raw.answer().ok();
    std::iter::from_fn(move || {
        let section = section.as_mut()?;
        is_frugal(message.raw.as_slice(), section.pos()).then(|| section.next())?.and_then(Result::ok)
    })
}

/// Can the name at `at` be read along few pointers? Whether it is a name is the parser's to say.
fn is_frugal(message: &[u8], mut at: usize) -> bool {
    let mut pointers = 0;
    // A name of more labels is too long, which the parser will say.
    for _ in 0..LABELS_MAX + POINTERS_MAX {
        match message.get(at..).unwrap_or_default() {
            [length @ 1..=63, ..] => at += 1 + usize::from(*length),
            [high @ 0xc0..=0xff, low, ..] => {
                pointers += 1;
                at = usize::from(u16::from_be_bytes([*high, *low]) & 0x3fff);
            }
            _ => break,
        }
    }
    pointers <= POINTERS_MAX
}

/// A client takes from an answer only the type that it asked for.
fn is_asked_for(message: Message<'_>, rtype: Rtype) -> bool {
    message.qtype() == rtype || message.qtype() == Rtype::ANY
}

fn target(record: ParsedRecord<'_, [u8]>) -> Option<ParsedName<&[u8]>> {
    let cname = record.into_record::<Cname<ParsedName<&[u8]>>>().ok()??;
    Some(cname.into_data().into_cname())
}

/// In seconds; with the highest bit set it means 0 (RFC 2181 8).
fn ttl_s(record: &ParsedRecord<'_, [u8]>) -> u32 {
    i32::try_from(record.ttl().as_secs()).map_or(0, i32::unsigned_abs)
}
