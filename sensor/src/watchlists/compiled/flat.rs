//! From prefixes that nest to ranges that do not, and from ranges to the words that the packet
//! path searches; [`sensor_ebpf::ranges`] says how they lie, and reads them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use ipnet::{Ipv4Net, Ipv6Net};
use sensor_ebpf::abi::TargetSet;
use sensor_ebpf::ranges::{HAS_PORTS, NOTHING, V4_INDEX_WORDS, V4_RANGES, V6_HEADER, pack};

/// Addresses as numbers.
pub(super) trait Bits: Copy + Ord + Default {
    /// The next address; `None` after the last one.
    fn next(self) -> Option<Self>;
}

impl Bits for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

impl Bits for u128 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
}

/// A prefix as what it covers. Sorts before all that lies in it.
pub(super) trait Block: Copy + Ord {
    type Bits: Bits;
    fn first(self) -> Self::Bits;
    fn last(self) -> Self::Bits;
}

impl Block for Ipv4Net {
    type Bits = u32;
    fn first(self) -> u32 {
        self.network().to_bits()
    }
    fn last(self) -> u32 {
        self.broadcast().to_bits()
    }
}

impl Block for Ipv6Net {
    type Bits = u128;
    fn first(self) -> u128 {
        self.network().to_bits()
    }
    fn last(self) -> u128 {
        self.broadcast().to_bits()
    }
}

/// What each address of a family stands for: where a range begins, and what it says, ascending
/// from address 0. Neighbours differ.
pub(super) struct Ranges<B>(Vec<(B, TargetSet)>);

impl<B: Bits> Ranges<B> {
    /// Of prefixes in their order, of which the longest counts.
    pub(super) fn flatten<P: Block<Bits = B>>(prefixes: &[(P, TargetSet)]) -> Self {
        let mut ranges = Self(vec![(B::default(), TargetSet::EMPTY)]);
        let mut open: Vec<(P, TargetSet)> = Vec::new();
        for &(prefix, targets) in prefixes {
            while let Some((closed, _)) = open.pop_if(|(cover, _)| cover.last() < prefix.first()) {
                ranges.close(closed.last(), &open);
            }
            ranges.begin(prefix.first(), targets);
            open.push((prefix, targets));
        }
        while let Some((closed, _)) = open.pop() {
            ranges.close(closed.last(), &open);
        }
        ranges
    }

    fn close<P>(&mut self, last: B, open: &[(P, TargetSet)]) {
        if let Some(after) = last.next() {
            self.begin(after, open.last().map_or(TargetSet::EMPTY, |(_, targets)| *targets));
        }
    }

    /// From `first` on it is `targets`, whatever was said of `first` before.
    fn begin(&mut self, first: B, targets: TargetSet) {
        let _ = self.0.pop_if(|(begun, _)| *begun == first);
        if self.0.last().is_none_or(|(_, before)| *before != targets) {
            self.0.push((first, targets));
        }
    }

    /// What an address stands for.
    pub(super) fn at(&self, address: B) -> TargetSet {
        let after = self.0.partition_point(|(first, _)| *first <= address);
        self.0[after - 1].1
    }

    /// The ranges with their answers; an address of `ports`, which are ascending, is a range of its own.
    fn answer(&self, ports: &[(B, Ports)], answers: &mut Answers) -> Vec<(B, u32)> {
        let mut answered = Vec::with_capacity(self.0.len() + 2 * ports.len());
        let mut ports = ports.iter().peekable();
        for (index, &(first, targets)) in self.0.iter().enumerate() {
            answered.push((first, answers.of(targets)));
            let end = self.0.get(index + 1).map(|(next, _)| *next);
            while let Some((address, its)) =
                ports.next_if(|(address, _)| end.is_none_or(|end| *address < end))
            {
                let _ = answered.pop_if(|(begun, _)| begun == address);
                answered.push((*address, answers.with_ports(targets, its)));
                if let Some(after) = address.next().filter(|after| Some(*after) != end) {
                    answered.push((after, answers.of(targets)));
                }
            }
        }
        answered
    }
}

/// Addresses of which not every port stands for the same.
type WithPorts<B> = Vec<(B, Ports)>;

/// The ports of one address that stand for something else than the address does, ascending.
type Ports = Vec<(u16, TargetSet)>;

/// The words that answers point at.
struct Answers {
    words: Vec<u64>,
    /// Where they come to lie.
    base: u32,
    known: HashMap<TargetSet, u32>,
}

impl Answers {
    fn of(&mut self, targets: TargetSet) -> u32 {
        if targets.is_empty() {
            return NOTHING;
        }
        if let Some(at) = self.known.get(&targets) {
            return *at;
        }
        let at = self.end();
        self.words.push(targets.0);
        self.known.insert(targets, at);
        at
    }

    fn with_ports(&mut self, targets: TargetSet, ports: &Ports) -> u32 {
        let at = self.end();
        self.words.extend([targets.0, ports.len() as u64]);
        self.words.extend(ports.iter().flat_map(|(port, targets)| [u64::from(*port), targets.0]));
        at | HAS_PORTS
    }

    fn end(&self) -> u32 {
        self.base + len(&self.words)
    }
}

/// The words of a generation. `endpoints` are ascending, each once.
#[allow(clippy::cast_possible_truncation, reason = "halves of addresses are taken by casting")]
pub(super) fn words(v4: &Ranges<u32>, v6: &Ranges<u128>, endpoints: &[(SocketAddr, TargetSet)]) -> Vec<u64> {
    let (v4_ports, v6_ports) = ports(endpoints);
    let mut answers = Answers { words: Vec::new(), base: V4_RANGES, known: HashMap::new() };
    let v4 = v4.answer(&v4_ports, &mut answers);
    let v6 = v6.answer(&v6_ports, &mut answers);

    let mut words = Vec::with_capacity(V4_RANGES as usize + answers.words.len() + v4.len() + 3 * v6.len());
    words.push(0);
    index_v4(&v4, answers.end(), &mut words);
    words.append(&mut answers.words);
    words.extend(v4.iter().map(|&(first, answer)| pack(answer, first)));
    words[V6_HEADER as usize] = pack(len(&words), len(&v6));
    words.extend(v6.iter().map(|(first, _)| (first >> 64) as u64));
    words.extend(v6.iter().map(|(first, _)| *first as u64));
    words.extend(v6.iter().map(|(_, answer)| u64::from(*answer)));
    words
}

/// By each first half of an address, which of the ranges that lie from `base` on to search.
fn index_v4(ranges: &[(u32, u32)], base: u32, words: &mut Vec<u64>) {
    let mut from = 0;
    for half in 0..V4_INDEX_WORDS {
        let begins_by = |bits: u32| move |range: &&(u32, u32)| range.0 <= bits;
        from += ranges[from..].iter().take_while(begins_by(half << 16)).count().saturating_sub(1);
        let within = ranges[from..].iter().take_while(begins_by(half << 16 | 0xffff)).count();
        words.push(pack(base + position(from), position(within)));
    }
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

fn len<T>(words: &[T]) -> u32 {
    position(words.len())
}

/// The config's limits keep all positions below [`HAS_PORTS`].
fn position(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}
