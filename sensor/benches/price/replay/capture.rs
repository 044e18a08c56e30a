//! One long capture of many short ones: their Ethernet frames one file after the other, again and
//! again, with time going on. Written as pcap, which every reader understands.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sensor::replay::capture::Capture;
use sensor_ebpf::headers::Link;

/// Between the end of one capture and the beginning of the next: what one begins is over then.
const PAUSE_NS: u64 = 120 * 1_000_000_000;
/// Between two packets that do not say when they came.
const STEP_NS: u64 = 1_000;
/// When the first packet came: any day will do.
const BEGUN_S: u64 = 1_700_000_000;
/// Directories inside directories.
const DEPTH_MAX: usize = 4;

/// A frame, and when it came after the one before it.
pub struct Packet {
    pub after_ns: u64,
    pub original_len: u32,
    pub bytes: Vec<u8>,
}

/// All Ethernet frames of all captures below a directory, in the order of their paths.
pub fn of_directory(directory: &Path) -> Result<Vec<Packet>> {
    let mut files = Vec::new();
    list(directory, DEPTH_MAX, &mut files)?;
    files.sort();
    let mut packets = Vec::new();
    for file in &files {
        read(file, &mut packets)?;
    }
    ensure!(!packets.is_empty(), "no Ethernet frame in any .pcap or .pcapng below {}", directory.display());
    Ok(packets)
}

fn list(directory: &Path, depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("{}", directory.display()))? {
        let path = entry?.path();
        if path.is_dir() && depth > 0 {
            list(&path, depth - 1, files)?;
        } else if path.extension().is_some_and(|extension| extension == "pcap" || extension == "pcapng") {
            files.push(path);
        }
    }
    Ok(())
}

/// A capture that is cut short or damaged serves as far as it goes.
fn read(file: &Path, packets: &mut Vec<Packet>) -> Result<()> {
    let opened = File::open(file).with_context(|| format!("{}", file.display()))?;
    let mut capture = Capture::new(BufReader::new(opened)).with_context(|| format!("{}", file.display()))?;
    let mut before_ns = None;
    while let Ok(Some(frame)) = capture.next_frame() {
        if frame.link != Some(Link::Ethernet) {
            continue;
        }
        let after_ns = match (before_ns, frame.time_ns) {
            (None, _) => PAUSE_NS,
            // Time may step back within a capture, and years ahead; not in ours.
            (Some(before_ns), Some(time_ns)) => time_ns.saturating_sub(before_ns).min(PAUSE_NS),
            (Some(_), None) => STEP_NS,
        };
        before_ns = frame.time_ns.max(before_ns).or(Some(0));
        let (original_len, bytes) = (frame.original_len, frame.bytes.to_vec());
        packets.push(Packet { after_ns, original_len, bytes });
    }
    Ok(())
}

/// Writes them, and again from the first one on, until there are `count`. Layout:
/// <https://www.ietf.org/archive/id/draft-ietf-opsawg-pcap-04.html>.
pub fn write(path: &Path, packets: &[Packet], count: usize) -> Result<()> {
    const MAGIC_MICROSECONDS: u32 = 0xa1b2_c3d4;
    const VERSION: u32 = 2 | 4 << 16;
    const SNAP_LEN: u32 = 262_144;
    const ETHERNET: u32 = 1;

    let named = || format!("{}", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(named)?);
    let words = |file: &mut BufWriter<File>, words: &[u32]| {
        words.iter().try_for_each(|word| file.write_all(&word.to_le_bytes()))
    };
    words(&mut file, &[MAGIC_MICROSECONDS, VERSION, 0, 0, SNAP_LEN, ETHERNET]).with_context(named)?;
    let mut now_ns = BEGUN_S * 1_000_000_000;
    for packet in packets.iter().cycle().take(count) {
        now_ns += packet.after_ns;
        let (seconds, rest_ns) = (now_ns / 1_000_000_000, now_ns % 1_000_000_000);
        let captured = u32::try_from(packet.bytes.len())?;
        let [seconds, microseconds] = [u32::try_from(seconds)?, u32::try_from(rest_ns / 1_000)?];
        words(&mut file, &[seconds, microseconds, captured, packet.original_len.max(captured)])
            .and_then(|()| file.write_all(&packet.bytes))
            .with_context(named)?;
    }
    file.flush().with_context(named)
}
