// Shared by scans and steps. A workgroup or an invocation computes four consecutive sequences at
// once, from sequence `first` on: the components of a vec4 (`Rows`).
//
// `gates` is [T, B, row], and a row holds the slots [SLOTS, H]. A PROJECTED layer appends its
// hidden units m [H] and W_hr m [P], addressed as slots SLOTS and SLOTS + 1, and h' = W_hr m (else
// P = H). A layer that DROPS_STATE ends each row with a dropout mask [P]: the next step sees h
// times the mask. States are [T+1, B, P] (h) and [T+1, B, H] (c): index t is the state before step
// t.

override PROJECTED: bool = false;
override PROJECTION_CLIP: f32 = 0.0;  // the limit of |h|; 0 for none
override DROPS_STATE: bool = false;

// Whether the cell has a second recurrent matmul, of the vector that its first gates make.
const HAS_MIDDLE = FIRST_STAGE < RECURRENT_GATES;

// The states of a unit before and after a step.
struct States { h_before: Rows, c_before: Rows, h: Rows, c: Rows }

// Adds four products of a dot product: a vec4 of packed weights times four values.
fn add_dot4(sum: Rows, factors: vec4<f32>, x: Rows, y: Rows, z: Rows, w: Rows) -> Rows {
    return sum + factors.x * x + factors.y * y + factors.z * z + factors.w * w;
}

// Returns sequence `first + i`, or the last one past the end of the batch. Such sequences are
// computed and never stored.
fn sequence_of(first: u32, i: u32) -> u32 {
    return min(first + i, u.batch - 1u);
}

// Returns how many of the four sequences are in the batch.
fn present(first: u32) -> u32 {
    return min(4u, u.batch - min(first, u.batch));
}

fn slot_at(t: u32, sequence: u32, slot: u32, j: u32) -> u32 {
    return u.gates + (t * u.batch + sequence) * u.row_size + slot * u.hidden_size + j;
}

fn load_slot(t: u32, first: u32, slot: u32, j: u32) -> Rows {
    return Rows(
        gates[slot_at(t, sequence_of(first, 0u), slot, j)],
        gates[slot_at(t, sequence_of(first, 1u), slot, j)],
        gates[slot_at(t, sequence_of(first, 2u), slot, j)],
        gates[slot_at(t, sequence_of(first, 3u), slot, j)],
    );
}

fn load_slots(t: u32, first: u32, j: u32) -> array<Rows, SLOTS> {
    var slots: array<Rows, SLOTS>;
    for (var slot = 0u; slot < SLOTS; slot++) {
        slots[slot] = load_slot(t, first, slot, j);
    }
    return slots;
}

fn store_slot(t: u32, first: u32, slot: u32, j: u32, value: Rows) {
    for (var i = 0u; i < present(first); i++) {
        gates[slot_at(t, first + i, slot, j)] = value[i];
    }
}

fn store_slots(t: u32, first: u32, j: u32, slots: array<Rows, SLOTS>) {
    var values = slots;
    for (var slot = 0u; slot < SLOTS; slot++) {
        store_slot(t, first, slot, j, values[slot]);
    }
}

fn h_at(t: u32, sequence: u32, p: u32) -> u32 {
    return (t * u.batch + sequence) * u.output_size + p;
}

fn c_at(t: u32, sequence: u32, j: u32) -> u32 {
    return (t * u.batch + sequence) * u.hidden_size + j;
}

// Indexes a tensor of h [B, P], then c [B, H].
fn state_at(state: u32, sequence: u32, j: u32) -> u32 {
    if state == 0u {
        return h_at(0u, sequence, j);
    }
    return u.batch * u.output_size + c_at(0u, sequence, j);
}

// Loads the layer's output of step t - 1, or the initial state.
fn load_output(t: u32, first: u32, p: u32) -> Rows {
    return Rows(
        h[u.h + h_at(t, sequence_of(first, 0u), p)],
        h[u.h + h_at(t, sequence_of(first, 1u), p)],
        h[u.h + h_at(t, sequence_of(first, 2u), p)],
        h[u.h + h_at(t, sequence_of(first, 3u), p)],
    );
}

// Loads the dropout mask of the h that step t leaves to the next step.
fn load_mask(t: u32, first: u32, p: u32) -> Rows {
    if !DROPS_STATE {
        return Rows(1.0);
    }
    let at = u.row_size - u.output_size + p;
    return Rows(
        gates[slot_at(t, sequence_of(first, 0u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 1u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 2u), 0u, at)],
        gates[slot_at(t, sequence_of(first, 3u), 0u, at)],
    );
}

// Loads h as step t sees it.
fn load_h(t: u32, first: u32, p: u32) -> Rows {
    if t == 0u {
        return load_output(t, first, p);
    }
    return load_output(t, first, p) * load_mask(t - 1u, first, p);
}

fn load_c(t: u32, first: u32, j: u32) -> Rows {
    if STATES < 2u {
        return Rows(0.0);
    }
    return Rows(
        c[u.c + c_at(t, sequence_of(first, 0u), j)],
        c[u.c + c_at(t, sequence_of(first, 1u), j)],
        c[u.c + c_at(t, sequence_of(first, 2u), j)],
        c[u.c + c_at(t, sequence_of(first, 3u), j)],
    );
}

// Loads w_i, w_f, w_o of a unit.
fn load_peephole(j: u32) -> vec3<f32> {
    if !PEEPHOLES {
        return vec3<f32>(0.0);
    }
    let at = u.peephole + j;
    return vec3<f32>(peephole[at], peephole[at + u.hidden_size], peephole[at + 2u * u.hidden_size]);
}

// Loads the valid steps of the four sequences; 0 past the end of the batch.
fn load_lengths(first: u32) -> vec4<u32> {
    let values = vec4<u32>(
        lengths[u.lengths + sequence_of(first, 0u)],
        lengths[u.lengths + sequence_of(first, 1u)],
        lengths[u.lengths + sequence_of(first, 2u)],
        lengths[u.lengths + sequence_of(first, 3u)],
    );
    let present = vec4<u32>(first) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(u.batch);
    return select(vec4<u32>(0u), min(values, vec4<u32>(u.steps)), present);
}
