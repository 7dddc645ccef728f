//! The loss that a model was compiled with.

use serde_json::Value;

use crate::messages::excerpt;

/// The loss that a model was compiled with, as far as gatescan has it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in super::super) enum CompiledLoss {
    /// The model was not compiled, or without a loss.
    #[default]
    Absent,
    MeanSquaredError,
    CrossEntropy {
        /// Whether the model's outputs are logits.
        from_logits: bool,
        /// The options of the loss that gatescan does not have, in training only.
        extra: Vec<String>,
    },
    /// The name of another loss.
    Other(String),
}

/// Reads the loss of `compile_config`.
pub(super) fn read(compiled: &Value) -> CompiledLoss {
    let loss = one_of_one(&compiled["loss"]);
    let name = match loss {
        Value::Null => return CompiledLoss::Absent,
        Value::String(name) => name,
        other => match (&other["class_name"], &other["config"]) {
            (Value::String(class), Value::String(function)) if class == "function" => function,
            (Value::String(class), _) => class,
            _ => return CompiledLoss::Other(excerpt(&other.to_string())),
        },
    };
    let options = &loss["config"];
    match &name[..] {
        "mse" | "MSE" | "mean_squared_error" | "MeanSquaredError" => CompiledLoss::MeanSquaredError,
        "categorical_crossentropy"
        | "sparse_categorical_crossentropy"
        | "CategoricalCrossentropy"
        | "SparseCategoricalCrossentropy" => CompiledLoss::CrossEntropy {
            from_logits: options["from_logits"].as_bool().unwrap_or(false),
            extra: extra_options(options),
        },
        other => CompiledLoss::Other(excerpt(other)),
    }
}

/// The loss of the only output, of a list or an object of losses.
fn one_of_one(loss: &Value) -> &Value {
    match loss {
        Value::Array(losses) if losses.len() == 1 => &losses[0],
        Value::Object(losses) if losses.len() == 1 => losses.values().next().unwrap_or(loss),
        loss => loss,
    }
}

/// Label smoothing and ignored classes, which change the training.
fn extra_options(options: &Value) -> Vec<String> {
    let is_set = |option: &&str| match &options[*option] {
        Value::Null => false,
        Value::Number(number) if *option == "label_smoothing" => number.as_f64() != Some(0.0),
        _ => true,
    };
    let set = ["label_smoothing", "ignore_class"]
        .into_iter()
        .filter(is_set);
    set.map(|option| format!("{option} = {}", excerpt(&options[option].to_string())))
        .collect()
}
