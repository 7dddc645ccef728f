// What scans and steps share: a workgroup or invocation works on four consecutive sequences at once, from `first` on.
// Gates lie as [T, B, SLOTS, H]; states as [T+1, B, P] (h) and [T+1, B, H] (c), where index t is the state before step t.
// P is H, unless the layer is PROJECTED: then h' = W_hr m of what the units give, m, and each row of the gates goes on
// with m [H] and W_hr m [P], as if they were slots SLOTS and SLOTS + 1. W_hr lies behind R. Where the layer DROPS_STATE, each
// row of the gates ends with a mask [P]: h holds what the layer emits, and the next step sees it times the mask.

override PROJECTED: bool = false;
override PROJECTION_CLIP: f32 = 0.0;  // the limit of |h|; 0 for none
override DROPS_STATE: bool = false;

// A unit's states before and after a step.
struct States { h_before: Rows, c_before: Rows, h: Rows, c: Rows }

// Adds four terms of a product, weighed by a four of the packed weights.
fn plus_four(sum: Rows, factors: vec4<f32>, x: Rows, y: Rows, z: Rows, w: Rows) -> Rows {
    return sum + factors.x * x + factors.y * y + factors.z * z + factors.w * w;
}

// Sequence `first + i`, or the last one where the batch has ended; such rows are computed and never stored.
fn row_of(first: u32, i: u32) -> u32 {
    return min(first + i, u.batch - 1u);
}

// Sequences of the four that the batch has; past its end none.
fn present(first: u32) -> u32 {
    return min(4u, u.batch - min(first, u.batch));
}

fn gate_at(t: u32, row: u32, slot: u32, j: u32) -> u32 {
    return u.gates + (t * u.batch + row) * u.row_size + slot * u.hidden_size + j;
}

fn load_gate(t: u32, first: u32, slot: u32, j: u32) -> Rows {
    return Rows(
        gates[gate_at(t, row_of(first, 0u), slot, j)],
        gates[gate_at(t, row_of(first, 1u), slot, j)],
        gates[gate_at(t, row_of(first, 2u), slot, j)],
        gates[gate_at(t, row_of(first, 3u), slot, j)],
    );
}

fn load_gates(t: u32, first: u32, j: u32) -> array<Rows, SLOTS> {
    var slots: array<Rows, SLOTS>;
    for (var slot = 0u; slot < SLOTS; slot++) {
        slots[slot] = load_gate(t, first, slot, j);
    }
    return slots;
}

fn store_gate(t: u32, first: u32, slot: u32, j: u32, value: Rows) {
    for (var i = 0u; i < present(first); i++) {
        gates[gate_at(t, first + i, slot, j)] = value[i];
    }
}

fn store_gates(t: u32, first: u32, j: u32, slots: array<Rows, SLOTS>) {
    var values = slots;
    for (var slot = 0u; slot < SLOTS; slot++) {
        store_gate(t, first, slot, j, values[slot]);
    }
}

fn h_at(t: u32, row: u32, p: u32) -> u32 {
    return (t * u.batch + row) * u.output_size + p;
}

fn c_at(t: u32, row: u32, j: u32) -> u32 {
    return (t * u.batch + row) * u.hidden_size + j;
}

// In a tensor that holds h of all sequences [B, P], then c [B, H].
fn state_at(state: u32, row: u32, j: u32) -> u32 {
    if state == 0u {
        return h_at(0u, row, j);
    }
    return u.batch * u.output_size + c_at(0u, row, j);
}

// What the layer emits at step t - 1, or the initial state.
fn load_output(t: u32, first: u32, p: u32) -> Rows {
    return Rows(
        h[u.h + h_at(t, row_of(first, 0u), p)],
        h[u.h + h_at(t, row_of(first, 1u), p)],
        h[u.h + h_at(t, row_of(first, 2u), p)],
        h[u.h + h_at(t, row_of(first, 3u), p)],
    );
}

// What step t makes of the h that it leaves to the next.
fn state_mask(t: u32, first: u32, p: u32) -> Rows {
    if !DROPS_STATE {
        return Rows(1.0);
    }
    let at = u.row_size - u.output_size + p;
    return Rows(
        gates[gate_at(t, row_of(first, 0u), 0u, at)],
        gates[gate_at(t, row_of(first, 1u), 0u, at)],
        gates[gate_at(t, row_of(first, 2u), 0u, at)],
        gates[gate_at(t, row_of(first, 3u), 0u, at)],
    );
}

// h as step t sees it.
fn load_h(t: u32, first: u32, p: u32) -> Rows {
    if t == 0u {
        return load_output(t, first, p);
    }
    return load_output(t, first, p) * state_mask(t - 1u, first, p);
}

fn load_c(t: u32, first: u32, j: u32) -> Rows {
    if STATES < 2u {
        return Rows(0.0);
    }
    return Rows(
        c[u.c + c_at(t, row_of(first, 0u), j)],
        c[u.c + c_at(t, row_of(first, 1u), j)],
        c[u.c + c_at(t, row_of(first, 2u), j)],
        c[u.c + c_at(t, row_of(first, 3u), j)],
    );
}

// w_i, w_f, w_o of a unit.
fn load_peephole(j: u32) -> vec3<f32> {
    if !PEEPHOLES {
        return vec3<f32>(0.0);
    }
    let at = u.peephole + j;
    return vec3<f32>(peephole[at], peephole[at + u.hidden_size], peephole[at + 2u * u.hidden_size]);
}

// Valid steps of the four sequences; 0 past the end of the batch.
fn load_lengths(first: u32) -> vec4<u32> {
    let values = vec4<u32>(
        lengths[u.lengths + row_of(first, 0u)],
        lengths[u.lengths + row_of(first, 1u)],
        lengths[u.lengths + row_of(first, 2u)],
        lengths[u.lengths + row_of(first, 3u)],
    );
    let present = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(u.batch);
    return select(vec4<u32>(0u), min(values, vec4<u32>(u.steps)), present);
}
