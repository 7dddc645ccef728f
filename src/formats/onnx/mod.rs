//! A model as an ONNX graph of the operators `RNN`, `LSTM` and `GRU`. Layers that these cannot
//! express (projections, clipping) are a `Scan` over the formulas, so every network has a graph.
//!
//! Formulas and layouts: version 17 of <https://onnx.ai/onnx/operators/>.

mod categories;
mod graph;
mod metadata;
mod operator;
mod pooling;
mod proto;
mod scan;

use prost::Message;

use super::weights::{columns, linear_weights, parameter};
use super::{has_zoneout, with_output_preparation};
use crate::data::preparation::InputDifference;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Direction, Input, Layer, Network, Reads};
use graph::{AxisSize, value};
use proto::{AttributeProto, FLOAT, GraphProto, INT32, INT64, ModelProto, OperatorSetIdProto};

/// The version of the operators' definitions.
const OPSET: i64 = 17;
/// The version of the file format that belongs to it.
const IR_VERSION: i64 = 8;
/// The largest size of a protobuf file in bytes.
const LARGEST_FILE: usize = i32::MAX as usize;

/// The outputs of a layer or of one direction, by their names.
struct LayerOutput {
    /// `[T, B, P]`
    every: String,
    /// `[B, P]`: after each sequence's last valid step.
    last: String,
}

/// Returns the model as an ONNX file. The graph has the input `inputs` `[batch, time, I]`, or
/// `tokens` `[batch, time]` (int64), and with `lengths` also `lengths` `[batch]` (int32), the
/// number of valid steps of each sequence. Its output is `outputs` `[batch, K]`, or `[batch, time,
/// K]` for a head that reads every step; padded steps are undefined. A network that classifies also
/// has the output `probabilities`, the softmax of `outputs`, and one of labels their sigmoid. Batch
/// and time may have any size. The outputs of several heads are `outputs.NAME` and
/// `probabilities.NAME`. The metadata of the file name the columns of inputs and targets, the
/// classes and the tokens, and say what several outputs of a target are.
///
/// # Errors
/// [`Error::Usage`] if the file would be larger than 2 GiB, if the model's parameters are not those
/// of its network, and for normal distributions of differences, zoneout and layer normalisation.
pub fn export(model: &Model, lengths: bool) -> Result<Vec<u8>> {
    model.network.from_parameters(&model.parameters)?;
    let model = &with_output_preparation(model, "ONNX")?;
    check_layers(&model.network)?;
    let mut graph = GraphProto::default();
    let inputs = graph.inputs(model)?;
    if lengths {
        let lengths = value("lengths", INT32, &[AxisSize::Batch]);
        graph.input.push(lengths);
    }
    let read = graph.embedded_categories(model, inputs.clone())?;
    let output = graph.layers(model, read, lengths)?;
    graph.heads(model, &inputs, &output, lengths)?;
    graph.name = model.recipe.name.clone();
    let file = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "gatescan".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: String::new(),
            version: OPSET,
        }],
        metadata_props: metadata::entries(model),
    };
    let size = file.encoded_len();
    if size > LARGEST_FILE {
        return Err(Error::usage(format!(
            "the ONNX file would have {size} bytes; at most {LARGEST_FILE} are possible; \
             use the PyTorch format"
        )));
    }
    Ok(file.encode_to_vec())
}

impl GraphProto {
    /// Adds the graph's input; returns the network's `[T, B, I]`.
    fn inputs(&mut self, model: &Model) -> Result<String> {
        if model.network.input.is_values() {
            Ok(self.value_inputs(model))
        } else {
            self.token_inputs(model)
        }
    }

    /// Values, normalised where the model's data were.
    fn value_inputs(&mut self, model: &Model) -> String {
        let preparation = &model.preparation;
        let features = model.network.input_size - preparation.differences.len();
        let shape = [AxisSize::Batch, AxisSize::Time, AxisSize::Fixed(features)];
        self.input.push(value("inputs", FLOAT, &shape));
        let inputs = self.transpose("inputs", "inputs.time_major", &[1, 0, 2]);
        let prepared = match columns(&preparation.inputs) {
            Some([means, deviations]) => {
                let means = self.floats("inputs.mean", &[features], &means);
                let deviations = self.floats("inputs.deviation", &[features], &deviations);
                let centred = self.node("Sub", &[&inputs, &means], "inputs.centred");
                self.node("Div", &[&centred, &deviations], "inputs.normalised")
            }
            None => inputs,
        };
        if preparation.differences.is_empty() {
            prepared
        } else {
            self.with_differences(&preparation.differences, prepared)
        }
    }

    /// Adds the inputs that are differences from earlier steps to `[T, B, I - D]`; returns
    /// `[T, B, I]`.
    fn with_differences(&mut self, differences: &[InputDifference], prepared: String) -> String {
        let mut parts = vec![prepared.clone()];
        for (n, InputDifference { input, lag, scale }) in differences.iter().enumerate() {
            let name = |part: &str| format!("difference{n}.{part}");
            let column = self.ints(&name("input"), &[*input as i64]);
            let axis = AttributeProto::int("axis", 2);
            let gathered = [prepared.clone(), column];
            let values = self.push("Gather", &gathered, &[&name("values")], vec![axis]);
            // The first step is repeated before the sequence.
            let [zero, one, end] = [("zero", 0), ("one", 1), ("end", -(*lag as i64))]
                .map(|(part, value)| self.ints(&name(part), &[value]));
            let first = self.node("Slice", &[&values, &zero, &one, &zero], &name("first"));
            let repeats = self.ints(&name("repeats"), &[*lag as i64, 1, 1]);
            let first = self.node("Tile", &[&first, &repeats], &name("repeated"));
            let axis = AttributeProto::int("axis", 0);
            let longer = [first, values.clone()];
            let longer = self.push("Concat", &longer, &[&name("longer")], vec![axis]);
            let before = self.node("Slice", &[&longer, &zero, &end, &zero], &name("before"));
            let change = self.node("Sub", &[&values, &before], &name("change"));
            let scale = self.floats(&name("scale"), &[1], &[*scale as f32]);
            parts.push(self.node("Mul", &[&change, &scale], &name("scaled")));
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.concat(&parts, "inputs.with_differences")
    }

    /// Tokens, embedded or one-hot.
    fn token_inputs(&mut self, model: &Model) -> Result<String> {
        let vocabulary = model.network.input_size;
        let shape = [AxisSize::Batch, AxisSize::Time];
        self.input.push(value("tokens", INT64, &shape));
        let tokens = self.transpose("tokens", "tokens.time_major", &[1, 0]);
        if let Input::Embedding { size, .. } = model.network.input {
            let table = parameter(model, "embedding.weight")?;
            let table = self.floats("embedding.weight", &[vocabulary, size], table);
            return Ok(self.node("Gather", &[&table, &tokens], "embedded"));
        }
        let depth = self.ints("depth", &[vocabulary as i64]);
        let values = self.floats("off_on", &[2], &[0.0, 1.0]);
        Ok(self.node("OneHot", &[&tokens, &depth, &values], "one_hot"))
    }

    /// Adds all layers; returns the output of the last one.
    fn layers(&mut self, model: &Model, inputs: String, lengths: bool) -> Result<LayerOutput> {
        let mut output = LayerOutput {
            every: inputs,
            last: String::new(),
        };
        let directions = model.network.directions();
        for (level, layer) in model.network.layers.iter().enumerate() {
            let own = directions.iter().filter(|each| each.layer_index == level);
            let own: Vec<&Direction> = own.collect();
            let input = output.every;
            output = self.layer(model, level, &own, &input, lengths)?;
            if layer.residual {
                let name = format!("layer{level}.residual");
                output.every = self.node("Add", &[&output.every, &input], &name);
            }
        }
        Ok(output)
    }

    /// Adds the directions of a layer, and concatenates their outputs where they are separate.
    fn layer(
        &mut self,
        model: &Model,
        level: usize,
        directions: &[&Direction],
        input: &str,
        lengths: bool,
    ) -> Result<LayerOutput> {
        // An operator of two directions has one size.
        let same_size =
            directions[0].layer.hidden_size == directions[directions.len() - 1].layer.hidden_size;
        let scans = needs_scan(&model.network.layers[level]);
        let together = if same_size && !scans { 2 } else { 1 };
        let mut parts = vec![];
        for group in directions.chunks(together) {
            parts.push(if scans {
                self.scan(model, group[0], input, lengths)?
            } else {
                self.operator(model, group, input, lengths)?
            });
        }
        Ok(match &parts[..] {
            [forward, backward] => LayerOutput {
                every: self.concat(
                    &[&forward.every, &backward.every],
                    &format!("layer{level}.emitted"),
                ),
                last: self.concat(
                    &[&forward.last, &backward.last],
                    &format!("layer{level}.last"),
                ),
            },
            _ => parts.swap_remove(0),
        })
    }

    /// Adds the outputs of every head, in the units of the data, and the probabilities of one that
    /// classifies. `inputs` are the first layer's. Of several heads, the outputs have their names.
    fn heads(
        &mut self,
        model: &Model,
        inputs: &str,
        layers: &LayerOutput,
        lengths: bool,
    ) -> Result<()> {
        let read = self.head_inputs(model, layers, lengths)?;
        if model.network.heads.is_empty() {
            let names = HeadNames::only();
            return self.head(model, inputs, &read, lengths, &names);
        }
        let reads = model.network.head.reads;
        let every = (model.network.has_mixed_reads())
            .then(|| self.transpose(&layers.every, "head.every", &[1, 0, 2]));
        for (index, named) in model.network.heads.iter().enumerate() {
            let own = with_output_preparation(&model.of_head(index), "ONNX")?;
            let names = HeadNames::of(&named.name);
            let reads_every = every.as_ref().filter(|_| own.network.head.reads != reads);
            self.head(&own, inputs, reads_every.unwrap_or(&read), lengths, &names)?;
        }
        Ok(())
    }

    /// Adds the outputs of a head, the only one of `model`, that reads `read`.
    fn head(
        &mut self,
        model: &Model,
        inputs: &str,
        read: &str,
        lengths: bool,
        names: &HeadNames,
    ) -> Result<()> {
        let head = model.network.head;
        let mut shape = vec![AxisSize::Batch, AxisSize::Fixed(head.size)];
        if head.reads == Reads::Every {
            shape.insert(1, AxisSize::Time);
        }
        let normal = columns(&model.preparation.targets);
        let is_residual = !model.preparation.residuals.is_empty();
        let HeadNames {
            outputs, prefix, ..
        } = names;
        let linear_name = format!("{prefix}head.outputs");
        let differences = format!("{prefix}outputs.differences");
        let [linear, restored] = match (normal.is_some(), is_residual) {
            (false, false) => [&outputs[..], ""],
            (true, false) => [&linear_name[..], &outputs[..]],
            (false, true) => [&differences[..], ""],
            (true, true) => [&linear_name[..], &differences[..]],
        };
        self.linear(model, read, prefix, linear)?;
        if let Some([means, deviations]) = normal {
            let name = |part: &str| format!("{prefix}outputs.{part}");
            let means = self.floats(&name("mean"), &[head.size], &means);
            let deviations = self.floats(&name("deviation"), &[head.size], &deviations);
            let scaled = self.node("Mul", &[linear, &deviations], &name("scaled"));
            self.node("Add", &[&scaled, &means], restored);
        }
        if is_residual {
            let last = self.last_values(model, inputs, lengths, prefix);
            self.node("Add", &[&differences, &last], outputs);
        }
        self.output.push(value(outputs, FLOAT, &shape));
        let inputs = [outputs.clone()];
        let probabilities = &names.probabilities[..];
        if head.loss.takes_classes() || head.loss.takes_lists() {
            let axis = AttributeProto::int("axis", -1);
            self.push("Softmax", &inputs, &[probabilities], vec![axis]);
            self.output.push(value(probabilities, FLOAT, &shape));
        }
        if head.loss.takes_labels() {
            self.push("Sigmoid", &inputs, &[probabilities], vec![]);
            self.output.push(value(probabilities, FLOAT, &shape));
        }
        Ok(())
    }

    /// Adds the values that the outputs are differences from, in the units of the data: `[B, T,
    /// K]`, or `[B, K]` at the last valid steps for a head that reads these.
    fn last_values(&mut self, model: &Model, inputs: &str, lengths: bool, prefix: &str) -> String {
        let name = |part: &str| format!("{prefix}residuals.{part}");
        let columns = model.preparation.residuals.iter();
        let columns: Vec<i64> = columns.map(|&column| column as i64).collect();
        let columns = self.ints(&name("columns"), &columns);
        let axis = AttributeProto::int("axis", 2);
        let gathered = ["inputs".to_string(), columns];
        let mut every = self.push("Gather", &gathered, &[&name("every")], vec![axis]);
        if !model.preparation.linear.is_empty() {
            every = self.with_linear_change(model, inputs, every, prefix);
        }
        if model.network.head.reads == Reads::Every {
            return every;
        }
        if !lengths {
            let step = self.scalar(&name("step"), -1);
            let axis = AttributeProto::int("axis", 1);
            return self.push("Gather", &[every, step], &[&name("last")], vec![axis]);
        }
        let to = AttributeProto::int("to", i64::from(INT64));
        let lengths = ["lengths".to_string()];
        let lengths = self.push("Cast", &lengths, &[&name("lengths")], vec![to]);
        let [zero, one] = [0, 1].map(|n| self.scalar(&name(&n.to_string()), n));
        // A sequence of no steps reads its first, padded one.
        let step = self.node("Sub", &[&lengths, &one], &name("before"));
        let step = self.node("Max", &[&step, &zero], &name("steps"));
        let axes = self.ints(&name("axes"), &[1]);
        let step = self.node("Unsqueeze", &[&step, &axes], &name("indices"));
        let batch = AttributeProto::int("batch_dims", 1);
        self.push("GatherND", &[every, step], &[&name("last")], vec![batch])
    }

    /// Adds to the last values `[B, T, K]` what a linear regression on the prepared inputs adds.
    fn with_linear_change(
        &mut self,
        model: &Model,
        inputs: &str,
        last_values: String,
        prefix: &str,
    ) -> String {
        let name = |part: &str| format!("{prefix}residuals.{part}");
        let [outputs, features] = [model.network.head.size, model.network.input_size];
        let weights = linear_weights(model).concat();
        let weights = self.transposed(&name("weights"), &weights, outputs, features);
        let read = self.transpose(inputs, &name("inputs"), &[1, 0, 2]);
        let change = self.node("MatMul", &[&read, &weights], &name("change"));
        self.node("Add", &[&last_values, &change], &name("linear"))
    }

    /// Adds what the heads read: `[B, T, features]`, or `[B, features]`.
    fn head_inputs(
        &mut self,
        model: &Model,
        layers: &LayerOutput,
        lengths: bool,
    ) -> Result<String> {
        let reads = model.network.head.reads;
        if reads == Reads::Every {
            Ok(self.transpose(&layers.every, "head.inputs", &[1, 0, 2]))
        } else if reads.pools() {
            self.pooled(model, &layers.every, lengths)
        } else {
            Ok(layers.last.clone())
        }
    }

    /// Adds the linear layer of a head.
    fn linear(&mut self, model: &Model, read: &str, prefix: &str, output: &str) -> Result<()> {
        let (network, head) = (&model.network, model.network.head);
        let name = |part: &str| format!("{prefix}head.{part}");
        let weight = if network.is_tied() {
            // The embedding is in the file once.
            self.transpose("embedding.weight", "head.weight", &[1, 0])
        } else {
            let weight = parameter(model, "head.weight")?;
            self.transposed(&name("weight"), weight, head.size, network.head_inputs())
        };
        let bias = parameter(model, "head.bias")?;
        let bias = self.floats(&name("bias"), &[head.size], bias);
        if head.reads == Reads::Every {
            let product = self.node("MatMul", &[read, &weight], &name("product"));
            self.node("Add", &[&product, &bias], output);
        } else {
            self.node("Gemm", &[read, &weight, &bias], output);
        }
        Ok(())
    }
}

/// Refuses layers with zoneout and with layer normalisation.
fn check_layers(network: &Network) -> Result<()> {
    let zoneout = ("zoneout", "zoneout and zoneout_cell");
    let norm = ("layer normalisation in an LSTM or GRU", "layer_norm");
    for (l, layer) in network.layers.iter().enumerate() {
        let lacking = [(has_zoneout(layer), zoneout), (layer.layer_norm, norm)];
        if let Some((_, (option, keys))) = lacking.into_iter().find(|(has, _)| *has) {
            return Err(Error::usage(format!(
                "layer {l}: ONNX has no {option}; train without {keys}, or keep the model in \
                 gatescan's own format"
            )));
        }
    }
    Ok(())
}

/// The names of a head's outputs, and what the names of its tensors begin with.
struct HeadNames {
    outputs: String,
    probabilities: String,
    prefix: String,
}

impl HeadNames {
    /// The names of the only head.
    fn only() -> HeadNames {
        HeadNames {
            outputs: "outputs".into(),
            probabilities: "probabilities".into(),
            prefix: String::new(),
        }
    }

    /// The names of one of several heads.
    fn of(name: &str) -> HeadNames {
        HeadNames {
            outputs: format!("outputs.{name}"),
            probabilities: format!("probabilities.{name}"),
            prefix: format!("heads.{name}."),
        }
    }
}

/// Whether the operators cannot express a layer.
fn needs_scan(layer: &Layer) -> bool {
    layer.projection_size.is_some() || layer.cell_clip.is_some()
}
