//! Reading a `.keras` or an `.npz`, both of which are zip archives.

use std::fmt::Display;
use std::io::Cursor;

use serde_json::Value;
use zip::ZipArchive;
use zip::read::ZipFile;

use crate::data::npy::{self, Elements};
use crate::io::files;
use crate::network::Parameter;

/// The members of a `.keras`: its weights, and the description of its layers.
const WEIGHTS: &str = "model.weights.h5";
const CONFIG: &str = "config.json";
const METADATA: &str = "metadata.json";
/// The largest description of a model in bytes.
const LARGEST_CONFIG: u64 = 1 << 24;
/// The largest file of weights in bytes.
const LARGEST_WEIGHTS: u64 = 1 << 32;
/// The largest number of arrays of an `.npz`.
const MOST_ARRAYS: usize = 1 << 16;

type Archive<'a> = ZipArchive<Cursor<&'a [u8]>>;

/// The contents of an archive.
pub(super) enum ArchiveContents {
    /// Those of a `.keras`.
    Model {
        /// `config.json`.
        description: Value,
        /// The version of Keras that wrote it; empty if the file does not say.
        version: String,
        /// A `.weights.h5`.
        weights: Vec<u8>,
    },
    /// The arrays of an `.npz` in its order.
    Arrays(Vec<Parameter>),
}

/// Reads a `.keras` or an `.npz`.
///
/// # Errors
/// A clause on what is wrong with which member.
pub(super) fn read(bytes: &[u8]) -> Result<ArchiveContents, String> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(&error))?;
    if archive.index_for_name(WEIGHTS).is_some() {
        read_keras(&mut archive)
    } else {
        read_npz(&mut archive).map(ArchiveContents::Arrays)
    }
}

fn broken(error: &dyn Display) -> String {
    format!("not a .weights.h5, .keras or .npz file ({error})")
}

fn read_keras(archive: &mut Archive) -> Result<ArchiveContents, String> {
    let mut member = |name: &str, limit| {
        let file = archive.by_name(name).map_err(|error| broken(&error))?;
        files::read_at_most(file, limit).map_err(|error| format!("{name}: {error}"))
    };
    let config = member(CONFIG, LARGEST_CONFIG)?;
    let metadata = member(METADATA, LARGEST_CONFIG).unwrap_or_default();
    let metadata: Value = serde_json::from_slice(&metadata).unwrap_or_default();
    let version = metadata["keras_version"].as_str().unwrap_or_default();
    Ok(ArchiveContents::Model {
        version: version.into(),
        description: serde_json::from_slice(&config)
            .map_err(|error| format!("{CONFIG}: {error}"))?,
        weights: member(WEIGHTS, LARGEST_WEIGHTS)?,
    })
}

fn read_npz(archive: &mut Archive) -> Result<Vec<Parameter>, String> {
    let count = archive.len();
    if count > MOST_ARRAYS {
        return Err(format!(
            "it holds {count} arrays, and gatescan reads at most {MOST_ARRAYS}"
        ));
    }
    let read = |n| {
        let file = archive.by_index(n).map_err(|error| broken(&error))?;
        let name = file.name().trim_end_matches(".npy").to_string();
        let array = read_array(file, &name).map_err(|problem| format!("array {name}{problem}"))?;
        array.check_finite().map_err(|error| error.to_string())?;
        Ok(array)
    };
    (0..count).map(read).collect()
}

fn read_array(file: ZipFile<Cursor<&[u8]>>, name: &str) -> Result<Parameter, String> {
    let size = file.size();
    let array = npy::read_array(file, size).map_err(|problem| format!(": {problem}"))?;
    let Elements::Floats(values) = array.elements else {
        return Err(" cannot be read: gatescan reads float32".into());
    };
    Ok(Parameter {
        name: name.into(),
        shape: array.shape,
        values,
    })
}
