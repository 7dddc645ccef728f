// Computes the backward pass of time steps end..begin of an LSTM with layer normalisation of the
// gates and of c (common/layer_norm.wgsl). Twin: src/kernels/recurrence/norm.rs.

struct ScanNormBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32,
    peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_upstream: u32, given_states: u32, shift: u32,
}

@group(1) @binding(0) var<uniform> u: ScanNormBackward;

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
        sums[1] += d * load_slot(t, first, SLOTS + OF_C, j);
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
        let normed = load_slot(t, first, SLOTS + OF_C, j);
        let d_gained = load_slot(t, first, GRADIENTS + OF_C, j) * gain(OF_C, j);
        let d = scale * (d_gained - means[0] - normed * means[1]);
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
            sums.products[gate] += gained * load_slot(t, first, SLOTS + gate, j);
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
            let normed = load_slot(t, first, SLOTS + k, j);
            let d = load_slot(t, first, GRADIENTS + k, j);
            if k < GATES {
                let centred = d * gain(k, j) - d_means[k] - normed * product_means[k];
                let d_gate = load_slot(t, first, SCALES, k) * centred;
                store_slot(t, first, k, j, select(Rows(0.0), d_gate, valid));
            }
            store_slot(t, first, SLOTS + k, j, select(Rows(0.0), d * normed, valid));
            store_slot(t, first, GRADIENTS + k, j, select(Rows(0.0), d, valid));
        }
    }
}

// Adds to the gradient of h what the gates multiply.
fn outputs_stage(t: u32, first: u32, lane: u32) {
    let rows = (UNITS + 3u) / 4u;  // of a gate
    for (var gate = 0u; gate < GATES; gate++) {
        workgroupBarrier();
        for (var j = lane; j < UNITS; j += WIDTH) {
            operand[j] = load_slot(t, first, gate, j);
        }
        workgroupBarrier();
        for (var p = lane; p < UNITS; p += WIDTH) {
            var sum = load_dstate(0u, first, p);
            let column = gate * rows * UNITS + p;
            var k = 0u;
            for (; k + 3u < UNITS; k += 4u) {
                let factors = load_weight(column + k / 4u * UNITS, false);
                let x = operand[k];
                let y = operand[k + 1u];
                let z = operand[k + 2u];
                let w = operand[k + 3u];
                sum = add_dot4(sum, factors, x, y, z, w);
            }
            for (; k < UNITS; k++) {
                let factors = load_weight(column + k / 4u * UNITS, false);
                sum += factors[k % 4u] * operand[k];
            }
            store_dstate(0u, first, p, sum);
        }
    }
}

// Clears the state gradients that are not given, and the steps from `top` on: they are padding in
// all four sequences.
fn begin_sequences(first: u32, lane: u32, top: u32) {
    for (var j = lane; j < UNITS; j += WIDTH) {
        if u.given_states < 1u {
            store_dstate(0u, first, j, Rows(0.0));
        }
        if u.given_states < 2u {
            store_dstate(1u, first, j, Rows(0.0));
        }
        for (var t = top; t < u.end; t++) {
            for (var slot = 0u; slot < SCALES; slot++) {
                store_slot(t, first, slot, j, Rows(0.0));
            }
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
    let top = clamp(longest_from(first), u.begin, u.end);
    begin_sequences(first, lane, top);
    for (var next = top; next > u.begin; next--) {
        let t = next - 1u;
        let valid = Counts(t) < length;
        let of_c = mean_of_units(lane, states_stage(t, first, lane));
        let sums = cell_stage(t, first, lane, of_c, valid);
        let d_means = mean_of_units(lane, sums.d);
        let product_means = mean_of_units(lane, sums.products);
        gates_stage(t, first, lane, d_means, product_means, valid);
        outputs_stage(t, first, lane);
    }
}
