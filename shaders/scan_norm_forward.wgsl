// Computes time steps begin..end of a layer with layer normalisation (common/layer_norm.wgsl). The
// cell's file has the rest of a step. Twin: src/kernels/recurrence/norm/mod.rs.

struct ScanNormForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_bias: u32, shift: u32, epsilon: f32,
}

@group(1) @binding(0) var<uniform> u: ScanNormForward;

// Returns a shift that is no b_hh.
fn shift(k: u32, j: u32) -> f32 {
    return peephole[u.peephole + u.shift + k * UNITS + j];
}

// Adds R h of all gates of unit j to `start`.
fn multiply_recurrent(j: u32, start: Each) -> Each {
    var own = start;
    var products: Products;
    for (var gate = 0u; gate < GATES; gate++) {
        products[0][gate] = own[gate];
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
    for (var gate = 0u; gate < GATES; gate++) {
        own[gate] = products[0][gate];
    }
    return own;
}

// Returns the reciprocals of the deviations, and stores those of statistics `from` on.
fn scales_of(
    t: u32, first: u32, lane: u32, from_statistic: u32, count: u32, variances: Each, valid: Flags,
) -> Each {
    var own = variances;
    var scales: Each;
    for (var k = 0u; k < count; k++) {
        scales[k] = 1.0 / sqrt(own[k] + u.epsilon);
        if lane == 0u {
            store_slot(t, first, SCALES, from_statistic + k, select(Rows(0.0), scales[k], valid));
        }
    }
    return scales;
}

// Clears steps top..end, which are padding in all four sequences.
fn clear_padding(top: u32, first: u32, lane: u32) {
    for (var t = top; t < u.end; t++) {
        for (var j = lane; j < UNITS; j += WIDTH) {
            clear_unit(t, first, j);
            clear_output(t, first, j);
            for (var slot = SLOTS; slot < GRADIENTS; slot++) {
                store_slot(t, first, slot, j, Rows(0.0));
            }
        }
        if lane < STATISTICS {
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
        for (var p = lane; p < UNITS; p += WIDTH) {
            operand[p] = load_h(t, first, p);
        }
        workgroupBarrier();
        norm_forward(t, first, lane, length);
    }
    clear_padding(top, first, lane);
}
