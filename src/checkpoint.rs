//! A trained model in one safetensors file, which PyTorch and others read as it is.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::network::{Network, Parameter};
use crate::recipe::Recipe;

/// The version of the metadata that this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// The metadata key under which [`Description`] lies as JSON.
const KEY: &str = "gatescan";

/// The largest header that is read, in bytes: a hundred for each of the most tensors, and more.
const LARGEST_HEADER: u64 = 16 << 20;
/// The most tensors of a file; networks end at a thousand layers, of which each has twelve at most.
const MOST_TENSORS: usize = 1 << 16;
/// The largest file, in bytes: room for the most parameters that a network may have, in f32, twice.
const LARGEST_FILE: u64 = 1 << 33;

/// A trained network and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedModel {
    pub network: Network,
    /// What it was trained with.
    pub recipe: Recipe,
    /// Weights and biases under PyTorch's names; a loaded file has them in order of their names.
    pub parameters: Vec<Parameter>,
}

/// The file's metadata: enough to evaluate the model without its recipe at hand.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    network: Network,
    recipe: Recipe,
}

impl SavedModel {
    /// Writes the model: first beside `path` and then over it, so that a crash leaves the old file or the new one.
    /// The same model gives the same bytes.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes = self
            .to_bytes()
            .map_err(|problem| Error::file(path, problem))?;
        replace(path, &bytes)
            .map_err(|error| Error::file(path, format!("the model cannot be written: {error}")))
    }

    /// Reads a model that [`SavedModel::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or comes from another or a newer program.
    pub fn load(path: &Path) -> Result<SavedModel> {
        let bytes = File::open(path)
            .and_then(|file| files::read_at_most(file, LARGEST_FILE))
            .map_err(|error| Error::file(path, format!("the model cannot be read: {error}")))?;
        SavedModel::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }

    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let description = Description {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
        };
        let json = serde_json::to_string(&description).map_err(|error| error.to_string())?;
        let bytes: Vec<Vec<u8>> = self
            .parameters
            .iter()
            .map(|parameter| {
                parameter
                    .values
                    .iter()
                    .flat_map(|value| value.to_le_bytes())
                    .collect()
            })
            .collect();
        let mut tensors = Vec::with_capacity(bytes.len());
        for (parameter, bytes) in self.parameters.iter().zip(&bytes) {
            let view = TensorView::new(Dtype::F32, parameter.shape.clone(), bytes)
                .map_err(|error| format!("tensor {}: {error}", parameter.name))?;
            tensors.push((parameter.name.as_str(), view));
        }
        // With one key a hash map has one order, so the bytes are the same each time.
        let metadata = HashMap::from([(KEY.to_string(), json)]);
        safetensors::serialize(tensors, Some(metadata)).map_err(|error| error.to_string())
    }

    /// [`SavedModel::load`] of a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, for which the caller has a name.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedModel, String> {
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
        let json = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(KEY))
            .ok_or(
                "a safetensors file, but not one of gatescan: its metadata lack the key `gatescan`",
            )?;
        // The version is read alone, since a newer file may have anything else beside it.
        let json: serde_json::Value = serde_json::from_str(json)
            .map_err(|error| format!("its metadata `gatescan` is damaged: {error}"))?;
        match json["version"].as_u64() {
            Some(version) if version <= u64::from(VERSION) => {}
            Some(version) => {
                return Err(format!(
                    "written by a newer gatescan (version {version} of the file, this program reads up to \
                     {VERSION}); update gatescan to read it"
                ));
            }
            None => return Err("its metadata `gatescan` has no version".to_string()),
        }
        let Description {
            network, recipe, ..
        } = serde_json::from_value(json)
            .map_err(|error| format!("its metadata `gatescan` is damaged: {error}"))?;

        let tensors =
            SafeTensors::deserialize(bytes).map_err(|error| not_safetensors(&error, bytes))?;
        if tensors.len() > MOST_TENSORS {
            return Err(format!(
                "it holds {} tensors, and gatescan reads at most {MOST_TENSORS}",
                tensors.len()
            ));
        }
        let mut parameters = Vec::with_capacity(tensors.len());
        for (name, view) in tensors.iter() {
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
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        let nonsense = |error: Error| format!("what it says of itself makes no sense: {error}");
        network.validate().map_err(nonsense)?;
        recipe.validate().map_err(nonsense)?;
        network.from_parameters(&parameters).map_err(nonsense)?;
        Ok(SavedModel {
            network,
            recipe,
            parameters,
        })
    }
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

/// Writes `bytes` beside `path`, has them on the disk, and only then gives them the name.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = directory.join(format!(".{name}.{}.tmp", std::process::id()));
    let written = write_to_disk(&beside, bytes).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
        return written;
    }
    // Only then is the new name on the disk too. The model is in its place already, so where a file system cannot do
    // this (nor other systems than Unix open a directory), nothing has failed.
    let _ = File::open(directory).and_then(|directory| directory.sync_all());
    Ok(())
}

fn write_to_disk(path: &PathBuf, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model() -> SavedModel {
        let mut recipe = Recipe::load("mnist").unwrap();
        recipe.network.layers[0].hidden_size = 3;
        let network = recipe.network(28, 10).unwrap();
        let mut parameters = network.to_parameters(&network.initial(1));
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        SavedModel {
            network,
            recipe,
            parameters,
        }
    }

    #[test]
    fn parameters_that_are_not_the_networks() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        let mut damaged = model();
        damaged
            .parameters
            .retain(|parameter| parameter.name != "head.bias");
        damaged.save(&path).unwrap();
        let error = SavedModel::load(&path).unwrap_err();
        assert_eq!(error.exit_code(), 1);
        let message = error.to_string();
        assert!(message.starts_with(path.to_str().unwrap()), "{message}");
        assert!(message.contains("no parameter head.bias"), "{message}");
    }

    /// The message for a file of those bytes, which must begin with the file's name.
    fn problem(bytes: &[u8]) -> String {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        fs::write(&path, bytes).unwrap();
        let message = SavedModel::load(&path).unwrap_err().to_string();
        let start = format!("{}: ", path.display());
        message.strip_prefix(&start).unwrap().to_string()
    }

    fn file(metadata: Option<(&str, &str)>, dtype: Dtype) -> Vec<u8> {
        let view = TensorView::new(dtype, vec![1], &[0; 8][..dtype.bitsize() / 8]).unwrap();
        let metadata =
            metadata.map(|(key, value)| HashMap::from([(key.to_string(), value.to_string())]));
        safetensors::serialize([("w", view)], metadata).unwrap()
    }

    #[test]
    fn comes_back_equal_and_has_the_same_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("model.safetensors");
        model().save(&path).unwrap();
        let first = fs::read(&path).unwrap();
        let loaded = SavedModel::load(&path).unwrap();
        assert_eq!(loaded, model());
        loaded.save(&path).unwrap();
        assert_eq!(fs::read(&path).unwrap(), first);
        // Nothing is left beside it.
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/model.safetensors");
        let message = model().save(&path).unwrap_err().to_string();
        assert!(
            message.contains("none/model.safetensors: the model cannot be written"),
            "{message}"
        );
    }

    #[test]
    fn cut_off_anywhere() {
        let bytes = model().to_bytes().unwrap();
        for length in (0..bytes.len()).step_by(7) {
            let message = problem(&bytes[..length]);
            assert!(message.contains("cut off"), "{length}: {message}");
        }
    }

    #[test]
    fn files_of_another_kind() {
        assert!(problem(b"this is a text file and no model").contains("not a safetensors file"));
        assert!(problem(&file(None, Dtype::F32)).contains("not one of gatescan"));
        assert!(problem(&file(Some(("format", "pt")), Dtype::F32)).contains("not one of gatescan"));
        let message = problem(&file(
            Some((KEY, "{\"version\": 2, \"new\": 1}")),
            Dtype::F32,
        ));
        assert!(message.contains("newer gatescan (version 2"), "{message}");
        assert!(problem(&file(Some((KEY, "{}")), Dtype::F32)).contains("no version"));
        assert!(problem(&file(Some((KEY, "{\"version\": 1}")), Dtype::F32)).contains("damaged"));
        assert!(problem(&file(Some((KEY, "not json")), Dtype::F32)).contains("damaged"));
    }

    #[test]
    fn more_than_any_model_has() {
        let mut long = (LARGEST_HEADER + 1).to_le_bytes().to_vec();
        long.push(b'{');
        assert!(problem(&long).contains("reads at most 16777216"));
        let json = serde_json::to_string(&Description {
            version: VERSION,
            network: model().network,
            recipe: model().recipe,
        });
        let empty = TensorView::new(Dtype::F32, vec![0], &[]).unwrap();
        let tensors = (0..=MOST_TENSORS).map(|n| (n.to_string(), empty.clone()));
        let metadata = HashMap::from([(KEY.to_string(), json.unwrap())]);
        let many = safetensors::serialize(tensors, Some(metadata)).unwrap();
        let message = problem(&many);
        assert!(message.contains("65537 tensors"), "{message}");
    }

    #[test]
    fn a_network_that_the_tensors_do_not_fill() {
        // What it asks for is refused by the tensors, before there is memory for it.
        let mut large = model();
        large.network.layers[0].hidden_size = 10_000;
        let message = problem(&large.to_bytes().unwrap());
        assert!(
            message.contains("the network needs [40000, 28]"),
            "{message}"
        );
    }

    #[test]
    fn tensors_of_another_type() {
        let SavedModel {
            network, recipe, ..
        } = model();
        let description = Description {
            version: VERSION,
            network,
            recipe,
        };
        let json = serde_json::to_string(&description).unwrap();
        let message = problem(&file(Some((KEY, &json)), Dtype::F16));
        assert!(message.contains("tensor w is of type F16"), "{message}");
    }
}
