//! A text that outlives the daemon: kept in an array of pages and pinned beside the maps that it is
//! about. It is pinned when it is whole and never changed afterwards, so that there is all of it or
//! nothing, whenever the daemon dies.

use std::io;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_ARRAY;

/// Of a page.
const PAGE_BYTES: u32 = 4096;
const PAGE: usize = PAGE_BYTES as usize;
/// What is read back at most, in pages: 64 MiB, many times what 16,382 targets can fill.
const PAGES_MAX: u32 = 1 << 14;

/// Pins a text. It must not hold zeros, which mark its end.
///
/// # Errors
/// When something is pinned there already, or the kernel refuses.
pub(super) fn pin(path: &Path, name: &str, text: &str) -> Result<()> {
    let named = || format!("{}", path.display());
    let pages = text.as_bytes().chunks(PAGE);
    let count = u32::try_from(pages.len().max(1)).with_context(named)?;
    ensure!(count <= PAGES_MAX, "{}: {} bytes are too many", named(), text.len());
    let key_bytes = 4;
    let map = aya_obj::Map::new_from_params(BPF_MAP_TYPE_ARRAY as u32, key_bytes, PAGE_BYTES, count, 0);
    let map = MapData::create(map, name, None).with_context(named)?;
    let mut array: Array<MapData, [u8; PAGE]> = Map::Array(map).try_into().with_context(named)?;
    for (index, part) in (0..).zip(pages) {
        let mut page = [0; PAGE];
        page[..part.len()].copy_from_slice(part);
        array.set(index, page, 0).with_context(named)?;
    }
    array.pin(path).with_context(named)
}

/// The text pinned there; `None` when there is none.
///
/// # Errors
/// When what lies there is no such text.
pub(super) fn read(path: &Path) -> Result<Option<String>> {
    let named = || format!("{}", path.display());
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.with_context(named)?,
    };
    let map = Map::Array(MapData::from_pin(path).with_context(named)?);
    let array: Array<MapData, [u8; PAGE]> = map.try_into().with_context(named)?;
    ensure!(array.len() <= PAGES_MAX, "{}: {} pages are too many", named(), array.len());
    let mut bytes = Vec::new();
    for page in array.iter() {
        bytes.extend(page.with_context(named)?);
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    bytes.truncate(end);
    String::from_utf8(bytes).map(Some).with_context(named)
}
