//! Cases of connections: what opens one, what establishes it, what is only a shadow of one.

use sensor_ebpf::abi::Side::{Local, Remote};
use sensor_ebpf::abi::Transport::{Tcp, Udp};
use sensor_ebpf::headers::tcp_flag::{FIN, SYN};

use super::build::{Frame, from};
use super::cases::case;
use super::{
    ALONE_SLOT, BOTH, Case, Expected, HOST, HOST_V6, STAR, STAR_SLOT, Step, V6_SLOT, WATCHED_V6, inn,
    nothing, out,
};

const PSH_URG_FIN: u8 = 0x29;

fn request() -> Frame {
    from(HOST, STAR)
}

fn answer() -> Frame {
    from(STAR, HOST).ports(3333, 40_000)
}

/// A connection from here, with initial sequence number 100, answered with 900.
fn handshake() -> Vec<Step> {
    vec![out(request().syn(100)), inn(answer().syn_ack(900, 101)), out(request().ack(101, 901))]
}

/// Each TCP packet of these cases is 40 bytes long.
fn exchanged(sent: u64, received: u64) -> Expected {
    nothing().sent(Tcp, sent, 40 * sent).received(Tcp, received, 40 * received)
}

#[allow(clippy::too_many_lines, reason = "a table")]
pub fn tcp() -> Vec<Case> {
    let tcp_case = |description, steps, totals: Expected| case(description, steps, 1, &[(STAR_SLOT, totals)]);
    let no_flow = |description, steps, totals: Expected| case(description, steps, 0, &[(STAR_SLOT, totals)]);
    let joined = |steps: &[Step], more: &[Step]| [steps, more].concat();
    vec![
        tcp_case(
            "a SYN is an attempt",
            vec![out(request().syn(100))],
            exchanged(1, 0).connections(Local, Tcp, 1),
        ),
        tcp_case(
            "a completed handshake is an established connection",
            handshake(),
            exchanged(2, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "a completed handshake from the other side",
            vec![inn(answer().syn(100)), out(request().syn_ack(900, 101)), inn(answer().ack(101, 901))],
            exchanged(1, 2).connections(Remote, Tcp, 1).established(Remote, Tcp, 1),
        ),
        tcp_case(
            "it is established once, whatever follows",
            joined(
                &handshake(),
                &[inn(answer().ack(901, 101)), out(request().ack(101, 901)), inn(answer().syn_ack(900, 101))],
            ),
            exchanged(3, 3).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "data in place of the last ACK completes the handshake",
            vec![out(request().syn(100)), inn(answer().syn_ack(900, 101)), out(request().fin(101, 901))],
            exchanged(2, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "a SYN-ACK without the last ACK is not established",
            vec![out(request().syn(100)), inn(answer().syn_ack(900, 101))],
            exchanged(1, 1).connections(Local, Tcp, 1),
        ),
        tcp_case(
            "a SYN-ACK that acknowledges something else is no answer",
            vec![out(request().syn(100)), inn(answer().syn_ack(900, 100)), out(request().ack(101, 901))],
            exchanged(2, 1).connections(Local, Tcp, 1),
        ),
        tcp_case(
            "a retransmitted SYN is the same attempt",
            vec![
                out(request().syn(100)),
                Step::Wait(64),
                out(request().syn(100)),
                inn(answer().syn_ack(900, 101)),
                out(request().ack(101, 901)),
            ],
            exchanged(3, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "the same SYN after five minutes of silence is another attempt",
            vec![out(request().syn(100)), Step::Wait(301), out(request().syn(100))],
            exchanged(2, 0).connections(Local, Tcp, 2),
        ),
        tcp_case(
            "a reset is no answer",
            vec![out(request().syn(100)), inn(answer().rst(0, 101)), out(request().ack(101, 1))],
            exchanged(2, 1).connections(Local, Tcp, 1),
        ),
        tcp_case(
            "simultaneous open is one connection, the first SYN's",
            vec![
                out(request().syn(100)),
                inn(answer().syn(900)),
                out(request().syn_ack(100, 901)),
                inn(answer().syn_ack(900, 101)),
            ],
            exchanged(2, 2).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "ports used again after a close are a new connection",
            joined(
                &handshake(),
                &[
                    &[
                        out(request().fin(101, 901)),
                        inn(answer().fin(901, 102)),
                        out(request().ack(102, 902)),
                    ][..],
                    &[
                        out(request().syn(5000)),
                        inn(answer().syn_ack(7000, 5001)),
                        out(request().ack(5001, 7001)),
                    ],
                ]
                .concat(),
            ),
            exchanged(6, 3).connections(Local, Tcp, 2).established(Local, Tcp, 2),
        ),
        tcp_case(
            "ports used again after a reset, from the other side",
            vec![
                out(request().syn(100)),
                inn(answer().rst(0, 101)),
                inn(answer().syn(900)),
                out(request().syn_ack(300, 901)),
                inn(answer().ack(901, 301)),
            ],
            exchanged(2, 3)
                .connections(Local, Tcp, 1)
                .connections(Remote, Tcp, 1)
                .established(Remote, Tcp, 1),
        ),
        tcp_case(
            "a SYN with another number within a connection is another attempt",
            joined(&handshake(), &[out(request().syn(5000))]),
            exchanged(3, 1).connections(Local, Tcp, 2).established(Local, Tcp, 1),
        ),
        tcp_case(
            "what the old connection left behind does not establish the new one",
            joined(
                &handshake(),
                &[out(request().syn(5000)), inn(answer().ack(901, 101)), out(request().ack(101, 901))],
            ),
            exchanged(4, 2).connections(Local, Tcp, 2).established(Local, Tcp, 1),
        ),
        tcp_case(
            "sequence numbers wrap",
            vec![out(request().syn(u32::MAX)), inn(answer().syn_ack(u32::MAX, 0)), out(request().ack(0, 0))],
            exchanged(2, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1),
        ),
        tcp_case(
            "a connection seen in its middle is joined, once, whoever spoke",
            vec![inn(answer().ack(901, 101)), out(request().ack(101, 901)), inn(answer().ack(901, 101))],
            exchanged(1, 2).joined(1),
        ),
        tcp_case(
            "its end is still its middle",
            vec![out(request().fin(101, 901)), inn(answer().fin(901, 102)), out(request().ack(102, 902))],
            exchanged(2, 1).joined(1),
        ),
        tcp_case(
            "a joined connection's ports used again have an initiator",
            vec![out(request().ack(101, 901)), out(request().syn(5000))],
            exchanged(2, 0).joined(1).connections(Local, Tcp, 1),
        ),
        no_flow("a lone SYN-ACK is backscatter", vec![inn(answer().syn_ack(900, 101))], exchanged(0, 1)),
        no_flow("a lone reset is backscatter", vec![inn(answer().rst(0, 101))], exchanged(0, 1)),
        no_flow("a segment without any flag opens nothing", vec![inn(answer().tcp(0))], exchanged(0, 1)),
        no_flow("a Christmas tree opens nothing", vec![inn(answer().tcp(PSH_URG_FIN))], exchanged(0, 1)),
        no_flow(
            "SYN with FIN is a scan that opens nothing",
            vec![inn(answer().tcp(SYN | FIN))],
            exchanged(0, 1),
        ),
        tcp_case(
            "another connection to the same address is another connection",
            vec![out(request().syn(100))],
            exchanged(1, 0).connections(Local, Tcp, 1),
        ),
        case(
            "two connections from two ports",
            vec![out(request().syn(100)), out(request().ports(40_001, 3333).syn(100))],
            2,
            &[(STAR_SLOT, exchanged(2, 0).connections(Local, Tcp, 2))],
        ),
        case(
            "TCP and UDP on the same ports are two flows",
            vec![out(request().syn(100)), out(request().udp())],
            2,
            &[(
                STAR_SLOT,
                exchanged(1, 0).sent(Udp, 1, 28).connections(Local, Tcp, 1).connections(Local, Udp, 1),
            )],
        ),
        case(
            "a connection counts for each watchlist",
            vec![
                out(from(HOST, BOTH).syn(1)),
                inn(from(BOTH, HOST).ports(3333, 40_000).syn_ack(9, 2)),
                out(from(HOST, BOTH).ack(2, 10)),
            ],
            1,
            &[
                (STAR_SLOT, exchanged(2, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1)),
                (ALONE_SLOT, exchanged(2, 1).connections(Local, Tcp, 1).established(Local, Tcp, 1)),
            ],
        ),
        case(
            "a connection over IPv6",
            vec![
                out(from(HOST_V6, WATCHED_V6).syn(1)),
                inn(from(WATCHED_V6, HOST_V6).ports(3333, 40_000).syn_ack(9, 2)),
                out(from(HOST_V6, WATCHED_V6).ack(2, 10)),
            ],
            1,
            &[(
                V6_SLOT,
                nothing()
                    .sent(Tcp, 2, 120)
                    .received(Tcp, 1, 60)
                    .connections(Local, Tcp, 1)
                    .established(Local, Tcp, 1),
            )],
        ),
    ]
}

pub fn udp() -> Vec<Case> {
    let exchanged = |sent: u64, received: u64| {
        nothing().sent(Udp, sent, 28 * sent).received(Udp, received, 28 * received)
    };
    let udp_case = |description, steps, totals: Expected| case(description, steps, 1, &[(STAR_SLOT, totals)]);
    vec![
        udp_case(
            "datagrams one way are one connection, not established",
            vec![out(request()), out(request()), out(request())],
            exchanged(3, 0).connections(Local, Udp, 1),
        ),
        udp_case(
            "an answer establishes it, once",
            vec![out(request()), inn(answer()), out(request()), inn(answer())],
            exchanged(2, 2).connections(Local, Udp, 1).established(Local, Udp, 1),
        ),
        udp_case(
            "who sends first is the initiator",
            vec![inn(answer()), out(request())],
            exchanged(1, 1).connections(Remote, Udp, 1).established(Remote, Udp, 1),
        ),
        udp_case(
            "sixty seconds of silence do not end a flow yet",
            vec![out(request()), Step::Wait(59), out(request())],
            exchanged(2, 0).connections(Local, Udp, 1),
        ),
        udp_case(
            "more than sixty do, and the next one may have another initiator",
            vec![out(request()), inn(answer()), Step::Wait(61), inn(answer()), out(request())],
            exchanged(2, 2)
                .connections(Local, Udp, 1)
                .established(Local, Udp, 1)
                .connections(Remote, Udp, 1)
                .established(Remote, Udp, 1),
        ),
    ]
}
