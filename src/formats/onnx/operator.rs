//! Layers as the operators `RNN`, `LSTM` and `GRU`.

use super::super::weights::{LayerWeights, reorder_blocks};
use super::LayerOutput;
use super::proto::{AttributeProto, GraphProto, INT64};
use crate::cells::{Cell, FrameworkCell, PEEPHOLES};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Activation, Direction, Layer, RecurrentActivation};

/// Returns the operator of a cell.
///
/// # Errors
/// [`Error::Usage`] if ONNX has none.
fn operator(cell: Cell) -> Result<FrameworkCell> {
    let operator = cell.spec().frameworks.onnx;
    operator.ok_or_else(|| Error::usage(format!("ONNX has no {}", cell.name())))
}

/// Returns the cell's peepholes in ONNX's order, which is that of their gates.
fn peephole_order(cell: Cell, operator: FrameworkCell) -> Vec<usize> {
    let peepholes = cell.spec().peepholes;
    let find = |&gate: &usize| peepholes.iter().position(|peephole| peephole.gate == gate);
    operator.gate_order.iter().filter_map(find).collect()
}

/// The weights of one or two directions, one after the other.
#[derive(Default)]
struct OperatorWeights {
    input: Vec<f32>,
    recurrent: Vec<f32>,
    biases: Vec<f32>,
    /// Empty without peepholes.
    peepholes: Vec<f32>,
    /// h and c before the first step; empty where they are zeros.
    initial: [Vec<f32>; 2],
}

impl OperatorWeights {
    fn of(model: &Model, directions: &[&Direction]) -> Result<OperatorWeights> {
        let mut all = OperatorWeights::default();
        for direction in directions {
            let weights = LayerWeights::of(model, direction)?;
            let cell = direction.layer.cell;
            let operator = operator(cell)?;
            let order = operator.gate_order;
            all.input.extend(reorder_blocks(weights.input, order));
            all.recurrent
                .extend(reorder_blocks(weights.recurrent, order));
            let zeros = vec![0.0; order.len() * direction.layer.hidden_size];
            for bias in [weights.input_bias, weights.recurrent_bias] {
                all.biases
                    .extend(reorder_blocks(bias.unwrap_or(&zeros), order));
            }
            for (all, own) in all.initial.iter_mut().zip(weights.initial) {
                all.extend(own.unwrap_or_default());
            }
            if let Some(peepholes) = weights.peepholes {
                let order = peephole_order(cell, operator);
                all.peepholes.extend(reorder_blocks(peepholes, &order));
            }
        }
        Ok(all)
    }
}

impl GraphProto {
    /// Adds an operator for one direction of a layer, or for both; its outputs are `[T, B, D*H]`
    /// and `[B, D*H]`.
    pub(super) fn operator(
        &mut self,
        model: &Model,
        directions: &[&Direction],
        input: &str,
        lengths: bool,
    ) -> Result<LayerOutput> {
        let first = directions[0];
        let operator = operator(first.layer.cell)?;
        let (count, h) = (directions.len(), first.layer.hidden_size);
        let rows = operator.gate_order.len() * h;
        let named = |what: &str| format!("{}.{what}", first.suffix);
        let weights = OperatorWeights::of(model, directions)?;
        let w = self.floats(&named("w"), &[count, rows, first.inputs], &weights.input);
        let r = self.floats(&named("r"), &[count, rows, h], &weights.recurrent);
        let b = self.floats(&named("b"), &[count, 2 * rows], &weights.biases);
        let ends = if lengths { "lengths" } else { "" };
        let mut inputs = vec![input.to_string(), w, r, b, ends.to_string()];
        for (values, name) in weights.initial.iter().zip(["h_0", "c_0"]) {
            // Initial states that are zeros are left out.
            inputs.push(match &values[..] {
                [] => String::new(),
                values => self.expanded(input, &named(name), &[count, h], values),
            });
        }
        if !weights.peepholes.is_empty() {
            let shape = [count, PEEPHOLES * h];
            inputs.push(self.floats(&named("p"), &shape, &weights.peepholes));
        }
        let used = inputs.iter().rposition(|name| !name.is_empty());
        inputs.truncate(used.map_or(0, |last| last + 1).max(5));
        let (y, y_h) = (named("y"), named("y_h"));
        self.push(operator.name, &inputs, &[&y, &y_h], attributes(directions));
        let y_h = match inputs.get(5) {
            Some(h_0) if lengths && !h_0.is_empty() => self.or_initial(&y_h, h_0, &first.suffix),
            _ => y_h,
        };
        // From [T, D, B, H] and [D, B, H].
        let y = self.transpose(&y, &named("y.sides"), &[0, 2, 1, 3]);
        let y_h = self.transpose(&y_h, &named("y_h.sides"), &[1, 0, 2]);
        let width = (count * h) as i64;
        Ok(LayerOutput {
            every: self.reshape(&y, &named("emitted"), &[0, 0, width]),
            last: self.reshape(&y_h, &named("last"), &[0, width]),
        })
    }

    /// The last states `[D, B, H]`, which are the initial ones `h_0` in sequences without steps:
    /// ONNX Runtime has zeros there.
    fn or_initial(&mut self, y_h: &str, h_0: &str, suffix: &str) -> String {
        let named = |what: &str| format!("{suffix}.{what}");
        let to = AttributeProto::int("to", INT64.into());
        let ends = self.push("Cast", &["lengths".into()], &[&named("ends")], vec![to]);
        let axis = self.ints(&named("behind_batch"), &[1]);
        let ends = self.node("Unsqueeze", &[&ends, &axis], &named("ends.column"));
        let zero = self.scalar(&named("no_steps"), 0);
        let has_steps = self.node("Greater", &[&ends, &zero], &named("has_steps"));
        self.node("Where", &[&has_steps, y_h, h_0], &named("y_h.or_initial"))
    }
}

fn attributes(directions: &[&Direction]) -> Vec<AttributeProto> {
    let first = directions[0];
    let count = directions.len();
    let direction = match (count, first.reversed) {
        (2, _) => "bidirectional",
        (_, true) => "reverse",
        (_, false) => "forward",
    };
    let mut attributes = vec![
        AttributeProto::int("hidden_size", first.layer.hidden_size as i64),
        AttributeProto::string("direction", direction),
    ];
    match first.layer.cell {
        Cell::RnnRelu => {
            attributes.push(AttributeProto::strings("activations", &vec!["Relu"; count]));
        }
        Cell::Gru => attributes.push(AttributeProto::int("linear_before_reset", 1)),
        _ => {}
    }
    attributes.extend(activations(&first.layer, count));
    attributes
}

/// The functions of each direction, where they are not the operator's own: those of the gates, of
/// the candidate and, in an LSTM, of c.
fn activations(layer: &Layer, count: usize) -> Vec<AttributeProto> {
    let (activation, gate) = (layer.activation, layer.recurrent_activation);
    if activation.is_default() && gate.is_default() {
        return vec![];
    }
    let mut names = vec![gate_operator(gate)];
    names.extend(vec![
        activation_operator(activation);
        layer.cell.spec().states
    ]);
    let mut attributes = vec![AttributeProto::strings("activations", &names.repeat(count))];
    if let Some(slope) = gate.slope() {
        let (alpha, beta) = (vec![slope; count], vec![0.5; count]);
        attributes.push(AttributeProto::floats("activation_alpha", alpha));
        attributes.push(AttributeProto::floats("activation_beta", beta));
    }
    attributes
}

/// Returns ONNX's name of a cell's function.
pub(super) fn activation_operator(activation: Activation) -> &'static str {
    match activation {
        Activation::Tanh => "Tanh",
        Activation::Relu => "Relu",
        Activation::Sigmoid => "Sigmoid",
        Activation::Softsign => "Softsign",
    }
}

/// Returns ONNX's name of a gate's function.
pub(super) fn gate_operator(gate: RecurrentActivation) -> &'static str {
    match gate.slope() {
        Some(_) => "HardSigmoid",
        None => "Sigmoid",
    }
}
