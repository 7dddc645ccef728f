//! A model as the `config.json` of a `.keras` describes it: its layers, their options and their
//! order. What gatescan has is taken. What it does not have and changes outputs is refused by the
//! names of the layer and the option. Options that are not known are refused too.

mod chain;
mod graph;
mod layers;
mod loss;
mod options;
mod scaling;
#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::error::{Error, Result};
use crate::messages::excerpt;
use crate::network::{Reads, RecurrentActivation};

pub(super) use layers::DescribedDirection;
use layers::LayerEntry;
pub(super) use loss::CompiledLoss;
use options::LayerOptions;
pub(super) use scaling::{ScalingStep, StoredStatistics, of_inputs, of_targets};

/// A model as its description has it.
#[derive(Debug, Default)]
pub(super) struct DescribedModel {
    /// V of tokens that an embedding reads.
    pub tokens: Option<usize>,
    /// V of tokens that become one-hot vectors.
    pub one_hot: Option<usize>,
    pub embedding: Option<StoredName>,
    pub input_scaling: Vec<ScalingStep>,
    pub layers: Vec<DescribedLayer>,
    pub head: DescribedHead,
    pub target_scaling: Vec<ScalingStep>,
    pub loss: CompiledLoss,
    /// Names of all layers by their index, to find what they store.
    pub stored: Vec<StoredName>,
    /// What the caller should know.
    pub notes: Vec<String>,
}

/// A recurrent layer.
#[derive(Debug)]
pub(super) struct DescribedLayer {
    pub stored: StoredName,
    /// The layer in errors.
    pub label: String,
    pub forward: DescribedDirection,
    pub backward: Option<DescribedDirection>,
    /// Whether its outputs and inputs are added.
    pub residual: bool,
    pub is_masked: bool,
}

/// The `Dense` after the recurrent layers.
#[derive(Debug, Default)]
pub(super) struct DescribedHead {
    pub stored: StoredName,
    /// The layer in errors.
    pub label: String,
    /// K.
    pub units: usize,
    pub has_bias: bool,
    pub reads: Reads,
    pub activation: HeadActivation,
}

/// What follows the linear head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum HeadActivation {
    #[default]
    Linear,
    Softmax,
}

/// The names under which files of weights have a layer.
#[derive(Debug, Clone, Default)]
pub(super) struct StoredName {
    pub name: String,
    /// Its class in snake case, for files without names.
    pub class: &'static str,
    /// The position among the layers of its class.
    pub number: usize,
}

impl DescribedModel {
    /// Takes `hard_sigmoid` as Keras 2 has it.
    pub fn use_keras2_functions(&mut self) {
        for layer in &mut self.layers {
            for direction in [&mut layer.forward].into_iter().chain(&mut layer.backward) {
                if direction.recurrent_activation == RecurrentActivation::HardSigmoid {
                    direction.recurrent_activation = RecurrentActivation::HardSigmoidKeras2;
                }
            }
        }
    }
}

impl StoredName {
    fn of(entry: &LayerEntry) -> StoredName {
        StoredName {
            name: entry.name.into(),
            class: match entry.class {
                "SimpleRNN" => "simple_rnn",
                "LSTM" => "lstm",
                "GRU" => "gru",
                "RNN" => "rnn",
                "Bidirectional" => "bidirectional",
                "Dense" => "dense",
                "TimeDistributed" => "time_distributed",
                "Embedding" => "embedding",
                "Normalization" => "normalization",
                _ => "",
            },
            number: entry.number,
        }
    }
}

/// Reads a description; `None` for a subclassed model, which has no list of layers.
///
/// # Errors
/// [`Error::Usage`] that names the layer and the option that gatescan does not have.
pub(super) fn read(description: &Value) -> Result<Option<DescribedModel>> {
    let class = description["class_name"].as_str().unwrap_or_default();
    let config = description["config"].as_object();
    let (false, Some(config)) = (class.is_empty(), config) else {
        return Err(Error::usage(
            "config.json has no class_name and config of a model; save it by \
             `model.save(\"model.keras\")`",
        ));
    };
    let is_of_keras = layers::is_of_keras(description);
    let list = match config.get("layers").and_then(Value::as_array) {
        Some(list) => list,
        None if !is_of_keras => return Ok(None),
        None => return Err(Error::usage("config.json: the model has no list of layers")),
    };
    let label = format!("the model ({})", excerpt(class));
    check_keys(description, &label)?;
    let mut options = LayerOptions::new(&label, config)?;
    options.skip(&[
        "layers",
        "build_input_shape",
        "input_layers",
        "output_layers",
    ]);
    // Keys of a program's own class belong to that class.
    if is_of_keras {
        options.finish()?;
    }
    let entries = LayerEntry::list(list)?;
    let mut model = if config.contains_key("output_layers") {
        graph::functional(&entries, config)?
    } else {
        graph::sequential(&entries)?
    };
    model.stored = entries.iter().map(StoredName::of).collect();
    model.loss = loss::read(&description["compile_config"]);
    if !is_of_keras {
        model.notes.insert(
            0,
            format!(
                "the model is of the class {}, whose code gatescan does not read: it computes the \
                 layers of config.json in their order",
                excerpt(class)
            ),
        );
    }
    Ok(Some(model))
}

/// Refuses keys of the description whose meaning is not known.
fn check_keys(description: &Value, label: &str) -> Result<()> {
    let mut keys = description.as_object().into_iter().flatten();
    match keys.find(|(key, value)| !value.is_null() && !layers::ENTRY_KEYS.contains(&&key[..])) {
        None => Ok(()),
        Some((key, _)) => Err(Error::usage(format!(
            "{label}: gatescan does not know `{}` in config.json",
            excerpt(key)
        ))),
    }
}
