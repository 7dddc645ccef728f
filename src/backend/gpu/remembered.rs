//! The tuning that `gatescan tune-device` has measured for an adapter and its driver, in a file.
//!
//! A file that is unreadable, or of another driver or version of gatescan, is ignored: settings are
//! measured for one compiler and for one version of the kernels.

use std::fs;
use std::path::{Path, PathBuf};

use super::pipeline_cache::directory;
use crate::backend::adapter::AdapterSummary;
use crate::error::{Error, Result};
use crate::io::files;

/// Environment variable for the directory of the files; empty or 0 disables them.
pub const VARIABLE: &str = "GATESCAN_TUNING";

/// The largest file that is read, in bytes.
const LARGEST: u64 = 1 << 14;

const FIRST_LINE: &str = "# Measured by `gatescan tune-device`; `--forget` removes this file.";

/// Returns the settings that are remembered for an adapter, as `Tuning::set` reads them.
pub fn read(adapter: &AdapterSummary) -> Option<Vec<String>> {
    read_from(&path(adapter)?, adapter)
}

/// Remembers settings for an adapter and returns the file.
///
/// # Errors
/// [`Error::Usage`] where the user has disabled the files or the system has no directory for them;
/// [`Error::File`] where the file cannot be written.
pub fn write(adapter: &AdapterSummary, settings: &[String]) -> Result<PathBuf> {
    let path = path(adapter).ok_or_else(|| {
        Error::usage(format!(
            "there is no directory for the tuning of devices; set {VARIABLE} to one"
        ))
    })?;
    let text = lines(adapter).into_iter().chain(settings.to_vec());
    let text = text.collect::<Vec<_>>().join("\n") + "\n";
    let stored = (path.parent().map_or(Ok(()), fs::create_dir_all))
        .and_then(|()| crate::io::disk::write_whole(&path, text.as_bytes()));
    stored.map_err(|error| Error::file(&path, format!("cannot be written: {error}")))?;
    Ok(path)
}

/// Forgets the settings of an adapter, and returns the file that was removed.
///
/// # Errors
/// [`Error::File`] where it cannot be removed.
pub fn forget(adapter: &AdapterSummary) -> Result<Option<PathBuf>> {
    let Some(path) = path(adapter).filter(|path| path.exists()) else {
        return Ok(None);
    };
    let removed = fs::remove_file(&path);
    removed.map_err(|error| Error::file(&path, format!("cannot be removed: {error}")))?;
    Ok(Some(path))
}

fn path(adapter: &AdapterSummary) -> Option<PathBuf> {
    let directory = directory(VARIABLE, &|name| std::env::var_os(name).map(PathBuf::from))?;
    Some(directory.join(file_name(adapter)))
}

fn file_name(adapter: &AdapterSummary) -> String {
    let letter = |letter: char| match letter {
        'a'..='z' | 'A'..='Z' | '0'..='9' => letter.to_ascii_lowercase(),
        _ => '-',
    };
    let name: String = adapter.name.chars().take(60).map(letter).collect();
    format!("tuning-{name}-{}.txt", adapter.backend.to_lowercase())
}

/// The lines before the settings: what they were measured for.
fn lines(adapter: &AdapterSummary) -> Vec<String> {
    // A line break in a driver's text would begin a setting.
    let line = |name: &str, text: &str| format!("# {name} {}", text.replace(['\n', '\r'], " "));
    vec![
        FIRST_LINE.to_string(),
        line("adapter", &adapter.name),
        line("api", &adapter.backend),
        line("driver", &adapter.driver),
        line("gatescan", env!("CARGO_PKG_VERSION")),
    ]
}

fn read_from(path: &Path, adapter: &AdapterSummary) -> Option<Vec<String>> {
    let text = files::read_text(path, LARGEST).ok()?;
    let (comments, settings): (Vec<&str>, Vec<&str>) = (text.lines())
        .filter(|line| !line.trim().is_empty())
        .partition(|line| line.starts_with('#'));
    let is_same = comments == lines(adapter);
    is_same.then(|| settings.into_iter().map(str::to_string).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::adapter::AdapterKind;

    #[test]
    fn settings_are_those_of_one_adapter_driver_and_version() {
        let adapter = AdapterSummary::example(0, AdapterKind::Discrete, "Arc A770 (TM) / x");
        let name = file_name(&adapter);
        assert_eq!(name, "tuning-arc-a770--tm----x-vulkan.txt");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        assert_eq!(read_from(&path, &adapter), None);
        let mut text = lines(&adapter).join("\n") + "\n";
        text += "scan_lanes=2\n\nworkgroups=64\n";
        fs::write(&path, &text).unwrap();
        let settings = read_from(&path, &adapter).unwrap();
        assert_eq!(settings, ["scan_lanes=2", "workgroups=64"]);
        let mut updated = adapter.clone();
        updated.driver = "test 2.0".into();
        assert_eq!(read_from(&path, &updated), None);
        fs::write(&path, text.replace(env!("CARGO_PKG_VERSION"), "0.0.0")).unwrap();
        assert_eq!(read_from(&path, &adapter), None);
    }
}
