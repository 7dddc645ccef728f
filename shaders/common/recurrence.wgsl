// Shared by scans and steps. An invocation multiplies weights by the values of four consecutive
// sequences (`Quad`), and computes the activations of ROWS of them at once (`Rows`), from sequence
// `first` on.
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
fn add_dot4(sum: Quad, factors: vec4<f32>, x: Quad, y: Quad, z: Quad, w: Quad) -> Quad {
    return sum + factors.x * x + factors.y * y + factors.z * z + factors.w * w;
}

// Returns sequence `first + i`, or the last one past the end of the batch. Such sequences are
// computed and never stored.
fn sequence_of(first: u32, i: u32) -> u32 {
    return min(first + i, u.batch - 1u);
}

// Returns how many of the sequences from `first` on, ROWS at most, are in the batch.
fn present(first: u32) -> u32 {
    return min(ROWS, u.batch - min(first, u.batch));
}

fn slot_at(t: u32, sequence: u32, slot: u32, j: u32) -> u32 {
    return u.gates + (t * u.batch + sequence) * u.row_size + slot * hidden_size() + j;
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
        gates[slot_at(t, first + i, slot, j)] = row_of(value, i);
    }
}

fn store_slots(t: u32, first: u32, j: u32, slots: array<Rows, SLOTS>) {
    var values = slots;
    for (var slot = 0u; slot < SLOTS; slot++) {
        store_slot(t, first, slot, j, values[slot]);
    }
}

fn h_at(t: u32, sequence: u32, p: u32) -> u32 {
    return (t * u.batch + sequence) * output_size() + p;
}

fn c_at(t: u32, sequence: u32, j: u32) -> u32 {
    return (t * u.batch + sequence) * hidden_size() + j;
}

// Indexes a tensor of h [B, P], then c [B, H].
fn state_at(state: u32, sequence: u32, j: u32) -> u32 {
    if state == 0u {
        return h_at(0u, sequence, j);
    }
    return u.batch * output_size() + c_at(0u, sequence, j);
}

// Returns the valid steps of a sequence; 0 past the end of the batch.
fn length_of(sequence: u32) -> u32 {
    let length = lengths[u.lengths + min(sequence, u.batch - 1u)];
    return select(0u, min(length, u.steps), sequence < u.batch);
}

// Loads h as step t sees it.
fn load_h(t: u32, first: u32, p: u32) -> Rows {
    if t == 0u {
        return load_output(t, first, p);
    }
    return load_output(t, first, p) * load_mask(t - 1u, first, p);
}

// Loads w_i, w_f, w_o of a unit.
fn load_peephole(j: u32) -> vec3<f32> {
    if !PEEPHOLES {
        return vec3<f32>(0.0);
    }
    let at = u.peephole + j;
    return vec3<f32>(peephole[at], peephole[at + hidden_size()], peephole[at + 2u * hidden_size()]);
}
