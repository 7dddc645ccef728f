// Shared by scans and steps. An invocation multiplies weights by the values of four consecutive
// sequences (`Quad`), and computes the activations of ROWS of them at once (`Rows`), from sequence
// `first` on.
//
// `gates` is [T, B, row], and a row holds the slots [SLOTS, H]. A PROJECTED layer appends its
// hidden units m [H] and W_hr m [P], addressed as slots SLOTS and SLOTS + 1, and h' = W_hr m (else
// P = H). Masks end a row. A layer that DROPS_STATE has a dropout mask [P]: the next step sees h
// times the mask. One that DROPS_RECURRENT has a mask [P] of each recurrent gate, by which the gate
// multiplies h. With ZONEOUT, h keeps its old value where a mask [P] is 0, and with ZONEOUT_CELL c
// where a mask [H] is 0. Without ZONEOUT_DRAWN there are no masks: states are the expectation.
//
// States are [T+1, B, P] (h) and [T+1, B, H] (c): index t is the state before step t.

override PROJECTED: bool = false;
override PROJECTION_CLIP: f32 = 0.0;  // the limit of |h|; 0 for none
override DROPS_STATE: bool = false;
override DROPS_RECURRENT: bool = false;
override ZONEOUT: bool = false;
override ZONEOUT_SHARE: f32 = 1.0;       // the expected share of the new h
override ZONEOUT_CELL: bool = false;
override ZONEOUT_CELL_SHARE: f32 = 1.0;  // the expected share of the new c
override ZONEOUT_DRAWN: bool = false;

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

// The number of gates that multiply h.
const FIRST_GATES = min(FIRST_STAGE, RECURRENT_GATES);

// Returns the first column of the masks of zoneout in a row.
fn zoneout_column() -> u32 {
    let of_h = u32(ZONEOUT && ZONEOUT_DRAWN) * output_size();
    return u.row_size - of_h - u32(ZONEOUT_CELL && ZONEOUT_DRAWN) * hidden_size();
}

// Loads the mask of a gate: of h before step t.
fn load_gate_mask(t: u32, first: u32, gate: u32, p: u32) -> Rows {
    let column = zoneout_column() - (RECURRENT_GATES - gate) * output_size();
    return load_slot(t, first, 0u, column + p);
}

// Loads the share of the new value of h.
fn load_share(t: u32, first: u32, p: u32) -> Rows {
    if !ZONEOUT_DRAWN {
        return Rows(ZONEOUT_SHARE);
    }
    let mask = load_slot(t, first, 0u, zoneout_column() + p);
    return select(Rows(0.0), Rows(1.0), mask > Rows(0.0));
}

// Loads the share of the new value of c.
fn load_cell_share(t: u32, first: u32, j: u32) -> Rows {
    if !ZONEOUT_DRAWN {
        return Rows(ZONEOUT_CELL_SHARE);
    }
    let mask = load_slot(t, first, 0u, u.row_size - hidden_size() + j);
    return select(Rows(0.0), Rows(1.0), mask > Rows(0.0));
}

// Mixes the old value of c into the new one.
fn keep_cell(t: u32, first: u32, j: u32, before: Rows, after: Rows) -> Rows {
    if !ZONEOUT_CELL {
        return after;
    }
    let share = load_cell_share(t, first, j);
    return (1.0 - share) * before + share * after;
}

// Loads w_i, w_f, w_o of a unit.
fn load_peephole(j: u32) -> vec3<f32> {
    if !PEEPHOLES {
        return vec3<f32>(0.0);
    }
    let at = u.peephole + j;
    return vec3<f32>(peephole[at], peephole[at + hidden_size()], peephole[at + 2u * hidden_size()]);
}
