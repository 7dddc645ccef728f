//! safetensors files with a description as JSON in their metadata: models and checkpoints.

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::network::Parameter;

pub(crate) fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A tensor as it lies in a file.
pub(crate) struct Stored {
    pub name: String,
    pub dtype: Dtype,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

/// A safetensors file of these tensors, and `description` as JSON in its metadata.
pub(crate) fn serialize(
    key: &str,
    description: &impl Serialize,
    tensors: &[Stored],
) -> Result<Vec<u8>, String> {
    let json = serde_json::to_string(description).map_err(|error| error.to_string())?;
    let mut views = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let view = TensorView::new(tensor.dtype, tensor.shape.clone(), &tensor.bytes)
            .map_err(|error| format!("tensor {}: {error}", tensor.name))?;
        views.push((tensor.name.as_str(), view));
    }
    // With one key a hash map has one order, so the bytes are the same each time.
    let metadata = [(key.to_string(), json)].into();
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// The description under `key` and the tensors of a file, but for its checksum.
pub(crate) fn parse<D: DeserializeOwned>(
    bytes: &[u8],
    key: &str,
) -> Result<(D, Vec<Parameter>), String> {
    let header_size = bytes
        .first_chunk()
        .map_or(0, |size| u64::from_le_bytes(*size));
    if header_size > LARGEST_HEADER && bytes.get(8) == Some(&b'{') {
        return Err(format!(
            "its safetensors header has {header_size} bytes, and gatescan reads at most {LARGEST_HEADER}"
        ));
    }
    let (_, header) =
        SafeTensors::read_metadata(bytes).map_err(|error| not_safetensors(&error, bytes))?;
    let metadata = header.metadata().as_ref();
    let has = |key: &str| metadata.is_some_and(|metadata| metadata.contains_key(key));
    let json = metadata
        .and_then(|metadata| metadata.get(key))
        .ok_or_else(|| match key {
            KEY if has(RUN_KEY) => {
                "a checkpoint of a run and no model; name its run directory".to_string()
            }
            _ => format!(
                "a safetensors file, but not one of gatescan: its metadata lack the key `{key}`"
            ),
        })?;
    // The version is read alone, since a newer file may have anything else beside it.
    let json: serde_json::Value = serde_json::from_str(json)
        .map_err(|error| format!("its metadata `{key}` is damaged: {error}"))?;
    match json["version"].as_u64() {
        Some(version) if version <= u64::from(VERSION) => {}
        Some(version) => {
            return Err(format!(
                "written by a newer gatescan (version {version} of the file, this program reads up to \
                 {VERSION}); update gatescan to read it"
            ));
        }
        None => return Err(format!("its metadata `{key}` has no version")),
    }
    let description = serde_json::from_value(json)
        .map_err(|error| format!("its metadata `{key}` is damaged: {error}"))?;

    let tensors =
        SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(&error, bytes))?;
    if tensors.len() > MOST_TENSORS {
        return Err(format!(
            "it holds {} tensors, and gatescan reads at most {MOST_TENSORS}",
            tensors.len()
        ));
    }
    let mut parameters = Vec::with_capacity(tensors.len());
    for (name, view) in tensors.iter().filter(|(name, _)| *name != CHECKSUM) {
        if view.dtype() != Dtype::F32 {
            return Err(format!(
                "tensor {name} is of type {}; gatescan reads F32",
                view.dtype()
            ));
        }
        let values = view
            .data()
            .chunks_exact(4)
            .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
            .collect();
        parameters.push(Parameter {
            name: name.to_string(),
            shape: view.shape().to_vec(),
            values,
        });
    }
    Ok((description, parameters))
}

fn not_safetensors(error: &SafeTensorError, bytes: &[u8]) -> String {
    // A header that is whole, or cut where JSON had begun, tells a file cut off from one of another kind.
    let begun = bytes.get(8).is_none_or(|&byte| byte == b'{');
    match error {
        SafeTensorError::HeaderTooSmall => {
            "too short for a safetensors file: it is cut off".to_string()
        }
        SafeTensorError::InvalidHeaderLength | SafeTensorError::MetadataIncompleteBuffer
            if begun =>
        {
            "a safetensors file whose length is not what its header says: it is cut off or damaged"
                .to_string()
        }
        _ => format!(
            "not a safetensors file ({error}); name a model.safetensors that gatescan wrote"
        ),
    }
}

/// The tensor that holds the CRC-32 of all bytes before it, at the end of a checkpoint.
pub(crate) const CHECKSUM: &str = "crc32";

/// The largest header that is read, in bytes: a hundred for each of the most tensors, and more.
pub(crate) const LARGEST_HEADER: u64 = 16 << 20;

/// The most tensors of a file; networks end at a thousand layers, of which each has twelve at most.
pub(crate) const MOST_TENSORS: usize = 1 << 16;

/// The largest file of a model, in bytes: room for the most parameters that a network may have, in f32, twice.
pub(crate) const LARGEST_FILE: u64 = 1 << 33;

/// The same for [`RunDescription`].
pub(crate) const RUN_KEY: &str = "gatescan_checkpoint";

/// The version of the metadata that this program writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;

/// The metadata key under which [`Description`] lies as JSON.
pub(crate) const KEY: &str = "gatescan";
