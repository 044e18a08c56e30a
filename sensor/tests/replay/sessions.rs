//! What connections say, and what that makes of them: mining by any dialect, names in TLS and DNS,
//! addresses that were learned, and what is freed again.

use sensor::config::Config;
use sensor::replay::report::{Flow, Report};
use sensor::replay::watched::Watched;
use sensor::watchlists::Watchlists;

use super::captures::{ETHERNET, Pcap, SECOND_NS, START_NS};
use super::names::{answer, hello, query};
use super::packets::{Frame, connection, tcp, udp};
use super::{CLIENT, SERVER};

const CLIENT_V6: &str = "[2001:db8::1]:5000";
const SERVER_V6: &str = "[2001:db8:77::5]:3333";
const STAR_KP: &str = "175.45.176.9:3333";
const RESOLVER: &str = "192.0.2.53:53";
const ASKER: &str = "10.0.0.1:40000";

const LOGIN: &str = "{\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"login\",\"params\":{\"login\":\"44AFF\",\"pass\":\"x\",\
                     \"agent\":\"XMRig/6.26.0\",\"algo\":[\"rx/0\"]}}\n";
const JOB: &str = "{\"jsonrpc\":\"2.0\",\"method\":\"job\",\"params\":{\"blob\":\"0e0e5eed\",\"job_id\":\"29\",\
                   \"target\":\"b88d0600\"}}\n";
const GETWORK: &str = "POST / HTTP/1.1\r\nHost: pool.example\r\nUser-Agent: bfgminer/5.2.0\r\n\
                       X-Mining-Extensions: longpoll midstate\r\n\r\n";

const TEMPLATE_REQUEST: &str = "POST /json_rpc HTTP/1.1\r\nHost: node.example:18081\r\nUser-Agent: XMRig/6.26.0\r\n\r\n\
                                {\"id\":1,\"jsonrpc\":\"2.0\",\"method\":\"getblocktemplate\",\
                                \"params\":{\"wallet_address\":\"44AFF\"}}";

/// What a Monero daemon answers: longer than a sample.
fn template() -> String {
    let (hashed, template) = ("0e0e5eed".repeat(19), "5eed".repeat(300));
    format!(
        "HTTP/1.1 200 Ok\r\nServer: Epee-based\r\nContent-Length: 1500\r\nContent-Type: application/json\r\n\
         Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nAccept-Ranges: bytes\r\n\r\n{{\n  \"id\": 1,\n  \
         \"jsonrpc\": \"2.0\",\n  \"result\": {{\n    \"blockhashing_blob\": \"{hashed}\",\n    \
         \"blocktemplate_blob\": \"{template}\",\n    \"status\": \"OK\"\n  }}\n}}"
    )
}

/// Who speaks: the client, or the server.
#[derive(Clone, Copy)]
enum By {
    Client,
    Server,
}

/// A connection in which both sides say these, acknowledged and ended.
fn session(client: &str, server: &str, said: &[(By, &[u8])]) -> Vec<Frame> {
    let [to, fro] = [tcp(client, server), tcp(server, client)];
    let (mut ours, mut theirs) = (101_u32, 9_001_u32);
    let mut frames =
        vec![to.clone().syn(100), fro.clone().syn_ack(9_000, ours), to.clone().ack(ours, theirs)];
    for (by, data) in said {
        let length = u32::try_from(data.len()).unwrap();
        match by {
            By::Client => {
                frames.push(to.clone().ack(ours, theirs).data(data));
                ours += length;
            }
            By::Server => {
                frames.push(fro.clone().ack(theirs, ours).data(data));
                theirs += length;
            }
        }
    }
    frames.extend([to.fin(ours, theirs), fro.fin(theirs, ours + 1)]);
    frames
}

fn mining(client: &str, server: &str) -> Vec<Frame> {
    session(client, server, &[(By::Client, LOGIN.as_bytes()), (By::Server, JOB.as_bytes())])
}

fn capture(frames: &[Frame]) -> Vec<u8> {
    let timed = frames.iter().zip((START_NS..).step_by(1_000_000));
    timed.fold(Pcap::new(ETHERNET), |pcap, (frame, time_ns)| pcap.frame(time_ns, &frame.bytes())).bytes
}

/// Of a config like this one, with both built-in lists.
fn watched(config: &str) -> Watched {
    let config = Config::parse("test.toml".as_ref(), config.to_owned()).unwrap();
    Watched::new(&config, &Watchlists::load(&config).unwrap()).unwrap()
}

fn read<'a>(lists: &'a Watched, frames: &[Frame]) -> Report<'a> {
    let report = sensor::replay::replay(capture(frames).as_slice(), lists).unwrap();
    assert!(report.error.is_none(), "{:?}", report.error);
    report
}

/// Source, `watchlist/target`, signals, role, packets.
fn told(report: &Report) -> Vec<(String, String, String, &'static str, u64)> {
    let tell = |it: &Flow| {
        let target = format!("{}/{}", it.watchlist, it.target);
        (it.source.to_string(), target, it.signals.join(","), it.role, it.packets)
    };
    report.flows.iter().map(tell).collect()
}

fn flow(
    source: &str,
    target: &str,
    signals: &str,
    role: &'static str,
    packets: u64,
) -> (String, String, String, &'static str, u64) {
    (source.to_owned(), target.to_owned(), signals.to_owned(), role, packets)
}

/// With the words of a login over several segments.
fn in_pieces(client: &str, server: &str, at: usize) -> Vec<Frame> {
    let (one, other) = LOGIN.as_bytes().split_at(at);
    session(client, server, &[(By::Client, one), (By::Client, other)])
}

#[test]
fn mining_to_a_server_that_no_list_names_is_found_with_all_its_packets() {
    let lists = watched("");
    let tagged = |frames: Vec<Frame>| -> Vec<Frame> {
        frames.into_iter().map(|frame| frame.tagged(&[0x88a8, 0x8100])).collect()
    };
    let unlisted = |source, signal, packets| vec![flow(source, "mining/unlisted", signal, "miner", packets)];
    let pool_first = session(CLIENT, SERVER, &[(By::Server, JOB.as_bytes()), (By::Client, b"{}\n")]);
    let getwork = session(CLIENT, SERVER, &[(By::Client, GETWORK.as_bytes())]);
    let answer = template();
    let daemon = session(
        CLIENT,
        SERVER,
        &[(By::Client, TEMPLATE_REQUEST.as_bytes()), (By::Server, answer.as_bytes())],
    );
    let table = [
        ("a template of a daemon's", daemon, unlisted(CLIENT, "getwork", 7)),
        ("a login and a job", mining(CLIENT, SERVER), unlisted(CLIENT, "stratum", 7)),
        ("over IPv6", mining(CLIENT_V6, SERVER_V6), unlisted(CLIENT_V6, "stratum", 7)),
        ("behind two tags", tagged(mining(CLIENT, SERVER)), unlisted(CLIENT, "stratum", 7)),
        ("a login in two segments", in_pieces(CLIENT, SERVER, 50), unlisted(CLIENT, "stratum", 7)),
        ("the pool speaks first", pool_first, unlisted(CLIENT, "stratum", 7)),
        ("work over HTTP", getwork, unlisted(CLIENT, "getwork", 6)),
        ("joined in its middle", mining(CLIENT, SERVER).split_off(3), unlisted(CLIENT, "stratum", 4)),
        ("joined where the pool speaks", mining(CLIENT, SERVER).split_off(4), unlisted(SERVER, "stratum", 3)),
        ("the last packet tells", mining(CLIENT, SERVER)[..4].to_vec(), unlisted(CLIENT, "stratum", 4)),
        ("nothing is said", connection(CLIENT, SERVER, 1), vec![]),
    ];
    for (description, frames, expected) in table {
        let report = read(&lists, &frames);
        assert_eq!(told(&report), expected, "{description}");
        assert_eq!(report.summary.flows_matched, expected.len() as u64, "{description}");
    }
}

#[test]
fn wherever_a_login_is_cut_into_segments_it_is_found() {
    let lists = watched("");
    for at in 1..LOGIN.len() {
        let report = read(&lists, &in_pieces(CLIENT, SERVER, at));
        assert_eq!(told(&report), [flow(CLIENT, "mining/unlisted", "stratum", "miner", 7)], "at {at}");
    }
}

#[test]
fn what_a_miner_says_of_itself_is_told_and_its_account_is_not() {
    let lists = watched("");
    let report = read(&lists, &mining(CLIENT, SERVER));
    let [flow] = report.flows.as_slice() else { panic!("{:?}", report.flows) };
    assert_eq!((flow.agent.as_deref(), flow.coin.as_deref()), (Some("XMRig/6.26.0"), Some("rx/0")));
    assert_eq!((flow.established, flow.first_seen_ns), (true, START_NS));
    let json = serde_json::to_string(flow).unwrap();
    assert!(
        json.contains(r#""signals":["stratum"],"role":"miner","agent":"XMRig/6.26.0","coin":"rx/0""#),
        "{json}"
    );
    assert!(!json.contains("44AFF"), "{json}");
}

#[test]
fn who_serves_the_miner_that_it_connected_to_is_a_pool() {
    let lists = watched("");
    let frames = session(SERVER, CLIENT, &[(By::Server, LOGIN.as_bytes()), (By::Client, JOB.as_bytes())]);
    assert_eq!(told(&read(&lists, &frames)), [flow(SERVER, "mining/unlisted", "stratum", "pool", 7)]);
}

#[test]
fn mining_inside_a_watched_prefix_concerns_both_lists() {
    let lists = watched("");
    let report = read(&lists, &mining(CLIENT, STAR_KP));
    let mut objects = told(&report);
    objects.sort();
    let expected = [
        flow(CLIENT, "dprk/star-kp", "prefix,stratum", "miner", 7),
        flow(CLIENT, "mining/unlisted", "stratum", "miner", 7),
    ];
    assert_eq!(objects, expected);
    assert_eq!(report.summary.flows_matched, 1);
    let counted = |name: &str| {
        let target = report.summary.targets.iter().find(|it| it.target == name).unwrap();
        (target.packets["egress"]["tcp"], target.connections_joined)
    };
    assert_eq!(counted("star-kp"), (4, 0));
    assert_eq!(counted("unlisted"), (1, 1), "counted from when it was recognised");
}

#[test]
fn an_address_that_a_session_taught_is_known_from_then_on_with_its_port() {
    let lists = watched("");
    let frames = [
        mining(CLIENT, SERVER),
        connection("10.0.0.2:6000", SERVER, 1),
        connection("10.0.0.2:6001", "192.0.2.1:443", 1),
    ]
    .concat();
    let expected = [
        flow(CLIENT, "mining/unlisted", "stratum", "miner", 7),
        flow("10.0.0.2:6000", "mining/unlisted", "learned", "none", 7),
    ];
    assert_eq!(told(&read(&lists, &frames)), expected);
}

/// A client asks for a name and is given the server's address.
fn lookup(name: &str, ttl_s: u32) -> [Frame; 2] {
    let [to, fro] = [udp(ASKER, RESOLVER), udp(RESOLVER, ASKER)];
    [to.data(&query(7, name)), fro.data(&answer(7, name, ttl_s, "192.0.2.1"))]
}

#[test]
fn an_answer_for_a_pools_name_is_a_lookup_and_teaches_its_address() {
    let lists = watched("");
    let frames = [
        lookup("pool.supportxmr.com", 300).as_slice(),
        &connection(CLIENT, SERVER, 1),
        &mining("10.0.0.1:5001", SERVER),
    ]
    .concat();
    let report = read(&lists, &frames);
    let expected = [
        flow(CLIENT, "mining/supportxmr", "learned", "none", 7),
        flow("10.0.0.1:5001", "mining/supportxmr", "learned,stratum", "miner", 7),
    ];
    assert_eq!(told(&report), expected);
    let lookups: Vec<_> = report.lookups.iter().map(|it| serde_json::to_string(it).unwrap()).collect();
    let expected =
        r#"{"query":"pool.supportxmr.com","result":"address","watchlist":"mining","target":"supportxmr"}"#;
    assert_eq!(lookups, [expected]);
    assert_eq!(report.lookups[0].client.to_string(), ASKER);
}

#[test]
fn an_answer_that_nobody_asked_for_teaches_nothing() {
    let lists = watched("");
    let forged = lookup("pool.supportxmr.com", 300)[1].clone();
    let report = read(&lists, &[vec![forged], connection(CLIENT, SERVER, 1)].concat());
    assert!(report.flows.is_empty() && report.lookups.is_empty(), "{report:?}");
}

#[test]
fn what_was_learned_is_forgotten_by_the_captures_clock() {
    let lists = watched("");
    let mut pcap = Pcap::new(ETHERNET);
    for frame in lookup("pool.supportxmr.com", 60) {
        pcap = pcap.frame(START_NS, &frame.bytes());
    }
    for (at_s, port) in [(59, 5000), (61, 5001)] {
        let syn = tcp(&format!("10.0.0.1:{port}"), SERVER).syn(1);
        pcap = pcap.frame(START_NS + at_s * SECOND_NS, &syn.bytes());
    }
    let report = sensor::replay::replay(pcap.bytes.as_slice(), &lists).unwrap();
    assert_eq!(told(&report), [flow(CLIENT, "mining/supportxmr", "learned", "none", 1)]);
}

#[test]
fn two_servers_that_ask_each_other_from_port_to_port_are_told_apart_by_the_message() {
    let lists = watched("");
    let [to, fro] = [udp("10.0.0.1:53", RESOLVER), udp(RESOLVER, "10.0.0.1:53")];
    let name = "pool.supportxmr.com";
    let frames = [to.data(&query(7, name)), fro.data(&answer(7, name, 300, "192.0.2.1"))];
    let report = read(&lists, &frames);
    assert_eq!(report.lookups.len(), 1);
    assert_eq!(report.lookups[0].client.to_string(), "10.0.0.1:53");
}

#[test]
fn a_hello_that_names_a_pool_is_found_and_one_that_names_another_site_frees_what_was_learned() {
    let lists = watched("");
    let greeting = |client: &str, name: &str| session(client, SERVER, &[(By::Client, &hello(name))]);
    let report = read(&lists, &greeting(CLIENT, "pool.supportxmr.com"));
    assert_eq!(told(&report), [flow(CLIENT, "mining/supportxmr", "sni", "none", 6)]);
    assert_eq!(report.flows[0].server_name.as_deref(), Some("pool.supportxmr.com"));

    let frames = [
        lookup("pool.supportxmr.com", 300).as_slice(),
        &greeting("10.0.0.1:5001", "shop.example"),
        &greeting("10.0.0.1:5002", "moneroocean.stream"),
    ]
    .concat();
    let report = read(&lists, &frames);
    assert_eq!(told(&report), [flow("10.0.0.1:5002", "mining/moneroocean", "sni", "none", 6)]);
    assert_eq!(report.summary.flows_matched, 1);
}

#[test]
fn a_freed_flow_is_still_that_of_another_list() {
    let lists = watched("[[watchlist]]\nname = \"office\"\nprefixes = [\"192.0.2.0/24\"]\n");
    let freed = session(CLIENT, SERVER, &[(By::Client, &hello("shop.example"))]);
    let frames = [lookup("pool.supportxmr.com", 300).as_slice(), &freed].concat();
    let report = read(&lists, &frames);
    let of_client: Vec<_> = told(&report).into_iter().filter(|it| it.0 == CLIENT).collect();
    assert_eq!(of_client, [flow(CLIENT, "office/office", "prefix", "none", 6)]);
}

#[test]
fn the_next_connection_on_the_same_ports_is_judged_by_what_it_says_itself() {
    let lists = watched("");
    let again = [tcp(CLIENT, "192.0.2.1:443").syn(70_000), tcp("192.0.2.1:443", CLIENT).syn_ack(1, 70_001)];
    let first = session(CLIENT, "192.0.2.1:443", &[(By::Client, &hello("pool.supportxmr.com"))]);
    let report = read(&lists, &[first.as_slice(), &again].concat());
    assert_eq!(told(&report), [flow(CLIENT, "mining/supportxmr", "sni", "none", 6)]);
}

#[test]
fn what_is_switched_off_is_not_looked_at() {
    let said = [
        lookup("pool.supportxmr.com", 300).as_slice(),
        &session("10.0.0.3:1", "192.0.2.9:443", &[(By::Client, &hello("pool.supportxmr.com"))]),
        &mining("10.0.0.4:1", "192.0.2.10:3333"),
    ]
    .concat();
    let told = |inspect: &str| {
        let lists = watched(&format!("[inspect]\n{inspect}"));
        let report = read(&lists, &said);
        (report.lookups.len(), report.flows.iter().flat_map(|it| it.signals.clone()).collect::<Vec<_>>())
    };
    assert_eq!(told(""), (1, vec!["sni", "stratum"]));
    assert_eq!(told("dns = false\n"), (0, vec!["sni", "stratum"]));
    assert_eq!(told("tls = false\n"), (1, vec!["stratum"]));
    assert_eq!(told("mining = false\n"), (1, vec!["sni"]));
    assert_eq!(told("dns = false\ntls = false\nmining = false\n"), (0, vec![]));
}

#[test]
fn what_is_allowed_is_never_found() {
    let lists = watched("[allow]\nprefixes = [\"192.0.2.0/24\"]\n");
    let greeting = session("10.0.0.1:5001", SERVER, &[(By::Client, &hello("pool.supportxmr.com"))]);
    let report = read(&lists, &[mining(CLIENT, SERVER), greeting].concat());
    assert!(report.flows.is_empty(), "{:?}", report.flows);
}

#[test]
fn what_a_snap_length_left_of_a_message_can_be_enough() {
    let lists = watched("");
    let subscription =
        b"{\"id\":0,\"method\":\"mining.subscribe\",\"params\":[\"a very long name of a program\"]}\n";
    let frame = tcp(CLIENT, SERVER).ack(1, 1).data(subscription).bytes();
    let pcap = Pcap::new(ETHERNET).cut_frame(START_NS, &frame[..54 + 50], frame.len());
    let report = sensor::replay::replay(pcap.bytes.as_slice(), &lists).unwrap();
    assert_eq!(told(&report), [flow(CLIENT, "mining/unlisted", "stratum", "miner", 1)]);
    assert_eq!(report.flows[0].bytes, 40 + subscription.len() as u64);
}
