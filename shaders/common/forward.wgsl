// What steps forward share, for scans and steps alike: buffers, products with the packed weights, and the end of a step.

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;  // [ceil(P/4), G*H]: R's columns in fours; then W_hr's [ceil(H/4), P]
@group(0) @binding(1) var<storage, read> bias: array<f32>;           // [G*H]: b_hh
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;    // [T, B, row_size]: in W x + b_ih, out slots
@group(0) @binding(3) var<storage, read_write> h: array<f32>;        // [T+1, B, P]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;        // [T+1, B, H]
@group(0) @binding(5) var<storage, read_write> last: array<f32>;     // [B, P], [B, H]: states after the last valid step
@group(0) @binding(6) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;       // [3, H]: w_i, w_f, w_o

alias Products = array<array<Rows, GATES>, GROUPS>;
// Of four terms.
alias Weights = array<vec4<f32>, GATES>;

// What gates from..to of a unit weigh four terms by; the first gate's would be at `first`.
fn load_weights(from_gate: u32, to_gate: u32, first: u32, is_kept: bool) -> Weights {
    var four: Weights;
    for (var gate = from_gate; gate < to_gate; gate++) {
        four[gate] = load_weight(first + gate * u.hidden_size, is_kept);
    }
    return four;
}

// Adds four terms, x to w, to the products of a group of sequences.
fn add_four(products: ptr<function, Products>, group: u32, from_gate: u32, to_gate: u32, factors: Weights, x: Rows, y: Rows, z: Rows, w: Rows) {
    var four = factors;
    for (var gate = from_gate; gate < to_gate; gate++) {
        (*products)[group][gate] = plus_four((*products)[group][gate], four[gate], x, y, z, w);
    }
}

// Adds one: term `i` of the four of which it is.
fn add_one(products: ptr<function, Products>, group: u32, from_gate: u32, to_gate: u32, factors: Weights, i: u32, value: Rows) {
    var four = factors;
    for (var gate = from_gate; gate < to_gate; gate++) {
        (*products)[group][gate] += four[gate][i] * value;
    }
}

fn load_bias(gate: u32, j: u32) -> Rows {
    if u.has_bias == 0u {
        return Rows(0.0);
    }
    return Rows(bias[u.bias + gate * u.hidden_size + j]);
}

// Stores what a unit has become: slots and c, zeros past a sequence's end, and c after its last step.
fn finish_unit(t: u32, first: u32, j: u32, length: vec4<u32>, slots: array<Rows, SLOTS>, c_after: Rows) {
    let valid = vec4<u32>(t) < length;
    var kept = slots;
    // The last slot of a cell whose second product lies between its gates is there already, and other units may be
    // reading it.
    for (var slot = 0u; slot < select(SLOTS, SLOTS - 1u, FIRST_STAGE < GATES); slot++) {
        store_gate(t, first, slot, j, select(Rows(0.0), kept[slot], valid));
    }
    if STATES < 2u {
        return;
    }
    let c_out = select(Rows(0.0), c_after, valid);
    for (var i = 0u; i < present(first); i++) {
        c[u.c + c_at(t + 1u, first + i, j)] = c_out[i];
        if t + 1u == length[i] {
            last[u.last + state_at(1u, first + i, j)] = c_after[i];
        } else if t == 0u && length[i] == 0u {
            last[u.last + state_at(1u, first + i, j)] = c[u.c + c_at(0u, first + i, j)];
        }
    }
}

// Stores an output, zero past a sequence's end, and h after its last step. Returns h as the next step sees it.
fn finish_output(t: u32, first: u32, p: u32, length: vec4<u32>, h_before: Rows, h_after: Rows) -> Rows {
    let h_out = select(Rows(0.0), h_after, vec4<u32>(t) < length);
    let h_next = h_out * state_mask(t, first, p);
    for (var i = 0u; i < present(first); i++) {
        h[u.h + h_at(t + 1u, first + i, p)] = h_out[i];
        if t + 1u == length[i] {
            last[u.last + state_at(0u, first + i, p)] = h_next[i];
        } else if t == 0u && length[i] == 0u {
            last[u.last + state_at(0u, first + i, p)] = h_before[i];
        }
    }
    return h_next;
}

// Stores what the unit of a projected layer gives, zero past a sequence's end, and returns it.
fn finish_projected_unit(t: u32, first: u32, j: u32, length: vec4<u32>, value: Rows) -> Rows {
    let m = select(Rows(0.0), value, vec4<u32>(t) < length);
    store_gate(t, first, SLOTS, j, m);
    return m;
}

// The end of a projected layer's output, from its product.
fn finish_projection(t: u32, first: u32, p: u32, length: vec4<u32>, h_before: Rows, product: Rows) -> Rows {
    store_gate(t, first, SLOTS + 1u, p, select(Rows(0.0), product, vec4<u32>(t) < length));
    var h_after = product;
    if PROJECTION_CLIP > 0.0 {
        h_after = clipped(product, PROJECTION_CLIP);
    }
    return finish_output(t, first, p, length, h_before, h_after);
}

// What a unit leaves past the end of all four sequences.
fn clear_unit(t: u32, first: u32, j: u32) {
    for (var slot = 0u; slot < SLOTS + u32(PROJECTED); slot++) {
        store_gate(t, first, slot, j, Rows(0.0));
    }
    for (var i = 0u; i < present(first) && STATES > 1u; i++) {
        c[u.c + c_at(t + 1u, first + i, j)] = 0.0;
    }
}

// The same of an output.
fn clear_output(t: u32, first: u32, p: u32) {
    if PROJECTED {
        store_gate(t, first, SLOTS + 1u, p, Rows(0.0));
    }
    for (var i = 0u; i < present(first); i++) {
        h[u.h + h_at(t + 1u, first + i, p)] = 0.0;
    }
}
