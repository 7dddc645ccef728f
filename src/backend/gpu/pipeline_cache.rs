//! Compiled pipelines kept on disk, where the API hands them out (Vulkan), so that the next run need not compile them.
//!
//! No run depends on it: a file that cannot be read, is damaged or is another driver's is left aside, and one that cannot be
//! written is not.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

/// The directory of the files, in place of the user's cache directory; empty or 0 for none.
const VARIABLE: &str = "GATESCAN_PIPELINE_CACHE";

/// Bytes beyond which a file is begun anew: nothing that was ever compiled leaves it.
const LARGEST: u64 = 64 << 20;

/// A device's pipelines on disk.
#[derive(Debug, Clone)]
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    path: PathBuf,
    /// What the file holds.
    kept: Arc<Mutex<Vec<u8>>>,
}

impl PipelineCache {
    /// Reads what earlier runs have left; `None` where the device has no such cache or the user wants none.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        let has = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let name = wgpu::util::pipeline_cache_key(adapter).filter(|_| has)?;
        let path = directory(&|name| std::env::var_os(name).map(PathBuf::from))?.join(name);
        let kept = read(&path).unwrap_or_default();
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: Some(kept.as_slice()).filter(|kept| !kept.is_empty()),
            fallback: true,
        };
        // SAFETY: `write` below stored what `get_data` returned, and the file's checksum says that it is still that. wgpu and
        // the driver leave aside what another adapter or another version of theirs has made.
        #[allow(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(PipelineCache {
            cache,
            path,
            kept: Arc::new(Mutex::new(kept)),
        })
    }

    /// Writes what has been compiled, if that is more than the file holds.
    pub(super) fn save(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.cache.get_data().filter(|data| *data != *kept);
        // The next run compiles again what cannot be kept.
        if let Some(data) = data
            && write(&self.path, &data).is_ok()
        {
            *kept = data;
        }
    }
}

/// Where the files lie: what the user says, else the platform's directory for caches.
fn directory(variable: &dyn Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    if let Some(chosen) = variable(VARIABLE) {
        let none = chosen.as_os_str().is_empty() || chosen.as_os_str() == "0";
        return (!none).then_some(chosen);
    }
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let caches = match cfg!(windows) {
        true => absolute("LOCALAPPDATA"),
        false => absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache"))),
    };
    Some(caches?.join("gatescan"))
}

/// What [`write`] stored; `None` where it did not, or the checksum of the file is wrong.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    let mut data = vec![];
    // Packed, since that comes with a checksum.
    let read = GzDecoder::new(file)
        .take(LARGEST + 1)
        .read_to_end(&mut data);
    (read.is_ok() && data.len() as u64 <= LARGEST).then_some(data)
}

/// Stores `data` whole or not at all, also where another process does the same.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let mut packed = GzEncoder::new(vec![], Compression::fast());
    packed.write_all(data)?;
    let packed = packed.finish()?;
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    let unfinished = path.with_extension(std::process::id().to_string());
    let stored = fs::write(&unfinished, packed).and_then(|()| fs::rename(&unfinished, path));
    if stored.is_err() {
        let _ = fs::remove_file(&unfinished);
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_damage_is_not() {
        let directory = tempfile::tempdir().expect("there is room");
        let path = directory.path().join("deeper").join("cache");
        assert_eq!(read(&path), None);
        let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        write(&path, &data).expect("it can be written");
        assert_eq!(read(&path).as_ref(), Some(&data));
        let left = fs::read_dir(path.parent().expect("it has one")).expect("it is there");
        assert_eq!(left.count(), 1, "nothing unfinished is left");

        let whole = fs::read(&path).expect("it is there");
        for place in [0, 12, whole.len() / 2, whole.len() - 6] {
            let mut damaged = whole.clone();
            damaged[place] ^= 16;
            fs::write(&path, damaged).expect("it can be written");
            assert_eq!(read(&path), None, "byte {place}");
        }
        for rest in [0, 5, whole.len() - 1] {
            fs::write(&path, &whole[..rest]).expect("it can be written");
            assert_eq!(read(&path), None, "{rest} bytes");
        }
        // Where a directory is in its place.
        assert!(write(directory.path(), &data).is_err());
    }

    #[cfg(not(windows))]
    #[test]
    fn the_user_says_where() {
        let set = |variables: &'static [(&str, &str)]| {
            directory(&|name| {
                let found = variables.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| PathBuf::from(value))
            })
        };
        assert_eq!(set(&[]), None);
        assert_eq!(
            set(&[("HOME", "/home/me")]),
            Some("/home/me/.cache/gatescan".into())
        );
        let xdg = set(&[("HOME", "/home/me"), ("XDG_CACHE_HOME", "/caches")]);
        assert_eq!(xdg, Some("/caches/gatescan".into()));
        assert_eq!(
            set(&[(VARIABLE, "/here"), ("HOME", "/home/me")]),
            Some("/here".into())
        );
        assert_eq!(set(&[(VARIABLE, "0"), ("HOME", "/home/me")]), None);
        assert_eq!(set(&[(VARIABLE, ""), ("HOME", "/home/me")]), None);
    }
}
