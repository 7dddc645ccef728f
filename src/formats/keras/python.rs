//! The program that builds the model in Keras and loads its weights.

use super::super::outputs_note;
use super::super::weights::{columns, linear_weights};
use super::heads_in_order;
use crate::cells::Cell;
use crate::data::preparation::InputDifference;
use crate::model::Model;
use crate::network::{Bias, Input, Layer, Network, Reads, RecurrentActivation};

/// Returns the program; `weights` is the name of the file with the weights.
pub(super) fn program(model: &Model, weights: &str) -> String {
    let network = &model.network;
    let mut text = inputs(model);
    let last = network.layers.len() - 1;
    for (level, layer) in network.layers.iter().enumerate() {
        let every_step = level < last || network.head.reads != Reads::Last;
        text += &recurrent_layer(level, layer, every_step);
    }
    text += pooling(model);
    let mut note = outputs_note(model).map_or(String::new(), |note| format!("; {note}"));
    if network.heads.is_empty() {
        text += &head(model, "head");
    } else {
        text += "    heads = {}\n";
        for index in heads_in_order(model) {
            let named = &network.heads[index];
            let own = of_head(model, index);
            text += &head(&own, &format!("head_{}", named.name));
            text += &format!("    heads[\"{}\"] = outputs\n", named.name);
            if let Some(own_note) = outputs_note(&own) {
                note += &format!("; {}: {own_note}", named.name);
            }
        }
        text += "    outputs = heads\n";
    }
    format!(
        r#"# Written by `gatescan export --to keras`.
from pathlib import Path

import keras
import numpy


def build(masked=False):
    """Returns the model; if masked, of [inputs, mask]: mask [batch, time] marks valid steps{note}."""
{text}    return keras.Model([inputs, mask] if masked else inputs, outputs)


def load(weights=Path(__file__).with_name("{weights}"), masked=False):
    model = build(masked)
    model.load_weights(weights)
    return model


if __name__ == "__main__":
    load().save("model.keras")
"#
    )
}

/// The inputs, normalised, embedded or one-hot.
fn inputs(model: &Model) -> String {
    let network = &model.network;
    let preparation = &model.preparation;
    let size = network.input_size - preparation.differences.len();
    let mut text = match network.input {
        Input::Values => {
            format!("    inputs = x = keras.Input([None, {size}], name=\"inputs\")\n")
        }
        _ => "    inputs = x = keras.Input([None], dtype=\"int32\", name=\"tokens\")\n".into(),
    };
    text += "    mask = keras.Input([None], dtype=\"bool\", name=\"mask\") if masked else None\n";
    if let Some([means, deviations]) = columns(&model.preparation.inputs) {
        text +=
            &format!("    x = (x - numpy.float32({means:?})) / numpy.float32({deviations:?})\n");
    }
    if !preparation.differences.is_empty() {
        text += &differences(&preparation.differences);
    }
    if !preparation.linear.is_empty() {
        text += "    prepared = x\n";
    }
    text += &match network.input {
        Input::Values => categories(network),
        Input::OneHot => format!("    x = keras.ops.one_hot(x, {size})\n"),
        Input::Embedding { size: width, .. } => {
            format!("    x = keras.layers.Embedding({size}, {width}, name=\"embedding\")(x)\n")
        }
    };
    text
}

/// The inputs that are differences from earlier steps.
fn differences(differences: &[InputDifference]) -> String {
    // The first step is repeated before the sequence.
    let mut text = "    parts = [x]\n".to_string();
    for InputDifference { input, lag, scale } in differences {
        text += &format!(
            "    v = x[:, :, {input}:{input} + 1]\n    \
             before = keras.ops.repeat(v[:, :1], {lag}, axis=1)\n    \
             longer = keras.ops.concatenate([before, v], axis=1)\n    \
             parts.append((v - longer[:, :-{lag}]) * numpy.float32({:?}))\n",
            *scale as f32
        );
    }
    text + "    x = keras.ops.concatenate(parts, axis=-1)\n"
}

/// The one-hot columns of categories, replaced by vectors: a `Dense` without a bias has a table as
/// its kernel.
fn categories(network: &Network) -> String {
    if network.categories.is_empty() {
        return String::new();
    }
    let parts = network.input_parts().into_iter().map(|part| {
        let columns = format!("x[:, :, {}:{}]", part.columns.start, part.columns.end);
        part.table.map_or(columns.clone(), |index| {
            let size = part.features.len();
            format!(
                "keras.layers.Dense({size}, use_bias=False, name=\"embedding{index}\")({columns})"
            )
        })
    });
    match &parts.collect::<Vec<_>>()[..] {
        [only] => format!("    x = {only}\n"),
        parts => format!(
            "    parts = [\n        {},\n    ]\n    x = keras.ops.concatenate(parts, axis=-1)\n",
            parts.join(",\n        ")
        ),
    }
}

fn recurrent_layer(level: usize, layer: &Layer, every_step: bool) -> String {
    let class = layer.cell.spec().frameworks.keras.map(|keras| keras.name);
    let variant = match layer.cell {
        Cell::RnnRelu => ", activation=\"relu\"",
        Cell::GruResetBefore => ", reset_after=False",
        _ => "",
    };
    let mut functions = String::new();
    if !layer.activation.is_default() {
        functions += &format!(", activation=\"{}\"", layer.activation.name());
    }
    if layer.recurrent_activation == RecurrentActivation::HardSigmoid {
        functions += ", recurrent_activation=\"hard_sigmoid\"";
    }
    if layer.recurrent_dropout > 0.0 {
        functions += &format!(", recurrent_dropout={}", layer.recurrent_dropout);
    }
    let sequences = if every_step {
        ", return_sequences=True"
    } else {
        ""
    };
    let bias = if layer.bias == Bias::None {
        ", use_bias=False"
    } else {
        ""
    };
    let mut text = format!(
        "keras.layers.{}({}{sequences}{variant}{functions}{bias}, name=\"rnn{level}\")",
        class.unwrap_or_default(),
        layer.hidden_size
    );
    if layer.bidirectional {
        text = format!("keras.layers.Bidirectional({text}, name=\"bidirectional{level}\")");
    }
    let residual = if layer.residual { " + x" } else { "" };
    format!("    x = {text}(x, mask=mask){residual}\n")
}

/// The values that the outputs are differences from; empty if there are none.
fn last_values(model: &Model) -> String {
    let columns = &model.preparation.residuals;
    if columns.is_empty() {
        return String::new();
    }
    let mut every = format!("keras.ops.take(inputs, {columns:?}, axis=-1)");
    let weights = linear_weights(model);
    if !weights.is_empty() {
        every += &format!(" + keras.ops.matmul(prepared, numpy.float32({weights:?}).T)");
    }
    if model.network.head.reads == Reads::Every {
        return format!("    outputs = outputs + {every}\n");
    }
    format!(
        r#"    last_values = {every}
    if masked:  # The last valid step is the one that no valid step follows.
        later = keras.ops.cast(mask, "float32")[:, 1:]
        last = keras.ops.pad(later, [[0, 0], [1, 0]], constant_values=1.0)
        last = last - keras.ops.pad(later, [[0, 0], [0, 1]])
        outputs = outputs + keras.ops.sum(last_values * last[:, :, None], axis=1)
    else:
        outputs = outputs + last_values[:, -1]
"#
    )
}

/// The reduction of the last layer's outputs over time.
fn pooling(model: &Model) -> &'static str {
    let last = model.network.layers.last();
    // Outputs of masked steps repeat the last valid one, except in these layers.
    let changes_maximum = last.is_some_and(|layer| layer.bidirectional || layer.residual);
    match model.network.head.reads {
        Reads::Mean => {
            "    x = keras.layers.GlobalAveragePooling1D(name=\"pooling\")(x, mask=mask)\n"
        }
        Reads::Max if changes_maximum => {
            r#"    if masked:
        x = keras.ops.where(mask[:, :, None], x, -numpy.inf)
    x = keras.layers.GlobalMaxPooling1D(name="pooling")(x)
"#
        }
        Reads::Max => "    x = keras.layers.GlobalMaxPooling1D(name=\"pooling\")(x)\n",
        _ => "",
    }
}

/// One of several heads as a model of its own, with an entry of its preparation for each output.
fn of_head(model: &Model, index: usize) -> Model {
    let own = model.of_head(index);
    Model {
        preparation: own.preparation.of_outputs(&own.network.head),
        ..own
    }
}

/// The head of this name, and its outputs in the units of the data.
fn head(model: &Model, name: &str) -> String {
    let size = model.network.head.size;
    let mut text = format!("    outputs = keras.layers.Dense({size}, name=\"{name}\")(x)\n");
    if let Some([means, deviations]) = columns(&model.preparation.targets) {
        text += &format!(
            "    outputs = outputs * numpy.float32({deviations:?}) + numpy.float32({means:?})\n"
        );
    }
    text + &last_values(model)
}
