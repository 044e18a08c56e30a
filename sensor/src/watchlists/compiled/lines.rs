//! Lays ranges out as the lines that the packet path searches; [`sensor_ebpf::ranges`] says how they
//! lie, and reads them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use sensor_ebpf::abi::TargetSet;
use sensor_ebpf::ranges::{
    FINE, GOES_ON, HAS_PORTS, HEAD_WORDS, INDEX_WORDS, Line, NOTHING, V4_INDEX, V6_INDEX, WORDS_PER_LINE,
    pack,
};

use super::Entries;
use super::fine::fine;
use super::flat::{Bits, Ranges};

/// The ports of one address that stand for something else than the address does, ascending.
type Ports = Vec<(u16, TargetSet)>;

/// Addresses of which not every port stands for the same.
type WithPorts<B> = Vec<(B, Ports)>;

/// A generation of these entries, whose prefixes flatten to these ranges.
pub(super) fn lines(v4: &Ranges<u32>, v6: &Ranges<u128>, entries: &Entries) -> Vec<Line> {
    let (v4_ports, v6_ports) = ports(&entries.endpoints);
    let mut written = Written::new();
    let v4 = written.answers(v4, &v4_ports);
    written.index(V4_INDEX, &v4);
    let v6 = written.answers(v6, &v6_ports);
    let v6 = written.by_word(&v6, 0, NOTHING);
    written.index(V6_INDEX, &v6);
    written.fine(entries);
    written.into_lines()
}

/// The endpoints by address, those of IPv4 and those of IPv6.
fn ports(endpoints: &[(SocketAddr, TargetSet)]) -> (WithPorts<u32>, WithPorts<u128>) {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for same in endpoints.chunk_by(|(a, _), (b, _)| a.ip() == b.ip()) {
        let ports = same.iter().map(|(endpoint, targets)| (endpoint.port(), *targets)).collect();
        match same[0].0.ip() {
            IpAddr::V4(address) => v4.push((address.to_bits(), ports)),
            IpAddr::V6(address) => v6.push((address.to_bits(), ports)),
        }
    }
    (v4, v6)
}

/// The words of a generation as far as they are written: what points at something comes after it,
/// the indexes apart.
struct Written {
    words: Vec<u64>,
    /// Answers that are there.
    known: HashMap<TargetSet, u32>,
}

impl Written {
    fn new() -> Self {
        Self { words: vec![0; HEAD_WORDS as usize], known: HashMap::new() }
    }

    fn position(&self) -> u32 {
        position(self.words.len())
    }

    /// Ranges with their answers; an address with ports of its own is a range of its own.
    fn answers<B: Bits>(&mut self, ranges: &Ranges<B>, ports: &[(B, Ports)]) -> Vec<(B, u32)> {
        let mut answered = Vec::with_capacity(ranges.iter().len() + 2 * ports.len());
        let mut ports = ports.iter().peekable();
        let mut ranges = ranges.iter().peekable();
        while let Some((first, targets)) = ranges.next() {
            answered.push((first, self.answer(targets)));
            let end = ranges.peek().map(|(next, _)| *next);
            let lies_within = |(address, _): &&(B, Ports)| end.is_none_or(|end| *address < end);
            while let Some((address, its)) = ports.next_if(lies_within) {
                let _ = answered.pop_if(|(begun, _)| begun == address);
                answered.push((*address, self.answer_with_ports(targets, its)));
                if let Some(after) = address.next().filter(|after| Some(*after) != end) {
                    answered.push((after, self.answer(targets)));
                }
            }
        }
        answered
    }

    fn answer(&mut self, targets: TargetSet) -> u32 {
        if targets.is_empty() { NOTHING } else { self.set(targets) }
    }

    fn set(&mut self, targets: TargetSet) -> u32 {
        *self.known.entry(targets).or_insert_with(|| {
            self.words.push(targets.0);
            position(self.words.len() - 1)
        })
    }

    fn answer_with_ports(&mut self, targets: TargetSet, ports: &Ports) -> u32 {
        let mut ranges = vec![(0, NOTHING)];
        for &(port, targets) in ports {
            let _ = ranges.pop_if(|(begun, _)| *begun == u32::from(port));
            // An endpoint may stand for nothing, and still be found.
            ranges.extend([(u32::from(port), self.set(targets)), (u32::from(port) + 1, NOTHING)]);
        }
        let place = self.table(&ranges);
        let at = self.position();
        self.words.extend([targets.0, place]);
        at | HAS_PORTS
    }

    /// Ranges of 128 bits, which are alike in the first `shift` of them, as ranges of the next 32.
    /// What comes before them says `before`.
    #[allow(clippy::cast_possible_truncation, reason = "a word is taken out of an address by casting")]
    fn by_word(&mut self, ranges: &[(u128, u32)], shift: u32, mut before: u32) -> Vec<(u32, u32)> {
        let word = |bits: u128| (bits << shift >> 96) as u32;
        let mut words: Vec<(u32, u32)> = Vec::new();
        for same in ranges.chunk_by(|(a, _), (b, _)| word(*a) == word(*b)) {
            let ((first, answer), (_, last)) = (same[0], same[same.len() - 1]);
            let key = word(first);
            // What ended here, the next begins with.
            let _ = words.pop_if(|(begun, _)| *begun == key);
            let is_whole = same.len() == 1 && first << shift << 32 == 0;
            if is_whole {
                words.push((key, answer));
            } else {
                let mut next = self.by_word(same, shift + 32, before);
                if next[0].0 != 0 {
                    next.insert(0, (0, before));
                }
                let place = self.table(&next);
                words.push((key, self.position() | GOES_ON));
                self.words.push(place);
                words.extend(key.checked_add(1).map(|key| (key, last)));
            }
            before = last;
        }
        words
    }

    /// Where a table of these ranges is, which begin with the first key that is asked for.
    fn table(&mut self, ranges: &[(u32, u32)]) -> u64 {
        if let [(_, answer)] = ranges {
            return pack(*answer, 0);
        }
        let mut level: Vec<(u32, u32)> = ranges.to_vec();
        let mut levels = 0;
        while levels == 0 || level.len() > 1 {
            let padding = self.words.len().next_multiple_of(WORDS_PER_LINE);
            self.words.resize(padding, 0);
            level = level.chunks(WORDS_PER_LINE).map(|line| (line[0].0, self.line(line))).collect();
            levels += 1;
        }
        pack(level[0].1, levels)
    }

    /// One line, and which one it is.
    fn line(&mut self, ranges: &[(u32, u32)]) -> u32 {
        let line = position(self.words.len() / WORDS_PER_LINE);
        for place in 0..WORDS_PER_LINE {
            let (first, says) = ranges[place.min(ranges.len() - 1)];
            self.words.push(pack(says, first));
        }
        line
    }

    /// Fills an index: a table for each 65,536 keys.
    fn index(&mut self, index: u32, ranges: &[(u32, u32)]) {
        let mut rest = ranges;
        let mut before = NOTHING;
        for half in 0..INDEX_WORDS {
            let len = rest.partition_point(|(first, _)| first >> 16 <= half);
            let (within, after) = rest.split_at(len);
            let begins = within.first().is_some_and(|(first, _)| *first == half << 16);
            let inherited = if begins { None } else { Some((half << 16, before)) };
            let within: Vec<_> = inherited.into_iter().chain(within.iter().copied()).collect();
            self.words[(index + half) as usize] = self.table(&within);
            before = within[within.len() - 1].1;
            rest = after;
        }
    }

    fn fine(&mut self, entries: &Entries) {
        let lines = fine(entries);
        self.words.resize(self.words.len().next_multiple_of(WORDS_PER_LINE), 0);
        let first = position(self.words.len() / WORDS_PER_LINE);
        self.words[FINE as usize] = pack(first, position(lines.len() - 1));
        self.words.extend(lines.as_flattened());
    }

    fn into_lines(mut self) -> Vec<Line> {
        self.words.resize(self.words.len().next_multiple_of(WORDS_PER_LINE), 0);
        self.words.as_chunks().0.to_vec()
    }
}

/// Positions stay below [`GOES_ON`] as long as an array has less than 8 GiB: the config's limits allow
/// more only to a list of many millions of IPv6 addresses. Nothing checks it.
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
