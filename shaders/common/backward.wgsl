// Shared by the backward scan and step: bindings, and the stages of a time step. `dstate` holds the
// gradients of the states before the current step.

// R's rows as vec4s [G, ceil(H/4), P], then W_hr's [ceil(P/4), H].
@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;
// [T, B, row_size]: on input the slots, on output the gradients.
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;
@group(0) @binding(2) var<storage, read> h: array<f32>;             // [T+1, B, P]
@group(0) @binding(3) var<storage, read> c: array<f32>;             // [T+1, B, H]
@group(0) @binding(4) var<storage, read> upstream: array<f32>;      // [T, B, P]
// [B, P], [B, H]: gradients of the last states on input, of the initial states in the end.
@group(0) @binding(5) var<storage, read_write> dstate: array<f32>;
@group(0) @binding(6) var<storage, read> lengths: array<u32>;       // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;      // [3, H]: w_i, w_f, w_o

fn store_dstate(state: u32, first: u32, j: u32, value: Rows) {
    for (var i = 0u; i < present(first); i++) {
        dstate[u.dstate + state_at(state, first + i, j)] = row_of(value, i);
    }
}

fn load_states(t: u32, first: u32, j: u32) -> States {
    let c_before = load_c(t, first, j);
    let c_after = load_c(t + 1u, first, j);
    if PROJECTED {
        return States(Rows(0.0), c_before, Rows(0.0), c_after);
    }
    return States(load_h(t, first, j), c_before, load_output(t + 1u, first, j), c_after);
}

// Takes the gradient of h after step t, multiplies it by the state's mask and adds the gradient of
// the layer's output.
fn add_upstream(t: u32, first: u32, p: u32, dh_after: Rows) -> Rows {
    return dh_after * load_mask(t, first, p) + load_upstream(t, first, p);
}

// Takes the gradient of h after step t of a projected layer, overwrites W_hr m with its gradient
// and returns that. In a padded step the gradient of h stays in `dstate`.
fn projection_backward(t: u32, first: u32, p: u32, dh_after: Rows) -> Rows {
    let valid = Counts(t) < load_lengths(first);
    let d_total = add_upstream(t, first, p, dh_after);
    var d = d_total;
    var kept = Rows(0.0);
    if ZONEOUT {
        let share = load_share(t, first, p);
        d = d_total * share;
        kept = d_total * (1.0 - share);
    }
    if PROJECTION_CLIP > 0.0 {
        let product = load_slot(t, first, SLOTS + 1u, p);
        d = select(d, Rows(0.0), is_clipped(product, PROJECTION_CLIP));
    }
    d = select(Rows(0.0), d, valid);
    store_slot(t, first, SLOTS + 1u, p, d);
    store_dstate(0u, first, p, select(dh_after, kept, valid));
    return d;
}

// Applies the backward formulas of the cell to a unit of step t. Takes the gradients of h (of m, in
// a projected layer) and c after the step, and stores those before the step in `dstate`, without
// the part through the recurrent matmul. In a padded step the gradients do not change. Returns the
// slots, which now hold the gates' gradients.
fn apply_cell_backward(
    t: u32, first: u32, j: u32, dh_after: Rows, dc_after: Rows,
) -> array<Rows, SLOTS> {
    let valid = Counts(t) < load_lengths(first);
    var slots = load_slots(t, first, j);
    var dh = dh_after;
    if !PROJECTED {
        dh = add_upstream(t, first, j, dh_after);
    }
    var dc = dc_after;
    let dh_total = dh;
    if ZONEOUT && !PROJECTED {
        dh *= load_share(t, first, j);
    }
    if ZONEOUT_CELL {
        dc *= load_cell_share(t, first, j);
    }
    cell_backward(&slots, load_states(t, first, j), load_peephole(j), &dh, &dc);
    if ZONEOUT && !PROJECTED {
        dh += dh_total * (1.0 - load_share(t, first, j));
    }
    if ZONEOUT_CELL {
        dc += dc_after * (1.0 - load_cell_share(t, first, j));
    }
    for (var slot = 0u; slot < SLOTS; slot++) {
        slots[slot] = select(Rows(0.0), slots[slot], valid);
    }
    store_slots(t, first, j, slots);
    if !PROJECTED {
        store_dstate(0u, first, j, select(dh_after, dh, valid));
    }
    if STATES > 1u {
        store_dstate(1u, first, j, select(dc_after, dc, valid));
    }
    return slots;
}

// Applies the backward formulas of the first of two stages within a cell to a unit of step t, given
// the gradient of the second stage's operand.
fn apply_middle_backward(t: u32, first: u32, j: u32, dmiddle: Rows) -> array<Rows, SLOTS> {
    let valid = Counts(t) < load_lengths(first);
    var slots = load_slots(t, first, j);
    let dh_before = load_dstate(0u, first, j);
    var dh = dh_before;
    var d = dmiddle;
    if DROPS_RECURRENT {
        d *= load_gate_mask(t, first, FIRST_STAGE, j);
    }
    cell_middle_backward(&slots, load_states(t, first, j), d, &dh);
    slots[0] = select(Rows(0.0), slots[0], valid);
    store_slot(t, first, 0u, j, slots[0]);
    store_dstate(0u, first, j, select(dh_before, dh, valid));
    return slots;
}
