//! A model as an ONNX graph, of the operators `RNN`, `LSTM` and `GRU`. What those cannot express (projections, clipping) is a
//! `Scan` over the formulas; so there is no network without a graph.
//!
//! Formulas and layouts: <https://onnx.ai/onnx/operators/>, in version 17 of the set.

use prost::Message;

use super::{Weights, columns, gates, transposed};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Direction, Input, Layer, Loss, Network, Reads};

/// The version of the operators' definitions.
const OPSET: i64 = 17;
/// The version of the file format that came with it.
const IR_VERSION: i64 = 8;
/// A protobuf file ends at 2 GiB.
const LARGEST_FILE: usize = i32::MAX as usize;

/// The model as an ONNX file. The graph takes `inputs` `[batch, time, I]`, or `tokens` `[batch, time]` (int64), and with
/// `lengths` also `lengths` `[batch]` (int32), the valid steps of each sequence. It gives `outputs` `[batch, K]`, or
/// `[batch, time, K]` for a head that reads every step, which mean nothing past a sequence's end; and of a network that
/// classifies also `probabilities`, their softmax. Batch and time may have any size.
///
/// # Errors
/// [`Error::Usage`] for a model of more than 2 GiB, or whose parameters are not its network's.
pub fn export(model: &Model, lengths: bool) -> Result<Vec<u8>> {
    let network = &model.network;
    network.from_parameters(&model.parameters)?;
    let mut graph = Graph::default();
    let time_major = graph.inputs(model)?;
    if lengths {
        graph.input.push(value("lengths", INT32, &[Size::Batch]));
    }
    let (emitted, last) = graph.layers(model, &time_major, lengths)?;
    graph.head(model, &emitted, &last)?;
    graph.name = model.recipe.name.clone();
    let model = ModelProto {
        ir_version: IR_VERSION,
        producer_name: "gatescan".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        opset_import: vec![OperatorSet {
            domain: String::new(),
            version: OPSET,
        }],
    };
    let size = model.encoded_len();
    if size > LARGEST_FILE {
        return Err(Error::Usage(format!(
            "the model would take {size} bytes, and an ONNX file ends at {LARGEST_FILE}; export it --to pytorch"
        )));
    }
    Ok(model.encode_to_vec())
}

impl Graph {
    /// What the first layer reads `[T, B, I]`.
    fn inputs(&mut self, model: &Model) -> Result<String> {
        let Network {
            input_size, input, ..
        } = model.network;
        if input.is_values() {
            let shape = [Size::Batch, Size::Time, Size::Of(input_size)];
            self.input.push(value("inputs", FLOAT, &shape));
            let mut inputs = self.transpose("inputs", "inputs.time_major", &[1, 0, 2]);
            if let Some([means, deviations]) = columns(&model.preparation.inputs) {
                let means = self.floats("inputs.mean", &[input_size], &means);
                let deviations = self.floats("inputs.deviation", &[input_size], &deviations);
                let centred = self.node("Sub", &[&inputs, &means], "inputs.centred");
                inputs = self.node("Div", &[&centred, &deviations], "inputs.normalised");
            }
            return Ok(inputs);
        }
        self.input
            .push(value("tokens", INT64, &[Size::Batch, Size::Time]));
        let tokens = self.transpose("tokens", "tokens.time_major", &[1, 0]);
        Ok(match input {
            Input::Embedding { size, .. } => {
                let table = model.parameter("embedding.weight")?;
                let table = self.floats("embedding.weight", &[input_size, size], table);
                self.node("Gather", &[&table, &tokens], "embedded")
            }
            _ => {
                let depth = self.ints("depth", &[input_size as i64]);
                let values = self.floats("off_on", &[2], &[0.0, 1.0]);
                self.node("OneHot", &[&tokens, &depth, &values], "one_hot")
            }
        })
    }

    /// What the last layer emits `[T, B, P]`, and its state after each sequence's last valid step `[B, P]`.
    fn layers(&mut self, model: &Model, inputs: &str, lengths: bool) -> Result<(String, String)> {
        let (mut read, mut last) = (inputs.to_string(), String::new());
        for (level, layer) in model.network.layers.iter().enumerate() {
            let directions = model.network.directions();
            let own = directions.iter().filter(|d| d.layer_index == level);
            let own: Vec<&Direction> = own.collect();
            // An operator of two directions has one size.
            let together = match own[..] {
                [a, b] if a.layer.hidden_size == b.layer.hidden_size => !needs_scan(layer),
                _ => false,
            };
            let groups = own.chunks(if together { 2 } else { 1 });
            let mut parts = vec![];
            for group in groups {
                parts.push(match needs_scan(layer) {
                    true => self.scan(model, group[0], &read, lengths)?,
                    false => self.operator(model, group, &read, lengths)?,
                });
            }
            let (mut emitted, h) = match &parts[..] {
                [forward, backward] => (
                    self.concat(&[&forward.0, &backward.0], &format!("layer{level}.emitted")),
                    self.concat(&[&forward.1, &backward.1], &format!("layer{level}.last")),
                ),
                _ => parts.swap_remove(0),
            };
            if layer.residual {
                emitted = self.node("Add", &[&emitted, &read], &format!("layer{level}.residual"));
            }
            (read, last) = (emitted, h);
        }
        Ok((read, last))
    }

    /// An operator for one direction of a layer or both: what it emits `[T, B, D*H]`, and its last states `[B, D*H]`.
    fn operator(
        &mut self,
        model: &Model,
        directions: &[&Direction],
        read: &str,
        lengths: bool,
    ) -> Result<(String, String)> {
        let Direction {
            layer,
            suffix,
            inputs,
            reversed,
            ..
        } = directions[0];
        let h = layer.hidden_size;
        let (operator, order): (_, &[usize]) = match layer.cell {
            Cell::RnnTanh | Cell::RnnRelu => ("RNN", &[0]),
            // i, f, g, o become i, o, f, c.
            Cell::Lstm | Cell::LstmPeephole => ("LSTM", &[0, 3, 1, 2]),
            // r, z, n become z, r, h.
            Cell::Gru | Cell::GruResetBefore => ("GRU", &[1, 0, 2]),
        };
        let (mut w, mut r, mut b, mut p) = (vec![], vec![], vec![], vec![]);
        for direction in directions {
            let weights = Weights::of(model, direction)?;
            w.extend(gates(weights.input, order));
            r.extend(gates(weights.recurrent, order));
            let zeros = vec![0.0; order.len() * h];
            for bias in [weights.input_bias, weights.recurrent_bias] {
                b.extend(gates(bias.unwrap_or(&zeros), order));
            }
            // i, f, o become i, o, f.
            p.extend(weights.peepholes.map_or(vec![], |p| gates(p, &[0, 2, 1])));
        }
        let (count, rows) = (directions.len(), order.len() * h);
        let named = |what: &str| format!("{suffix}.{what}");
        let w = self.floats(&named("w"), &[count, rows, *inputs], &w);
        let r = self.floats(&named("r"), &[count, rows, h], &r);
        let b = self.floats(&named("b"), &[count, 2 * rows], &b);
        let ends = if lengths { "lengths" } else { "" };
        let mut takes = vec![read.to_string(), w, r, b, ends.to_string()];
        if !layer.cell.spec().peepholes.is_empty() {
            let p = self.floats(&named("p"), &[count, 3 * h], &p);
            takes.extend([String::new(), String::new(), p]);
        }
        let direction = match (count, reversed) {
            (2, _) => "bidirectional",
            (_, true) => "reverse",
            (_, false) => "forward",
        };
        let mut attributes = vec![
            Attribute::int("hidden_size", h as i64),
            Attribute::string("direction", direction),
        ];
        match layer.cell {
            Cell::RnnRelu => attributes.push(Attribute::strings("activations", "Relu", count)),
            Cell::Gru => attributes.push(Attribute::int("linear_before_reset", 1)),
            _ => {}
        }
        let (y, y_h) = (named("y"), named("y_h"));
        self.push(operator, &takes, &[&y, &y_h], attributes);
        // [T, D, B, H] and [D, B, H], where D is behind B in what follows.
        let y = self.transpose(&y, &named("y.sides"), &[0, 2, 1, 3]);
        let y_h = self.transpose(&y_h, &named("y_h.sides"), &[1, 0, 2]);
        let width = (count * h) as i64;
        Ok((
            self.reshape(&y, &named("emitted"), &[0, 0, width]),
            self.reshape(&y_h, &named("last"), &[0, width]),
        ))
    }

    /// A `Scan` for one direction of an LSTM with a projection or clipping: what it emits `[T, B, P]`, and its last h `[B, P]`.
    fn scan(
        &mut self,
        model: &Model,
        direction: &Direction,
        read: &str,
        lengths: bool,
    ) -> Result<(String, String)> {
        let Direction {
            layer,
            suffix,
            inputs,
            reversed,
            ..
        } = direction;
        let weights = Weights::of(model, direction)?;
        let (h, p) = (layer.hidden_size, layer.output_size());
        let named = |what: &str| format!("{suffix}.{what}");
        let w = self.transposed(&named("w"), weights.input, 4 * h, *inputs);
        let mut gates = self.node("MatMul", &[read, &w], &named("product"));
        for (name, bias) in [
            ("bias_ih", weights.input_bias),
            ("bias_hh", weights.recurrent_bias),
        ] {
            if let Some(bias) = bias {
                let bias = self.floats(&named(name), &[4 * h], bias);
                gates = self.node("Add", &[&gates, &bias], &named(&format!("with_{name}")));
            }
        }
        let r = self.transposed(&named("r"), weights.recurrent, 4 * h, p);
        let projection = weights
            .projection
            .map(|values| self.transposed(&named("projection"), values, p, h));
        let peepholes = weights.peepholes.map(|values| {
            [("i", 0), ("f", 1), ("o", 2)].map(|(gate, n)| {
                let name = named(&format!("peephole_{gate}"));
                self.floats(&name, &[h], &values[n * h..][..h])
            })
        });
        let cell_clip = self.limits(&named("cell_clip"), layer.cell_clip);
        let projection_clip = self.limits(&named("projection_clip"), layer.projection_clip);

        // The step: h, c, the gates' input projections and whether the step is valid; h', c' and what is emitted.
        let step = |what: &str| format!("{suffix}.step.{what}");
        let mut body = Graph {
            name: named("step"),
            ..Graph::default()
        };
        let (h_before, c_before) = (step("h"), step("c"));
        for (name, kind) in [("h", FLOAT), ("c", FLOAT), ("gates", FLOAT)] {
            body.input.push(any_shape(&step(name), kind));
        }
        let product = body.node("MatMul", &[&h_before, &r], &step("product"));
        let sum = body.node("Add", &[&step("gates"), &product], &step("sum"));
        let [mut i, mut f, g, mut o] = ["i", "f", "g", "o"].map(step);
        let axis = Attribute::int("axis", -1);
        body.push("Split", &[sum], &[&i, &f, &g, &o], vec![axis]);
        if let Some([w_i, w_f, _]) = &peepholes {
            i = body.peephole(&i, w_i, &c_before);
            f = body.peephole(&f, w_f, &c_before);
        }
        let i = body.node("Sigmoid", &[&i], &step("i.open"));
        let f = body.node("Sigmoid", &[&f], &step("f.open"));
        let g = body.node("Tanh", &[&g], &step("candidate"));
        let kept = body.node("Mul", &[&f, &c_before], &step("kept"));
        let added = body.node("Mul", &[&i, &g], &step("added"));
        let mut c = body.node("Add", &[&kept, &added], &step("c.sum"));
        c = body.clip(c, &cell_clip);
        if let Some([_, _, w_o]) = &peepholes {
            o = body.peephole(&o, w_o, &c);
        }
        let o = body.node("Sigmoid", &[&o], &step("o.open"));
        let squashed = body.node("Tanh", &[&c], &step("squashed"));
        let mut emitted = body.node("Mul", &[&o, &squashed], &step("units"));
        if let Some(projection) = &projection {
            emitted = body.node("MatMul", &[&emitted, projection], &step("projected"));
        }
        emitted = body.clip(emitted, &projection_clip);
        let mut states = [emitted.clone(), c];
        let mut scanned = vec![gates];
        if lengths {
            scanned.push(self.valid(read));
            body.input.push(any_shape(&step("valid"), BOOL));
            for (state, before) in states.iter_mut().zip([&h_before, &c_before]) {
                let (valid, name) = (step("valid"), format!("{state}.valid"));
                *state = body.node("Where", &[&valid, state, before], &name);
            }
        }
        // A graph may not give one value twice.
        for (name, from) in [
            ("h.after", &states[0]),
            ("c.after", &states[1]),
            ("emitted", &emitted),
        ] {
            let name = body.node("Identity", &[from], &step(name));
            body.output.push(any_shape(&name, FLOAT));
        }

        let mut takes = vec![
            self.zeros(read, &named("h_0"), p),
            self.zeros(read, &named("c_0"), h),
        ];
        let count = scanned.len();
        takes.extend(scanned);
        let backward = i64::from(*reversed);
        let attributes = vec![
            Attribute::graph("body", body),
            Attribute::int("num_scan_inputs", count as i64),
            Attribute::ints("scan_input_directions", vec![backward; count]),
            Attribute::ints("scan_output_directions", vec![backward]),
        ];
        let (emitted, last) = (named("emitted"), named("last"));
        self.push(
            "Scan",
            &takes,
            &[&last, &named("last_c"), &emitted],
            attributes,
        );
        Ok((emitted, last))
    }

    /// Outputs, and probabilities where there are classes.
    fn head(&mut self, model: &Model, emitted: &str, last: &str) -> Result<()> {
        let Network { head, .. } = model.network;
        let inputs = model.network.head_inputs();
        let weight = match model.network.is_tied() {
            // One matrix in the file.
            true => self.transpose("embedding.weight", "head.weight", &[1, 0]),
            false => {
                let weight = model.parameter("head.weight")?;
                self.transposed("head.weight", weight, head.size, inputs)
            }
        };
        let bias = self.floats("head.bias", &[head.size], model.parameter("head.bias")?);
        let mut shape = vec![Size::Batch, Size::Of(head.size)];
        let normal = columns(&model.preparation.targets);
        let name = if normal.is_some() {
            "head.outputs"
        } else {
            "outputs"
        };
        match head.reads {
            Reads::Last => {
                self.node("Gemm", &[last, &weight, &bias], name);
            }
            Reads::Every => {
                shape.insert(1, Size::Time);
                let read = self.transpose(emitted, "head.inputs", &[1, 0, 2]);
                let product = self.node("MatMul", &[&read, &weight], "head.product");
                self.node("Add", &[&product, &bias], name);
            }
        }
        if let Some([means, deviations]) = normal {
            let means = self.floats("outputs.mean", &[head.size], &means);
            let deviations = self.floats("outputs.deviation", &[head.size], &deviations);
            let scaled = self.node("Mul", &[name, &deviations], "outputs.scaled");
            self.node("Add", &[&scaled, &means], "outputs");
        }
        self.output.push(value("outputs", FLOAT, &shape));
        if head.loss == Loss::CrossEntropy {
            let axis = Attribute::int("axis", -1);
            self.push(
                "Softmax",
                &["outputs".into()],
                &["probabilities"],
                vec![axis],
            );
            self.output.push(value("probabilities", FLOAT, &shape));
        }
        Ok(())
    }

    /// Adds what a gate sees of c.
    fn peephole(&mut self, gate: &str, weight: &str, c: &str) -> String {
        let seen = self.node("Mul", &[weight, c], &format!("{gate}.seen"));
        self.node("Add", &[gate, &seen], &format!("{gate}.with_c"))
    }

    /// -limit and limit.
    fn limits(&mut self, name: &str, limit: Option<f64>) -> Option<[String; 2]> {
        let limit = limit? as f32;
        Some([
            self.floats(&format!("{name}.low"), &[], &[-limit]),
            self.floats(&format!("{name}.high"), &[], &[limit]),
        ])
    }

    fn clip(&mut self, values: String, limits: &Option<[String; 2]>) -> String {
        match limits {
            Some([low, high]) => {
                self.node("Clip", &[&values, low, high], &format!("{values}.clipped"))
            }
            None => values,
        }
    }

    /// `[T, B, 1]`: whether a step is one that its sequence has.
    fn valid(&mut self, read: &str) -> String {
        let name = "valid".to_string();
        if self.nodes.iter().any(|node| node.output.contains(&name)) {
            return name;
        }
        let shape = self.node("Shape", &[read], "shape");
        let first = self.scalar("first", 0);
        let second = self.scalar("second", 1);
        let steps = self.node("Gather", &[&shape, &first], "steps");
        let times = self.node("Range", &[&first, &steps, &second], "times");
        let behind = self.ints("behind_time", &[1, 2]);
        let times = self.node("Unsqueeze", &[&times, &behind], "times.column");
        let around = self.ints("around_batch", &[0, 2]);
        let ends = self.push(
            "Cast",
            &["lengths".into()],
            &["ends"],
            vec![Attribute::int("to", INT64.into())],
        );
        let ends = self.node("Unsqueeze", &[&ends, &around], "ends.row");
        self.node("Less", &[&times, &ends], &name)
    }

    /// `[B, width]` zeros, for the batch of `read` `[T, B, I]`.
    fn zeros(&mut self, read: &str, name: &str, width: usize) -> String {
        let shape = self.node("Shape", &[read], &format!("{name}.read"));
        let one = self.ints(&format!("{name}.one"), &[1]);
        let batch = self.node("Gather", &[&shape, &one], &format!("{name}.batch"));
        let width = self.ints(&format!("{name}.width"), &[width as i64]);
        let axis = Attribute::int("axis", 0);
        let shape = self.push(
            "Concat",
            &[batch, width],
            &[&format!("{name}.shape")],
            vec![axis],
        );
        self.node("ConstantOfShape", &[&shape], name)
    }

    fn concat(&mut self, parts: &[&str], output: &str) -> String {
        let parts = parts.iter().map(|part| part.to_string());
        let axis = Attribute::int("axis", -1);
        self.push("Concat", &parts.collect::<Vec<_>>(), &[output], vec![axis])
    }

    fn transpose(&mut self, input: &str, output: &str, order: &[i64]) -> String {
        let order = Attribute::ints("perm", order.to_vec());
        self.push("Transpose", &[input.into()], &[output], vec![order])
    }

    /// To these extents, of which 0 is as it was and the last what it must be.
    fn reshape(&mut self, input: &str, output: &str, extents: &[i64]) -> String {
        let shape = self.ints(&format!("{output}.shape"), extents);
        self.node("Reshape", &[input, &shape], output)
    }

    /// A matrix `[rows, columns]`, as its transpose.
    fn transposed(&mut self, name: &str, values: &[f32], rows: usize, columns: usize) -> String {
        self.floats(name, &[columns, rows], &transposed(values, columns))
    }

    fn floats(&mut self, name: &str, extents: &[usize], values: &[f32]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, FLOAT, extents, raw_data.collect())
    }

    fn ints(&mut self, name: &str, values: &[i64]) -> String {
        let raw_data = values.iter().flat_map(|value| value.to_le_bytes());
        self.constant(name, INT64, &[values.len()], raw_data.collect())
    }

    fn scalar(&mut self, name: &str, value: i64) -> String {
        self.constant(name, INT64, &[], value.to_le_bytes().to_vec())
    }

    fn constant(&mut self, name: &str, kind: i32, extents: &[usize], raw_data: Vec<u8>) -> String {
        self.initializer.push(TensorProto {
            dims: extents.iter().map(|&extent| extent as i64).collect(),
            data_type: kind,
            name: name.into(),
            raw_data,
        });
        name.into()
    }

    /// An operator of one output and no attributes, under its output's name.
    fn node(&mut self, operator: &str, inputs: &[&str], output: &str) -> String {
        let inputs = inputs.iter().map(|input| input.to_string());
        self.push(operator, &inputs.collect::<Vec<_>>(), &[output], vec![])
    }

    /// An operator, whose first output is returned.
    fn push(
        &mut self,
        operator: &str,
        inputs: &[String],
        outputs: &[&str],
        attributes: Vec<Attribute>,
    ) -> String {
        self.nodes.push(Node {
            input: inputs.to_vec(),
            output: outputs.iter().map(|output| output.to_string()).collect(),
            name: outputs[0].into(),
            op_type: operator.into(),
            attribute: attributes,
        });
        outputs[0].into()
    }
}

/// Whether a layer is more than ONNX's operators can express.
fn needs_scan(layer: &Layer) -> bool {
    layer.projection_size.is_some() || layer.cell_clip.is_some()
}

/// An extent of a value.
enum Size {
    Batch,
    Time,
    Of(usize),
}

/// A graph's input or output.
fn value(name: &str, kind: i32, shape: &[Size]) -> ValueInfo {
    let extent = |size: &Size| match size {
        Size::Batch => Extent::named("batch"),
        Size::Time => Extent::named("time"),
        Size::Of(size) => Extent {
            dim_value: Some(*size as i64),
            dim_param: None,
        },
    };
    let shape = TensorShape {
        dim: shape.iter().map(extent).collect(),
    };
    ValueInfo::new(name, kind, Some(shape))
}

/// The same where shapes are inferred.
fn any_shape(name: &str, kind: i32) -> ValueInfo {
    ValueInfo::new(name, kind, None)
}

// The parts of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto that a graph of ours has.

const FLOAT: i32 = 1;
const INT32: i32 = 6;
const INT64: i32 = 7;
const BOOL: i32 = 9;

#[derive(Clone, PartialEq, Message)]
struct ModelProto {
    #[prost(int64, tag = "1")]
    ir_version: i64,
    #[prost(string, tag = "2")]
    producer_name: String,
    #[prost(string, tag = "3")]
    producer_version: String,
    #[prost(message, optional, tag = "7")]
    graph: Option<Graph>,
    #[prost(message, repeated, tag = "8")]
    opset_import: Vec<OperatorSet>,
}

#[derive(Clone, PartialEq, Message)]
struct OperatorSet {
    #[prost(string, tag = "1")]
    domain: String,
    #[prost(int64, tag = "2")]
    version: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Graph {
    #[prost(message, repeated, tag = "1")]
    nodes: Vec<Node>,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(message, repeated, tag = "5")]
    initializer: Vec<TensorProto>,
    #[prost(message, repeated, tag = "11")]
    input: Vec<ValueInfo>,
    #[prost(message, repeated, tag = "12")]
    output: Vec<ValueInfo>,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, repeated, tag = "1")]
    input: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    output: Vec<String>,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, tag = "4")]
    op_type: String,
    #[prost(message, repeated, tag = "5")]
    attribute: Vec<Attribute>,
}

#[derive(Clone, PartialEq, Message)]
struct Attribute {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(int64, optional, tag = "3")]
    i: Option<i64>,
    #[prost(bytes = "vec", optional, tag = "4")]
    s: Option<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    g: Option<Graph>,
    #[prost(int64, repeated, packed = "false", tag = "8")]
    ints: Vec<i64>,
    #[prost(bytes = "vec", repeated, tag = "9")]
    strings: Vec<Vec<u8>>,
    /// Which of them it is.
    #[prost(int32, tag = "20")]
    kind: i32,
}

impl Attribute {
    fn int(name: &str, value: i64) -> Attribute {
        Attribute {
            name: name.into(),
            i: Some(value),
            kind: 2,
            ..Attribute::default()
        }
    }

    fn string(name: &str, value: &str) -> Attribute {
        Attribute {
            name: name.into(),
            s: Some(value.into()),
            kind: 3,
            ..Attribute::default()
        }
    }

    fn graph(name: &str, value: Graph) -> Attribute {
        Attribute {
            name: name.into(),
            g: Some(value),
            kind: 5,
            ..Attribute::default()
        }
    }

    fn ints(name: &str, ints: Vec<i64>) -> Attribute {
        Attribute {
            name: name.into(),
            ints,
            kind: 7,
            ..Attribute::default()
        }
    }

    /// The same string `count` times.
    fn strings(name: &str, value: &str, count: usize) -> Attribute {
        Attribute {
            name: name.into(),
            strings: vec![value.into(); count],
            kind: 8,
            ..Attribute::default()
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct TensorProto {
    #[prost(int64, repeated, packed = "false", tag = "1")]
    dims: Vec<i64>,
    #[prost(int32, tag = "2")]
    data_type: i32,
    #[prost(string, tag = "8")]
    name: String,
    #[prost(bytes = "vec", tag = "9")]
    raw_data: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct ValueInfo {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(message, optional, tag = "2")]
    kind: Option<TypeProto>,
}

impl ValueInfo {
    fn new(name: &str, elem_type: i32, shape: Option<TensorShape>) -> ValueInfo {
        ValueInfo {
            name: name.into(),
            kind: Some(TypeProto {
                tensor_type: Some(TensorType { elem_type, shape }),
            }),
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct TypeProto {
    #[prost(message, optional, tag = "1")]
    tensor_type: Option<TensorType>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorType {
    #[prost(int32, tag = "1")]
    elem_type: i32,
    #[prost(message, optional, tag = "2")]
    shape: Option<TensorShape>,
}

#[derive(Clone, PartialEq, Message)]
struct TensorShape {
    #[prost(message, repeated, tag = "1")]
    dim: Vec<Extent>,
}

#[derive(Clone, PartialEq, Message)]
struct Extent {
    #[prost(int64, optional, tag = "1")]
    dim_value: Option<i64>,
    #[prost(string, optional, tag = "2")]
    dim_param: Option<String>,
}

impl Extent {
    fn named(name: &str) -> Extent {
        Extent {
            dim_value: None,
            dim_param: Some(name.into()),
        }
    }
}
