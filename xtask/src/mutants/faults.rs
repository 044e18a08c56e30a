//! The faults that the tests of the classifier must notice, one a line of thought.
//!
//! `find` is copied from the source, long enough to stand there once. A fault must compile; it is
//! to be a mistake one could make, not nonsense. How they are tried is in `mutants.rs`.

use super::Fault;

const ABI: &str = "sensor-ebpf/src/abi.rs";
const CLASSIFY: &str = "sensor-ebpf/src/classify.rs";
const COUNT: &str = "sensor-ebpf/src/count.rs";
const FLOW: &str = "sensor-ebpf/src/flow.rs";
const HEADERS: &str = "sensor-ebpf/src/headers.rs";
const RANGES: &str = "sensor-ebpf/src/ranges.rs";
const SAMPLE: &str = "sensor-ebpf/src/sample.rs";
const TRANSPORT: &str = "sensor-ebpf/src/headers/transport.rs";

pub(super) const FAULTS: &[Fault] = &[
    Fault {
        breaks: "the IP header is looked for two bytes too far",
        file: HEADERS,
        find: "network(packet, u16::from_be(ethertype), 14)",
        replace: "network(packet, u16::from_be(ethertype), 16)",
    },
    Fault {
        breaks: "directions are swapped",
        file: CLASSIFY,
        find: "Direction::Egress => (headers.destination, headers.source)",
        replace: "Direction::Egress => (headers.source, headers.destination)",
    },
    Fault {
        breaks: "the second tag of QinQ is lost",
        file: HEADERS,
        find: "const VLAN_TAGS_MAX: usize = 2;",
        replace: "const VLAN_TAGS_MAX: usize = 1;",
    },
    Fault {
        breaks: "the old type of QinQ is forgotten",
        file: HEADERS,
        find: "ETHERTYPE_VLAN | ETHERTYPE_QINQ | ETHERTYPE_QINQ_OLD)",
        replace: "ETHERTYPE_VLAN | ETHERTYPE_QINQ)",
    },
    Fault {
        breaks: "lengths are one byte too long",
        file: HEADERS,
        find: "if field == 0 { present } else { field + uncounted }",
        replace: "if field == 0 { present } else { field + uncounted + 1 }",
    },
    Fault {
        breaks: "a packet as long as it says is refused",
        file: HEADERS,
        find: "bytes < header_len || bytes > present",
        replace: "bytes < header_len || bytes >= present",
    },
    Fault {
        breaks: "a later fragment passes for a first one",
        file: HEADERS,
        find: "fragment_offset != 0, more_fragments",
        replace: "fragment_offset > 1, more_fragments",
    },
    Fault {
        breaks: "extension headers are one unit too short",
        file: HEADERS,
        find: "(u32::from(length) + 1) * 8",
        replace: "u32::from(length).max(1) * 8",
    },
    Fault {
        breaks: "one extension header too few is followed",
        file: HEADERS,
        find: "const EXTENSIONS_MAX: usize = 6;",
        replace: "const EXTENSIONS_MAX: usize = 5;",
    },
    Fault {
        breaks: "the last segment of an aggregate is not counted",
        file: HEADERS,
        find: "self.payload_len.div_ceil(aggregate.segment_size)",
        replace: "self.payload_len / aggregate.segment_size",
    },
    Fault {
        breaks: "TCP options may lie beyond the packet",
        file: TRANSPORT,
        find: "header_len < TCP_LEN || offset + header_len > end",
        replace: "header_len < TCP_LEN",
    },
    Fault {
        breaks: "ports are swapped",
        file: TRANSPORT,
        find: "source: (ports >> 16) as u16, destination: ports as u16",
        replace: "source: ports as u16, destination: (ports >> 16) as u16",
    },
    Fault {
        breaks: "what was learned of an address beats an endpoint on it",
        file: CLASSIFY,
        find: "if listed.is_endpoint {",
        replace: "if listed.is_endpoint && flow.is_none() {",
    },
    Fault {
        breaks: "what a connection said itself is not asked for",
        file: CLASSIFY,
        find: "if let Some(found) = tables.judged(&flow) {",
        replace: "if let Some(found) = tables.judged(&flow).filter(|_| flow.remote_port == 0) {",
    },
    Fault {
        breaks: "a search gives up before the last level",
        file: RANGES,
        find: "if level >= levels {",
        replace: "if level + 1 >= levels {",
    },
    Fault {
        breaks: "a range begins behind its first address",
        file: RANGES,
        find: "let behind = u64::from(key) + 1;",
        replace: "let behind = u64::from(key);",
    },
    Fault {
        breaks: "the last word of an IPv6 address is not looked at",
        file: RANGES,
        find: "for word in others {",
        replace: "for word in [others[0], others[1]] {",
    },
    Fault {
        breaks: "an endpoint counts on the ports that it does not name",
        file: RANGES,
        find: "if of_port != NOTHING {",
        replace: "if of_port == NOTHING {",
    },
    Fault {
        breaks: "a retransmitted SYN is another attempt",
        file: FLOW,
        find: "return !again || silence_ns > TCP_SILENCE_NS;",
        replace: "return again || silence_ns > TCP_SILENCE_NS;",
    },
    Fault {
        breaks: "any acknowledgement answers a SYN",
        file: FLOW,
        find: "distance != 0 && distance < 1 << 31",
        replace: "distance < 1 << 31",
    },
    Fault {
        breaks: "a crossing SYN is a connection of its own",
        file: FLOW,
        find: "!crossing || silence_ns > TCP_SILENCE_NS",
        replace: "crossing || silence_ns <= TCP_SILENCE_NS",
    },
    Fault {
        breaks: "backscatter opens a connection",
        file: FLOW,
        find: "seen.segment.flags & (SYN | RST | ACK) == ACK",
        replace: "seen.segment.flags & ACK == ACK",
    },
    Fault {
        breaks: "a UDP flow ends a second early",
        file: FLOW,
        find: "UDP_SILENCE_NS: u64 = 60 *",
        replace: "UDP_SILENCE_NS: u64 = 59 *",
    },
    Fault {
        breaks: "two CPUs count one milestone twice",
        file: COUNT,
        find: "Inserted::Exists => return nothing,",
        replace: "Inserted::Exists => {}",
    },
    Fault {
        breaks: "only the first of several targets counts",
        file: ABI,
        find: "pub const TARGETS_PER_PACKET: usize = 4;",
        replace: "pub const TARGETS_PER_PACKET: usize = 1;",
    },
    Fault {
        breaks: "slots of another numbering are taken for these",
        file: ABI,
        find: "(self.0 ^ other.0) & (!INDEX & 0xffff) as u64 == 0",
        replace: "(self.0 ^ other.0) & (!INDEX & 0xffff) as u64 != u64::MAX",
    },
    Fault {
        breaks: "what could not be counted is not noted",
        file: COUNT,
        find: "own.uncounted[reason as usize & 3] += 1;",
        replace: "own.uncounted[reason as usize & 3] += 0;",
    },
    Fault {
        breaks: "a line is continued once too often",
        file: SAMPLE,
        find: "const SEGMENTS_MAX: u8 = 4;",
        replace: "const SEGMENTS_MAX: u8 = 5;",
    },
    Fault {
        breaks: "a SYN's own number is its payload's",
        file: SAMPLE,
        find: "let opens = u32::from(seen.segment.flags & SYN != 0);",
        replace: "let opens = 0;",
    },
    Fault {
        breaks: "a new connection on the same ports is the old one",
        file: SAMPLE,
        find: "*stream = NEW;",
        replace: "let _ = &mut stream;",
    },
    Fault {
        breaks: "any segment of the side continues what is open",
        file: SAMPLE,
        find: "if stream.wanted[side] > 0 && stream.next[side] == seen.sequence {",
        replace: "if stream.wanted[side] > 0 {",
    },
    Fault {
        breaks: "a continuation takes a sample of its own",
        file: SAMPLE,
        find: "if !continues && taken {",
        replace: "if taken {",
    },
    Fault {
        breaks: "what the ninth sample would have been is not counted",
        file: SAMPLE,
        find: "return drop_sample(kind, Unsampled::Stream, sampler);",
        replace: "return;",
    },
    Fault {
        breaks: "a header without its end is complete",
        file: SAMPLE,
        find: "SampleKind::Http => last == EMPTY_LINE",
        replace: "SampleKind::Http => last != EMPTY_LINE",
    },
    Fault {
        breaks: "a text longer than its sample goes on",
        file: SAMPLE,
        find: "if seen.payload_len > SAMPLE_TEXT_MAX as u32 {",
        replace: "if false {",
    },
    Fault {
        breaks: "what others ask of this host's port 53 is DNS",
        file: SAMPLE,
        find: "} else if key.remote_port == DNS_PORT {",
        replace: "} else if key.remote_port == DNS_PORT || key.local_port == DNS_PORT {",
    },
    Fault {
        breaks: "whatever is said at TCP port 53 is DNS",
        file: SAMPLE,
        find: "let is_dns = key.remote_port == DNS_PORT && begun == Candidate::CONTINUES;",
        replace: "let is_dns = key.remote_port == DNS_PORT;",
    },
    Fault {
        breaks: "a hello ends with its first record",
        file: SAMPLE,
        find: "let whole = if record > message { record } else { message };",
        replace: "let whole = record; let _ = message;",
    },
    Fault {
        breaks: "a short payload is compared with what is not there",
        file: SAMPLE,
        find: "let present = u64::MAX >> (64 - 8 * len.clamp(1, 8));",
        replace: "let present = u64::MAX; let _ = len;",
    },
];
