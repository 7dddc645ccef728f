// What both ways back through time share, buffers first. The gradient of the states before the step in hand waits in `dstate`.

@group(0) @binding(0) var<storage, read> weights: array<vec4<f32>>;  // [G, ceil(H/4), P]: R's rows in fours; then W_hr's [ceil(P/4), H]
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;    // [T, B, row_size]: in slots, out gradients
@group(0) @binding(2) var<storage, read> h: array<f32>;              // [T+1, B, P]
@group(0) @binding(3) var<storage, read> c: array<f32>;              // [T+1, B, H]
@group(0) @binding(4) var<storage, read> upstream: array<f32>;       // [T, B, P]
@group(0) @binding(5) var<storage, read_write> dstate: array<f32>;   // [B, P], [B, H]: gradients of the states, last to first
@group(0) @binding(6) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;       // [3, H]: w_i, w_f, w_o

fn load_dstate(state: u32, first: u32, j: u32) -> Rows {
    return Rows(
        dstate[u.dstate + state_at(state, row_of(first, 0u), j)],
        dstate[u.dstate + state_at(state, row_of(first, 1u), j)],
        dstate[u.dstate + state_at(state, row_of(first, 2u), j)],
        dstate[u.dstate + state_at(state, row_of(first, 3u), j)],
    );
}

fn store_dstate(state: u32, first: u32, j: u32, value: Rows) {
    for (var i = 0u; i < present(first); i++) {
        dstate[u.dstate + state_at(state, first + i, j)] = value[i];
    }
}

// The gradient that arrives at the layer's output of step t.
fn load_upstream(t: u32, first: u32, p: u32) -> Rows {
    if u.has_upstream == 0u {
        return Rows(0.0);
    }
    return Rows(
        upstream[u.upstream + h_at(t, row_of(first, 0u), p)],
        upstream[u.upstream + h_at(t, row_of(first, 1u), p)],
        upstream[u.upstream + h_at(t, row_of(first, 2u), p)],
        upstream[u.upstream + h_at(t, row_of(first, 3u), p)],
    );
}

fn load_states(t: u32, first: u32, j: u32) -> States {
    if PROJECTED {
        return States(Rows(0.0), load_c(t, first, j), Rows(0.0), load_c(t + 1u, first, j));
    }
    return States(load_h(t, first, j), load_c(t, first, j), load_output(t + 1u, first, j), load_c(t + 1u, first, j));
}

// An output's part of step t of a projected layer: takes the gradient of h after the step, and leaves that of the product
// in place of the product; returns it. What goes past a sequence's end stays in `dstate`.
fn projection_backward(t: u32, first: u32, p: u32, dh_after: Rows) -> Rows {
    let valid = vec4<u32>(t) < load_lengths(first);
    var d = dh_after * state_mask(t, first, p) + load_upstream(t, first, p);
    if PROJECTION_CLIP > 0.0 {
        d = select(d, Rows(0.0), is_clipped(load_gate(t, first, SLOTS + 1u, p), PROJECTION_CLIP));
    }
    d = select(Rows(0.0), d, valid);
    store_gate(t, first, SLOTS + 1u, p, d);
    store_dstate(0u, first, p, select(dh_after, Rows(0.0), valid));
    return d;
}

// A unit's part of step t: takes the states' gradients after the step (in a projected layer, of what the unit gave in
// place of h) and leaves those before it in `dstate`, without what comes through the recurrent product. Past a
// sequence's end gradients of states pass through.
// Returns the slots, which are the gates' gradients now.
fn unit_backward(t: u32, first: u32, j: u32, dh_after: Rows, dc_after: Rows) -> array<Rows, SLOTS> {
    let valid = vec4<u32>(t) < load_lengths(first);
    var slots = load_gates(t, first, j);
    var dh = dh_after;
    if !PROJECTED {
        dh = dh * state_mask(t, first, j) + load_upstream(t, first, j);
    }
    var dc = dc_after;
    cell_backward(&slots, load_states(t, first, j), load_peephole(j), &dh, &dc);
    for (var slot = 0u; slot < SLOTS; slot++) {
        slots[slot] = select(Rows(0.0), slots[slot], valid);
    }
    store_gates(t, first, j, slots);
    if !PROJECTED {
        store_dstate(0u, first, j, select(dh_after, dh, valid));
    }
    if STATES > 1u {
        store_dstate(1u, first, j, select(dc_after, dc, valid));
    }
    return slots;
}

// The same for the first half of a cell of two stages, once the gradient of its second product has been taken back.
fn unit_middle_backward(t: u32, first: u32, j: u32, dmiddle: Rows) -> array<Rows, SLOTS> {
    let valid = vec4<u32>(t) < load_lengths(first);
    var slots = load_gates(t, first, j);
    let dh_before = load_dstate(0u, first, j);
    var dh = dh_before;
    cell_middle_backward(&slots, load_states(t, first, j), dmiddle, &dh);
    slots[0] = select(Rows(0.0), slots[0], valid);
    store_gate(t, first, 0u, j, slots[0]);
    store_dstate(0u, first, j, select(dh_before, dh, valid));
    return slots;
}
