//! Many entries of a map in one system call, which aya 0.14 leaves out: `BPF_MAP_LOOKUP_BATCH`,
//! since kernel 5.6 for hash tables (commit 057996380a42) and arrays (cb4d03ab499d), since 5.13
//! for per-CPU arrays (f008d732ab18).
//!
//! Reading 65,536 flows takes 24 ms so, and 154 ms entry by entry (`cargo xtask bench --only lists`).
//! Writing needs no batches: tables are filled through memory.
//!
//! Only reading, and only what the daemon reads in bulk. A kernel that refuses is no error: the
//! answer is `None`, and the caller reads entry by entry.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use anyhow::{Context, Result, ensure};
use aya::Pod;
use aya::maps::{HashMap, IterableMap, MapData, PerCpuArray};
use aya::util::nr_cpus;
use aya_obj::generated::{bpf_attr, bpf_attr__bindgen_ty_3, bpf_cmd};

/// What one call may bring: enough to make the calls few, little enough to be reused cache.
const CALL_BYTES: usize = 1 << 18;

/// `ENOTSUPP`, which only the kernel knows (include/linux/errno.h): no batches of this map type.
const NOT_SUPPORTED: i32 = 524;

/// The entries of a hash table, `limit` at most; `None`: this kernel reads no batches of them.
/// An entry that stays in the table meanwhile is there once, whatever else comes and goes.
pub(super) fn entries<K: Pod, V: Pod>(
    map: &HashMap<MapData, K, V>,
    limit: usize,
) -> Result<Option<Vec<(K, V)>>> {
    let mut entries = Vec::new();
    // Also where fewer are wanted: a bucket comes whole or not at all.
    let most = (CALL_BYTES / size_of::<(K, V)>()).max(1);
    let read = read(map.map(), 1, most, limit, |keys: &[K], values: &[V]| {
        entries.extend(keys.iter().copied().zip(values.iter().copied()));
    })?;
    entries.truncate(limit);
    Ok(read.then_some(entries))
}

/// The first `count` entries of an array, each CPU's values folded into one; `None`: this kernel
/// reads no batches of them.
pub(super) fn folded<V: Pod, T>(
    map: &PerCpuArray<MapData, V>,
    count: usize,
    fold: impl Fn(&[V]) -> T,
) -> Result<Option<Vec<T>>> {
    // The kernel pads each CPU's value to eight bytes.
    const { assert!(size_of::<V>().is_multiple_of(8)) };
    let cpus = nr_cpus().map_err(|(file, error)| io::Error::new(error.kind(), format!("{file}: {error}")))?;
    let mut folded = Vec::with_capacity(count);
    let most = (CALL_BYTES / (cpus * size_of::<V>())).clamp(1, count.max(1));
    let read = read(map.map(), cpus, most, count, |_: &[u32], values: &[V]| {
        folded.extend(values.chunks_exact(cpus).map(&fold));
    })?;
    folded.truncate(count);
    Ok(read.then_some(folded))
}

/// Walks a map, `most` keys a call and `per_key` values each, until its end or until `limit` keys
/// or a few more were read. `false`: refused, and nothing was read.
///
/// The sizes of `K` and `V` are the map's: aya compared them when it made the typed map, and there
/// is no other caller than those above.
fn read<K: Pod, V: Pod>(
    map: &MapData,
    per_key: usize,
    mut most: usize,
    limit: usize,
    mut take: impl FnMut(&[K], &[V]),
) -> Result<bool> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let (mut place, mut walked) = (None, 0);
    while walked < limit {
        match lookup_batch(map.fd().as_fd(), &mut place, most, per_key, (&mut keys, &mut values)) {
            Ok(end) => {
                take(&keys, &values);
                walked += keys.len();
                match end {
                    End::Reached => break,
                    End::Ahead => ensure!(!keys.is_empty(), "BPF_MAP_LOOKUP_BATCH: no entry, and no end"),
                }
            }
            // The next bucket holds more than that.
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) && most < limit => {
                most = most.saturating_mul(2).min(limit);
            }
            Err(error) if walked == 0 && is_refusal(&error) => return Ok(false),
            Err(error) => return Err(error).context("BPF_MAP_LOOKUP_BATCH"),
        }
    }
    Ok(true)
}

/// Does the kernel not know the command, or not for this type of map?
fn is_refusal(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINVAL | NOT_SUPPORTED))
}

/// Where a batch left the walk.
enum End {
    Ahead,
    Reached,
}

/// One system call: up to `most` keys, `per_key` values each, into the vectors, from `place` on
/// (`None`: the beginning), which moves on. `place` has the kernel's four bytes: the next bucket
/// of a hash table, the last index of an array.
fn lookup_batch<K: Pod, V: Pod>(
    map: BorrowedFd<'_>,
    place: &mut Option<u32>,
    most: usize,
    per_key: usize,
    (keys, values): (&mut Vec<K>, &mut Vec<V>),
) -> io::Result<End> {
    keys.clear();
    values.clear();
    keys.reserve_exact(most);
    values.reserve_exact(most * per_key);
    let mut next = 0_u32;
    let batch = bpf_attr__bindgen_ty_3 {
        in_batch: place.as_ref().map_or(0, |place| std::ptr::from_ref(place).expose_provenance() as u64),
        out_batch: (&raw mut next).expose_provenance() as u64,
        keys: keys.as_mut_ptr().expose_provenance() as u64,
        values: values.as_mut_ptr().expose_provenance() as u64,
        count: u32::try_from(most).unwrap_or(u32::MAX),
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: a union of integers, of which all zeros is a value; what is not named must be zero.
    let mut request: bpf_attr = unsafe { std::mem::zeroed() };
    request.batch = batch;
    let command = bpf_cmd::BPF_MAP_LOOKUP_BATCH as u32;
    // SAFETY: the pointers are those of `place`, of `next` and of the vectors' room for `count`
    // keys and as many times `per_key` values, all of which outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut request, size_of::<bpf_attr>()) };
    let error = (done < 0).then(io::Error::last_os_error);
    let end = match error {
        None => End::Ahead,
        // The last of them come with this error.
        Some(error) if error.raw_os_error() == Some(libc::ENOENT) => End::Reached,
        Some(error) => return Err(error),
    };
    // SAFETY: the kernel put the number of keys that it wrote where it read how many to write.
    let count = unsafe { request.batch.count } as usize;
    assert!(count <= most, "the kernel wrote {count} entries where {most} have room");
    // SAFETY: as many are written, within the room reserved; `Pod`: whatever was written is a value.
    unsafe {
        keys.set_len(count);
        values.set_len(count * per_key);
    }
    *place = Some(next);
    Ok(end)
}
