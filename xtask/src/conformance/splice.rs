//! Captures in which nothing is mining, with mining sessions between their packets: so that finding
//! nothing in them proves something. Copies are made; each gets sessions of every dialect, on ports of
//! their own: plain, behind a VLAN tag, over IPv6, from their middle on, and between the ends of the
//! capture's own first packet, which may be a tunnel's.

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{
    Bench, Capture,
    dialects::{Dialect, dialects},
    frames::{conversation, framed},
    labels::{self, Ends, Flows, Said},
    packets::Packet,
    pcap::{Pcap, Record},
    replayed::{Replayed, replay},
    table::{self, Row, Verdict, verdict},
};
use crate::cargo;

/// How a session is put in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Tagged,
    SixthVersion,
    Middle,
    /// Between these.
    Beside([IpAddr; 2]),
}

impl Way {
    fn ends(self) -> [IpAddr; 2] {
        match self {
            Self::Plain | Self::Tagged | Self::Middle => [[198, 51, 100, 7].into(), [203, 0, 113, 9].into()],
            Self::SixthVersion => [0x07, 0x09].map(|last| [0x2001, 0xdb8, 0, 0, 0, 0, 0, last].into()),
            Self::Beside(ends) => ends,
        }
    }
}

struct Session {
    what: String,
    ends: Ends,
    signal: &'static str,
    frames: Vec<Vec<u8>>,
}

/// A copy, and what was put into it.
struct Spliced {
    path: PathBuf,
    name: String,
    sessions: Vec<Session>,
    /// Why there is no copy.
    left: Option<String>,
}

/// Prints the table, and returns how many copies differ. `others`: captures without mining.
pub(super) fn compare(bench: &Bench, others: &[&(&Capture, Vec<Packet>)]) -> Result<usize> {
    let place = bench.place.join("spliced");
    fs::create_dir_all(&place).with_context(|| format!("cannot create {}", place.display()))?;
    let all = others
        .iter()
        .map(|(capture, packets)| splice(capture, packets, &place))
        .collect::<Result<Vec<_>>>()?;
    let files: Vec<&Path> = all.iter().filter(|it| it.left.is_none()).map(|it| it.path.as_path()).collect();
    let replayed = replay(&bench.sensor, &bench.defaults()?, &files)?;
    let by_file: BTreeMap<&Path, &Replayed> = files.into_iter().zip(&replayed).collect();
    let rows = all
        .iter()
        .map(|spliced| row(spliced, by_file.get(spliced.path.as_path()).copied()))
        .collect::<Result<Vec<_>>>()?;
    Ok(table::print("Mining sessions between a capture's packets", &["sessions", "found"], &rows))
}

fn splice(capture: &Capture, packets: &[Packet], place: &Path) -> Result<Spliced> {
    let name = capture.name.clone();
    let path = place.join(format!("{}.pcap", name.replace('/', "__")));
    let left = |why: String| Spliced {
        path: path.clone(),
        name: name.clone(),
        sessions: Vec::new(),
        left: Some(why),
    };
    // Whatever it is written in, and cut short where it is damaged.
    let mut command = Command::new("editcap");
    command.args(["-F", "pcap"]).arg(&capture.path).arg(&path);
    let output = cargo::collect(&mut command)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Ok(left(format!("editcap: {}", said.lines().next().unwrap_or("says nothing"))));
    }
    let mut pcap = Pcap::read(&path)?;
    let sessions = sessions(pcap.link_type, packets);
    if sessions.is_empty() {
        return Ok(left(format!("sessions cannot be framed for link type {}", pcap.link_type)));
    }
    insert(&mut pcap.records, &sessions);
    pcap.write(&path)?;
    Ok(Spliced { path, name, sessions, left: None })
}

/// Each dialect in each way that the link has.
fn sessions(link_type: u32, packets: &[Packet]) -> Vec<Session> {
    let mut ways = vec![Way::Plain, Way::Tagged, Way::SixthVersion, Way::Middle];
    let own = packets.iter().find_map(|packet| packet.ip.as_ref());
    ways.extend(own.map(|ip| Way::Beside([ip.source, ip.destination])));
    let mut sessions = Vec::new();
    for dialect in dialects() {
        for way in &ways {
            let number = u16::try_from(sessions.len()).unwrap_or(0);
            sessions.extend(session(&dialect, *way, number, link_type));
        }
    }
    sessions
}

fn session(dialect: &Dialect, way: Way, number: u16, link_type: u32) -> Option<Session> {
    const MINERS: u16 = 61_000;
    const POOLS: u16 = 21_000;
    let [miner, pool] = way.ends();
    let (miner, pool) = (SocketAddr::new(miner, MINERS + number), SocketAddr::new(pool, POOLS + number));
    let said = if way == Way::Middle { dialect.middle()? } else { dialect.whole() };
    let frames = conversation(miner, pool, &said, way != Way::Middle)
        .iter()
        .map(|packet| framed(link_type, way == Way::Tagged, packet))
        .collect::<Option<Vec<_>>>()?;
    let mut ends = [miner, pool];
    ends.sort_unstable();
    Some(Session { what: format!("{} {way:?}", dialect.name), ends, signal: dialect.signal, frames })
}

/// Spreads each session's frames over the whole capture. A frame has the time of the one before it.
fn insert(records: &mut Vec<Record>, sessions: &[Session]) {
    let own = std::mem::take(records);
    let mut places: Vec<(usize, &Vec<u8>)> = Vec::new();
    for session in sessions {
        let gaps = session.frames.len() + 1;
        places.extend(session.frames.iter().zip(1..).map(|(frame, at)| (at * own.len() / gaps, frame)));
    }
    places.sort_by_key(|(at, _)| *at);
    let mut places = places.into_iter().peekable();
    let mut time = own.first().map_or([0; 2], |record| record.time);
    for (at, record) in own.into_iter().map(Some).chain([None]).enumerate() {
        while let Some((_, frame)) = places.next_if(|(place, _)| *place <= at) {
            records.push(Record {
                time,
                length: u32::try_from(frame.len()).unwrap_or(0),
                bytes: frame.clone(),
            });
        }
        if let Some(record) = record {
            time = record.time;
            records.push(record);
        }
    }
}

fn row(spliced: &Spliced, replayed: Option<&Replayed>) -> Result<Row> {
    let name = spliced.name.clone();
    let Some(replayed) = replayed else {
        let why = spliced.left.clone().unwrap_or_default();
        return Ok(Row { cells: Vec::new(), verdict: Verdict::Left(why), name });
    };
    if let Some(error) = &replayed.error {
        bail!("{}: {error}", spliced.path.display());
    }
    let mut differences = Vec::new();
    let mut flows: Flows = labels::found(replayed)?;
    let mut right = 0;
    for session in &spliced.sessions {
        let packets = replayed.flows.iter().find(|flow| is_between(flow, session.ends));
        let packets = packets.and_then(|flow| flow["packets"].as_u64());
        match flows.remove(&session.ends) {
            Some(Said { signals, role })
                if signals.contains(session.signal)
                    && role == "miner"
                    && packets == Some(session.frames.len() as u64) =>
            {
                right += 1;
            }
            said => differences.push(format!("{} {:?}: {said:?}, {packets:?}", session.what, session.ends)),
        }
    }
    for (ends, said) in flows.iter().filter(|(_, said)| said.is_by_payload()) {
        differences.push(format!("{ends:?} says nothing of the kind: {said:?}"));
    }
    let cells = vec![spliced.sessions.len().to_string(), right.to_string()];
    Ok(Row { cells, verdict: verdict(differences), name })
}

fn is_between(flow: &serde_json::Value, ends: Ends) -> bool {
    let end = |key: &str| flow[key].as_str().and_then(|end| end.parse::<SocketAddr>().ok());
    [end("source"), end("destination")].iter().all(|end| end.is_some_and(|end| ends.contains(&end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(second: u32) -> Record {
        Record { time: [second, 0], length: 1, bytes: vec![0] }
    }

    #[test]
    fn a_session_is_spread_over_the_capture_in_its_order() {
        let mut records: Vec<Record> = (0..9).map(record).collect();
        let frames = vec![vec![1], vec![2], vec![3]];
        let session = Session {
            what: String::new(),
            ends: ["10.0.0.1:1".parse().unwrap(), "10.0.0.2:2".parse().unwrap()],
            signal: "stratum",
            frames,
        };
        insert(&mut records, &[session]);
        let bytes: Vec<u8> = records.iter().map(|record| record.bytes[0]).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0, 0]);
        assert!(records.is_sorted_by_key(|record| record.time));
    }

    #[test]
    fn each_dialect_goes_in_each_way_and_no_two_sessions_share_their_ends() {
        let ethernet = sessions(1, &[]);
        assert_eq!(ethernet.len(), 4 * dialects().len() - 1, "nothing in Duino-Coin's middle tells");
        let mut ends: Vec<Ends> = ethernet.iter().map(|session| session.ends).collect();
        ends.sort_unstable();
        ends.dedup();
        assert_eq!(ends.len(), ethernet.len());
        assert_eq!(sessions(101, &[]).len(), 3 * dialects().len() - 1, "no tag without Ethernet");
        assert!(sessions(105, &[]).is_empty());
    }
}
