//! Entries of pinned maps as bytes: for maps whose layout is known only when they are found, which aya's
//! typed maps cannot open. Only reading.

use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;

use anyhow::{Context, Result, bail};
use aya::maps::{MapData, MapInfo, MapType};
use aya::util::nr_cpus;
use aya_obj::generated::{bpf_attr, bpf_attr__bindgen_ty_2, bpf_attr__bindgen_ty_2__bindgen_ty_1, bpf_cmd};

/// A pinned map.
pub(super) struct Entries {
    map: MapData,
    info: MapInfo,
    /// Values of an entry: one, or one a CPU, each in as many bytes.
    values: usize,
    value_bytes: usize,
}

impl Entries {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let named = || format!("{}", path.display());
        let map = MapData::from_pin(path).with_context(named)?;
        let info = map.info().with_context(named)?;
        let len = info.value_size() as usize;
        let (values, value_bytes) = match info.map_type().with_context(named)? {
            // The kernel pads each CPU's value to eight bytes.
            MapType::PerCpuArray => {
                let cpus = nr_cpus()
                    .map_err(|(file, error)| io::Error::new(error.kind(), format!("{file}: {error}")))?;
                (cpus, len.next_multiple_of(8))
            }
            MapType::Array | MapType::LruHash | MapType::Hash => (1, len),
            other => bail!("{}: not a map with entries to read: {other:?}", named()),
        };
        Ok(Self { map, info, values, value_bytes })
    }

    /// Entries that fit into it; of an array, those that there are.
    pub(super) fn capacity(&self) -> u32 {
        self.info.max_entries()
    }

    /// The entry at `index` of an array: one value, or one a CPU.
    pub(super) fn at(&self, index: u32) -> Result<Vec<Vec<u8>>> {
        let found = self.lookup(&index.to_ne_bytes())?;
        found.with_context(|| format!("entry {index} is not there"))
    }

    /// Keys of a hash table. Others may go on writing: what is evicted meanwhile may be missed, and what
    /// comes may come twice.
    pub(super) fn keys(&self) -> Result<Vec<Vec<u8>>> {
        let mut keys: Vec<Vec<u8>> = Vec::new();
        // Where the walk stands at an entry that is evicted it begins anew; that must have an end.
        for _ in 0..2 * u64::from(self.capacity()) {
            let Some(next) = self.next_key(keys.last().map(Vec::as_slice))? else { break };
            keys.push(next);
        }
        Ok(keys)
    }

    /// Its keys and values, likewise.
    pub(super) fn all(&self) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        let mut entries = Vec::new();
        for key in self.keys()? {
            if let Some(value) = self.lookup(&key)?.and_then(|mut values| values.pop()) {
                entries.push((key, value));
            }
        }
        Ok(entries)
    }

    fn lookup(&self, key: &[u8]) -> Result<Option<Vec<Vec<u8>>>> {
        let mut bytes = vec![0; self.values * self.value_bytes];
        let found = self.ask(bpf_cmd::BPF_MAP_LOOKUP_ELEM, Some(key), &mut bytes)?;
        Ok(found.then(|| bytes.chunks(self.value_bytes).map(<[u8]>::to_vec).collect()))
    }

    fn next_key(&self, key: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let mut next = vec![0; self.info.key_size() as usize];
        let found = self.ask(bpf_cmd::BPF_MAP_GET_NEXT_KEY, key, &mut next)?;
        Ok(found.then_some(next))
    }

    /// One system call; `false`: there is no such entry. `answer` must be as long as what the kernel
    /// writes: the values of an entry, or a key.
    fn ask(&self, command: bpf_cmd, key: Option<&[u8]>, answer: &mut [u8]) -> Result<bool> {
        let element = bpf_attr__bindgen_ty_2 {
            map_fd: self.map.fd().as_fd().as_raw_fd().cast_unsigned(),
            key: key.map_or(0, |key| key.as_ptr().expose_provenance() as u64),
            __bindgen_anon_1: bpf_attr__bindgen_ty_2__bindgen_ty_1 {
                value: answer.as_mut_ptr().expose_provenance() as u64,
            },
            flags: 0,
        };
        // SAFETY: a union of integers, of which all zeros is a value; what is not named must be zero.
        let mut request: bpf_attr = unsafe { std::mem::zeroed() };
        request.__bindgen_anon_2 = element;
        let (command, len) = (command as u32, size_of::<bpf_attr>());
        // SAFETY: the key is as long as the map's keys, since it is an index or came from the map; so long
        // is the answer for what this command writes. Both outlive the call.
        let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, len) };
        if done == 0 {
            return Ok(true);
        }
        match io::Error::last_os_error() {
            error if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
            error => Err(error).context("reading a map"),
        }
    }
}
