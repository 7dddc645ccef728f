//! Initial values of parameters.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{Direction, Entry, Input, Network, ParameterRole};
use crate::rng::{Philox, Stream};

/// The initialisation of a layer's parameters.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Init {
    /// Uniform in ±sqrt(6 / (rows + columns)) of TensorFlow's concatenated kernel `[I+H, G*H]`;
    /// zero biases, except ones for the gates of a GRU (Glorot & Bengio 2010; TensorFlow's
    /// default). A peephole counts as H rows and H columns.
    #[default]
    Glorot,
    /// Uniform in ±1/sqrt(H), weights and biases (PyTorch's default).
    Torch,
    /// As `glorot`, but recurrent weights with orthonormal columns, one matrix per gate (Saxe et
    /// al. 2014).
    Orthogonal,
    /// All zeros.
    Zeros,
    /// Normal with mean 0, weights and biases, redrawn beyond two standard deviations (TensorFlow's
    /// `truncated_normal`). In a recipe: `init = { truncated-normal = { stddev = 0.1 } }`.
    TruncatedNormal {
        /// The standard deviation before truncation.
        stddev: f32,
    },
}

impl Network {
    /// Returns the initial values of the flat vector of parameters. The same seed gives the same
    /// values on one platform (logarithms and cosines are the platform's).
    pub fn initial(&self, seed: u64) -> Vec<f32> {
        let (entries, len) = self.table();
        let directions = self.directions();
        let mut flat = vec![0.0; len];
        for (number, entry) in entries.iter().enumerate() {
            let values = &mut flat[entry.range()];
            let mut random = Philox::new(seed, Stream::Parameter(number as u32));
            match entry.direction {
                Some(index) => fill_recurrent(values, entry, &directions[index], &mut random),
                None if entry.role == ParameterRole::Embedding => {
                    self.fill_embedding(values, &mut random);
                }
                None if entry.role.is_table() => fill_table(values, entry, &mut random),
                None => self.fill_head(values, entry.role, &mut random),
            }
        }
        flat
    }

    /// Fills the table `[V, size]`.
    fn fill_embedding(&self, values: &mut [f32], random: &mut Philox) {
        let Input::Embedding {
            size,
            padding_idx,
            init,
            ..
        } = self.input
        else {
            return;
        };
        match init {
            Init::Zeros => {}
            Init::Torch => fill_normal(values, random),
            Init::TruncatedNormal { stddev } => fill_truncated_normal(values, stddev, random),
            Init::Glorot | Init::Orthogonal => {
                fill_uniform(values, glorot(self.input_size, size), random);
            }
        }
        if let Some(token) = padding_idx {
            values[token as usize * size..][..size].fill(0.0);
        }
    }

    /// Fills the head's weights, its bias or its query, which counts as H rows and one column.
    fn fill_head(&self, values: &mut [f32], role: ParameterRole, random: &mut Philox) {
        let inputs = self.head_inputs();
        match self.head.init {
            Init::Zeros => {}
            Init::Torch => fill_uniform(values, 1.0 / (inputs as f32).sqrt(), random),
            Init::TruncatedNormal { stddev } => fill_truncated_normal(values, stddev, random),
            Init::Glorot | Init::Orthogonal if role == ParameterRole::HeadWeights => {
                let mut rest = values;
                for head in self.each_head() {
                    let (own, after) = rest.split_at_mut(head.size * inputs);
                    fill_uniform(own, glorot(inputs, head.size), random);
                    rest = after;
                }
            }
            Init::Glorot | Init::Orthogonal if role == ParameterRole::HeadQuery => {
                fill_uniform(values, glorot(inputs, 1), random);
            }
            Init::Glorot | Init::Orthogonal => {}
        }
    }
}

/// Fills the table of a column of categories, as the default of an embedding of tokens.
fn fill_table(values: &mut [f32], entry: &Entry, random: &mut Philox) {
    let [count, size] = [0, 1].map(|axis| entry.shape.extents()[axis]);
    fill_uniform(values, glorot(count, size), random);
}

/// Fills one parameter of a direction.
fn fill_recurrent(values: &mut [f32], entry: &Entry, direction: &Direction, random: &mut Philox) {
    let layer = &direction.layer;
    match layer.init {
        _ if entry.role.initial_state().is_some() => {}
        _ if entry.role == ParameterRole::NormGains => values.fill(1.0),
        _ if layer.is_shift(entry.role) => {}
        Init::Zeros => {}
        Init::Torch => fill_uniform(values, 1.0 / (layer.hidden_size as f32).sqrt(), random),
        Init::TruncatedNormal { stddev } => fill_truncated_normal(values, stddev, random),
        Init::Glorot => fill_as_tensorflow(values, entry, direction, random),
        Init::Orthogonal if entry.role == ParameterRole::RecurrentWeights => {
            fill_orthogonal(values, layer.hidden_size, layer.output_size(), random);
        }
        Init::Orthogonal => fill_as_tensorflow(values, entry, direction, random),
    }
    if let Some(gate) = layer.cell.spec().options.forget_gate
        && entry.role == layer.forget_bias_role()
    {
        let biases = values[gate * layer.hidden_size..][..layer.hidden_size].iter_mut();
        biases.for_each(|bias| *bias += layer.forget_bias);
    }
}

/// Fills one parameter of a direction with TensorFlow's default: Glorot weights, constant biases.
fn fill_as_tensorflow(
    values: &mut [f32],
    entry: &Entry,
    direction: &Direction,
    random: &mut Philox,
) {
    let layer = &direction.layer;
    let (h, p) = (layer.hidden_size, layer.output_size());
    match entry.role {
        ParameterRole::InputWeights | ParameterRole::RecurrentWeights => {
            let columns = entry.shape.extents()[1];
            fill_glorot_blocks(values, direction, columns, random);
        }
        ParameterRole::Projection => fill_uniform(values, glorot(h, p), random),
        ParameterRole::Peepholes => fill_uniform(values, glorot(h, h), random),
        ParameterRole::InputBias => fill_initial_biases(values, direction),
        _ => {}
    }
}

/// Fills the weights `[G*H, columns]`, one block of gates after the other, each with the limit of
/// its kernel in TensorFlow.
fn fill_glorot_blocks(
    values: &mut [f32],
    direction: &Direction,
    columns: usize,
    random: &mut Philox,
) {
    let (layer, spec) = (&direction.layer, direction.layer.cell.spec());
    let recurrent_inputs = if spec.recurrent_gates > 0 {
        layer.output_size()
    } else {
        0
    };
    let mut rest = values;
    for block in spec.blocks {
        let rows = block.gates.len() * layer.hidden_size;
        let (own, after) = rest.split_at_mut(rows * columns);
        fill_uniform(
            own,
            glorot(direction.inputs + recurrent_inputs, rows),
            random,
        );
        rest = after;
    }
}

/// Fills the input bias `[G*H]` with the initial bias of each block of gates.
fn fill_initial_biases(values: &mut [f32], direction: &Direction) {
    let mut rest = values;
    for block in direction.layer.cell.spec().blocks {
        let rows = block.gates.len() * direction.layer.hidden_size;
        let (own, after) = rest.split_at_mut(rows);
        own.fill(block.initial_bias);
        rest = after;
    }
}

/// Fills `[G, rows, columns]` with matrices whose columns are orthonormal, or whose rows are where
/// those are fewer.
fn fill_orthogonal(values: &mut [f32], rows: usize, columns: usize, random: &mut Philox) {
    let size = rows.max(columns);
    let gates = values.chunks_exact_mut(rows * columns);
    let gates: Vec<(&mut [f32], Vec<f64>)> = gates
        .map(|gate| (gate, (0..size * size).map(|_| random.normal()).collect()))
        .collect();
    gates
        .into_par_iter()
        .for_each(|(gate, normal)| orthogonalise(gate, normal, rows, columns));
}

/// Returns the limit of a uniform distribution (Glorot & Bengio 2010).
fn glorot(rows: usize, columns: usize) -> f32 {
    (6.0 / (rows + columns) as f32).sqrt()
}

fn fill_uniform(values: &mut [f32], limit: f32, random: &mut Philox) {
    let values = values.iter_mut();
    values.for_each(|value| *value = (2.0 * random.uniform() - 1.0) * limit);
}

fn fill_normal(values: &mut [f32], random: &mut Philox) {
    let values = values.iter_mut();
    values.for_each(|value| *value = random.normal() as f32);
}

fn fill_truncated_normal(values: &mut [f32], stddev: f32, random: &mut Philox) {
    let values = values.iter_mut();
    values.for_each(|value| *value = random.truncated_normal() as f32 * stddev);
}

/// Orthogonalises a matrix of normal values `[size, size]`, row by row (Gram-Schmidt in f64: the
/// error of one pass is far below f32), and copies its corner `[rows, columns]` to `values`: the
/// shorter of its rows and columns are orthonormal.
fn orthogonalise(values: &mut [f32], mut normal: Vec<f64>, rows: usize, columns: usize) {
    let size = rows.max(columns);
    for n in 0..size {
        let (before, rest) = normal.split_at_mut(n * size);
        let row = &mut rest[..size];
        for other in before.chunks_exact(size) {
            let along = dot(row, other);
            row.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
        }
        let length = dot(row, row).sqrt();
        row.iter_mut().for_each(|a| *a /= length);
    }
    let corner = normal.chunks_exact(size).flat_map(|row| &row[..columns]);
    let pairs = values.iter_mut().zip(corner);
    pairs.for_each(|(value, &element)| *value = element as f32);
}

/// Returns the dot product, in eight independent sums that compile to vector instructions.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        let pairs = a.iter().zip(b);
        sums.iter_mut()
            .zip(pairs)
            .for_each(|(sum, (a, b))| *sum += a * b);
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;
    use crate::network::{Head, Layer, Loss, Reads};

    #[test]
    fn orthogonal_rows_are_orthonormal() {
        for size in [1, 7, 64] {
            let mut random = Philox::new(5, Stream::Parameter(0));
            let mut values = vec![0.0; size * size];
            fill_orthogonal(&mut values, size, size, &mut random);
            let row = |n: usize| &values[n * size..(n + 1) * size];
            for (i, j) in (0..size).flat_map(|i| (0..size).map(move |j| (i, j))) {
                let product: f32 = row(i).iter().zip(row(j)).map(|(a, b)| a * b).sum();
                assert!(
                    (product - f32::from(u8::from(i == j))).abs() < 1e-5,
                    "rows {i}, {j}: {product}"
                );
            }
        }
    }

    fn network(layer: Layer) -> Network {
        Network {
            input_size: 3,
            input: Input::Values,
            layers: vec![layer],
            head: Head {
                size: 2,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
            heads: vec![],
            categories: vec![],
        }
    }

    #[test]
    fn peepholes_and_projections_have_tensorflows_limits() {
        let layer = Layer {
            projection_size: Some(5),
            ..Layer::new(Cell::LstmPeephole, 40)
        };
        let network = network(layer);
        let flat = network.initial(1);
        let (entries, _) = network.table();
        for (name, shape, limit) in [
            ("rnn.weight_ih_l0", &[160, 3][..], glorot(8, 160)),
            ("rnn.weight_hh_l0", &[160, 5], glorot(8, 160)),
            ("rnn.weight_hr_l0", &[5, 40], glorot(40, 5)),
            ("rnn.weight_peephole_l0", &[120], glorot(40, 40)),
        ] {
            let entry = entries.iter().find(|entry| entry.name == name).expect(name);
            assert_eq!(entry.shape.extents(), shape, "{name}");
            let values = flat[entry.range()].iter();
            let largest = values.fold(0f32, |most, v| most.max(v.abs()));
            assert!(
                (0.9 * limit..=limit).contains(&largest),
                "{name}: {largest}"
            );
        }
    }

    #[test]
    fn gru_gates_have_initial_bias_one_and_the_candidate_zero() {
        let network = network(Layer::new(Cell::GruResetBefore, 2));
        let flat = network.initial(1);
        let (entries, _) = network.table();
        let mut biases = entries
            .iter()
            .filter(|entry| entry.name == "rnn.bias_ih_l0");
        let bias = &flat[biases.next().expect("it has a bias").range()];
        assert_eq!(bias, [1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn projected_recurrent_weights_have_orthonormal_columns_or_rows() {
        for (h, p) in [(6, 4), (4, 6), (5, 5)] {
            let layer = Layer {
                projection_size: Some(p),
                init: Init::Orthogonal,
                ..Layer::new(Cell::Lstm, h)
            };
            let network = network(layer);
            let flat = network.initial(2);
            let (entries, _) = network.table();
            let mut recurrent = entries.iter();
            let recurrent = recurrent.find(|e| e.role == ParameterRole::RecurrentWeights);
            for gate in flat[recurrent.expect("it is there").range()].chunks_exact(h * p) {
                let vector = |n: usize| -> Vec<f32> {
                    if p <= h {
                        (0..h).map(|row| gate[row * p + n]).collect()
                    } else {
                        gate[n * p..(n + 1) * p].to_vec()
                    }
                };
                for (a, b) in (0..h.min(p)).flat_map(|a| (0..=a).map(move |b| (a, b))) {
                    let dot: f32 = vector(a).iter().zip(vector(b)).map(|(x, y)| x * y).sum();
                    let expected = f32::from(u8::from(a == b));
                    assert!((dot - expected).abs() < 1e-6, "{h} {p}: {a} {b} {dot}");
                }
            }
        }
    }
}
