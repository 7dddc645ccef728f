//! A trained model in one safetensors file, which PyTorch and others read as it is; and a run in training in another, from
//! which it goes on bit for bit.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use flate2::Crc;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::data::preparation::Preparation;
use crate::disk;
use crate::error::{Error, Result};
use crate::files;
use crate::network::{Network, Parameter};
use crate::recipe::Recipe;
use crate::train::Position;

/// The version of the metadata that this program writes, and the newest it reads.
const VERSION: u32 = 1;
/// The metadata key under which [`Description`] lies as JSON.
const KEY: &str = "gatescan";
/// The same for [`RunDescription`].
const RUN_KEY: &str = "gatescan_checkpoint";
/// The tensor that holds the CRC-32 of all bytes before it, at the end of a checkpoint.
const CHECKSUM: &str = "crc32";

/// The largest header that is read, in bytes: a hundred for each of the most tensors, and more.
const LARGEST_HEADER: u64 = 16 << 20;
/// The most tensors of a file; networks end at a thousand layers, of which each has twelve at most.
const MOST_TENSORS: usize = 1 << 16;
/// The largest file of a model, in bytes: room for the most parameters that a network may have, in f32, twice.
const LARGEST_FILE: u64 = 1 << 33;

/// A trained network and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct SavedModel {
    pub network: Network,
    /// What it was trained with.
    pub recipe: Recipe,
    /// How the numbers were prepared that it was trained with, as those must be that it is to answer.
    pub preparation: Preparation,
    /// Weights and biases under PyTorch's names; a loaded file has them in order of their names.
    pub parameters: Vec<Parameter>,
}

/// The file's metadata: enough to evaluate the model without its recipe at hand.
#[derive(Serialize, Deserialize)]
struct Description {
    version: u32,
    network: Network,
    recipe: Recipe,
    #[serde(default, skip_serializing_if = "Preparation::is_plain")]
    preparation: Preparation,
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
        disk::write_whole(path, &bytes)
            .map_err(|error| Error::file(path, format!("the model cannot be written: {error}")))
    }

    /// Reads a model that [`SavedModel::save`] wrote.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or comes from another or a newer program.
    pub fn load(path: &Path) -> Result<SavedModel> {
        let bytes = fs::File::open(path)
            .and_then(|file| files::read_at_most(file, LARGEST_FILE))
            .map_err(|error| Error::file(path, format!("the model cannot be read: {error}")))?;
        SavedModel::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }

    fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let description = Description {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
        };
        let tensors = self.parameters.iter().map(|each| Stored {
            name: each.name.clone(),
            dtype: Dtype::F32,
            shape: each.shape.clone(),
            bytes: to_le_bytes(&each.values),
        });
        serialize(KEY, &description, &tensors.collect::<Vec<_>>())
    }

    /// [`SavedModel::load`] of a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, for which the caller has a name.
    pub fn from_bytes(bytes: &[u8]) -> Result<SavedModel, String> {
        let (description, mut parameters) = parse::<Description>(bytes, KEY)?;
        let Description {
            network,
            recipe,
            preparation,
            ..
        } = description;
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        network.validate().map_err(nonsense)?;
        recipe.validate().map_err(nonsense)?;
        network.from_parameters(&parameters).map_err(nonsense)?;
        check_preparation(&preparation, &network)?;
        Ok(SavedModel {
            network,
            recipe,
            preparation,
            parameters,
        })
    }
}

/// A run between two updates: all that it takes to go on bit for bit. What is drawn at random (the order of an epoch, dropout)
/// follows from the recipe's seed and counts of [`Position`], and so does the learning rate; so no generator has a state.
///
/// [`Trainer::checkpoint`](crate::train::Trainer::checkpoint) makes it, [`Trainer::restore`](crate::train::Trainer::restore)
/// takes it, on any device. The same run gives the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub recipe: Recipe,
    pub network: Network,
    pub preparation: Preparation,
    pub position: Position,
    /// CRC-32 of the training data.
    pub data: u32,
    /// `[P]`: all weights and biases, laid out as [`Network::table`] says.
    pub parameters: Vec<f32>,
    /// The optimiser's moments by name, each laid out as the parameters.
    pub moments: Vec<(String, Vec<f32>)>,
    /// The states that the next chunk of long sequences begins with, of each layer; none where no sequence is halfway.
    pub states: Vec<Vec<f32>>,
    /// The parameters after the best epoch, where the recipe keeps them.
    pub best: Option<Vec<f32>>,
}

#[derive(Serialize, Deserialize)]
struct RunDescription {
    version: u32,
    network: Network,
    recipe: Recipe,
    #[serde(default, skip_serializing_if = "Preparation::is_plain")]
    preparation: Preparation,
    position: Position,
    data_crc32: u32,
}

impl Checkpoint {
    const PARAMETERS: &str = "parameters";
    const BEST: &str = "best.parameters";
    const MOMENT: &str = "moment.";
    const STATE: &str = "state.";

    /// The model as [`Trainer::model`](crate::train::Trainer::model) would give it: after the best epoch where the recipe keeps
    /// that, else as it is.
    pub fn model(&self) -> SavedModel {
        let flat = self.best.as_ref().unwrap_or(&self.parameters);
        SavedModel {
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
            parameters: self.network.to_parameters(flat),
        }
    }

    /// The file: safetensors, whose last four bytes are the CRC-32 of those before.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let description = RunDescription {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
            position: self.position.clone(),
            data_crc32: self.data,
        };
        let mut tensors = vec![];
        let mut store = |name: String, values: &[f32]| {
            tensors.push(Stored {
                name,
                dtype: Dtype::F32,
                shape: vec![values.len()],
                bytes: to_le_bytes(values),
            });
        };
        store(Self::PARAMETERS.to_string(), &self.parameters);
        for (name, values) in &self.moments {
            store(format!("{}{name}", Self::MOMENT), values);
        }
        for (layer, values) in self.states.iter().enumerate() {
            store(format!("{}{layer}", Self::STATE), values);
        }
        if let Some(best) = &self.best {
            store(Self::BEST.to_string(), best);
        }
        // Wider types lie first in a file, so this one is last.
        tensors.push(Stored {
            name: CHECKSUM.to_string(),
            dtype: Dtype::U8,
            shape: vec![4],
            bytes: vec![0; 4],
        });
        let mut bytes = serialize(RUN_KEY, &description, &tensors)?;
        let end = tensors_end(&bytes);
        let (before, sum) = bytes.split_at_mut(end);
        sum.copy_from_slice(&crc32(&[before]).to_le_bytes());
        Ok(bytes)
    }

    /// [`Checkpoint::load`] of a file's bytes.
    ///
    /// # Errors
    /// What is wrong with them, for which the caller has a name.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let (description, tensors) = parse::<RunDescription>(bytes, RUN_KEY)?;
        let (before, sum) = bytes.split_at(tensors_end(bytes));
        if crc32(&[before]).to_le_bytes() != sum {
            return Err("damaged: its checksum is not that of its contents".to_string());
        }
        let RunDescription {
            network,
            recipe,
            preparation,
            position,
            data_crc32,
            ..
        } = description;
        network.validate().map_err(nonsense)?;
        recipe.validate().map_err(nonsense)?;
        check_preparation(&preparation, &network)?;
        let mut by_name: HashMap<String, Vec<f32>> = tensors
            .into_iter()
            .map(|tensor| (tensor.name, tensor.values))
            .collect();
        let parameters = by_name
            .remove(Self::PARAMETERS)
            .ok_or("it holds no parameters")?;
        let best = by_name.remove(Self::BEST);
        let layers = 0..by_name.len();
        let states = layers.map_while(|layer| by_name.remove(&format!("{}{layer}", Self::STATE)));
        let states = states.collect();
        let moments = by_name.into_iter().filter_map(|(name, values)| {
            let name = name.strip_prefix(Self::MOMENT)?;
            Some((name.to_string(), values))
        });
        let mut moments: Vec<_> = moments.collect();
        moments.sort_by(|a, b| a.0.cmp(&b.0));
        let len = network.table().1;
        let best_len = best.as_ref().map_or(len, Vec::len);
        if parameters.len() != len || best_len != len {
            return Err(format!(
                "it holds {} parameters, and its network has {len}",
                parameters.len()
            ));
        }
        Ok(Checkpoint {
            recipe,
            network,
            preparation,
            position,
            data: data_crc32,
            parameters,
            moments,
            states,
            best,
        })
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or comes from another or a newer program.
    pub fn load(path: &Path) -> Result<Checkpoint> {
        let file = fs::File::open(path);
        // With three moments, states and the best parameters beside the last.
        let bytes = file.and_then(|file| files::read_at_most(file, 8 * LARGEST_FILE));
        let bytes = bytes.map_err(|error| {
            Error::file(path, format!("the checkpoint cannot be read: {error}"))
        })?;
        Checkpoint::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }
}

/// Where the checksum of a checkpoint begins.
fn tensors_end(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(4)
}

/// CRC-32 of the parts one after another.
pub(crate) fn crc32(parts: &[&[u8]]) -> u32 {
    let mut crc = Crc::new();
    parts.iter().for_each(|part| crc.update(part));
    crc.sum()
}

fn check_preparation(preparation: &Preparation, network: &Network) -> Result<(), String> {
    let checked = preparation.check(network.input_size, network.head.size);
    checked.map_err(|problem| format!("what it says of itself makes no sense: {problem}"))
}

fn nonsense(error: Error) -> String {
    format!("what it says of itself makes no sense: {error}")
}

fn to_le_bytes(values: &[f32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect()
}

/// A tensor as it lies in a file.
struct Stored {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

/// A safetensors file of these tensors, and `description` as JSON in its metadata.
fn serialize(
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
    let metadata = HashMap::from([(key.to_string(), json)]);
    safetensors::serialize(views, Some(metadata)).map_err(|error| error.to_string())
}

/// The description under `key` and the tensors of a file, but for its checksum.
fn parse<D: DeserializeOwned>(bytes: &[u8], key: &str) -> Result<(D, Vec<Parameter>), String> {
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
            preparation: Preparation::default(),
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
            preparation: Preparation::default(),
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
            preparation: Preparation::default(),
        };
        let json = serde_json::to_string(&description).unwrap();
        let message = problem(&file(Some((KEY, &json)), Dtype::F16));
        assert!(message.contains("tensor w is of type F16"), "{message}");
    }
}
