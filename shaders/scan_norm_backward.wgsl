// Computes the backward pass of time steps end..begin of a layer with layer normalisation
// (common/layer_norm.wgsl). The cell's file has the rest of a step. Twin:
// src/kernels/recurrence/norm/mod.rs.

struct ScanNormBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32,
    peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_upstream: u32, given_states: u32,
}

@group(1) @binding(0) var<uniform> u: ScanNormBackward;

// Returns the gradient of a value that was normalised, from that of the normalised value and the
// means of it and of its product with the normalised value.
fn norm_back(d: Rows, normed: Rows, d_mean: Rows, product_mean: Rows, scale: Rows) -> Rows {
    return scale * (d - d_mean - normed * product_mean);
}

// Adds to the gradient of h what the gates multiply.
fn outputs_stage(t: u32, first: u32, lane: u32) {
    let rows = (UNITS + 3u) / 4u;  // of a gate
    for (var gate = 0u; gate < GATES; gate++) {
        workgroupBarrier();
        for (var j = lane; j < UNITS; j += WIDTH) {
            operand[j] = load_slot(t, first, PRODUCTS + gate, j);
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
        for (var state = u.given_states; state < STATES; state++) {
            store_dstate(state, first, j, Rows(0.0));
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
        norm_backward(t, first, lane, Counts(t) < length);
        outputs_stage(t, first, lane);
    }
}
