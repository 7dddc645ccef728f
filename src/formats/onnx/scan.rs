//! One direction of an LSTM with a projection or clipping as a `Scan` over the formulas of a step.

use super::super::weights::LayerWeights;
use super::LayerOutput;
use super::graph::any_shape;
use super::operator::{activation_operator, gate_operator};
use super::proto::{AttributeProto, BOOL, FLOAT, GraphProto, INT64};
use crate::cells::PEEPHOLES;
use crate::error::Result;
use crate::model::Model;
use crate::network::{Activation, Direction, RecurrentActivation};

/// The constants of a step, by their names.
struct StepConstants {
    recurrent: String,
    projection: Option<String>,
    /// The peephole weights of the gates i, f, o.
    peepholes: Option<[String; PEEPHOLES]>,
    cell_clip: Option<ClipLimits>,
    projection_clip: Option<ClipLimits>,
    activation: Activation,
    recurrent_activation: RecurrentActivation,
}

/// The lower and the upper limit.
type ClipLimits = [String; 2];

impl GraphProto {
    /// Adds the `Scan` of one direction over `input` `[T, B, I]`, and what it depends on.
    pub(super) fn scan(
        &mut self,
        model: &Model,
        direction: &Direction,
        input: &str,
        lengths: bool,
    ) -> Result<LayerOutput> {
        let weights = LayerWeights::of(model, direction)?;
        let suffix = &direction.suffix;
        let mut scanned = vec![self.input_projection(direction, &weights, input)];
        let constants = self.step_constants(direction, &weights);
        if lengths {
            scanned.push(self.valid_steps(input));
        }
        let body = step(suffix, &constants, lengths);
        let layer = &direction.layer;
        let mut inputs = vec![
            self.start(
                input,
                suffix,
                "h_0",
                (layer.output_size(), weights.initial[0]),
            ),
            self.start(
                input,
                suffix,
                "c_0",
                (layer.hidden_size, weights.initial[1]),
            ),
        ];
        let count = scanned.len();
        inputs.extend(scanned);
        let backward = i64::from(direction.reversed);
        let attributes = vec![
            AttributeProto::graph("body", body),
            AttributeProto::int("num_scan_inputs", count as i64),
            AttributeProto::ints("scan_input_directions", vec![backward; count]),
            AttributeProto::ints("scan_output_directions", vec![backward]),
        ];
        let [every, last, last_c] =
            ["emitted", "last", "last_c"].map(|what| format!("{suffix}.{what}"));
        self.push("Scan", &inputs, &[&last, &last_c, &every], attributes);
        Ok(LayerOutput { every, last })
    }

    /// `W x + b` of all gates and steps: `[T, B, 4*H]`.
    fn input_projection(
        &mut self,
        direction: &Direction,
        weights: &LayerWeights,
        input: &str,
    ) -> String {
        let named = |what: &str| format!("{}.{what}", direction.suffix);
        let rows = 4 * direction.layer.hidden_size;
        let w = self.transposed(&named("w"), weights.input, rows, direction.inputs);
        let mut gates = self.node("MatMul", &[input, &w], &named("product"));
        for (name, bias) in [
            ("bias_ih", weights.input_bias),
            ("bias_hh", weights.recurrent_bias),
        ] {
            if let Some(bias) = bias {
                let bias = self.floats(&named(name), &[rows], bias);
                gates = self.node("Add", &[&gates, &bias], &named(&format!("with_{name}")));
            }
        }
        gates
    }

    fn step_constants(&mut self, direction: &Direction, weights: &LayerWeights) -> StepConstants {
        let layer = &direction.layer;
        let (h, p) = (layer.hidden_size, layer.output_size());
        let spec = layer.cell.spec();
        let gates = spec.gate_names();
        let named = |what: &str| format!("{}.{what}", direction.suffix);
        StepConstants {
            recurrent: self.transposed(&named("r"), weights.recurrent, 4 * h, p),
            projection: weights
                .projection
                .map(|values| self.transposed(&named("projection"), values, p, h)),
            peepholes: weights.peepholes.map(|values| {
                std::array::from_fn(|n| {
                    let name = format!("peephole_{}", gates[spec.peepholes[n].gate]);
                    self.floats(&named(&name), &[h], &values[n * h..][..h])
                })
            }),
            cell_clip: self.clip_limits(&named("cell_clip"), layer.cell_clip),
            projection_clip: self.clip_limits(&named("projection_clip"), layer.projection_clip),
            activation: layer.activation,
            recurrent_activation: layer.recurrent_activation,
        }
    }

    fn clip_limits(&mut self, name: &str, limit: Option<f64>) -> Option<ClipLimits> {
        let limit = limit? as f32;
        Some([
            self.floats(&format!("{name}.low"), &[], &[-limit]),
            self.floats(&format!("{name}.high"), &[], &[limit]),
        ])
    }

    /// `[T, B, 1]`: whether a step is valid, from the graph's input `lengths`. All layers share it.
    fn valid_steps(&mut self, input: &str) -> String {
        let name = "valid".to_string();
        if self.nodes.iter().any(|node| node.output.contains(&name)) {
            return name;
        }
        let shape = self.node("Shape", &[input], "shape");
        let first = self.scalar("first", 0);
        let second = self.scalar("second", 1);
        let steps = self.node("Gather", &[&shape, &first], "steps");
        let times = self.node("Range", &[&first, &steps, &second], "times");
        let behind = self.ints("behind_time", &[1, 2]);
        let times = self.node("Unsqueeze", &[&times, &behind], "times.column");
        let around = self.ints("around_batch", &[0, 2]);
        let to = AttributeProto::int("to", INT64.into());
        let ends = self.push("Cast", &["lengths".into()], &["ends"], vec![to]);
        let ends = self.node("Unsqueeze", &[&ends, &around], "ends.row");
        self.node("Less", &[&times, &ends], &name)
    }

    /// An initial state `[B, width]` for the batch of `input` `[T, B, I]`: the learnt one, or
    /// zeros.
    fn start(
        &mut self,
        input: &str,
        suffix: &str,
        name: &str,
        (width, learnt): (usize, Option<&[f32]>),
    ) -> String {
        let name = format!("{suffix}.{name}");
        match learnt {
            Some(values) => self.expanded(input, &name, &[width], values),
            None => self.zeros(input, &name, width),
        }
    }

    /// Values `[.., width]` for each sequence of the batch of `input` `[T, B, I]`:
    /// `[.., B, width]`.
    pub(super) fn expanded(
        &mut self,
        input: &str,
        name: &str,
        extents: &[usize],
        values: &[f32],
    ) -> String {
        let (width, outer) = extents.split_last().expect("there are extents");
        let mut one_each = outer.to_vec();
        one_each.extend([1, *width]);
        let learnt = self.floats(&format!("{name}.learnt"), &one_each, values);
        let shape = self.node("Shape", &[input], &format!("{name}.read"));
        let one = self.ints(&format!("{name}.one"), &[1]);
        let batch = self.node("Gather", &[&shape, &one], &format!("{name}.batch"));
        let to_i64 = |extents: &[usize]| extents.iter().map(|&n| n as i64).collect::<Vec<_>>();
        let mut parts = vec![];
        if !outer.is_empty() {
            parts.push(self.ints(&format!("{name}.outer"), &to_i64(outer)));
        }
        parts.push(batch);
        parts.push(self.ints(&format!("{name}.width"), &to_i64(&[*width])));
        let axis = AttributeProto::int("axis", 0);
        let shape = self.push("Concat", &parts, &[&format!("{name}.shape")], vec![axis]);
        self.node("Expand", &[&learnt, &shape], name)
    }

    /// Zeros `[B, width]` for the batch of `input` `[T, B, I]`.
    fn zeros(&mut self, input: &str, name: &str, width: usize) -> String {
        let shape = self.node("Shape", &[input], &format!("{name}.read"));
        let one = self.ints(&format!("{name}.one"), &[1]);
        let batch = self.node("Gather", &[&shape, &one], &format!("{name}.batch"));
        let width = self.ints(&format!("{name}.width"), &[width as i64]);
        let axis = AttributeProto::int("axis", 0);
        let output = format!("{name}.shape");
        let shape = self.push("Concat", &[batch, width], &[&output], vec![axis]);
        self.node("ConstantOfShape", &[&shape], name)
    }
}

/// The graph of a step: takes h, c, the gates' input projections and, with `lengths`, whether the
/// step is valid; returns the next h and c, and the layer's output.
fn step(suffix: &str, constants: &StepConstants, lengths: bool) -> GraphProto {
    let named = |what: &str| format!("{suffix}.step.{what}");
    let mut body = GraphProto {
        name: format!("{suffix}.step"),
        ..GraphProto::default()
    };
    let (h_before, c_before) = (named("h"), named("c"));
    for name in ["h", "c", "gates"] {
        body.input.push(any_shape(&named(name), FLOAT));
    }
    let (output, c) = body.lstm(&named, constants, &h_before, &c_before);
    let mut states = [output.clone(), c];
    if lengths {
        let valid = named("valid");
        body.input.push(any_shape(&valid, BOOL));
        for (state, before) in states.iter_mut().zip([&h_before, &c_before]) {
            let name = format!("{state}.valid");
            *state = body.node("Where", &[&valid, state, before], &name);
        }
    }
    // A graph must not have the same output twice.
    for (name, from) in [
        ("h.after", &states[0]),
        ("c.after", &states[1]),
        ("emitted", &output),
    ] {
        let name = body.node("Identity", &[from], &named(name));
        body.output.push(any_shape(&name, FLOAT));
    }
    body
}

impl GraphProto {
    /// Adds the formulas of an LSTM's step; returns h and c.
    fn lstm(
        &mut self,
        named: &impl Fn(&str) -> String,
        constants: &StepConstants,
        h_before: &str,
        c_before: &str,
    ) -> (String, String) {
        let product = self.node(
            "MatMul",
            &[h_before, &constants.recurrent],
            &named("product"),
        );
        let sum = self.node("Add", &[&named("gates"), &product], &named("sum"));
        let [mut i, mut f, g, mut o] = ["i", "f", "g", "o"].map(named);
        let axis = AttributeProto::int("axis", -1);
        self.push("Split", &[sum], &[&i, &f, &g, &o], vec![axis]);
        if let Some([w_i, w_f, _]) = &constants.peepholes {
            i = self.peephole(&i, w_i, c_before);
            f = self.peephole(&f, w_f, c_before);
        }
        let squash = activation_operator(constants.activation);
        let gate = constants.recurrent_activation;
        let i = self.gate(gate, &i, &named("i.open"));
        let f = self.gate(gate, &f, &named("f.open"));
        let g = self.node(squash, &[&g], &named("candidate"));
        let kept = self.node("Mul", &[&f, c_before], &named("kept"));
        let added = self.node("Mul", &[&i, &g], &named("added"));
        let c = self.node("Add", &[&kept, &added], &named("c.sum"));
        let c = self.clip(c, &constants.cell_clip);
        if let Some([_, _, w_o]) = &constants.peepholes {
            o = self.peephole(&o, w_o, &c);
        }
        let o = self.gate(gate, &o, &named("o.open"));
        let squashed = self.node(squash, &[&c], &named("squashed"));
        let mut h = self.node("Mul", &[&o, &squashed], &named("units"));
        if let Some(projection) = &constants.projection {
            h = self.node("MatMul", &[&h, projection], &named("projected"));
        }
        (self.clip(h, &constants.projection_clip), c)
    }

    /// Adds a gate's function.
    fn gate(&mut self, gate: RecurrentActivation, sum: &str, output: &str) -> String {
        let slope = gate.slope().into_iter();
        let attributes = slope.flat_map(|slope| {
            [
                AttributeProto::float("alpha", slope),
                AttributeProto::float("beta", 0.5),
            ]
        });
        let operator = gate_operator(gate);
        self.push(operator, &[sum.into()], &[output], attributes.collect())
    }

    /// Adds the weighted cell state to a gate.
    fn peephole(&mut self, gate: &str, weight: &str, c: &str) -> String {
        let seen = self.node("Mul", &[weight, c], &format!("{gate}.seen"));
        self.node("Add", &[gate, &seen], &format!("{gate}.with_c"))
    }

    fn clip(&mut self, values: String, limits: &Option<ClipLimits>) -> String {
        match limits {
            Some([low, high]) => {
                let output = format!("{values}.clipped");
                self.node("Clip", &[&values, low, high], &output)
            }
            None => values,
        }
    }
}
