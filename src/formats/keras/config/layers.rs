//! The layers in `config.json`, and what gatescan has of each.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::options::{LayerOptions, misplaced, refused};
use crate::cells::{Activation, Cell, RecurrentActivation};
use crate::error::{Error, Result};
use crate::messages::{excerpt, listed};

/// A layer as `config.json` lists it.
pub(super) struct LayerEntry<'a> {
    /// The position in the list.
    pub index: usize,
    pub class: &'a str,
    pub name: &'a str,
    /// The position among the layers of its class.
    pub number: usize,
    /// The layer in errors, as "layer `lstm` (LSTM)".
    pub label: String,
    pub options: &'a Map<String, Value>,
    /// The calls of a layer in a graph.
    pub calls: &'a Value,
}

/// The recurrence of one direction.
#[derive(Debug, Clone, PartialEq)]
pub(in super::super) struct DescribedDirection {
    pub cell: Cell,
    /// H.
    pub units: usize,
    pub has_bias: bool,
    pub activation: Activation,
    pub recurrent_activation: RecurrentActivation,
    /// Between 0 and 1; 0 where Keras drops nothing.
    pub recurrent_dropout: f64,
}

/// A recurrent layer without wrapper.
pub(super) struct Recurrence {
    pub direction: DescribedDirection,
    pub sequence: SequenceOptions,
    pub has_dropout: bool,
}

/// How a recurrent layer reads and returns sequences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SequenceOptions {
    /// Whether it returns the outputs of every step.
    pub every_step: bool,
    pub returns_state: bool,
    pub goes_backwards: bool,
    pub is_stateful: bool,
    pub zeros_masked: bool,
}

/// A `Dense`, or a `TimeDistributed` one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct DenseOptions<'a> {
    pub units: usize,
    pub has_bias: bool,
    pub activation: &'a str,
    /// The rank of its low-rank adaptation, which Keras saves merged into the kernel.
    pub lora_rank: Option<usize>,
}

/// Keys of the entry of a layer or model, beside those that are read.
pub(super) const ENTRY_KEYS: [&str; 8] = [
    "module",
    "class_name",
    "config",
    "registered_name",
    "build_config",
    "compile_config",
    "name",
    "shared_object_id",
];

impl<'a> LayerEntry<'a> {
    /// Reads the list of layers.
    ///
    /// # Errors
    /// [`Error::Usage`] for a class that is not Keras's own, and for two layers of one name.
    pub fn list(layers: &'a [Value]) -> Result<Vec<LayerEntry<'a>>> {
        let mut entries: Vec<LayerEntry> = vec![];
        let mut counts: HashMap<&str, usize> = HashMap::new();
        let mut names: HashMap<&str, usize> = HashMap::new();
        for (index, layer) in layers.iter().enumerate() {
            let name = layer["config"]["name"].as_str();
            let name = name.or(layer["name"].as_str()).unwrap_or_default();
            let (class, label, options) = object(layer, "layer", name)?;
            check_keys(layer, &label)?;
            if let Some(first) = names.insert(name, index) {
                return Err(Error::usage(format!(
                    "layers {first} and {index} have the same name `{}`",
                    excerpt(name)
                )));
            }
            let count = counts.entry(class).or_default();
            entries.push(LayerEntry {
                index,
                class,
                name,
                number: *count,
                label,
                options,
                calls: &layer["inbound_nodes"],
            });
            *count += 1;
        }
        Ok(entries)
    }

    /// The error for a class that gatescan does not have.
    pub fn unknown(&self) -> Error {
        let has = match self.class {
            "Masking" => LENGTHS,
            "BatchNormalization" | "LayerNormalization" | "GroupNormalization"
            | "UnitNormalization" | "RMSNormalization" => {
                "constant shifts and scales of inputs (Normalization, Rescaling)"
            }
            "Add" | "Concatenate" | "Average" | "Maximum" | "Minimum" | "Multiply" | "Subtract"
            | "Dot" => {
                "a chain of layers, and the sum of a recurrent layer's outputs and inputs (Add)"
            }
            "Sequential" | "Functional" | "Model" => "no models within models",
            "Lambda" => "no code of other programs",
            class if class.contains("Pooling") => {
                "a head that reads every step, the last one, or the mean or maximum over all \
                 (GlobalAveragePooling1D, GlobalMaxPooling1D)"
            }
            _ => {
                "SimpleRNN, LSTM, GRU, Bidirectional, a Dense after them, an Embedding before \
                 them, Normalization, Rescaling, and layers that only training uses"
            }
        };
        misplaced(
            &self.label,
            "is not among the layers that gatescan has",
            has,
        )
    }

    /// The error for a layer at a place where gatescan does not have it.
    pub fn misplaced(&self, problem: &str, has: &str) -> Error {
        misplaced(&self.label, problem, has)
    }
}

/// What gatescan has instead of masks that are computed from values.
pub(super) const LENGTHS: &str = "lengths that the data give (padded steps at the end), and no masks made of values; without \
     the mask, import the file of `model.save_weights(\"model.weights.h5\")` and give lengths";

/// The class, the label and the options of a serialized object.
fn object<'a>(
    value: &'a Value,
    kind: &str,
    name: &str,
) -> Result<(&'a str, String, &'a Map<String, Value>)> {
    let class = value["class_name"].as_str().unwrap_or_default();
    let label = format!("{kind} `{}` ({})", excerpt(name), excerpt(class));
    let options = value["config"].as_object();
    let options = options.filter(|_| !class.is_empty()).ok_or_else(|| {
        Error::usage(format!(
            "{label}: config.json has no class_name and config of it"
        ))
    })?;
    if !is_of_keras(value) {
        let own = value["registered_name"].as_str().unwrap_or(class);
        let problem = format!(
            "is of the class `{}`, which is code of another program",
            excerpt(own)
        );
        return Err(misplaced(&label, &problem, "Keras's own classes"));
    }
    Ok((class, label, options))
}

/// Whether a class is Keras's own, and not one that a program registered.
pub(super) fn is_of_keras(value: &Value) -> bool {
    let is_own_module = match value.get("module") {
        None => true,
        Some(Value::String(module)) => module == "keras" || module.starts_with("keras."),
        Some(_) => false,
    };
    let registered = &value["registered_name"];
    is_own_module && (registered.is_null() || *registered == value["class_name"])
}

/// Refuses keys of an entry whose meaning is not known.
fn check_keys(layer: &Value, label: &str) -> Result<()> {
    let mut keys = layer.as_object().into_iter().flatten();
    let is_known = |key: &str| key == "inbound_nodes" || ENTRY_KEYS.contains(&key);
    match keys.find(|(key, value)| !value.is_null() && !is_known(key)) {
        None => Ok(()),
        Some((key, _)) => Err(Error::usage(format!(
            "{label}: gatescan does not know `{}` of a layer's entry in config.json",
            excerpt(key)
        ))),
    }
}

/// Reads a recurrent layer of Keras.
pub(super) fn recurrence(
    class: &str,
    label: &str,
    options: &Map<String, Value>,
) -> Result<Recurrence> {
    let mut options = LayerOptions::new(label, options)?;
    options.skip(&["unroll", "use_cudnn", "input_length", "input_dim"]);
    options.only("time_major", json!(false), "inputs [N, T, F]")?;
    let sequence = SequenceOptions {
        every_step: options.flag("return_sequences", false)?,
        returns_state: options.flag("return_state", false)?,
        goes_backwards: options.flag("go_backwards", false)?,
        is_stateful: options.flag("stateful", false)?,
        zeros_masked: options.flag("zero_output_for_mask", false)?,
    };
    let (direction, has_dropout) = if class == "RNN" {
        let cell = options.get("cell").unwrap_or(&Value::Null);
        let name = cell["config"]["name"].as_str().unwrap_or_default();
        let (cell_class, cell_label, cell_options) = object(cell, &format!("{label}: cell"), name)?;
        let Some(class) = cell_class.strip_suffix("Cell") else {
            return Err(options.refused("cell", cell, CELLS));
        };
        let mut cell_options = LayerOptions::new(&cell_label, cell_options)?;
        let read = cell_of(class, &mut cell_options)?
            .ok_or_else(|| options.refused("cell", cell, CELLS))?;
        cell_options.finish()?;
        read
    } else {
        let unknown = || Error::usage(format!("{label} is not a recurrent layer of gatescan"));
        cell_of(class, &mut options)?.ok_or_else(unknown)?
    };
    options.finish()?;
    Ok(Recurrence {
        direction,
        sequence,
        has_dropout,
    })
}

const CELLS: &str = "one SimpleRNNCell, LSTMCell or GRUCell in each layer";

/// Reads the options of a cell, and whether it has dropout; `None` for a class that is none.
fn cell_of(class: &str, options: &mut LayerOptions) -> Result<Option<(DescribedDirection, bool)>> {
    let (mut activation, mut recurrent_activation) = Default::default();
    let cell = match class {
        "SimpleRNN" => match options.activation("activation", "tanh")? {
            "tanh" => Cell::RnnTanh,
            "relu" => Cell::RnnRelu,
            other => {
                let has = "`tanh` and `relu` in a SimpleRNN";
                return Err(options.refused("activation", &json!(other), has));
            }
        },
        "LSTM" | "GRU" => {
            activation = activation_of(options)?;
            recurrent_activation = recurrent_activation_of(options)?;
            match class {
                "LSTM" => Cell::Lstm,
                _ if options.flag("reset_after", true)? => Cell::Gru,
                _ => Cell::GruResetBefore,
            }
        }
        _ => return Ok(None),
    };
    // The weights are trained, and both implementations compute the same.
    options.skip(&["unit_forget_bias", "implementation"]);
    let direction = DescribedDirection {
        cell,
        units: options.size("units")?,
        has_bias: options.flag("use_bias", true)?,
        activation,
        recurrent_activation,
        // Keras drops nothing at a rate of 1.
        recurrent_dropout: options.number("recurrent_dropout", 0.0)? % 1.0,
    };
    let has_dropout = options.number("dropout", 0.0)? != 0.0;
    Ok(Some((direction, has_dropout)))
}

/// Reads the function of the candidate and of c.
fn activation_of(options: &mut LayerOptions) -> Result<Activation> {
    let name = options.activation("activation", "tanh")?;
    let found = Activation::ALL.into_iter().find(|each| each.name() == name);
    found.ok_or_else(|| {
        let names = Activation::ALL.map(Activation::name);
        options.refused(
            "activation",
            &json!(name),
            &format!("{} there", listed(&names)),
        )
    })
}

/// Reads the function of the gates; `hard_sigmoid` is that of Keras 3.
fn recurrent_activation_of(options: &mut LayerOptions) -> Result<RecurrentActivation> {
    match options.activation("recurrent_activation", "sigmoid")? {
        "sigmoid" => Ok(RecurrentActivation::Sigmoid),
        "hard_sigmoid" => Ok(RecurrentActivation::HardSigmoid),
        other => {
            let has = "`sigmoid` and `hard_sigmoid` there";
            Err(options.refused("recurrent_activation", &json!(other), has))
        }
    }
}

/// The two directions of a `Bidirectional`.
pub(super) fn bidirectional(entry: &LayerEntry) -> Result<(Recurrence, DescribedDirection)> {
    let mut options = LayerOptions::new(&entry.label, entry.options)?;
    match entry.options.get("merge_mode") {
        Some(Value::String(mode)) if mode == "concat" => options.skip(&["merge_mode"]),
        None => {}
        Some(mode) => {
            return Err(options.refused("merge_mode", mode, "`concat`"));
        }
    }
    let inner = |layer: &Value, part: &str| {
        let name = layer["config"]["name"].as_str().unwrap_or_default();
        let (class, label, options) = object(layer, &format!("{}: {part}", entry.label), name)?;
        recurrence(class, &label, options)
    };
    let forward = inner(options.get("layer").unwrap_or(&Value::Null), "layer")?;
    let backward = match options.get("backward_layer") {
        Some(layer) => inner(layer, "backward_layer")?,
        // Keras makes it of the forward layer.
        None => Recurrence {
            direction: forward.direction.clone(),
            sequence: SequenceOptions {
                goes_backwards: true,
                ..forward.sequence
            },
            ..forward
        },
    };
    options.finish()?;
    if forward.sequence.goes_backwards || !backward.sequence.goes_backwards {
        let has = "a layer with false and a backward_layer with true";
        let value = forward.sequence.goes_backwards.to_string();
        return Err(refused(&entry.label, "go_backwards of layer", &value, has));
    }
    check_equal_functions(entry, &forward.direction, &backward.direction)?;
    let merged = Recurrence {
        sequence: SequenceOptions {
            zeros_masked: false,
            ..forward.sequence
        },
        has_dropout: forward.has_dropout
            || backward.has_dropout
            || forward.direction.recurrent_dropout != backward.direction.recurrent_dropout,
        direction: forward.direction,
    };
    Ok((merged, backward.direction))
}

/// Refuses directions with different functions.
fn check_equal_functions(
    entry: &LayerEntry,
    forward: &DescribedDirection,
    backward: &DescribedDirection,
) -> Result<()> {
    let names = [forward, backward].map(|direction| {
        [
            direction.activation.name(),
            direction.recurrent_activation.name(),
        ]
    });
    for (n, option) in ["activation", "recurrent_activation"].iter().enumerate() {
        if names[0][n] != names[1][n] {
            let option = format!("{option} of backward_layer");
            let has = format!(
                "the function of layer, `{}`, in both directions",
                names[0][n]
            );
            let value = format!("`{}`", names[1][n]);
            return Err(refused(&entry.label, &option, &value, &has));
        }
    }
    Ok(())
}

/// Reads a `Dense`, or the one that a `TimeDistributed` applies to every step.
pub(super) fn dense<'a>(entry: &LayerEntry<'a>) -> Result<DenseOptions<'a>> {
    if entry.class == "Dense" {
        return dense_options(&entry.label, entry.options);
    }
    let mut options = LayerOptions::new(&entry.label, entry.options)?;
    let inner = options.get("layer").unwrap_or(&Value::Null);
    let name = inner["config"]["name"].as_str().unwrap_or_default();
    let (class, label, inner_options) = object(inner, &format!("{}: layer", entry.label), name)?;
    if class != "Dense" {
        return Err(options.refused("layer", inner, "TimeDistributed(Dense)"));
    }
    options.finish()?;
    dense_options(&label, inner_options)
}

fn dense_options<'a>(label: &str, options: &'a Map<String, Value>) -> Result<DenseOptions<'a>> {
    let mut options = LayerOptions::new(label, options)?;
    let dense = DenseOptions {
        units: options.size("units")?,
        has_bias: options.flag("use_bias", true)?,
        activation: options.activation("activation", "linear")?,
        lora_rank: lora_rank(&mut options)?,
    };
    options.finish()?;
    Ok(dense)
}

/// The rank of a low-rank adaptation, which Keras saves merged into the weights.
pub(super) fn lora_rank(options: &mut LayerOptions) -> Result<Option<usize>> {
    options.skip(&["lora_alpha"]);
    match options.get("lora_rank") {
        None => Ok(None),
        Some(_) => options.size("lora_rank").map(Some),
    }
}
