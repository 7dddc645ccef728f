// The backward pass of lstm_norm_forward.wgsl, except for the recurrent matmul.

const OF_C = 4u;

// Stores the gradients of o and of the new c, and returns the sums of the gradient of the
// normalised c, and of that times the normalised c.
fn states_stage(t: u32, first: u32, lane: u32) -> Each {
    var sums: Each;
    for (var j = lane; j < UNITS; j += WIDTH) {
        let dh = add_upstream(t, first, j, load_dstate(0u, first, j));
        let o = load_slot(t, first, 3u, j);
        let squashed = activation_of(load_c(t + 1u, first, j));
        let dc = load_dstate(1u, first, j) + activation_back(dh * o, squashed);
        store_slot(t, first, GRADIENTS + 3u, j, gate_back(dh * squashed, o));
        store_slot(t, first, GRADIENTS + OF_C, j, dc);
        let d = dc * gain(OF_C, j);
        sums[0] += d;
        sums[1] += d * load_slot(t, first, NORMED + OF_C, j);
    }
    return sums;
}

// The sums of the gradients of the normalised gates, and of these times the gates.
struct GateSums { d: Each, products: Each }

// Stores the gradients of the other gates, and those of the states before the step, without the
// part through the recurrent matmul.
fn cell_stage(
    t: u32, first: u32, lane: u32, of_c: Each, valid: Flags,
) -> GateSums {
    var means = of_c;
    var sums: GateSums;
    let scale = load_slot(t, first, SCALES, OF_C);
    for (var j = lane; j < UNITS; j += WIDTH) {
        let slots = load_slots(t, first, j);
        let normed = load_slot(t, first, NORMED + OF_C, j);
        let d_gained = load_slot(t, first, GRADIENTS + OF_C, j) * gain(OF_C, j);
        let d = norm_back(d_gained, normed, means[0], means[1], scale);
        let d_i = gate_back(d * slots[2], slots[0]);
        let d_f = gate_back(d * load_c(t, first, j), slots[1]);
        let d_g = activation_back(d * slots[0], slots[2]);
        let d_o = load_slot(t, first, GRADIENTS + 3u, j);
        store_dstate(1u, first, j, select(load_dstate(1u, first, j), d * slots[1], valid));
        store_dstate(0u, first, j, select(load_dstate(0u, first, j), Rows(0.0), valid));
        var gradients = array(d_i, d_f, d_g, d_o);
        for (var gate = 0u; gate < GATES; gate++) {
            store_slot(t, first, GRADIENTS + gate, j, gradients[gate]);
            let gained = gradients[gate] * gain(gate, j);
            sums.d[gate] += gained;
            sums.products[gate] += gained * load_slot(t, first, NORMED + gate, j);
        }
    }
    return sums;
}

// Stores the gradients of the pre-activations, of gains and of shifts; zeros in padded steps.
fn gates_stage(
    t: u32, first: u32, lane: u32, of_d: Each, of_products: Each, valid: Flags,
) {
    var d_means = of_d;
    var product_means = of_products;
    for (var j = lane; j < UNITS; j += WIDTH) {
        for (var k = 0u; k < NORMS; k++) {
            let normed = load_slot(t, first, NORMED + k, j);
            let d = load_slot(t, first, GRADIENTS + k, j);
            if k < GATES {
                let scale = load_slot(t, first, SCALES, k);
                let d_gained = d * gain(k, j);
                let d_gate = norm_back(d_gained, normed, d_means[k], product_means[k], scale);
                store_slot(t, first, k, j, select(Rows(0.0), d_gate, valid));
            }
            store_slot(t, first, NORMED + k, j, select(Rows(0.0), d * normed, valid));
            store_slot(t, first, GRADIENTS + k, j, select(Rows(0.0), d, valid));
        }
    }
}

fn norm_backward(t: u32, first: u32, lane: u32, valid: Flags) {
    let of_c = mean_of_units(lane, states_stage(t, first, lane));
    let sums = cell_stage(t, first, lane, of_c, valid);
    let d_means = mean_of_units(lane, sums.d);
    let product_means = mean_of_units(lane, sums.products);
    gates_stage(t, first, lane, d_means, product_means, valid);
}
