// A step of an LSTM whose gates and new c are normalised: vectors 0 to 3 and OF_C, each of which
// has a mean and a variance of its own.

const OF_C = 4u;

// Stores the pre-activations of the gates in their slots, and returns their sums.
fn gates_stage(t: u32, first: u32, lane: u32) -> Each {
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        var biases: Each;
        for (var gate = 0u; gate < GATES; gate++) {
            biases[gate] = load_bias(gate, j);
        }
        var products = multiply_recurrent(j, biases);
        for (var gate = 0u; gate < GATES; gate++) {
            let value = load_slot(t, first, gate, j) + products[gate];
            store_slot(t, first, gate, j, value);
            sums[gate] += value;
        }
    }
    return sums;
}

// Returns the sums of the squares of slots from `from_slot` on less their means.
fn squares_stage(
    t: u32, first: u32, lane: u32, from_slot: u32, count: u32, means: Each,
) -> Each {
    var own = means;
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        for (var k = 0u; k < count; k++) {
            let apart = load_slot(t, first, from_slot + k, j) - own[k];
            sums[k] += apart * apart;
        }
    }
    return sums;
}

// Stores the normalised gates, their activations and the new c before it is normalised, and
// returns its sum.
fn cell_stage(
    t: u32, first: u32, lane: u32, all_means: Each, all_scales: Each, valid: Flags,
) -> Rows {
    var means = all_means;
    var scales = all_scales;
    var sum = Rows(0.0);
    for (var j = lane; j < UNITS; j += WIDTH) {
        var values: Each;
        for (var gate = 0u; gate < GATES; gate++) {
            let normed = (load_slot(t, first, gate, j) - means[gate]) * scales[gate];
            store_slot(t, first, NORMED + gate, j, select(Rows(0.0), normed, valid));
            values[gate] = gain(gate, j) * normed + shift(gate, j);
        }
        let i = gate_of(values[0]);
        let f = gate_of(values[1]);
        let g = activation_of(values[2]);
        let o = gate_of(values[3]);
        let c_now = f * load_c(t, first, j) + i * g;
        store_slots(t, first, j, array(i, f, g, o));
        store_slot(t, first, NORMED + OF_C, j, c_now);
        sum += c_now;
    }
    return sum;
}

// Normalises c, and finishes the step.
fn output_stage(
    t: u32, first: u32, lane: u32, mean: Rows, scale: Rows, length: Counts,
) {
    let valid = Counts(t) < length;
    for (var j = lane; j < UNITS; j += WIDTH) {
        let normed = (load_slot(t, first, NORMED + OF_C, j) - mean) * scale;
        store_slot(t, first, NORMED + OF_C, j, select(Rows(0.0), normed, valid));
        let c_after = gain(OF_C, j) * normed + shift(OF_C, j);
        var slots = load_slots(t, first, j);
        let h_after = slots[3] * activation_of(c_after);
        store_unit(t, first, j, length, slots, c_after);
        finish_output(t, first, j, length, load_h(t, first, j), h_after);
    }
}

fn norm_forward(t: u32, first: u32, lane: u32, length: Counts) {
    let valid = Counts(t) < length;
    let means = mean_of_units(lane, gates_stage(t, first, lane));
    let squares = squares_stage(t, first, lane, 0u, GATES, means);
    let variances = mean_of_units(lane, squares);
    let scales = scales_of(t, first, lane, 0u, GATES, variances, valid);
    var of_c: Each;
    of_c[0] = cell_stage(t, first, lane, means, scales, valid);
    var mean = mean_of_units(lane, of_c);
    of_c = squares_stage(t, first, lane, NORMED + OF_C, 1u, mean);
    let variance = mean_of_units(lane, of_c);
    var scale = scales_of(t, first, lane, OF_C, 1u, variance, valid);
    output_stage(t, first, lane, mean[0], scale[0], length);
}
