//! Scans of layers with layer normalisation, against the formulas of TensorFlow 1's
//! `LayerNormBasicLSTMCell` and of haste's `LayerNormGRU` over values with bounds of their errors.

use super::*;

/// The epsilon of the normalisation, exact in f32.
const EPSILON: f64 = 1.0 / 128.0;
/// Elements between the gains and the shifts.
const GAP: usize = 3;

#[derive(Clone, Copy, Debug)]
struct NormOptions {
    cell: Cell,
    batch: usize,
    hidden_size: usize,
    bias: bool,
    upstream: bool,
    given_states: usize,
    drops_state: bool,
    activation: Activation,
    recurrent_activation: RecurrentActivation,
}

fn norm_options() -> Vec<NormOptions> {
    let cells = Cell::ALL.into_iter();
    let cells = cells.filter(|cell| cell.spec().options.layer_norm.is_some());
    let mut all = vec![];
    for cell in cells {
        let states = cell.spec().states;
        for (index, [batch, hidden_size]) in LAYERS.into_iter().enumerate() {
            all.push(NormOptions {
                cell,
                batch,
                hidden_size,
                bias: index % 2 == 0,
                upstream: index % 3 != 1,
                given_states: index % (states + 1),
                drops_state: index % 3 == 1,
                activation: function(cell, index),
                recurrent_activation: gate_function(cell, index),
            });
        }
        for given_states in 0..=states {
            all.push(NormOptions {
                cell,
                batch: 6,
                hidden_size: 9,
                bias: given_states > 0,
                upstream: given_states == 1,
                given_states,
                drops_state: given_states == 0,
                activation: Activation::Tanh,
                recurrent_activation: RecurrentActivation::Sigmoid,
            });
        }
    }
    all
}

/// Returns a layer with buffers filled for the forward or backward pass. Padded steps are NaN.
fn norm_case(options: NormOptions, backward: bool) -> RecurrenceCase {
    let NormOptions {
        cell,
        batch,
        hidden_size: h,
        ..
    } = options;
    let spec = cell.spec();
    let norm = spec.options.layer_norm.expect("the cell has it");
    let mut bench = Bench::new(batch + 3 * h);
    let weights = bench.uniform(spec.gates * h * h, 1.0 / (h as f32).sqrt());
    let packed_forward = packed(&weights, 1, h, spec.gates * h, true);
    let packed_backward = packed(&weights, spec.gates, h, h, false);
    let lengths: Vec<u32> = (0..batch)
        .map(|row| LENGTHS[row % LENGTHS.len()] as u32)
        .collect();
    // Shape [T, B, each]: random values on valid steps, NaN on padded steps.
    let sequence = |bench: &mut Bench, each: usize| {
        let mut values = bench.uniform(T * batch * each, 1.0);
        for (index, values) in values.chunks_mut(each).enumerate() {
            if index / batch >= lengths[index % batch] as usize {
                values.fill(NAN);
            }
        }
        values
    };
    let kept = norm.scale_slot() * h + norm.statistics();
    let row_size = kept + if options.drops_state { h } else { 0 };
    let mut gates = sequence(&mut bench, row_size);
    for (index, row) in gates.chunks_mut(row_size).enumerate() {
        let (own, masks) = row.split_at_mut(kept);
        if !backward {
            own[spec.gates * h..].fill(NAN);
        }
        let masks = masks.iter_mut().enumerate();
        masks.for_each(|(i, mask)| *mask = [1.25, 0.0, 1.25][(index + i) % 3]);
    }
    let states = |bench: &mut Bench| {
        let initial = bench.uniform(batch * h, 1.0);
        let rest = if backward {
            sequence(bench, h)
        } else {
            vec![NAN; T * batch * h]
        };
        [initial, rest].concat()
    };
    let h_values = states(&mut bench);
    let c_values = if spec.states > 1 {
        states(&mut bench)
    } else {
        vec![]
    };
    let upstream = sequence(&mut bench, h);
    let mut dstate = bench.uniform(spec.states * batch * h, 1.0);
    dstate[options.given_states * batch * h..].fill(NAN);
    let shifts = match (norm.shifts_are_biases, options.bias) {
        (false, _) => norm.vectors * h,
        (true, true) => spec.gates * h,
        (true, false) => 0,
    };
    let gains = bench.uniform(norm.vectors * h, 1.0);
    let shifts = bench.uniform(shifts, 1.0);
    let bias = bench.uniform(spec.gates * h, 1.0);
    let layer = Recurrence {
        cell,
        steps: T,
        batch,
        hidden_size: h,
        output_size: h,
        options: CellOptions {
            drops_state: options.drops_state,
            activation: options.activation,
            recurrent_activation: options.recurrent_activation,
            layer_norm: Some(LayerNorm { epsilon: EPSILON }),
            ..CellOptions::default()
        },
        weights: RecurrentWeights {
            recurrent: bench.reads(&weights),
            packed_forward: bench.reads_vec4s(&packed_forward),
            packed_backward: bench.reads_vec4s(&packed_backward),
            bias: options.bias.then(|| bench.reads(&bias)),
            peephole: None,
            norm: Some(NormWeights {
                tensor: bench.reads(&[&gains[..], &[NAN; GAP], &shifts].concat()),
                skip: gains.len() + GAP,
            }),
        },
        gates: bench.writes(&gates),
        states: LayerStates {
            h: bench.writes(&h_values),
            c: bench.writes(&c_values),
            last: bench.writes(&vec![NAN; spec.states * batch * h]),
        },
        gradients: StateGradients {
            upstream: options.upstream.then(|| bench.reads(&upstream)),
            dstate: bench.writes(&dstate),
            given_states: options.given_states,
        },
        lengths: bench.indices(&lengths),
        tile: Tile::SMALLEST,
    };
    RecurrenceCase { bench, layer }
}

/// A sequence at a time step, and the buffers before it.
struct At<'a> {
    layer: &'a Recurrence,
    before: &'a Snapshot,
    t: usize,
    row: usize,
}

impl At<'_> {
    fn is_valid(&self) -> bool {
        self.t < self.length()
    }

    fn length(&self) -> usize {
        (self.before.of(&self.layer.lengths)[self.row] as usize).min(T)
    }

    /// The sequence's elements of `[T, B, size]` at step `t`.
    fn part(&self, tensor: &Tensor, t: usize, size: usize) -> Tensor {
        tensor.part((t * self.layer.batch + self.row) * size, [size])
    }

    fn values(&self, tensor: &Tensor) -> Vec<Num> {
        let values = self.before.of(tensor).iter();
        values.map(|&value| exact(value)).collect()
    }

    fn gates(&self) -> Tensor {
        let row_size = self.layer.row_size();
        self.part(&self.layer.gates, self.t, row_size)
    }

    /// A state at step `t`; zeros in a cell without it.
    fn state(&self, tensor: &Tensor, t: usize) -> Vec<Num> {
        let h = self.layer.hidden_size;
        if tensor.is_empty() {
            return vec![ZERO; h];
        }
        self.values(&self.part(tensor, t, h))
    }

    /// The mask of h after step `t`; ones without dropout.
    fn mask(&self, t: usize) -> Vec<Num> {
        if self.layer.options.drops_state {
            state_mask(self.layer, self.before, t, self.row)
        } else {
            vec![exact(1.0); self.layer.hidden_size]
        }
    }

    /// h as the step sees it.
    fn h_before(&self) -> Vec<Num> {
        let values = self.state(&self.layer.states.h, self.t);
        if self.t > 0 && self.layer.options.drops_state {
            times(&values, &self.mask(self.t - 1))
        } else {
            values
        }
    }

    fn gains(&self, vector: usize) -> Vec<Num> {
        let (h, norm) = (self.layer.hidden_size, self.layer.weights.norm.expect("it"));
        self.values(&norm.tensor.part(vector * h, [h]))
    }

    /// The shifts of a vector, or `None` where they are biases of which there are none.
    fn shifts(&self, vector: usize) -> Option<Vec<Num>> {
        let (h, norm) = (self.layer.hidden_size, self.layer.weights.norm.expect("it"));
        let at = norm.skip + vector * h;
        (at + h <= norm.tensor.len()).then(|| self.values(&norm.tensor.part(at, [h])))
    }

    /// The bias b_hh of a gate, if there is one.
    fn b_hh(&self, gate: usize) -> Option<Vec<Num>> {
        let h = self.layer.hidden_size;
        let bias = self.layer.weights.bias?;
        Some(self.values(&bias.part(gate * h, [h])))
    }

    fn weight(&self, gate: usize, j: usize, k: usize) -> Num {
        let h = self.layer.hidden_size;
        exact(self.before.of(&self.layer.weights.recurrent)[(gate * h + j) * h + k])
    }

    /// `R h` of a gate, and `also` of its units.
    fn product(&self, gate: usize, h_before: &[Num], also: Option<&[Num]>) -> Vec<Num> {
        let unit = |j: usize| {
            let terms = h_before.iter().enumerate();
            let terms = terms.map(|(k, &value)| self.weight(gate, j, k) * value);
            sum(terms.chain(also.map(|also| also[j])), h_before.len() + 1)
        };
        (0..h_before.len()).map(unit).collect()
    }

    /// The mean of values over the units of one or several vectors. A GPU adds the values of an
    /// invocation, then 8 and 8 of these sums; a CPU every eighth value, and then 8 sums.
    fn mean(&self, values: &[Num]) -> Num {
        let h = self.layer.hidden_size;
        let joint = values.len() / h;
        let depth = (joint * h.div_ceil(64) + 16).max(values.len().div_ceil(8) + 8);
        sum(values.iter().copied(), depth).over(exact(values.len() as f64))
    }

    /// The normalised values, and the reciprocal of their deviation.
    fn normalised(&self, values: &[Num]) -> (Vec<Num>, Num) {
        let mean = self.mean(values);
        let apart: Vec<Num> = values.iter().map(|&value| value - mean).collect();
        let variance = self.mean(&times(&apart, &apart));
        let scale = exact(1.0).over((variance + exact(EPSILON)).sqrt());
        (apart.iter().map(|&apart| apart * scale).collect(), scale)
    }

    /// The gradient of values, given that of the normalised ones.
    fn normalised_back(&self, d: &[Num], normed: &[Num], scale: Num) -> Vec<Num> {
        let (mean, product_mean) = (self.mean(d), self.mean(&times(d, normed)));
        let pairs = d.iter().zip(normed);
        let centred = pairs.map(|(&d, &normed)| d - mean - normed * product_mean);
        centred.map(|value| scale * value).collect()
    }

    fn open(&self, value: Num) -> Num {
        value.gate(self.layer.options.recurrent_activation)
    }

    fn squash(&self, value: Num) -> Num {
        value.activated(self.layer.options.activation)
    }

    fn open_slope(&self, value: Num) -> Num {
        value.gate_slope(self.layer.options.recurrent_activation)
    }

    fn squash_slope(&self, value: Num) -> Num {
        value.slope(self.layer.options.activation)
    }
}

fn gained(normed: &[Num], gains: &[Num], shifts: Option<Vec<Num>>) -> Vec<Num> {
    let values = times(normed, gains);
    match shifts {
        Some(shifts) => values.iter().zip(shifts).map(|(&a, b)| a + b).collect(),
        None => values,
    }
}

/// Writes vectors to a row from a slot on.
fn place(row: &mut [Num], slot: usize, vectors: &[Vec<Num>]) {
    let mut at = vectors.first().map_or(0, |vector| slot * vector.len());
    for vector in vectors {
        row[at..at + vector.len()].copy_from_slice(vector);
        at += vector.len();
    }
}

/// The row of an LSTM, h and c after a valid step.
fn lstm_step(at: &At, mut row: Vec<Num>) -> [Vec<Num>; 3] {
    let h = at.layer.hidden_size;
    let (h_before, c_before) = (at.h_before(), at.state(&at.layer.states.c, at.t));
    let (mut slots, mut normed, mut scales) = (vec![], vec![], vec![]);
    for gate in 0..4 {
        let product = at.product(gate, &h_before, at.b_hh(gate).as_deref());
        let inputs = &row[gate * h..][..h];
        let sums = inputs.iter().zip(product).map(|(&x, product)| x + product);
        let (of_gate, scale) = at.normalised(&sums.collect::<Vec<_>>());
        let values = gained(&of_gate, &at.gains(gate), at.shifts(gate));
        let function = |&value: &Num| match gate {
            2 => at.squash(value),
            _ => at.open(value),
        };
        slots.push(values.iter().map(function).collect::<Vec<_>>());
        normed.push(of_gate);
        scales.push(scale);
    }
    let c_now = |j: usize| slots[1][j] * c_before[j] + slots[0][j] * slots[2][j];
    let (of_c, scale) = at.normalised(&(0..h).map(c_now).collect::<Vec<_>>());
    let c_after = gained(&of_c, &at.gains(4), at.shifts(4));
    let squashed: Vec<Num> = c_after.iter().map(|&c| at.squash(c)).collect();
    let h_after = times(&slots[3], &squashed);
    normed.push(of_c);
    scales.push(scale);
    place(&mut row, 0, &slots);
    place(&mut row, 4, &normed);
    row[14 * h..][..5].copy_from_slice(&scales);
    [row, h_after, c_after]
}

/// The row of a GRU and h after a valid step.
fn gru_step(at: &At, mut row: Vec<Num>) -> [Vec<Num>; 3] {
    let h = at.layer.hidden_size;
    let h_before = at.h_before();
    let products: Vec<Num> = (0..3)
        .flat_map(|gate| at.product(gate, &h_before, None))
        .collect();
    let (of_x, scale_x) = at.normalised(&row[..3 * h]);
    let (of_h, scale_h) = at.normalised(&products);
    let of_gate = |values: &[Num], gate: usize| values[gate * h..][..h].to_vec();
    let x = [0, 1, 2].map(|gate| gained(&of_gate(&of_x, gate), &at.gains(gate), at.shifts(gate)));
    let y = [0, 1, 2].map(|gate| gained(&of_gate(&of_h, gate), &at.gains(3 + gate), at.b_hh(gate)));
    let [r, z] = [0, 1].map(|gate| -> Vec<Num> {
        let pairs = x[gate].iter().zip(&y[gate]);
        pairs.map(|(&x, &y)| at.open(x + y)).collect()
    });
    let n = |j: usize| at.squash(x[2][j] + r[j] * y[2][j]);
    let n: Vec<Num> = (0..h).map(n).collect();
    let h_after = |j: usize| (exact(1.0) - z[j]) * n[j] + z[j] * h_before[j];
    let h_after = (0..h).map(h_after).collect();
    let [_, _, y_n] = y;
    let zeros = vec![ZERO; h];
    place(&mut row, 0, &[r, z, n, y_n, zeros.clone(), zeros]);
    place(
        &mut row,
        6,
        &[of_x, of_h]
            .concat()
            .chunks(h)
            .map(<[_]>::to_vec)
            .collect::<Vec<_>>(),
    );
    row[16 * h..][..2].copy_from_slice(&[scale_x, scale_h]);
    [row, h_after, vec![ZERO; h]]
}

/// Returns the expected values of the forward pass of time step `t`.
fn norm_forward(layer: &Recurrence, before: &Snapshot, t: usize) -> Expected {
    let (h, batch) = (layer.hidden_size, layer.batch);
    let norm = layer.norm().expect("it is normalised");
    let mut expected = vec![];
    for row in 0..batch {
        let at = At {
            layer,
            before,
            t,
            row,
        };
        let mut values = at.values(&at.gates());
        let [values, h_after, c_after] = if !at.is_valid() {
            values[..norm.gradient_slot() * h].fill(ZERO);
            values[norm.scale_slot() * h..][..norm.statistics()].fill(ZERO);
            [values, vec![ZERO; h], vec![ZERO; h]]
        } else if layer.cell == Cell::Gru {
            gru_step(&at, values)
        } else {
            lstm_step(&at, values)
        };
        expected.push((at.gates(), values));
        let old = [at.h_before(), at.state(&layer.states.c, t)];
        let states = [(layer.states.h, h_after), (layer.states.c, c_after)];
        let states = states.into_iter().zip(old).take(layer.cell.spec().states);
        for (state, ((tensor, new), old)) in states.enumerate() {
            let last = layer.states.last.part((state * batch + row) * h, [h]);
            if t + 1 == at.length() {
                let is_dropped = state == 0 && layer.options.drops_state;
                let kept = if is_dropped {
                    times(&new, &at.mask(t))
                } else {
                    new.clone()
                };
                expected.push((last, kept));
            } else if t == 0 && at.length() == 0 {
                expected.push((last, old));
            }
            expected.push((at.part(&tensor, t + 1, h), new));
        }
    }
    expected
}

/// The gradients that a step leaves.
struct NormGradients {
    /// The row of the gates.
    row: Vec<Num>,
    /// The gradients of the recurrent products, one vector for each gate.
    products: Vec<Vec<Num>>,
    /// The gradient of h before the step without them.
    dh: Vec<Num>,
    dc: Vec<Num>,
}

fn lstm_step_back(at: &At, mut row: Vec<Num>, dh: &[Num], dc: &[Num]) -> NormGradients {
    let h = at.layer.hidden_size;
    let slot = |slot: usize| row[slot * h..][..h].to_vec();
    let [i, f, g, o] = [0, 1, 2, 3].map(slot);
    let normed = [4, 5, 6, 7, 8].map(slot);
    let scales = row[14 * h..][..5].to_vec();
    let c_before = at.state(&at.layer.states.c, at.t);
    let squashed = at.state(&at.layer.states.c, at.t + 1);
    let squashed: Vec<Num> = squashed.iter().map(|&c| at.squash(c)).collect();
    let d_o = |j: usize| dh[j] * squashed[j] * at.open_slope(o[j]);
    let d_o: Vec<Num> = (0..h).map(d_o).collect();
    let dc = |j: usize| dc[j] + dh[j] * o[j] * at.squash_slope(squashed[j]);
    let dc: Vec<Num> = (0..h).map(dc).collect();
    let d = at.normalised_back(&times(&dc, &at.gains(4)), &normed[4], scales[4]);
    let of_unit = |of: &dyn Fn(usize) -> Num| (0..h).map(of).collect::<Vec<Num>>();
    let d_i = of_unit(&|j| d[j] * g[j] * at.open_slope(i[j]));
    let d_f = of_unit(&|j| d[j] * c_before[j] * at.open_slope(f[j]));
    let d_g = of_unit(&|j| d[j] * i[j] * at.squash_slope(g[j]));
    let gradients = [d_i, d_f, d_g, d_o, dc];
    let products = |gate: usize| {
        let d = times(&gradients[gate], &at.gains(gate));
        at.normalised_back(&d, &normed[gate], scales[gate])
    };
    let products: Vec<Vec<Num>> = (0..4).map(products).collect();
    let of_gains: Vec<Vec<Num>> = (normed.iter().zip(&gradients))
        .map(|(normed, gradient)| times(normed, gradient))
        .collect();
    place(&mut row, 0, &products);
    place(&mut row, 4, &of_gains);
    place(&mut row, 9, &gradients);
    NormGradients {
        row,
        products,
        dh: vec![ZERO; h],
        dc: times(&d, &f),
    }
}

fn gru_step_back(at: &At, mut row: Vec<Num>, dh: &[Num]) -> NormGradients {
    let h = at.layer.hidden_size;
    let slot = |slot: usize| row[slot * h..][..h].to_vec();
    let [r, z, n, y_n] = [0, 1, 2, 3].map(slot);
    let normed = [6, 7, 8, 9, 10, 11].map(slot);
    let scales = row[16 * h..][..2].to_vec();
    let h_before = at.h_before();
    let of_unit = |of: &dyn Fn(usize) -> Num| (0..h).map(of).collect::<Vec<Num>>();
    let d_n = of_unit(&|j| dh[j] * (exact(1.0) - z[j]) * at.squash_slope(n[j]));
    let d_z = of_unit(&|j| dh[j] * (h_before[j] - n[j]) * at.open_slope(z[j]));
    let d_r = of_unit(&|j| d_n[j] * y_n[j] * at.open_slope(r[j]));
    let d_y = times(&d_n, &r);
    let of_vector = [&d_r, &d_z, &d_n, &d_r, &d_z, &d_y];
    let back = |statistic: usize| -> Vec<Vec<Num>> {
        let own = 3 * statistic..3 * statistic + 3;
        let gained = own.clone().map(|k| times(of_vector[k], &at.gains(k)));
        let gained: Vec<Num> = gained.flatten().collect();
        let back = at.normalised_back(&gained, &normed[own].concat(), scales[statistic]);
        back.chunks(h).map(<[_]>::to_vec).collect()
    };
    let (of_x, products) = (back(0), back(1));
    let of_gains: Vec<Vec<Num>> = (normed.iter().zip(of_vector))
        .map(|(normed, gradient)| times(normed, gradient))
        .collect();
    place(&mut row, 0, &of_x);
    place(&mut row, 3, &products);
    place(&mut row, 6, &of_gains);
    place(&mut row, 12, &[d_r, d_z, d_n, d_y]);
    NormGradients {
        row,
        products,
        dh: times(dh, &z),
        dc: vec![ZERO; h],
    }
}

/// Returns the expected values of the backward pass of time step `t`.
fn norm_backward(layer: &Recurrence, before: &Snapshot, t: usize) -> Expected {
    let (h, batch) = (layer.hidden_size, layer.batch);
    let norm = layer.norm().expect("it is normalised");
    let states = layer.cell.spec().states;
    let mut expected = vec![];
    for row in 0..batch {
        let at = At {
            layer,
            before,
            t,
            row,
        };
        let dstate = |state: usize| (layer.gradients.dstate).part((state * batch + row) * h, [h]);
        let [mut dh, mut dc] = [0, 1].map(|state| {
            let is_given = t + 1 < T || state < layer.gradients.given_states;
            if state < states && is_given {
                at.values(&dstate(state))
            } else {
                vec![ZERO; h]
            }
        });
        let mut values = at.values(&at.gates());
        if at.is_valid() {
            if layer.options.drops_state {
                dh = times(&dh, &at.mask(t));
            }
            if let Some(upstream) = layer.gradients.upstream {
                let added = dh.iter().zip(at.state(&upstream, t));
                dh = added.map(|(&dh, upstream)| dh + upstream).collect();
            }
            let step = if layer.cell == Cell::Gru {
                gru_step_back(&at, values, &dh)
            } else {
                lstm_step_back(&at, values, &dh, &dc)
            };
            let unit = |j: usize| {
                let terms = step
                    .products
                    .iter()
                    .enumerate()
                    .flat_map(|(gate, products)| {
                        let at = &at;
                        let terms = products.iter().enumerate();
                        terms.map(move |(k, &d)| at.weight(gate, k, j) * d)
                    });
                sum(terms.chain([step.dh[j]]), step.products.len() * h + 1)
            };
            dh = (0..h).map(unit).collect();
            (values, dc) = (step.row, step.dc);
        } else {
            values[..norm.scale_slot() * h].fill(ZERO);
        }
        expected.push((at.gates(), values));
        let gradients = [dh, dc].into_iter().take(states).enumerate();
        expected.extend(gradients.map(|(state, d)| (dstate(state), d)));
    }
    expected
}

#[test]
fn scan_norm_forward() {
    let mut checker = Checker::new("scan_norm_forward");
    for options in norm_options() {
        let recurrence = norm_case(options, false);
        let layer = &recurrence.layer;
        let call = |begin, end| {
            Call::from(ScanNormForward {
                layer: layer.clone(),
                begin,
                end,
            })
        };
        let per_step = recurrence.with((0..T).map(|t| (Phase::ALL[t], call(t, t + 1))));
        let step = |t: usize| move |before: &Snapshot| norm_forward(layer, before, t);
        check_split(
            &mut checker,
            &format!("{options:?}"),
            &recurrence,
            per_step,
            call(0, T),
            &[&step(0), &step(1), &step(2)],
        );
    }
}

#[test]
fn scan_norm_backward() {
    let mut checker = Checker::new("scan_norm_backward");
    for options in norm_options() {
        let recurrence = norm_case(options, true);
        let layer = &recurrence.layer;
        let call = |begin, end| {
            Call::from(ScanNormBackward {
                layer: layer.clone(),
                begin,
                end,
            })
        };
        let per_step = recurrence.with((0..T).map(|n| (Phase::ALL[n], call(T - 1 - n, T - n))));
        let step = |t: usize| move |before: &Snapshot| norm_backward(layer, before, t);
        check_split(
            &mut checker,
            &format!("{options:?}"),
            &recurrence,
            per_step,
            call(0, T),
            &[&step(2), &step(1), &step(0)],
        );
    }
}
