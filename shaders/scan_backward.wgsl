// Computes the backward pass of time steps end..begin of a layer. A workgroup takes a tile of
// sequences through all of these steps, with the gradients of the current step's gates in workgroup
// memory. GEMMs over all steps compute the weight gradients afterwards.
// Twin: src/kernels/recurrence/backward.rs.

struct ScanBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32,
    peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_upstream: u32, given_states: u32,
}

@group(1) @binding(0) var<uniform> u: ScanBackward;

// The gradients of the recurrent gates, then those of W_hr m; one element if there are neither.
override PROJECTED_SIZE: u32 = u32(PROJECTED) * OUTPUTS;
override GROUP_SIZE: u32 = RECURRENT_GATES * UNITS + PROJECTED_SIZE + u32(RECURRENT_GATES == 0u);
override VECTOR_SIZE: u32 = GROUP_SIZE * GROUPS;
var<workgroup> dgates: array<Quad, VECTOR_SIZE>;

// Returns the distance between the EACH elements, of `count`, that an invocation computes.
fn stride_of(count: u32) -> u32 {
    return (count + EACH - 1u) / EACH;
}

alias Sums = array<array<Quad, EACH>, GROUPS>;
// The sums of the elements and sequences that a lane finishes.
alias OwnSums = array<array<OwnRows, OWN_EACH>, GROUPS>;
// A vec4 of weights for each element of a worker.
alias Weights = array<vec4<f32>, EACH>;

// Returns the column of element p + e * stride, or the last one.
fn column_of(p: u32, e: u32, stride: u32) -> u32 {
    return min(p + e * stride, OUTPUTS - 1u);
}

// Loads a row of vec4s for elements p, p + stride, ...
fn load_weights(row: u32, p: u32, stride: u32, is_cached: bool) -> Weights {
    var factors: Weights;
    if is_cached {
        for (var e = 0u; e < EACH; e++) {
            factors[e] = load_weight(row * OUTPUTS + column_of(p, e, stride), true);
        }
    } else {
        for (var e = 0u; e < EACH; e++) {
            factors[e] = load_weight(row * OUTPUTS + column_of(p, e, stride), false);
        }
    }
    return factors;
}

// Adds four terms of the inner dimension, whose values begin at `at`, to the sums of all groups.
fn add_terms(sums: ptr<function, Sums>, loaded: Weights, at: u32) {
    var factors = loaded;
    for (var group = 0u; group < GROUPS; group++) {
        let first = at * GROUPS + group;
        let x = dgates[first];
        let y = dgates[first + GROUPS];
        let z = dgates[first + 2u * GROUPS];
        let w = dgates[first + 3u * GROUPS];
        for (var e = 0u; e < EACH; e++) {
            (*sums)[group][e] = add_dot4((*sums)[group][e], factors[e], x, y, z, w);
        }
    }
}

// Computes elements p, p + stride, ... of the gradient of the vector that gates from_gate..to_gate
// multiply.
fn multiply_recurrent_back(
    from_gate: u32, to_gate: u32, p: u32, share: u32, valid: bool,
) -> OwnSums {
    var sums: Sums;
    let stride = stride_of(OUTPUTS);
    let fours = select(0u, UNITS / 4u, valid);
    let is_last = valid && share == LANES - 1u;
    let rows = (UNITS + 3u) / 4u;  // of a gate
    let cached_rows = (HELD + CACHED) / OUTPUTS;
    for (var gate = from_gate; gate < to_gate; gate++) {
        let row = gate * rows;
        let at = gate * UNITS;
        if valid {
            add_held(&sums, gate, at, share);
        }
        for (var first = held_slots(gate) * LANES; first < fours; first += LANES) {
            let four = first + share;
            if UNITS / 4u % LANES == 0u || four < UNITS / 4u {
                let factors = load_weights(row + four, p, stride, row + four < cached_rows);
                add_terms(&sums, factors, at + four * 4u);
            }
        }
        // The last lane, which may have fewer vec4s, takes the remaining terms.
        for (var k = select(UNITS, UNITS / 4u * 4u, is_last); k < UNITS; k++) {
            var rest = load_weights(row + UNITS / 4u, p, stride, false);
            for (var group = 0u; group < GROUPS; group++) {
                for (var e = 0u; e < EACH; e++) {
                    sums[group][e] += rest[e][k % 4u] * dgates[(at + k) * GROUPS + group];
                }
            }
        }
    }
    var own: OwnSums;
    for (var group = 0u; group < GROUPS; group++) {
        own[group] = sums_of_elements(sums[group], share);
    }
    return own;
}

// Computes the gradient of m of unit j: that of W_hr m times W_hr.
fn multiply_projection_back(group: u32, j: u32, share: u32, valid: bool) -> OwnRows {
    var sum = Quad(0.0);
    let first = RECURRENT_GATES * ((UNITS + 3u) / 4u) * OUTPUTS + j;
    let fours = select(0u, OUTPUTS / 4u, valid);
    let is_last = valid && share == LANES - 1u;
    for (var four = share; four < fours; four += LANES) {
        let at = (RECURRENT_GATES * UNITS + four * 4u) * GROUPS + group;
        let x = dgates[at];
        let y = dgates[at + GROUPS];
        let z = dgates[at + 2u * GROUPS];
        let w = dgates[at + 3u * GROUPS];
        sum = add_dot4(sum, load_weight(first + four * UNITS, false), x, y, z, w);
    }
    for (var p = select(OUTPUTS, OUTPUTS / 4u * 4u, is_last); p < OUTPUTS; p++) {
        let factors = load_weight(first + OUTPUTS / 4u * UNITS, false);
        sum += factors[p % 4u] * dgates[(RECURRENT_GATES * UNITS + p) * GROUPS + group];
    }
    return sum_of_lanes(sum, share);
}

// Stores the gradients of all sequences of a group, each from the lane that has finished it.
fn store_dgates(at: u32, share: u32, exists: bool, values: OwnRows) {
    let quad = quad_of_lanes(values);
    if exists && share % FINISHERS == 0u {
        dgates[at] = quad;
    }
}

// Takes unit j back through step t. `dm` is the gradient of m in a projected layer.
fn unit_back(t: u32, first: u32, j: u32, dm: Rows) -> array<Rows, SLOTS> {
    var dh = dm;
    if !PROJECTED {
        dh = load_dstate(0u, first, j);
    }
    var dc = Rows(0.0);
    if STATES > 1u {
        dc = load_dstate(1u, first, j);
    }
    return apply_cell_backward(t, first, j, dh, dc);
}

// Takes all outputs of a projected layer back through step t.
fn projection_stage(t: u32, workgroup: u32, lane: u32) {
    let share = lane % FINISHERS;
    for (var start = 0u; start < OUTPUTS; start += WIDTH / FINISHERS) {
        let own = own_element(start, lane / FINISHERS, OUTPUTS);
        let p = own.index;
        for (var group = 0u; group < GROUPS; group++) {
            var d: OwnRows;
            for (var part = 0u; part < PARTS; part++) {
                let first = own_sequence(workgroup, group, share, part);
                if own.exists && first < u.batch {
                    d[part] = projection_backward(t, first, p, load_dstate(0u, first, p));
                }
            }
            store_dgates((RECURRENT_GATES * UNITS + p) * GROUPS + group, share, own.exists, d);
        }
    }
}

// Takes all units back through step t. In a projected layer all lanes of a worker multiply for a
// unit; otherwise FINISHERS lanes are enough.
fn units_stage(t: u32, workgroup: u32, lane: u32) {
    let lanes = select(FINISHERS, LANES, PROJECTED);
    let share = lane % lanes;
    for (var start = 0u; start < UNITS; start += WIDTH / lanes) {
        let own = own_element(start, lane / lanes, UNITS);
        let j = own.index;
        let takes_part = own.exists && finishes(share);
        for (var group = 0u; group < GROUPS; group++) {
            var dm: OwnRows;
            if PROJECTED {
                dm = multiply_projection_back(group, j, share, own.exists);
            }
            var slots: array<array<Rows, SLOTS>, PARTS>;
            for (var part = 0u; part < PARTS; part++) {
                let first = own_sequence(workgroup, group, share, part);
                if takes_part && first < u.batch {
                    slots[part] = unit_back(t, first, j, dm[part]);
                }
            }
            let from_gate = select(0u, FIRST_STAGE, HAS_MIDDLE);
            for (var gate = from_gate; gate < RECURRENT_GATES; gate++) {
                var values: OwnRows;
                for (var part = 0u; part < PARTS; part++) {
                    values[part] = slots[part][product_slot(gate)];
                }
                store_dgates((gate * UNITS + j) * GROUPS + group, share, takes_part, values);
            }
        }
    }
}

// Takes all units back through the first of two stages within the cell.
fn middle_stage(t: u32, workgroup: u32, worker: u32, share: u32) {
    let stride = stride_of(UNITS);
    for (var start = 0u; start < stride; start += WORKERS) {
        let own = own_element(start, worker, stride);
        var sums =
            multiply_recurrent_back(FIRST_STAGE, RECURRENT_GATES, own.index, share, own.exists);
        for (var e = 0u; e < OWN_EACH; e++) {
            let j = own_index(own.index, e, share, stride);
            let takes_part = own.exists && finishes_elements(share) && j < UNITS;
            for (var group = 0u; group < GROUPS; group++) {
                var slots: array<array<Rows, SLOTS>, PARTS>;
                for (var part = 0u; part < PARTS; part++) {
                    let first = own_sequence(workgroup, group, share, part);
                    if takes_part && first < u.batch {
                        slots[part] = apply_middle_backward(t, first, j, sums[group][e][part]);
                    }
                }
                for (var gate = 0u; gate < FIRST_STAGE; gate++) {
                    var values: OwnRows;
                    for (var part = 0u; part < PARTS; part++) {
                        values[part] = slots[part][product_slot(gate)];
                    }
                    store_dgates((gate * UNITS + j) * GROUPS + group, share, takes_part, values);
                }
            }
        }
    }
}

// Adds to the gradient of h what gates from_gate..to_gate multiply, in step t.
fn outputs_stage(
    t: u32, from_gate: u32, to_gate: u32, workgroup: u32, worker: u32, share: u32,
) {
    let stride = stride_of(OUTPUTS);
    for (var start = 0u; start < stride; start += WORKERS) {
        let own = own_element(start, worker, stride);
        var sums = multiply_recurrent_back(from_gate, to_gate, own.index, share, own.exists);
        for (var e = 0u; e < OWN_EACH; e++) {
            let p = own_index(own.index, e, share, stride);
            let takes_part = own.exists && finishes_elements(share) && p < OUTPUTS;
            for (var group = 0u; group < GROUPS; group++) {
                for (var part = 0u; part < PARTS; part++) {
                    let first = own_sequence(workgroup, group, share, part);
                    if takes_part && first < u.batch {
                        let before = load_dstate(0u, first, p);
                        var sum = sums[group][e][part];
                        if DROPS_RECURRENT {
                            sum *= load_gate_mask(t, first, from_gate, p);
                        }
                        store_dstate(0u, first, p, before + sum);
                    }
                }
            }
        }
    }
}

// Returns the index of an element that a lane finishes, of those of a worker: p, p + stride, ...
fn own_index(p: u32, e: u32, share: u32, stride: u32) -> u32 {
    return p + (e * SPLIT + share / FINISHERS % SPLIT) * stride;
}

// Whether a lane of a worker has elements to finish: the others repeat those of the first.
fn finishes_elements(share: u32) -> bool {
    return share < FINISHERS * SPLIT;
}

// Clears the state gradients that are not given, and the steps from `top` on: they are padding in
// all sequences of the tile.
fn begin_sequences(first: u32, lane: u32, top: u32) {
    for (var p = lane; p < OUTPUTS; p += WIDTH) {
        if u.given_states < 1u {
            store_dstate(0u, first, p, Rows(0.0));
        }
        for (var t = top; t < u.end && PROJECTED; t++) {
            store_slot(t, first, SLOTS + 1u, p, Rows(0.0));
        }
    }
    for (var j = lane; j < UNITS; j += WIDTH) {
        if STATES > 1u && u.given_states < 2u {
            store_dstate(1u, first, j, Rows(0.0));
        }
        for (var t = top; t < u.end; t++) {
            for (var slot = 0u; slot < SLOTS; slot++) {
                store_slot(t, first, slot, j, Rows(0.0));
            }
        }
    }
}

// With several elements for each worker, and with more lanes than finish an element, invocations
// read what others wrote to `dstate`.
fn barrier() {
    workgroupBarrier();
    if EACH > 1u || LANES > FINISHERS {
        storageBarrier();
    }
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    cache_weights(lane);
    let top = clamp(longest_of(workgroup.x), u.begin, u.end);
    let worker = lane / LANES;
    let share = lane % LANES;
    hold_weights(worker, share);
    for (var i = 0u; i < SEQUENCES * GROUPS; i += ROWS) {
        begin_sequences(first_of(workgroup.x, 0u) + i, lane, top);
    }
    if LANES > 1u {
        storageBarrier();
    }
    for (var next = top; next > u.begin; next--) {
        let t = next - 1u;
        if PROJECTED {
            projection_stage(t, workgroup.x, lane);
            barrier();
        }
        units_stage(t, workgroup.x, lane);
        barrier();
        if HAS_MIDDLE {
            middle_stage(t, workgroup.x, worker, share);
            barrier();
        }
        if RECURRENT_GATES > 0u {
            if DROPS_RECURRENT {
                for (var gate = 0u; gate < FIRST_GATES; gate++) {
                    outputs_stage(t, gate, gate + 1u, workgroup.x, worker, share);
                }
            } else {
                outputs_stage(t, 0u, FIRST_STAGE, workgroup.x, worker, share);
            }
            barrier();
        }
    }
}
