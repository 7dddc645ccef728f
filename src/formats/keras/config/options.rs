//! The options of one layer in `config.json`. Each option is read, known to change no output, or
//! refused by its name.

use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::messages::excerpt;

/// Options that every layer may have and that change no output.
const OF_EVERY_LAYER: [&str; 4] = ["name", "trainable", "batch_input_shape", "seed"];
/// The ends of options that matter in training only.
const OF_TRAINING: [&str; 3] = ["_initializer", "_regularizer", "_constraint"];

/// The options of a layer.
pub(super) struct LayerOptions<'a> {
    /// The layer in errors, as "layer `lstm` (LSTM)".
    label: String,
    values: &'a Map<String, Value>,
    /// The options that were read.
    read: Vec<&'static str>,
}

impl<'a> LayerOptions<'a> {
    /// Options whose `dtype` is the one of weights and computations.
    ///
    /// # Errors
    /// [`Error::Usage`] for a `dtype` other than float32.
    pub fn new(label: &str, values: &'a Map<String, Value>) -> Result<LayerOptions<'a>> {
        let mut options = LayerOptions::untyped(label, values);
        options.check_dtype()?;
        Ok(options)
    }

    /// Options without a `dtype` of computations.
    pub fn untyped(label: &str, values: &'a Map<String, Value>) -> LayerOptions<'a> {
        LayerOptions {
            label: label.into(),
            values,
            read: vec![],
        }
    }

    /// The layer in errors.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// Returns an option; `None` if it is absent or null.
    pub fn get(&mut self, option: &'static str) -> Option<&'a Value> {
        self.read.push(option);
        self.values.get(option).filter(|value| !value.is_null())
    }

    /// Returns an option that is true or false.
    pub fn flag(&mut self, option: &'static str, default: bool) -> Result<bool> {
        match self.get(option) {
            None => Ok(default),
            Some(Value::Bool(value)) => Ok(*value),
            Some(value) => Err(self.malformed(option, value, "true or false")),
        }
    }

    /// Returns a size.
    pub fn size(&mut self, option: &'static str) -> Result<usize> {
        let value = self.get(option).unwrap_or(&Value::Null);
        let size = value.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| self.malformed(option, value, "a whole number"))
    }

    /// Returns a number.
    pub fn number(&mut self, option: &'static str, default: f64) -> Result<f64> {
        match self.get(option) {
            None => Ok(default),
            Some(value) => value
                .as_f64()
                .ok_or_else(|| self.malformed(option, value, "a number")),
        }
    }

    /// Returns the name of an activation; none is `linear`.
    ///
    /// # Errors
    /// [`Error::Usage`] for a function or a layer that is not one of Keras's names.
    pub fn activation(&mut self, option: &'static str, default: &'a str) -> Result<&'a str> {
        match self.values.get(option) {
            None => Ok(default),
            Some(Value::Null) => {
                self.read.push(option);
                Ok("linear")
            }
            Some(Value::String(name)) => {
                self.read.push(option);
                Ok(name)
            }
            Some(value) => Err(self.refused(option, value, "Keras's activations by their names")),
        }
    }

    /// Refuses an option that is present and not `default`.
    pub fn only(&mut self, option: &'static str, default: Value, has: &str) -> Result<()> {
        match self.get(option) {
            Some(value) if *value != default => Err(self.refused(option, value, has)),
            _ => Ok(()),
        }
    }

    /// Marks options that change no output as read.
    pub fn skip(&mut self, options: &[&'static str]) {
        self.read.extend(options);
    }

    /// Refuses every option that was not read and is not null: its meaning is not known.
    pub fn finish(self) -> Result<()> {
        let is_known = |option: &str| {
            let ends = OF_TRAINING.iter().any(|end| option.ends_with(end));
            ends || OF_EVERY_LAYER.contains(&option) || self.read.contains(&option)
        };
        let mut values = self.values.iter();
        match values.find(|(option, value)| !value.is_null() && !is_known(option)) {
            None => Ok(()),
            Some((option, value)) => Err(Error::usage(format!(
                "{}: {} is {}, and gatescan does not know this option; leave it out in Keras",
                self.label,
                excerpt(option),
                shown(value)
            ))),
        }
    }

    /// The error for an option whose value gatescan does not have; it `has` something else.
    pub fn refused(&self, option: &str, value: &Value, has: &str) -> Error {
        refused(&self.label, option, &shown(value), has)
    }

    fn malformed(&self, option: &str, value: &Value, expected: &str) -> Error {
        let (label, value) = (&self.label, shown(value));
        Error::usage(format!("{label}: {option} is {value}; expected {expected}"))
    }

    fn check_dtype(&mut self) -> Result<()> {
        let Some(dtype) = self.get("dtype") else {
            return Ok(());
        };
        let policy = match dtype["class_name"].as_str() {
            None | Some("DTypePolicy" | "Policy") => dtype["config"]["name"].as_str(),
            Some(quantised) => Some(quantised),
        };
        match dtype.as_str().or(policy) {
            Some("float32") => Ok(()),
            Some(name @ ("mixed_float16" | "mixed_bfloat16")) => Err(Error::usage(format!(
                "{}: dtype is `{name}`, and gatescan computes in float32; for that, import the \
                 float32 weights alone, saved by `model.save_weights(\"model.weights.h5\")`",
                self.label
            ))),
            name => Err(refused(
                &self.label,
                "dtype",
                &name.map_or_else(|| shown(dtype), |name| format!("`{}`", excerpt(name))),
                "`float32`",
            )),
        }
    }
}

/// The error for a value that gatescan does not have; it `has` something else.
pub(super) fn refused(label: &str, option: &str, value: &str, has: &str) -> Error {
    Error::usage(format!(
        "{label}: {option} is {value}, and gatescan has {has}; change the model in Keras"
    ))
}

/// The error for a layer where gatescan does not have it; it `has` something else.
pub(super) fn misplaced(label: &str, problem: &str, has: &str) -> Error {
    Error::usage(format!(
        "{label} {problem}; gatescan has {has}; change the model in Keras"
    ))
}

/// A value for an error: a name, or the start of its JSON.
fn shown(value: &Value) -> String {
    let name = match (&value["class_name"], &value["config"]) {
        (Value::String(class), Value::String(function)) if class == "function" => Some(function),
        (Value::String(class), _) => Some(class),
        _ => None,
    };
    match (value, name) {
        (Value::String(name), _) | (_, Some(name)) => format!("`{}`", excerpt(name)),
        _ => excerpt(&value.to_string()),
    }
}
