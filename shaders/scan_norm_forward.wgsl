// Computes time steps begin..end of an LSTM with layer normalisation of the gates and of c
// (common/layer_norm.wgsl). Twin: src/kernels/recurrence/norm.rs.

struct ScanNormForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_bias: u32, shift: u32, epsilon: f32,
}

@group(1) @binding(0) var<uniform> u: ScanNormForward;

// Computes R h + b_hh of all gates of unit j.
fn multiply_recurrent(j: u32) -> Each {
    var products: Products;
    for (var gate = 0u; gate < GATES; gate++) {
        products[0][gate] = load_bias(gate, j);
    }
    let columns = GATES * UNITS;
    var k = 0u;
    for (; k + 3u < UNITS; k += 4u) {
        let factors = load_weights(0u, GATES, k / 4u * columns + j, false);
        let x = operand[k];
        let y = operand[k + 1u];
        let z = operand[k + 2u];
        let w = operand[k + 3u];
        add_four(&products, 0u, 0u, GATES, factors, x, y, z, w);
    }
    for (; k < UNITS; k++) {
        let factors = load_weights(0u, GATES, k / 4u * columns + j, false);
        add_one(&products, 0u, 0u, GATES, factors, k % 4u, operand[k]);
    }
    // An array of an alias is another type to naga.
    var own: Each;
    for (var gate = 0u; gate < GATES; gate++) {
        own[gate] = products[0][gate];
    }
    return own;
}

// Stores the pre-activations of the gates in their slots, and returns their sums.
fn gates_stage(t: u32, first: u32, lane: u32) -> Each {
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        var products = multiply_recurrent(j);
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

// Returns the reciprocals of the deviations, and stores those of values from_norm on.
fn scales_of(
    t: u32, first: u32, lane: u32, from_norm: u32, count: u32, variances: Each, valid: Flags,
) -> Each {
    var own = variances;
    var scales: Each;
    for (var k = 0u; k < count; k++) {
        scales[k] = 1.0 / sqrt(own[k] + u.epsilon);
        if lane == 0u {
            store_slot(t, first, SCALES, from_norm + k, select(Rows(0.0), scales[k], valid));
        }
    }
    return scales;
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
            store_slot(t, first, SLOTS + gate, j, select(Rows(0.0), normed, valid));
            values[gate] = gain(gate, j) * normed + shift(gate, j);
        }
        let i = gate_of(values[0]);
        let f = gate_of(values[1]);
        let g = activation_of(values[2]);
        let o = gate_of(values[3]);
        let c_now = f * load_c(t, first, j) + i * g;
        store_slots(t, first, j, array(i, f, g, o));
        store_slot(t, first, SLOTS + OF_C, j, c_now);
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
        let normed = (load_slot(t, first, SLOTS + OF_C, j) - mean) * scale;
        store_slot(t, first, SLOTS + OF_C, j, select(Rows(0.0), normed, valid));
        let c_after = gain(OF_C, j) * normed + shift(OF_C, j);
        var slots = load_slots(t, first, j);
        let h_after = slots[3] * activation_of(c_after);
        store_unit(t, first, j, length, slots, c_after);
        finish_output(t, first, j, length, load_h(t, first, j), h_after);
    }
}

// Clears steps top..end, which are padding in all four sequences.
fn clear_padding(top: u32, first: u32, lane: u32) {
    for (var t = top; t < u.end; t++) {
        for (var j = lane; j < UNITS; j += WIDTH) {
            clear_unit(t, first, j);
            clear_output(t, first, j);
            for (var k = 0u; k < NORMS; k++) {
                store_slot(t, first, SLOTS + k, j, Rows(0.0));
            }
        }
        if lane < NORMS {
            store_slot(t, first, SCALES, lane, Rows(0.0));
        }
    }
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = first_of(workgroup.x);
    let length = load_lengths(first);
    // The first step is never skipped: there an empty sequence stores its initial state.
    let top = clamp(max(longest_from(first), 1u), u.begin, u.end);
    for (var t = u.begin; t < top; t++) {
        let valid = Counts(t) < length;
        for (var p = lane; p < UNITS; p += WIDTH) {
            operand[p] = load_h(t, first, p);
        }
        workgroupBarrier();
        let means = mean_of_units(lane, gates_stage(t, first, lane));
        let squares = squares_stage(t, first, lane, 0u, GATES, means);
        let variances = mean_of_units(lane, squares);
        let scales = scales_of(t, first, lane, 0u, GATES, variances, valid);
        var of_c: Each;
        of_c[0] = cell_stage(t, first, lane, means, scales, valid);
        var mean = mean_of_units(lane, of_c);
        of_c = squares_stage(t, first, lane, SLOTS + OF_C, 1u, mean);
        let variance = mean_of_units(lane, of_c);
        var scale = scales_of(t, first, lane, OF_C, 1u, variance, valid);
        output_stage(t, first, lane, mean[0], scale[0], length);
    }
    clear_padding(top, first, lane);
}
