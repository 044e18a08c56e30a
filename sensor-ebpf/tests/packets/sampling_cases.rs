//! Cases of payloads: what is worth a look, what goes on in the next segment, and when there is enough.
//!
//! tidy: long because they are one table.

use sensor_ebpf::abi::SampleKind::{Dns, Http, Json, Tls};
use sensor_ebpf::abi::Unsampled::{Budget, Stream, Unreadable};
use sensor_ebpf::headers::tcp_flag::SYN;

use super::build::Extension::{Destination, HopByHop};
use super::build::{Frame, from};
use super::samples::{SampleCase, answer, segment};
use super::{HOST, HOST_V6, OTHER, OTHER_V6, Runs, STAR};

pub const LOGIN: &[u8] = br#"{"id":1,"method":"mining.subscribe","params":["cgminer/4.10.0"]}
"#;
const REQUEST: &[u8] =
    b"POST / HTTP/1.1\r\nHost: pool.example\r\nContent-Length: 31\r\n\r\n{\"id\":0,\"method\":\"getwork\"}";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nX-Stratum: stratum+tcp://pool.example:3333\r\n\r\n";
/// Of the Ethernet, IPv4 and TCP headers.
const HEADERS: usize = 14 + 20 + 20;

/// A ClientHello of so many bytes, in one record.
pub fn hello(len: usize) -> Vec<u8> {
    let length = |less: usize| u16::try_from(len - less).expect("a record").to_be_bytes();
    let mut hello = vec![22, 3, 1];
    hello.extend(length(5));
    hello.extend([1, 0]);
    hello.extend(length(9));
    hello.resize(len, 9);
    hello
}

/// One in two records, of which the first is so long.
fn hello_in_records(first: u16, message: u16) -> Vec<u8> {
    let mut hello = [&[22, 3, 1][..], &first.to_be_bytes(), &[1, 0], &message.to_be_bytes()].concat();
    hello.resize(usize::from(first) + 5, 9);
    hello
}

/// Bytes of a payload, as sequence numbers count them.
fn len(bytes: &[u8]) -> u32 {
    number(bytes.len())
}

fn number(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a payload")
}

fn case(description: impl Into<String>) -> SampleCase {
    SampleCase::new(description)
}

pub fn all() -> Vec<SampleCase> {
    [lines(), split_everywhere(), web(), tls(), dns(), nothing(), bounds(), drops(), links()].concat()
}

fn lines() -> Vec<SampleCase> {
    let two = LOGIN.repeat(2);
    let long = [&[b'{'; 600][..], b"\n"].concat();
    vec![
        case("a whole line").says(1, LOGIN).taken(Json),
        case("a line from the other side").hears(1, LOGIN).taken(Json),
        case("two lines in one segment").says(1, &two).taken(Json),
        case("a line and half of one, and the rest of it")
            .says(1, &two[..LOGIN.len() + 9])
            .taken(Json)
            .says(1 + len(LOGIN) + 9, &two[LOGIN.len() + 9..])
            .taken(Json),
        case("a line without its end goes on with whatever follows")
            .says(1, b"{\"id\":1")
            .taken(Json)
            .says(8, b",\"method\":\"")
            .taken(Json)
            .says(19, b"login\"}\n")
            .taken(Json)
            .says(27, b"no more of it"),
        case("a line that is longer than a sample has no end that could be looked at")
            .says(1, &long)
            .taken(Json)
            .says(602, b"not its rest"),
        case("nor has one of which the rest is yet to come")
            .says(1, &[b'{'; 600])
            .taken(Json)
            .says(601, b"not its rest"),
        case("a line with a gap in it does not go on")
            .says(1, b"{\"id\":1")
            .taken(Json)
            .says(9, b"not its rest"),
        case("the other side's segment does not continue it")
            .says(1, b"{\"id\":1")
            .taken(Json)
            .hears(8, b"not its rest")
            .says(8, b"}\n")
            .taken(Json),
        case("both sides have their own line unfinished")
            .says(1, b"{\"id\":1")
            .taken(Json)
            .hears(100, b"{\"id\":")
            .taken(Json)
            .says(8, b"}\n")
            .taken(Json)
            .hears(106, b"1}\n")
            .taken(Json),
        case("sequence numbers that wrap around")
            .says(u32::MAX - 2, b"{\"id\":1")
            .taken(Json)
            .says(4, b",\"a\":0}\n")
            .taken(Json),
        case("a line continued to where the numbers begin anew")
            .says(u32::MAX - 6, b"{\"id\":1")
            .taken(Json)
            .says(0, b"}\n")
            .taken(Json),
        case("Duino-Coin's word").says(1, b"FROM,PC Miner,").taken(Json),
        case("JSON behind a blank, or seven")
            .says(1, b" {\"id\":1}\n")
            .taken(Json)
            .says(11, b"\r\n\t \n\n\n{}\n")
            .taken(Json),
        case("two words of JSON are shorter than what is looked at").says(1, b"{}\n").taken(Json),
        case("a SYN that carries data (RFC 7413), and what continues it")
            .sends(segment(0, b"{\"id\":1").tcp(SYN).numbered(1, 0))
            .taken_at(Json, 2)
            .says(9, b"}\n")
            .taken(Json),
        case("a line to a watched address says whose it is")
            .sends(from(HOST, STAR).ack(1, 1).data(LOGIN))
            .taken(Json),
    ]
}

/// In two segments, at each place there is.
fn split_everywhere() -> Vec<SampleCase> {
    let split = |what: &str, bytes: &[u8], kind, at: usize| {
        let first = case(format!("{what}, split behind byte {at}")).says(7, &bytes[..at]).taken(kind);
        first.says(7 + number(at), &bytes[at..])
    };
    let head = REQUEST.len() - 27;
    assert_eq!(REQUEST[head], b'{');
    let login = (1..LOGIN.len()).map(|at| split("a login", LOGIN, Json, at).taken(Json));
    // A body that begins a segment is looked at as what it is.
    let request = (1..REQUEST.len())
        .map(|at| split("a request", REQUEST, Http, at).taken(if at == head { Json } else { Http }));
    let response = (1..RESPONSE.len()).map(|at| split("a response", RESPONSE, Http, at).taken(Http));
    let hello = hello(300);
    let hello = (1..hello.len()).map(|at| split("a hello", &hello, Tls, at).taken(Tls)).collect::<Vec<_>>();
    login.chain(request).chain(response).chain(hello).collect()
}

fn web() -> Vec<SampleCase> {
    let end = len(REQUEST) - 26;
    vec![
        case("a GET").says(1, b"GET /work HTTP/1.1\r\n\r\n").taken(Http),
        case("a response from the other side").hears(1, RESPONSE).taken(Http),
        case("a header and its body in two segments")
            .says(1, &REQUEST[..end as usize - 1])
            .taken(Http)
            .says(end, &REQUEST[end as usize - 1..])
            .taken(Json),
        case("what follows a header that is complete is not its")
            .says(1, RESPONSE)
            .taken(Http)
            .says(1 + len(RESPONSE), b"<html>"),
        case("other methods are nobody's here").says(1, b"PUT / HTTP/1.1\r\n\r\n"),
        case("a word that begins like a method").says(1, b"POSTAGE due\r\n"),
    ]
}

fn tls() -> Vec<SampleCase> {
    let long = hello(1800);
    vec![
        case("a hello").says(1, &hello(517)).taken(Tls),
        case("a hello of somebody else to a server of ours").hears(1, &hello(517)),
        case("a hello of 1,800 bytes in two segments, and nothing after it")
            .says(1, &long[..1400])
            .taken(Tls)
            .says(1401, &long[1400..])
            .taken(Tls)
            .says(1801, b"application data"),
        case("a hello of 1,800 bytes in one aggregate")
            .sends(segment(1, &long).aggregate(2, 1400))
            .taken(Tls),
        case("a hello that goes on in another record")
            .says(1, &[&hello_in_records(200, 300)[..], &[22, 3, 1, 0, 104]].concat())
            .taken(Tls)
            .says(211, &[9; 104])
            .taken(Tls),
        case("a hello in a later version of records")
            .says(1, &[22, 3, 4, 0, 9, 1, 0, 0, 5, 3, 3, 0, 0, 0])
            .taken(Tls),
        case("another handshake message is no hello").says(1, &[22, 3, 3, 0, 80, 2, 0, 0, 76, 3, 3]),
        case("application data is no hello").says(1, &[23, 3, 3, 0, 80, 1, 0, 0, 76, 3, 3]),
        case("a hello of 16 KiB is continued up to 4 KiB")
            .says(0, &hello(16_000)[..1400])
            .taken(Tls)
            .says(1400, &[9; 1400])
            .taken(Tls)
            .says(2800, &[9; 1400])
            .taken(Tls)
            .says(4200, &[9; 1400])
            .taken(Tls)
            .says(5600, &[9; 1400]),
    ]
}

fn dns() -> Vec<SampleCase> {
    let message: &[u8] =
        b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04pool\x07example\x00\x00\x01\x00\x01";
    let query = || from(HOST, OTHER).ports(40_000, 53).data(message);
    let answered = || from(OTHER, HOST).ports(53, 40_000).data(message);
    vec![
        case("a query").sends(query()).taken(Dns),
        case("an answer").receives(answered()).taken(Dns),
        case("a query over TCP").sends(query().ack(1, 1)).taken(Dns),
        case("an answer over TCP").receives(answered().ack(1, 1)).taken(Dns),
        case("a miner's line at TCP port 53 is a line")
            .sends(query().data(b"{\"id\":1}\n").ack(1, 1))
            .taken(Json),
        case("over IPv6").sends(from(HOST_V6, OTHER_V6).ports(40_000, 53).data(message)).taken(Dns),
        case("as much as a sample holds of a long answer")
            .receives(answered().data(&[7; 3000]).aggregate(2, 1500))
            .taken(Dns),
        case("an acknowledgement to a server has no message").sends(query().data(b"").ack(1, 1)),
        case("a message of one byte is looked at all the same").sends(query().data(b"x")).taken(Dns),
        case("what others ask of this host is not")
            .receives(from(OTHER, HOST).ports(40_000, 53).data(message)),
        case("multicast DNS is another port's").sends(query().ports(5353, 5353)),
        case("every message of a connection")
            .sends(query().ack(1, 1))
            .taken(Dns)
            .sends(query().ack(2, 1))
            .taken(Dns)
            .sends(query().ack(3, 1))
            .taken(Dns)
            .sends(query().ack(4, 1))
            .taken(Dns)
            .sends(query().ack(5, 1))
            .taken(Dns)
            .sends(query().ack(6, 1))
            .taken(Dns)
            .sends(query().ack(7, 1))
            .taken(Dns)
            .sends(query().ack(8, 1))
            .taken(Dns)
            .sends(query().ack(9, 1))
            .taken(Dns),
    ]
}

fn nothing() -> Vec<SampleCase> {
    vec![
        case("no payload").sends(segment(1, b"")),
        case("words").says(1, b"220 mail.example ESMTP\r\n"),
        case("one byte that begins nothing").says(1, b"x"),
        case("eight blanks before the brace").says(1, b"        {\"id\":1}\n"),
        case("blanks alone, then words").says(1, b"\r\n").says(3, b"  words\n"),
        case("no blank, though no letter either").says(1, b"\x0b{\"id\":1}\n").says(20, b"\0{}\n"),
        case("a list of calls is no message of a miner").says(1, b"[{\"id\":1}]\n"),
        case("Monero's peers").says(1, b"\x01\x21\x01\x01\x01\x01\x01\x01"),
        case("64 bytes that look random").says(1, &[0x5e; 64]),
        case("JSON over UDP").sends(from(HOST, OTHER).data(LOGIN)),
        case("ICMP").sends(from(HOST, OTHER).protocol(1).data(LOGIN)),
        case("the inside of a packet that was cut to fragments").sends(segment(1, LOGIN).fragment(4, true)),
        case("the padding behind an empty segment").sends(segment(1, b"").padding(6)),
        case("a beginning whose rest is another word").says(1, b"HTTQ/1.1"),
    ]
}

fn bounds() -> Vec<SampleCase> {
    let piece = b"{\"id\":1";
    let at = |number: u32| number * len(LOGIN);
    let eight = |case: SampleCase| (0..8).fold(case, |case, number| case.says(at(number), LOGIN).taken(Json));
    vec![
        eight(case("eight samples of a side, and the ninth is counted"))
            .says(at(8), LOGIN)
            .dropped(Json, Stream),
        eight(case("the other side has eight of its own")).hears(1, LOGIN).taken(Json),
        eight(case("another kind has no more of them"))
            .says(at(8), RESPONSE)
            .dropped(Http, Stream)
            .says(at(9), b"no begin, and so not dropped"),
        eight(case("a new connection on the same ports has its own"))
            .sends(segment(0, b"").syn(5000))
            .says(5001, LOGIN)
            .taken(Json),
        eight(case("the answer to a SYN begins no new connection"))
            .receives(answer(0, b"").syn_ack(900, 1))
            .says(at(8), LOGIN)
            .dropped(Json, Stream),
        (1..5)
            .fold(case("a line goes on for four segments").says(0, piece).taken(Json), |case, number| {
                case.says(number * 7, b"\"a\":0,\"").taken(Json)
            })
            .says(35, b"\"a\":0}\n"),
        case("the eighth sample is continued as the others are")
            .says(1, LOGIN)
            .taken(Json)
            .says(2, LOGIN)
            .taken(Json)
            .says(3, LOGIN)
            .taken(Json)
            .says(4, LOGIN)
            .taken(Json)
            .says(5, LOGIN)
            .taken(Json)
            .says(6, LOGIN)
            .taken(Json)
            .says(7, LOGIN)
            .taken(Json)
            .says(8, piece)
            .taken(Json)
            .says(15, b"}\n")
            .taken(Json),
        case("a beginning that is sent again is taken again, and continued once")
            .says(1, piece)
            .taken(Json)
            .says(1, piece)
            .taken(Json)
            .says(8, b"}\n")
            .taken(Json)
            .says(8, b"}\n"),
        case("a continuation that begins like something else belongs to what it continues")
            .says(1, piece)
            .taken(Json)
            .says(8, RESPONSE)
            .taken(Json),
        case("a SYN ends what was not finished")
            .says(1, piece)
            .taken(Json)
            .sends(segment(0, b"").syn(7))
            .says(8, b"}\n"),
        case("a connection with other ports has nothing to do with it")
            .says(1, piece)
            .taken(Json)
            .sends(segment(8, b"}\n").ports(40_001, 3333)),
    ]
}

fn drops() -> Vec<SampleCase> {
    let piece = b"{\"id\":1";
    vec![
        case("a kind that nobody wants is neither taken nor counted")
            .budget(Json, 0)
            .says(1, LOGIN)
            .says(2, piece),
        case("another kind is taken all the same").budget(Json, 0).says(1, RESPONSE).taken(Http),
        case("what is over budget is counted")
            .budget(Json, 1)
            .says(1, LOGIN)
            .taken(Json)
            .says(2, LOGIN)
            .dropped(Json, Budget),
        case("each kind has its own budget")
            .budget(Json, 1)
            .says(1, LOGIN)
            .taken(Json)
            .says(2, RESPONSE)
            .taken(Http),
        case("a continuation that is over budget is counted, and closed")
            .budget(Json, 1)
            .says(1, piece)
            .taken(Json)
            .says(8, piece)
            .dropped(Json, Budget)
            .says(15, b"\"a\":0}\n"),
        case("a hello over budget").budget(Tls, 0).budget(Dns, 1).says(1, &hello(200)),
        case("queries over budget")
            .budget(Dns, 1)
            .sends(from(HOST, OTHER).ports(40_000, 53).data(&[7; 30]))
            .taken(Dns)
            .sends(from(HOST, OTHER).ports(40_000, 53).data(&[7; 30]))
            .dropped(Dns, Budget),
        case("of a frame that a snap length cut, what there is")
            .sends(segment(1, LOGIN).snapped(HEADERS + 20))
            .taken_of(Json, 20)
            .runs(Runs::OnTheHost),
        case("a frame that was cut before its eighth byte of payload says nothing")
            .sends(segment(1, LOGIN).snapped(HEADERS + 7))
            .runs(Runs::OnTheHost),
        case("a message of which nothing was captured could not be read")
            .sends(from(HOST, OTHER).ports(40_000, 53).data(&[7; 30]).snapped(14 + 20 + 8))
            .dropped(Dns, Unreadable)
            .runs(Runs::OnTheHost),
    ]
}

fn links() -> Vec<SampleCase> {
    let v6 = || from(HOST_V6, OTHER_V6).ports(40_000, 3333).ack(1, 1).data(LOGIN);
    let one = |description: &str, frame: Frame| case(description).sends(frame).taken(Json);
    vec![
        one("IPv6", v6()),
        one("IPv6 with extension headers", v6().extensions(&[HopByHop, Destination(2)])),
        one("IPv4 options", segment(1, LOGIN).options(10)),
        one("a VLAN", segment(1, LOGIN).tagged(&[0x8100])),
        one("QinQ", segment(1, LOGIN).tagged(&[0x88a8, 0x8100])),
        one("IPv6 in a VLAN", v6().tagged(&[0x8100])),
        one("without a link header", segment(1, LOGIN).raw()),
        one("IPv6 without a link header", v6().raw()),
        one("padding is not copied", segment(1, b"{}\n").padding(9)),
        case("an aggregate of lines is one sample of its beginning, and not continued")
            .sends(segment(1, &LOGIN.repeat(40)).aggregate(2, 1400))
            .taken(Json)
            .says(1 + 40 * len(LOGIN), b"no begin"),
    ]
}
