//! Compiled pipelines on disk, so that later processes need not compile them again (on Vulkan).
//!
//! The cache is optional: a file that is unreadable, damaged or of another driver is ignored, and
//! so is a failure to write it.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use crate::io::disk;

/// Environment variable for the cache's directory; empty or 0 disables the cache.
const VARIABLE: &str = "GATESCAN_PIPELINE_CACHE";

/// Bytes of the largest file that is read; a larger one is replaced, since the driver never removes
/// pipelines from it.
const LARGEST: u64 = 64 << 20;

/// The pipelines of a device, and the file that stores them.
#[derive(Debug, Clone)]
pub(super) struct PipelineCache {
    pub(super) cache: wgpu::PipelineCache,
    path: PathBuf,
    /// Contents of the file.
    stored: Arc<Mutex<Vec<u8>>>,
}

impl PipelineCache {
    /// Reads the pipelines of earlier processes; `None` if the device has no pipeline cache or the
    /// user has disabled it.
    pub(super) fn open(device: &wgpu::Device, adapter: &wgpu::AdapterInfo) -> Option<Self> {
        let has = device.features().contains(wgpu::Features::PIPELINE_CACHE);
        let name = wgpu::util::pipeline_cache_key(adapter).filter(|_| has)?;
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
        let path = directory(VARIABLE, &variable)?.join(name);
        let stored = read(&path).unwrap_or_default();
        let descriptor = wgpu::PipelineCacheDescriptor {
            label: Some("pipelines"),
            data: Some(stored.as_slice()).filter(|stored| !stored.is_empty()),
            fallback: true,
        };
        // SAFETY: the data are what `get_data` returned when `write` stored them, as the file's
        // checksum shows. wgpu and the driver ignore data of other adapters and versions.
        #[allow(unsafe_code)]
        let cache = unsafe { device.create_pipeline_cache(&descriptor) };
        Some(PipelineCache {
            cache,
            path,
            stored: Arc::new(Mutex::new(stored)),
        })
    }

    /// Writes all compiled pipelines, if the file does not hold them already.
    pub(super) fn save(&self) {
        let mut stored = self.stored.lock().unwrap_or_else(PoisonError::into_inner);
        let data = self.cache.get_data().filter(|data| *data != *stored);
        if let Some(data) = data
            && write(&self.path, &data).is_ok()
        {
            *stored = data;
        }
    }
}

/// Returns the directory that the user has chosen by the environment variable `choice`, or else the
/// platform's directory for caches; `None` if the user wants none.
pub(super) fn directory(
    choice: &str,
    variable: &dyn Fn(&str) -> Option<PathBuf>,
) -> Option<PathBuf> {
    if let Some(chosen) = variable(choice) {
        let none = chosen.as_os_str().is_empty() || chosen.as_os_str() == "0";
        return (!none).then_some(chosen);
    }
    let absolute = |name| variable(name).filter(|path| path.is_absolute());
    let caches = if cfg!(windows) {
        absolute("LOCALAPPDATA")
    } else {
        absolute("XDG_CACHE_HOME").or_else(|| Some(absolute("HOME")?.join(".cache")))
    };
    Some(caches?.join("gatescan"))
}

/// Returns what [`write`] stored; `None` if the file does not exist or its checksum is wrong.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = fs::File::open(path).ok()?;
    let mut data = vec![];
    // Gzip includes a checksum.
    let read = GzDecoder::new(file)
        .take(LARGEST + 1)
        .read_to_end(&mut data);
    (read.is_ok() && data.len() as u64 <= LARGEST).then_some(data)
}

/// Stores `data` atomically, also if other processes do so at the same time.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    let mut packed = GzEncoder::new(vec![], Compression::fast());
    packed.write_all(data)?;
    let packed = packed.finish()?;
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    disk::write_whole(path, &packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_file_is_read_and_a_damaged_one_ignored() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("deeper").join("cache");
        assert_eq!(read(&path), None);
        let data: Vec<u8> = (0..10_000_u32).flat_map(u32::to_le_bytes).collect();
        write(&path, &data).expect("written");
        assert_eq!(read(&path).as_ref(), Some(&data));
        let left = fs::read_dir(path.parent().expect("a parent")).expect("readable");
        assert_eq!(left.count(), 1, "no temporary file is left");

        let whole = fs::read(&path).expect("readable");
        for offset in [0, 12, whole.len() / 2, whole.len() - 6] {
            let mut damaged = whole.clone();
            damaged[offset] ^= 16;
            fs::write(&path, damaged).expect("written");
            assert_eq!(read(&path), None, "byte {offset}");
        }
        for len in [0, 5, whole.len() - 1] {
            fs::write(&path, &whole[..len]).expect("written");
            assert_eq!(read(&path), None, "{len} bytes");
        }
        // The path is a directory.
        assert!(write(directory.path(), &data).is_err());
    }

    #[cfg(not(windows))]
    #[test]
    fn the_environment_chooses_the_directory() {
        let set = |variables: &'static [(&str, &str)]| {
            directory(VARIABLE, &|name| {
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
