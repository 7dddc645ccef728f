// The backward pass of gru_norm_forward.wgsl, except for the recurrent matmul. The gradients of the
// values after gain and shift are those of x_r and y_r, x_z and y_z, x_n, and y_n.

const OF_X = 0u;  // the index of a statistic
const OF_H = 1u;

// The vector of GRADIENTS with the gradient of a gate of y.
fn recurrent_gradient(gate: u32) -> u32 {
    return select(gate, 3u, gate == 2u);
}

// Stores the gradients after gain and shift and that of h before the step, without the part through
// the recurrent matmul. Returns the sums of the gradients of the normalised values of x and of y,
// and then of these times the values.
fn units_stage(t: u32, first: u32, lane: u32, valid: Flags) -> Each {
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        let dh_after = load_dstate(0u, first, j);
        let dh = add_upstream(t, first, j, dh_after);
        let slots = load_slots(t, first, j);
        let r = slots[0];
        let z = slots[1];
        let n = slots[2];
        let d_n = activation_back(dh * (1.0 - z), n);
        let d_z = gate_back(dh * (load_h(t, first, j) - n), z);
        let d_r = gate_back(d_n * slots[3], r);
        store_dstate(0u, first, j, select(dh_after, dh * z, valid));
        var gradients = array(d_r, d_z, d_n, d_n * r);
        for (var k = 0u; k < SLOTS; k++) {
            store_slot(t, first, GRADIENTS + k, j, select(Rows(0.0), gradients[k], valid));
        }
        for (var gate = 0u; gate < GATES; gate++) {
            let d_x = gradients[gate] * gain(gate, j);
            let d_y = gradients[recurrent_gradient(gate)] * gain(GATES + gate, j);
            sums[OF_X] += d_x;
            sums[OF_H] += d_y;
            sums[2u + OF_X] += d_x * load_slot(t, first, NORMED + gate, j);
            sums[2u + OF_H] += d_y * load_slot(t, first, NORMED + GATES + gate, j);
        }
    }
    return sums;
}

// Stores the gradients of W x, of R h and of the gains; zeros in padded steps.
fn products_stage(t: u32, first: u32, lane: u32, all_means: Each, valid: Flags) {
    var means = all_means;
    for (var j = lane; j < UNITS; j += WIDTH) {
        for (var k = 0u; k < NORMS; k++) {
            let is_x = k < GATES;
            let statistic = select(OF_H, OF_X, is_x);
            let from_slot = select(recurrent_gradient(k % GATES), k, is_x);
            let d = load_slot(t, first, GRADIENTS + from_slot, j);
            let normed = load_slot(t, first, NORMED + k, j);
            let scale = load_slot(t, first, SCALES, statistic);
            let d_gained = d * gain(k, j);
            let d_product =
                norm_back(d_gained, normed, means[statistic], means[2u + statistic], scale);
            let slot = select(PRODUCTS, 0u, is_x) + k % GATES;
            store_slot(t, first, slot, j, select(Rows(0.0), d_product, valid));
            store_slot(t, first, NORMED + k, j, select(Rows(0.0), d * normed, valid));
        }
    }
}

fn norm_backward(t: u32, first: u32, lane: u32, valid: Flags) {
    let means = mean_of_units(lane, units_stage(t, first, lane, valid));
    products_stage(t, first, lane, means, valid);
}
