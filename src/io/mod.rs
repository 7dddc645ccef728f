//! Bounded reading and atomic writing of files.

pub mod disk;
pub mod files;
// WebAssembly has no disk. The tests are there for every target.
#[cfg(any(test, target_family = "wasm"))]
pub mod in_memory;
pub mod memory_limit;
pub mod tensorboard;

use flate2::Crc;

/// CRC-32 of the concatenated parts.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}
