//! The settings that a run was computed with, in its directory: with the same device and driver it
//! is resumed with them, and so with the same bits.

use std::path::Path;

use super::directory::TUNING;
use crate::backend::OpenDevice;
use crate::io::files;

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 14;

/// Returns the lines of the file: the device and its driver, then its settings. `None` for the CPU,
/// whose settings change no bits.
pub(super) fn lines(device: &OpenDevice) -> Option<Vec<String>> {
    let mut lines = vec![first_line(device)?];
    lines.extend(device.tuning().settings());
    Some(lines)
}

/// Returns the settings that a run directory records for this device; `None` where it records none,
/// or those of another device or driver.
pub fn recorded_settings(path: &Path, device: &OpenDevice) -> Option<Vec<String>> {
    let text = files::read_text(&path.join(TUNING), LARGEST).ok()?;
    let (first, settings) = text.split_once('\n')?;
    let is_same = first_line(device)? == first;
    is_same.then(|| settings.lines().map(str::to_string).collect())
}

fn first_line(device: &OpenDevice) -> Option<String> {
    let adapter = device.adapter()?;
    let text = format!("# {} {} {}", adapter.name, adapter.backend, adapter.driver);
    Some(text.replace(['\n', '\r'], " "))
}
