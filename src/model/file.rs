//! The file format of models and checkpoints: safetensors, with a description as JSON in the
//! metadata.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::network::Parameter;

/// The name of the tensor at the end of a checkpoint, the CRC-32 of all bytes before it.
pub(crate) const CHECKSUM: &str = "crc32";

/// The largest header that is read, in bytes: more than 100 for each of [`MOST_TENSORS`].
pub(crate) const LARGEST_HEADER: u64 = 16 << 20;

/// The most tensors that are read. A network has at most 1024 layers with at most 12 tensors each.
pub(crate) const MOST_TENSORS: usize = 1 << 16;

/// The largest file of a model that is read, in bytes: twice the most parameters that a network may
/// have, in f32.
pub(crate) const LARGEST_FILE: u64 = 1 << 33;

/// The metadata key of a checkpoint's description.
pub(crate) const RUN_KEY: &str = "gatescan_checkpoint";

/// The metadata key of the state of a page.
pub(crate) const PAGE_KEY: &str = "gatescan_page";

/// The version of a model's metadata that this program writes, and the newest that it reads.
pub(crate) const VERSION: u32 = 1;

/// The metadata key of a model's description.
pub(crate) const KEY: &str = "gatescan";

/// The values as little-endian bytes.
pub(crate) fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A tensor to be written to a file.
pub(crate) struct StoredTensor {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// Returns the bytes of a safetensors file with these tensors, and `description` as JSON under
/// `key` in its metadata.
pub(crate) fn serialize(
    key: &str,
    description: &impl Serialize,
    tensors: &[StoredTensor],
) -> Result<Vec<u8>, String> {
    let json = serde_json::to_string(description).map_err(|error| error.to_string())?;
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| format!("tensor {}: {error}", tensor.name))?;
        views.push((tensor.name.as_str(), view));
    }
    // A hash map with one key has one order, so the bytes are always the same.
    let metadata = [(key.to_string(), json)].into();
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())?;
    // What cannot be read back is not written.
    check_header_size(&bytes)?;
    check_tensor_count(tensors.len())?;
    Ok(bytes)
}

/// Returns an error for a description that is too large for a file, before there are tensors.
pub(crate) fn check_description(key: &str, description: &impl Serialize) -> Result<(), String> {
    serialize(key, description, &[]).map(|_| ())
}

/// Whether a file may be one of safetensors, by its first 9 bytes.
pub(crate) fn may_be_safetensors(head: &[u8]) -> bool {
    let size = head.first_chunk().map(|size| u64::from_le_bytes(*size));
    size.is_some_and(|size| (2..=LARGEST_HEADER).contains(&size)) && head.get(8) == Some(&b'{')
}

/// Reads the description under `key` and the tensors of a file, without its checksum.
///
/// # Errors
/// A message without the file's name, which the caller knows.
pub(crate) fn parse<D: DeserializeOwned>(
    bytes: &[u8],
    key: &str,
) -> Result<(D, Vec<Parameter>), String> {
    let (json, _) = parse_json(bytes, key, VERSION)?;
    Ok((describe(json, key)?, parse_tensors(bytes)?))
}

/// Reads the JSON under `key` and its version, which is at most `newest`. It comes before the
/// description, since a file of another version may have other fields.
pub(crate) fn parse_json(
    bytes: &[u8],
    key: &str,
    newest: u32,
) -> Result<(serde_json::Value, u32), String> {
    check_header_size(bytes)?;
    let json = description_json(bytes, key)?;
    let json: serde_json::Value = serde_json::from_str(&json).map_err(|e| damaged(key, &e))?;
    let version = version_of(&json, key, newest)?;
    Ok((json, version))
}

/// Reads a description from its JSON.
pub(crate) fn describe<D: DeserializeOwned>(
    json: serde_json::Value,
    key: &str,
) -> Result<D, String> {
    serde_json::from_value(json).map_err(|error| damaged(key, &error))
}

fn damaged(key: &str, error: &serde_json::Error) -> String {
    format!("its metadata `{key}` are damaged: {error}")
}

/// Returns an error for a header beyond [`LARGEST_HEADER`].
fn check_header_size(bytes: &[u8]) -> Result<(), String> {
    let size = bytes.first_chunk();
    let size = size.map_or(0, |size| u64::from_le_bytes(*size));
    if size > LARGEST_HEADER && bytes.get(8) == Some(&b'{') {
        return Err(format!(
            "its safetensors header has {size} bytes, and gatescan reads at most {LARGEST_HEADER}"
        ));
    }
    Ok(())
}

/// The JSON under `key` in the metadata.
fn description_json(bytes: &[u8], key: &str) -> Result<String, String> {
    let header = SafeTensors::read_metadata(bytes);
    let (_, header) = header.map_err(|error| not_safetensors(&error, bytes))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    if let Some(json) = metadata.get(key) {
        return Ok(json.clone());
    }
    if key == KEY && metadata.contains_key(RUN_KEY) {
        return Err("a checkpoint of a run and no model; name its run directory".into());
    }
    if key == KEY && metadata.contains_key(PAGE_KEY) {
        return Err(
            "the state of a page and no model; download the model, or resume the run".into(),
        );
    }
    if key == PAGE_KEY && [KEY, RUN_KEY].iter().any(|key| metadata.contains_key(*key)) {
        return Err("a model or checkpoint and no state of a page; name the run directory".into());
    }
    Err(format!(
        "a safetensors file, but not one of gatescan: its metadata have no key `{key}`"
    ))
}

/// The version of a description, which is at most `newest`.
fn version_of(json: &serde_json::Value, key: &str, newest: u32) -> Result<u32, String> {
    match json["version"].as_u64() {
        Some(version) if version <= u64::from(newest) => Ok(version as u32),
        Some(version) => Err(format!(
            "written by a newer gatescan (version {version} of the file, this program reads up to \
             {newest}); update gatescan to read it"
        )),
        None => Err(format!("its metadata `{key}` have no version")),
    }
}

/// All tensors except for the checksum.
pub(crate) fn parse_tensors(bytes: &[u8]) -> Result<Vec<Parameter>, String> {
    let tensors =
        SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(&error, bytes))?;
    check_tensor_count(tensors.len())?;
    let mut parameters = Vec::with_capacity(tensors.len());
    for (name, view) in tensors.iter().filter(|(name, _)| *name != CHECKSUM) {
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "tensor {name} is of type {}; gatescan reads F32",
                view.dtype()
            ));
        }
        let (values, _) = view.data().as_chunks();
        parameters.push(Parameter {
            name: name.to_string(),
            shape: view.shape().to_vec(),
            values: values.iter().copied().map(f32::from_le_bytes).collect(),
        });
    }
    Ok(parameters)
}

/// Returns an error for more than [`MOST_TENSORS`].
fn check_tensor_count(count: usize) -> Result<(), String> {
    if count > MOST_TENSORS {
        return Err(format!(
            "it holds {count} tensors, and gatescan reads at most {MOST_TENSORS}"
        ));
    }
    Ok(())
}

/// Returns an error for the bytes of a file that its reader refuses as too large.
pub(crate) fn check_file_size(bytes: &[u8], largest: u64) -> Result<(), String> {
    if bytes.len() as u64 > largest {
        let size = bytes.len();
        return Err(format!(
            "it has {size} bytes, and gatescan reads at most {largest}"
        ));
    }
    Ok(())
}

fn not_safetensors(error: &SafeTensorError, bytes: &[u8]) -> String {
    // A header that begins as JSON tells a truncated file from one of another kind.
    let begun = bytes.get(8).is_none_or(|&byte| byte == b'{');
    match error {
        SafeTensorError::HeaderTooSmall => {
            "too short for a safetensors file: it is cut off".to_string()
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::MetadataIncompleteBuffer
            if begun =>
        {
            "a safetensors file whose length is not the one in its header: it is cut off or damaged"
                .to_string()
        }
        _ => format!(
            "not a safetensors file ({error}); name a model.safetensors that gatescan wrote"
        ),
    }
}
