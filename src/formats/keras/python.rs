//! The program that builds the model in Keras and loads its weights.

use super::super::weights::columns;
use crate::cells::Cell;
use crate::model::Model;
use crate::network::{Bias, Input, Layer, Reads};

/// Returns the program; `weights` is the name of the file with the weights.
pub(super) fn program(model: &Model, weights: &str) -> String {
    let network = &model.network;
    let mut text = inputs(model);
    let last = network.layers.len() - 1;
    for (level, layer) in network.layers.iter().enumerate() {
        let every_step = level < last || network.head.reads == Reads::Every;
        text += &recurrent_layer(level, layer, every_step);
    }
    text += &head(model);
    format!(
        r#"# Written by `gatescan export --to keras`.
from pathlib import Path

import keras
import numpy


def build(masked=False):
    """Returns the model; if masked, of [inputs, mask]: mask [batch, time] marks valid steps."""
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
    let size = network.input_size;
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
    text += &match network.input {
        Input::Values => String::new(),
        Input::OneHot => format!("    x = keras.ops.one_hot(x, {size})\n"),
        Input::Embedding { size: width, .. } => {
            format!("    x = keras.layers.Embedding({size}, {width}, name=\"embedding\")(x)\n")
        }
    };
    text
}

fn recurrent_layer(level: usize, layer: &Layer, every_step: bool) -> String {
    let class = layer.cell.spec().frameworks.keras.map(|keras| keras.name);
    let variant = match layer.cell {
        Cell::RnnRelu => ", activation=\"relu\"",
        Cell::GruResetBefore => ", reset_after=False",
        _ => "",
    };
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
        "keras.layers.{}({}{sequences}{variant}{bias}, name=\"rnn{level}\")",
        class.unwrap_or_default(),
        layer.hidden_size
    );
    if layer.bidirectional {
        text = format!("keras.layers.Bidirectional({text}, name=\"bidirectional{level}\")");
    }
    let residual = if layer.residual { " + x" } else { "" };
    format!("    x = {text}(x, mask=mask){residual}\n")
}

/// The head, and its outputs in the units of the data.
fn head(model: &Model) -> String {
    let size = model.network.head.size;
    let mut text = format!("    outputs = keras.layers.Dense({size}, name=\"head\")(x)\n");
    if let Some([means, deviations]) = columns(&model.preparation.targets) {
        text += &format!(
            "    outputs = outputs * numpy.float32({deviations:?}) + numpy.float32({means:?})\n"
        );
    }
    text
}
