//! pcap files as editcap writes them: microseconds, in this machine's byte order, which is little-endian
//! wherever the sensor runs. For captures that are changed on the way; everything else reads them by
//! tools of others.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};

const MAGIC: u32 = 0xa1b2_c3d4;
const HEADER_BYTES: usize = 24;
const RECORD_HEADER_BYTES: usize = 16;
const LINK_TYPE_AT: usize = 20;
const SNAP_LENGTH_AT: usize = 16;

pub(super) struct Pcap {
    header: Vec<u8>,
    pub(super) link_type: u32,
    pub(super) records: Vec<Record>,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Seconds and microseconds.
    pub(super) time: [u32; 2],
    /// On the link, in bytes.
    pub(super) length: u32,
    pub(super) bytes: Vec<u8>,
}

impl Pcap {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&bytes).with_context(|| format!("{} is no pcap file of this machine", path.display()))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (header, mut rest) = bytes.split_at_checked(HEADER_BYTES)?;
        if word(header, 0)? != MAGIC {
            return None;
        }
        let mut records = Vec::new();
        while !rest.is_empty() {
            let (head, behind) = rest.split_at_checked(RECORD_HEADER_BYTES)?;
            let (bytes, behind) = behind.split_at_checked(usize::try_from(word(head, 8)?).ok()?)?;
            let time = [word(head, 0)?, word(head, 4)?];
            records.push(Record { time, length: word(head, 12)?, bytes: bytes.to_vec() });
            rest = behind;
        }
        Some(Self { header: header.to_vec(), link_type: word(header, LINK_TYPE_AT)?, records })
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header.clone();
        // What is put in may be longer than anything that was captured.
        bytes[SNAP_LENGTH_AT..SNAP_LENGTH_AT + 4].copy_from_slice(&0x0004_0000_u32.to_le_bytes());
        for record in &self.records {
            let captured = u32::try_from(record.bytes.len()).unwrap_or(0);
            for word in [record.time[0], record.time[1], captured, record.length] {
                bytes.extend(word.to_le_bytes());
            }
            bytes.extend(&record.bytes);
        }
        bytes
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_is_written_again() {
        let mut header = MAGIC.to_le_bytes().to_vec();
        header.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 101, 0, 0, 0]);
        header[SNAP_LENGTH_AT..SNAP_LENGTH_AT + 4].copy_from_slice(&[0, 0, 4, 0]);
        let records = vec![
            Record { time: [1, 2], length: 9, bytes: vec![7; 3] },
            Record { time: [3, 4], length: 0, bytes: Vec::new() },
        ];
        let pcap = Pcap { header, link_type: 101, records: records.clone() };
        let again = Pcap::parse(&pcap.bytes()).unwrap();
        assert_eq!((again.link_type, again.records), (101, records));
        assert!(Pcap::parse(&pcap.bytes()[..30]).is_none());
        assert!(Pcap::parse(b"\x0a\x0d\x0d\x0a").is_none());
    }
}
