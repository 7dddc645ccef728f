//! The most memory that the data of a file may take: a small file may unpack to more than a machine
//! has.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::messages::mebibytes;

/// The share of the free memory that data may take, unless a limit is set: the program needs memory
/// for other copies and for training too.
const SHARE: u64 = 4;
/// The least limit, in bytes, however little memory is free.
const LEAST: u64 = 64 << 20;
/// The limit, in bytes, where the system does not report its free memory.
const WHERE_UNKNOWN: u64 = 1 << 30;

/// The limit in bytes; 0 until it is set or measured.
static LIMIT: AtomicU64 = AtomicU64::new(0);

/// Sets the most memory in bytes that the data of a file may take while they are read and prepared,
/// `max_memory` in messages.
pub fn set_limit(bytes: u64) {
    LIMIT.store(bytes.max(1), Ordering::Relaxed);
}

/// Returns the most memory in bytes that the data of a file may take: as set by [`set_limit`], or a
/// quarter of the memory that was free at the first call, at least 64 MiB.
pub fn limit() -> u64 {
    match LIMIT.load(Ordering::Relaxed) {
        0 => {
            let measured = available().map_or(WHERE_UNKNOWN, |free| (free / SHARE).max(LEAST));
            // Another thread may have set it meanwhile.
            let stored = LIMIT.compare_exchange(0, measured, Ordering::Relaxed, Ordering::Relaxed);
            stored.map_or_else(|set| set, |_| measured)
        }
        set => set,
    }
}

/// Bytes that the system can still allocate, within the limits of the process's control group;
/// `None` if the system does not report them.
pub(crate) fn available() -> Option<u64> {
    let mut system = sysinfo::System::new().ok()?;
    system.refresh_memory();
    let free = system.available_memory();
    let of_group = system.cgroup_limits().map(|limits| limits.free_memory);
    Some(of_group.map_or(free, |of_group| free.min(of_group)))
}

/// Data that would take more memory than they may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooMuchMemory {
    needed: u128,
    limit: u64,
}

impl fmt::Display for TooMuchMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let needed = u64::try_from(self.needed).unwrap_or(u64::MAX);
        write!(
            f,
            "unpacked and prepared, the data take {} of memory or more, and max_memory is {} (a \
             quarter of the free memory, unless it is set); increase max_memory, or use fewer data",
            mebibytes(needed),
            mebibytes(self.limit)
        )
    }
}

/// Checks data that need so many bytes of memory.
pub(crate) fn check(needed: u128) -> Result<(), TooMuchMemory> {
    let limit = limit();
    if needed > u128::from(limit) {
        return Err(TooMuchMemory { needed, limit });
    }
    Ok(())
}

/// Checks `values` that are kept in f64 and then in f32, as a network reads them.
pub(crate) fn check_values(values: u128) -> Result<(), TooMuchMemory> {
    check(values.saturating_mul(12))
}

/// Parses a number of bytes with an optional unit: `512MiB`, `2G`, `1.5 GiB`. The units are powers
/// of 1024.
///
/// # Errors
/// A sentence on a text of another form, and on 0.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let end = text.trim().find(|c: char| c.is_ascii_alphabetic());
    let (number, unit) = text.trim().split_at(end.unwrap_or(text.trim().len()));
    let unit = unit.to_ascii_lowercase();
    let unit = unit.trim_end_matches('b').trim_end_matches('i');
    let shift = ["", "k", "m", "g", "t"]
        .iter()
        .position(|name| *name == unit);
    let number: Option<f64> = number.trim().parse().ok();
    let bytes = shift
        .zip(number)
        .map(|(shift, number)| number * 1024f64.powi(shift as i32));
    // Conversion saturates, so a size beyond all memory is no limit.
    let bytes = bytes.filter(|bytes| bytes.is_finite() && *bytes >= 1.0);
    bytes
        .map(|bytes| bytes as u64)
        .ok_or_else(|| format!("`{text}` is no size; write a number with a unit, such as 4GiB"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in [
            ("1", 1),
            ("512MiB", 512 << 20),
            ("2G", 2 << 30),
            ("1.5 gib", 3 << 29),
            ("3kb", 3072),
            ("99999999999999999999", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in [
            "", "G", "0", "-1G", "nan", "inf", "4 apples", "1e30", "1.2.3M",
        ] {
            assert!(parse_bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_limit_is_measured_and_said() {
        assert!(limit() >= LEAST);
        check(1).expect("a byte is free");
        let problem = check(u128::MAX)
            .expect_err("no machine has that")
            .to_string();
        assert!(problem.contains("max_memory is "), "{problem}");
    }
}
