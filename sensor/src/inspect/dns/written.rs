//! Messages as tests write them: names compressed as servers do it, and wrong wherever a test wants
//! them wrong.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::{Opcode, Rcode, Rtype};

pub const IN: u16 = 1;

/// A message under construction.
#[derive(Clone)]
pub struct Written {
    bytes: Vec<u8>,
    /// Where a name's rest is to be found.
    suffixes: HashMap<String, usize>,
    section: Section,
}

#[derive(Clone, Copy)]
pub enum Section {
    Question = 4,
    Answer = 6,
    Authority = 8,
    Additional = 10,
}

impl Written {
    pub fn query(name: &str, qtype: Rtype) -> Self {
        // Recursion desired.
        Self::header(0x0100).question(name, qtype, IN)
    }

    /// NOERROR, recursion desired and available.
    pub fn answer(name: &str, qtype: Rtype) -> Self {
        Self::header(0x8180).question(name, qtype, IN)
    }

    pub fn header(flags: u16) -> Self {
        let mut bytes = vec![0; 12];
        bytes[..2].copy_from_slice(&0x1234_u16.to_be_bytes());
        bytes[2..4].copy_from_slice(&flags.to_be_bytes());
        Self { bytes, suffixes: HashMap::new(), section: Section::Answer }
    }

    pub fn question(mut self, name: &str, qtype: Rtype, class: u16) -> Self {
        self.count(Section::Question);
        self.name(name);
        self.u16(qtype.to_int());
        self.u16(class);
        self
    }

    pub fn rcode(mut self, rcode: Rcode) -> Self {
        self.bytes[3] |= rcode.to_int();
        self
    }

    pub fn opcode(mut self, opcode: Opcode) -> Self {
        self.bytes[2] |= opcode.to_int() << 3;
        self
    }

    pub fn truncated(mut self) -> Self {
        self.bytes[2] |= 2;
        self
    }

    /// Records from here on go to this section.
    pub fn section(mut self, section: Section) -> Self {
        self.section = section;
        self
    }

    /// So many records are announced, whatever there are.
    pub fn announcing(mut self, section: Section, count: u16) -> Self {
        let at = section as usize;
        self.bytes[at..at + 2].copy_from_slice(&count.to_be_bytes());
        self
    }

    pub fn a(self, owner: &str, ttl_s: u32, address: [u8; 4]) -> Self {
        self.record(owner, Rtype::A, ttl_s, &Ipv4Addr::from(address).octets())
    }

    pub fn aaaa(self, owner: &str, ttl_s: u32, address: &str) -> Self {
        self.record(owner, Rtype::AAAA, ttl_s, &address.parse::<Ipv6Addr>().unwrap().octets())
    }

    pub fn cname(self, owner: &str, ttl_s: u32, target: &str) -> Self {
        self.record_by(owner, Rtype::CNAME, IN, ttl_s, |message| message.name(target))
    }

    pub fn soa(self, zone: &str) -> Self {
        self.record_by(zone, Rtype::SOA, IN, 900, |message| {
            message.name("ns1.example");
            message.name("hostmaster.example");
            message.bytes.extend([1, 7200, 900, 1_209_600, 300_u32].iter().flat_map(|n| n.to_be_bytes()));
        })
    }

    /// With hints, in the order of their keys (RFC 9460 7.3).
    pub fn https(self, owner: &str, priority: u16, v4: &[[u8; 4]], v6: &[&str]) -> Self {
        self.record_by(owner, Rtype::HTTPS, IN, 300, |message| {
            let v6: Vec<_> = v6.iter().map(|ip| ip.parse::<Ipv6Addr>().unwrap().octets()).collect();
            message.u16(priority);
            message.bytes.push(0);
            for (key, value) in [(1, b"\x02h2".to_vec()), (4, v4.concat()), (6, v6.concat())] {
                message.u16(key);
                message.u16(u16::try_from(value.len()).unwrap());
                message.bytes.extend(value);
            }
        })
    }

    /// EDNS, with the size of datagrams that the sender takes (RFC 6891 6.1.2).
    pub fn edns(self, size: u16) -> Self {
        self.section(Section::Additional).record_by("", Rtype::OPT, size, 0, |_| ())
    }

    pub fn record(self, owner: &str, rtype: Rtype, ttl_s: u32, data: &[u8]) -> Self {
        self.record_by(owner, rtype, IN, ttl_s, |message| message.bytes.extend(data))
    }

    pub fn record_by(
        mut self,
        owner: &str,
        rtype: Rtype,
        class: u16,
        ttl_s: u32,
        data: impl FnOnce(&mut Self),
    ) -> Self {
        self.count(self.section);
        self.name(owner);
        self.u16(rtype.to_int());
        self.u16(class);
        self.bytes.extend(ttl_s.to_be_bytes());
        let at = self.bytes.len();
        self.u16(0);
        data(&mut self);
        let length = u16::try_from(self.bytes.len() - at - 2).unwrap();
        self.bytes[at..at + 2].copy_from_slice(&length.to_be_bytes());
        self
    }

    /// Bytes as they are, wherever the message stands.
    pub fn raw(mut self, bytes: &[u8]) -> Self {
        self.bytes.extend(bytes);
        self
    }

    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    pub fn bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn count(&mut self, section: Section) {
        self.bytes[section as usize + 1] += 1;
    }

    pub fn u16(&mut self, number: u16) {
        self.bytes.extend(number.to_be_bytes());
    }

    /// Labels up to a rest that was written before, then a pointer to that.
    pub fn name(&mut self, name: &str) {
        let mut rest = name;
        while !rest.is_empty() {
            if let Some(at) = self.suffixes.get(rest) {
                self.u16(0xc000 | u16::try_from(*at).unwrap());
                return;
            }
            self.suffixes.insert(rest.to_owned(), self.bytes.len());
            let (label, behind) = rest.split_once('.').unwrap_or((rest, ""));
            self.bytes.push(u8::try_from(label.len()).unwrap());
            self.bytes.extend(label.as_bytes());
            rest = behind;
        }
        self.bytes.push(0);
    }
}
