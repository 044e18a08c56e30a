//! What libFuzzer calls. The entries themselves are shared with sensor/tests/hostile_bytes.rs, which
//! runs them as bounded property tests.

pub mod entries;
#[path = "../../../sensor-ebpf/tests/packets/mod.rs"]
mod packets;
mod seeds;

/// Writes an entry's seeds into the directory that `POOLWATCH_FUZZ_SEEDS` names, if it does.
pub fn write_seeds(name: &str) {
    let Some(directory) = std::env::var_os("POOLWATCH_FUZZ_SEEDS") else { return };
    let directory = std::path::PathBuf::from(directory);
    std::fs::create_dir_all(&directory).expect("the seeds' directory can be made");
    let entry = entries::ALL.iter().find(|entry| entry.name == name).expect("an entry");
    for (number, seed) in (entry.seeds)().iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{number}")), seed).expect("a seed can be written");
    }
}
