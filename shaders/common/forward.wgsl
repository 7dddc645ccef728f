// Shared by the forward scan and step: bindings, the recurrent matmul, and the end of a time step.

// R's columns as vec4s [ceil(P/4), G*H], then W_hr's [ceil(H/4), P].
@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read> bias: array<f32>;         // [G*H]: b_hh
// [T, B, row_size]: on input W x + b_ih, on output the slots.
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;
@group(0) @binding(3) var<storage, read_write> h: array<f32>;      // [T+1, B, P]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;      // [T+1, B, H]
// [B, P], [B, H]: the states after the last valid step.
@group(0) @binding(5) var<storage, read_write> last: array<f32>;
@group(0) @binding(6) var<storage, read> lengths: array<u32>;      // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;     // [3, H]: w_i, w_f, w_o

// R h + b_hh of the gates of a unit, for the groups of sequences.
alias Products = array<array<Quad, GATES>, GROUPS>;
// A vec4 of weights for each gate of a unit.
alias Weights = array<vec4<f32>, GATES>;

// Loads a vec4 of weights for gates from_gate..to_gate of a unit. `first` is that of gate 0.
fn load_weights(from_gate: u32, to_gate: u32, first: u32, is_cached: bool) -> Weights {
    var factors: Weights;
    for (var gate = from_gate; gate < to_gate; gate++) {
        factors[gate] = load_weight(first + gate * hidden_size(), is_cached);
    }
    return factors;
}

// Adds four terms of the inner dimension, with the values x to w, to a group's products.
fn add_four(
    products: ptr<function, Products>, group: u32, from_gate: u32, to_gate: u32,
    loaded: Weights, x: Quad, y: Quad, z: Quad, w: Quad,
) {
    var factors = loaded;
    for (var gate = from_gate; gate < to_gate; gate++) {
        (*products)[group][gate] = add_dot4((*products)[group][gate], factors[gate], x, y, z, w);
    }
}

// Adds one term: component i of a vec4.
fn add_one(
    products: ptr<function, Products>, group: u32, from_gate: u32, to_gate: u32,
    loaded: Weights, i: u32, value: Quad,
) {
    var factors = loaded;
    for (var gate = from_gate; gate < to_gate; gate++) {
        (*products)[group][gate] += factors[gate][i] * value;
    }
}

fn load_bias(gate: u32, j: u32) -> Quad {
    if u.has_bias == 0u {
        return Quad(0.0);
    }
    return Quad(bias[u.bias + gate * hidden_size() + j]);
}

// Stores the slots and c of a unit, zero in padded steps, and c after the last valid step.
fn store_unit(
    t: u32, first: u32, j: u32, length: Counts, slots: array<Rows, SLOTS>, c_after: Rows,
) {
    let valid = Counts(t) < length;
    var values = slots;
    // The middle has stored the last slot already, and other units may be reading it.
    for (var slot = 0u; slot < select(SLOTS, SLOTS - 1u, HAS_MIDDLE); slot++) {
        store_slot(t, first, slot, j, select(Rows(0.0), values[slot], valid));
    }
    if STATES < 2u {
        return;
    }
    let c_out = select(Rows(0.0), c_after, valid);
    for (var i = 0u; i < present(first); i++) {
        c[u.c + c_at(t + 1u, first + i, j)] = row_of(c_out, i);
        if t + 1u == count_of(length, i) {
            last[u.last + state_at(1u, first + i, j)] = row_of(c_after, i);
        } else if t == 0u && count_of(length, i) == 0u {
            last[u.last + state_at(1u, first + i, j)] = c[u.c + c_at(0u, first + i, j)];
        }
    }
}

// Stores h, zero in padded steps, and h after the last valid step. Returns h as the next step sees
// it.
fn finish_output(
    t: u32, first: u32, p: u32, length: Counts, h_before: Rows, h_after: Rows,
) -> Rows {
    var h_new = h_after;
    if ZONEOUT {
        let share = load_share(t, first, p);
        h_new = (1.0 - share) * h_before + share * h_after;
    }
    let h_out = select(Rows(0.0), h_new, Counts(t) < length);
    let h_next = h_out * load_mask(t, first, p);
    for (var i = 0u; i < present(first); i++) {
        h[u.h + h_at(t + 1u, first + i, p)] = row_of(h_out, i);
        if t + 1u == count_of(length, i) {
            last[u.last + state_at(0u, first + i, p)] = row_of(h_next, i);
        } else if t == 0u && count_of(length, i) == 0u {
            last[u.last + state_at(0u, first + i, p)] = row_of(h_before, i);
        }
    }
    return h_next;
}

// Stores m of a unit of a projected layer, zero in padded steps, and returns it.
fn store_projected_unit(t: u32, first: u32, j: u32, length: Counts, value: Rows) -> Rows {
    let m = select(Rows(0.0), value, Counts(t) < length);
    store_slot(t, first, SLOTS, j, m);
    return m;
}

// Stores W_hr m and finishes the output of a projected layer.
fn finish_projection(
    t: u32, first: u32, p: u32, length: Counts, h_before: Rows, product: Rows,
) -> Rows {
    store_slot(t, first, SLOTS + 1u, p, select(Rows(0.0), product, Counts(t) < length));
    var h_after = product;
    if PROJECTION_CLIP > 0.0 {
        h_after = clipped(product, PROJECTION_CLIP);
    }
    return finish_output(t, first, p, length, h_before, h_after);
}

// Clears a unit in a step that is padding in all sequences from `first` on, ROWS at most.
fn clear_unit(t: u32, first: u32, j: u32) {
    for (var slot = 0u; slot < SLOTS + u32(PROJECTED); slot++) {
        store_slot(t, first, slot, j, Rows(0.0));
    }
    for (var i = 0u; i < present(first) && STATES > 1u; i++) {
        c[u.c + c_at(t + 1u, first + i, j)] = 0.0;
    }
}

// Clears an output in such a step.
fn clear_output(t: u32, first: u32, p: u32) {
    if PROJECTED {
        store_slot(t, first, SLOTS + 1u, p, Rows(0.0));
    }
    for (var i = 0u; i < present(first); i++) {
        h[u.h + h_at(t + 1u, first + i, p)] = 0.0;
    }
}
