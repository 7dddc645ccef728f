// A step of a GRU whose input projection W x (vectors 0 to 2) and recurrent matmul R h (vectors 3
// to 5) are normalised, each over all gates together (haste's `LayerNormGRU`), before biases:
// x = gain norm(W x) + b_ih, y = gain norm(R h) + b_hh, r = σ(x_r + y_r), z = σ(x_z + y_z),
// n = tanh(x_n + r y_n), h' = (1 - z) n + z h. Slot 3 saves y_n.

const OF_X = 0u;  // the index of a statistic
const OF_H = 1u;

// Stores R h from slot PRODUCTS on, and returns the sums of W x and R h over the gates.
fn products_stage(t: u32, first: u32, lane: u32) -> Each {
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        var products = multiply_recurrent(j, Each());
        for (var gate = 0u; gate < GATES; gate++) {
            store_slot(t, first, PRODUCTS + gate, j, products[gate]);
            sums[OF_X] += load_slot(t, first, gate, j);
            sums[OF_H] += products[gate];
        }
    }
    return sums;
}

// Returns the sums of the squares of W x and R h less their means.
fn squares_stage(t: u32, first: u32, lane: u32, means: Each) -> Each {
    var own = means;
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        for (var gate = 0u; gate < GATES; gate++) {
            let of_x = load_slot(t, first, gate, j) - own[OF_X];
            let of_h = load_slot(t, first, PRODUCTS + gate, j) - own[OF_H];
            sums[OF_X] += of_x * of_x;
            sums[OF_H] += of_h * of_h;
        }
    }
    return sums;
}

// Stores a normalised vector's value of a unit, and returns it with its gain.
fn gained(t: u32, first: u32, k: u32, j: u32, normed: Rows, valid: Flags) -> Rows {
    store_slot(t, first, NORMED + k, j, select(Rows(0.0), normed, valid));
    return gain(k, j) * normed;
}

// Normalises, and finishes the step.
fn output_stage(
    t: u32, first: u32, lane: u32, all_means: Each, all_scales: Each, length: Counts,
) {
    let valid = Counts(t) < length;
    var means = all_means;
    var scales = all_scales;
    for (var j = lane; j < UNITS; j += WIDTH) {
        var x: array<Rows, GATES>;
        var y: array<Rows, GATES>;
        for (var gate = 0u; gate < GATES; gate++) {
            let of_x = (load_slot(t, first, gate, j) - means[OF_X]) * scales[OF_X];
            x[gate] = gained(t, first, gate, j, of_x, valid);
            if u.has_bias != 0u {
                x[gate] += shift(gate, j);
            }
            let of_h = (load_slot(t, first, PRODUCTS + gate, j) - means[OF_H]) * scales[OF_H];
            y[gate] = gained(t, first, GATES + gate, j, of_h, valid) + load_bias(gate, j);
        }
        let r = gate_of(x[0] + y[0]);
        let z = gate_of(x[1] + y[1]);
        let n = activation_of(x[2] + r * y[2]);
        store_unit(t, first, j, length, array(r, z, n, y[2]), Rows(0.0));
        for (var slot = SLOTS; slot < NORMED; slot++) {
            store_slot(t, first, slot, j, Rows(0.0));
        }
        let h_before = load_h(t, first, j);
        finish_output(t, first, j, length, h_before, (1.0 - z) * n + z * h_before);
    }
}

fn norm_forward(t: u32, first: u32, lane: u32, length: Counts) {
    let valid = Counts(t) < length;
    let means = mean_of_units(lane, products_stage(t, first, lane));
    let variances = mean_of_units(lane, squares_stage(t, first, lane, means));
    let scales = scales_of(t, first, lane, 0u, STATISTICS, variances, valid);
    output_stage(t, first, lane, means, scales, length);
}
