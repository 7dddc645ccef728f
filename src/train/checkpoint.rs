//! A checkpoint: a run between two updates as one safetensors file.

use std::collections::HashMap;
use std::path::Path;

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::checksums::{DataChecksums, SplitChecksums};
use super::position::{Position, PositionWithHistory};
use crate::data::preparation::Preparation;
use crate::error::{Error, Result};
use crate::io::{crc32, files};
use crate::model::file::{
    CHECKSUM, LARGEST_FILE, RUN_KEY, StoredTensor, check_description, check_file_size, describe,
    may_be_safetensors, parse_json, parse_tensors, serialize, to_le_bytes,
};
use crate::model::{Model, check_preparation, invalid_metadata};
use crate::network::Network;
use crate::recipe::Recipe;

/// A run between two updates, with all that is needed to resume it bit for bit. The order of an
/// epoch, the dropout masks and the learning rate follow from the recipe and from the counts of
/// [`Position`], so no generator has a state.
///
/// [`Trainer::checkpoint`](crate::train::Trainer::checkpoint) creates it and
/// [`Trainer::restore`](crate::train::Trainer::restore) restores it, on any device. The same run
/// gives the same bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    pub recipe: Recipe,
    pub network: Network,
    pub preparation: Preparation,
    pub position: Position,
    pub data: DataChecksums,
    /// The lines of `metrics.jsonl` up to this checkpoint; `None` where there is no such file, and
    /// in files of version 1.
    pub metrics: Option<MetricsMark>,
    /// `[P]`: all weights and biases, in the layout of [`Network::table`].
    pub parameters: Vec<f32>,
    /// The optimizer's moments by name, each in the layout of the parameters.
    pub moments: Vec<(String, Vec<f32>)>,
    /// The states of each layer that the next chunk of long sequences begins with; none between two
    /// batches.
    pub states: Vec<Vec<f32>>,
    /// `[P]`: the parameters after the best epoch, where the recipe keeps them.
    pub best: Option<Vec<f32>>,
}

/// Lines of a run's `metrics.jsonl`, which the checkpoint does not repeat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricsMark {
    /// Lines up to the checkpoint.
    pub lines: u64,
    /// CRC-32 of these lines without the fields of times: the same run has the same checksum,
    /// however long it took.
    pub crc32: u32,
}

/// The version of a checkpoint's metadata that this program writes, and the newest that it reads.
const VERSION: u32 = 2;

/// The largest file of a checkpoint, in bytes: three moments, the states, and the best parameters.
const LARGEST_CHECKPOINT: u64 = 8 * LARGEST_FILE;

/// The metadata of a checkpoint's file.
#[derive(Serialize, Deserialize)]
struct CheckpointDescription {
    version: u32,
    network: Network,
    recipe: Recipe,
    #[serde(default, skip_serializing_if = "Preparation::is_plain")]
    preparation: Preparation,
    position: Position,
    data: SplitChecksums,
    metrics: Option<MetricsMark>,
}

/// The metadata of a file of version 1, which repeats the metrics of all epochs.
#[derive(Deserialize)]
struct DescriptionWithHistory {
    network: Network,
    recipe: Recipe,
    #[serde(default)]
    preparation: Preparation,
    position: PositionWithHistory,
    data_crc32: u32,
}

/// Checks that a checkpoint of these can be read back, before a run begins.
///
/// # Errors
/// [`Error::Usage`] for a description that is too large for the header of a file.
pub(crate) fn check_size(
    recipe: &Recipe,
    network: &Network,
    preparation: &Preparation,
) -> Result<()> {
    let description = CheckpointDescription {
        version: VERSION,
        network: network.clone(),
        recipe: recipe.clone(),
        preparation: preparation.clone(),
        position: Position::default(),
        data: SplitChecksums {
            train: 0,
            train_with_sizes: 0,
            validation: None,
            test: None,
        },
        metrics: None,
    };
    check_description(RUN_KEY, &description).map_err(|problem| {
        Error::usage(format!(
            "the run could not be saved, as a checkpoint has the recipe and the preparation of \
             the data: {problem}; use fewer columns, classes or words"
        ))
    })
}

impl Checkpoint {
    pub(super) const PARAMETERS: &str = "parameters";
    pub(super) const BEST: &str = "best.parameters";
    pub(super) const MOMENT: &str = "moment.";
    pub(super) const STATE: &str = "state.";

    /// The model that [`Trainer::model`](crate::train::Trainer::model) returns: with the parameters
    /// after the best epoch where the recipe keeps them, else with the current ones.
    pub fn model(&self) -> Model {
        let flat = self.best.as_ref().unwrap_or(&self.parameters);
        Model {
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
            parameters: self.network.to_parameters(flat),
        }
    }

    /// The bytes of the file: safetensors, whose last four bytes are the CRC-32 of those before.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, String> {
        let DataChecksums::Splits(data) = self.data else {
            return Err("it has no checksums of the validation and test split".into());
        };
        let description = CheckpointDescription {
            version: VERSION,
            network: self.network.clone(),
            recipe: self.recipe.clone(),
            preparation: self.preparation.clone(),
            position: self.position.clone(),
            data,
            metrics: self.metrics,
        };
        let mut tensors = vec![];
        let mut store = |name: String, values: &[f32]| {
            tensors.push(StoredTensor {
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
        // safetensors sorts wider types first, so this tensor is the last.
        tensors.push(StoredTensor {
            name: CHECKSUM.to_string(),
            dtype: Dtype::U8,
            shape: vec![4],
            bytes: vec![0; 4],
        });
        let mut bytes = serialize(RUN_KEY, &description, &tensors)?;
        let end = tensors_end(&bytes);
        let (before, sum) = bytes.split_at_mut(end);
        sum.copy_from_slice(&crc32(&[before]).to_le_bytes());
        check_file_size(&bytes, LARGEST_CHECKPOINT)?;
        Ok(bytes)
    }

    /// Reads a checkpoint from the bytes of its file.
    ///
    /// # Errors
    /// A message without the file's name, which the caller knows.
    pub fn from_bytes(bytes: &[u8]) -> Result<Checkpoint, String> {
        let (json, version) = parse_json(bytes, RUN_KEY, VERSION)?;
        let mut checkpoint = if version < VERSION {
            describe::<DescriptionWithHistory>(json, RUN_KEY)?.checkpoint()
        } else {
            describe::<CheckpointDescription>(json, RUN_KEY)?.checkpoint()
        };
        let (before, sum) = bytes.split_at(tensors_end(bytes));
        let tensors = parse_tensors(bytes)?;
        if crc32(&[before]).to_le_bytes() != sum {
            return Err("damaged: its checksum is not that of its contents".to_string());
        }
        let Checkpoint {
            network,
            recipe,
            preparation,
            ..
        } = &checkpoint;
        network.validate().map_err(invalid_metadata)?;
        recipe.validate().map_err(invalid_metadata)?;
        check_preparation(preparation, network)?;
        let len = network.table().1;
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
        let best_len = best.as_ref().map_or(len, Vec::len);
        if parameters.len() != len || best_len != len {
            return Err(format!(
                "it holds {} parameters, and its network has {len}",
                parameters.len()
            ));
        }
        (checkpoint.recipe).keep_encoding_of(&checkpoint.network, &checkpoint.preparation);
        (checkpoint.parameters, checkpoint.moments) = (parameters, moments);
        (checkpoint.states, checkpoint.best) = (states, best);
        Ok(checkpoint)
    }

    /// Reads a checkpoint.
    ///
    /// # Errors
    /// [`Error::File`] where it cannot be read, is damaged, or comes from another or a newer
    /// program.
    pub fn load(path: &Path) -> Result<Checkpoint> {
        let bytes = files::read_plausible(path, LARGEST_CHECKPOINT, may_be_safetensors);
        let bytes = bytes.map_err(|error| {
            Error::file(path, format!("the checkpoint cannot be read: {error}"))
        })?;
        Checkpoint::from_bytes(&bytes).map_err(|problem| Error::file(path, problem))
    }
}

impl CheckpointDescription {
    /// The checkpoint without its tensors.
    fn checkpoint(self) -> Checkpoint {
        Checkpoint {
            recipe: self.recipe,
            network: self.network,
            preparation: self.preparation,
            position: self.position,
            data: DataChecksums::Splits(self.data),
            metrics: self.metrics,
            parameters: vec![],
            moments: vec![],
            states: vec![],
            best: None,
        }
    }
}

impl DescriptionWithHistory {
    /// The checkpoint without its tensors.
    fn checkpoint(self) -> Checkpoint {
        Checkpoint {
            position: self.position.position(&self.recipe.schedule),
            recipe: self.recipe,
            network: self.network,
            preparation: self.preparation,
            data: DataChecksums::Train(self.data_crc32),
            metrics: None,
            parameters: vec![],
            moments: vec![],
            states: vec![],
            best: None,
        }
    }
}

/// The offset of a checkpoint's checksum.
fn tensors_end(bytes: &[u8]) -> usize {
    bytes.len().saturating_sub(4)
}
