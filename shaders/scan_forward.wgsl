// Computes time steps begin..end of a layer. A workgroup takes a tile of sequences through all of
// these steps, with their h in workgroup memory. Twin: src/kernels/recurrence/forward.rs.

struct ScanForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_bias: u32,
}

@group(1) @binding(0) var<uniform> u: ScanForward;

// In a layer of one stage: h twice, to read one copy while writing the other. In a layer of two
// stages: h, and the operand of the second stage. Behind them, where gates have masks, h times the
// mask of each gate of the first stage.
override MASKED: u32 = OUTPUTS + UNITS;
override VECTOR_SIZE: u32 = (MASKED + u32(DROPS_RECURRENT) * FIRST_GATES * OUTPUTS) * GROUPS;
var<workgroup> vectors: array<Quad, VECTOR_SIZE>;

// The products of the sequences that a lane finishes.
alias OwnProducts = array<array<array<Rows, GATES>, PARTS>, GROUPS>;

// Adds four terms of the inner dimension, whose values begin at `at`, to the products of all
// groups.
fn add_terms(
    products: ptr<function, Products>, from_gate: u32, to_gate: u32, factors: Weights, at: u32,
) {
    if DROPS_RECURRENT {
        for (var gate = from_gate; gate < to_gate; gate++) {
            add_terms_of(products, gate, gate + 1u, factors, at + gate_offset(gate));
        }
    } else {
        add_terms_of(products, from_gate, to_gate, factors, at);
    }
}

// Returns the offset of the vector of a gate from that of the first, where gates have masks.
fn gate_offset(gate: u32) -> u32 {
    return select(0u, gate * OUTPUTS, gate < FIRST_GATES);
}

// The same for gates that multiply the same vector.
fn add_terms_of(
    products: ptr<function, Products>, from_gate: u32, to_gate: u32, factors: Weights, at: u32,
) {
    for (var group = 0u; group < GROUPS; group++) {
        let first = at * GROUPS + group;
        let x = vectors[first];
        let y = vectors[first + GROUPS];
        let z = vectors[first + 2u * GROUPS];
        let w = vectors[first + 3u * GROUPS];
        add_four(products, group, from_gate, to_gate, factors, x, y, z, w);
    }
}

// Computes R v + b_hh for gates from_gate..to_gate of unit j, of the vectors v that begin at
// `base`.
fn multiply_recurrent(
    from_gate: u32, to_gate: u32, base: u32, j: u32, share: u32, valid: bool,
) -> OwnProducts {
    var own: OwnProducts;
    if RECURRENT_GATES == 0u {
        return own;
    }
    var products: Products;
    for (var gate = from_gate; gate < to_gate; gate++) {
        let value = select(Quad(0.0), load_bias(gate, j), share == 0u);
        for (var group = 0u; group < GROUPS; group++) {
            products[group][gate] = value;
        }
    }
    let columns = max(RECURRENT_GATES, 1u) * UNITS;
    let fours = select(0u, OUTPUTS / 4u, valid);
    if valid {
        add_held(&products, from_gate, to_gate, base, share);
    }
    var four = share + HELD_SLOTS * LANES;
    for (; four < min((HELD + CACHED) / columns, fours); four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, true);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    for (; four < fours; four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, false);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    // The last lane, which may have fewer vec4s, takes the remaining terms.
    let is_last = valid && share == LANES - 1u;
    for (var k = select(OUTPUTS, OUTPUTS / 4u * 4u, is_last); k < OUTPUTS; k++) {
        let rest = load_weights(from_gate, to_gate, OUTPUTS / 4u * columns + j, false);
        for (var group = 0u; group < GROUPS; group++) {
            if DROPS_RECURRENT {
                for (var gate = from_gate; gate < to_gate; gate++) {
                    let value = vectors[(base + gate_offset(gate) + k) * GROUPS + group];
                    add_one(&products, group, gate, gate + 1u, rest, k % 4u, value);
                }
            } else {
                let value = vectors[(base + k) * GROUPS + group];
                add_one(&products, group, from_gate, to_gate, rest, k % 4u, value);
            }
        }
    }
    for (var group = 0u; group < GROUPS; group++) {
        for (var gate = from_gate; gate < to_gate; gate++) {
            var sums = sum_of_lanes(products[group][gate], share);
            for (var part = 0u; part < PARTS; part++) {
                own[group][part][gate] = sums[part];
            }
        }
    }
    return own;
}

// Stores the values of all sequences of a group, each from the lane that has finished it.
fn store_vector(at: u32, share: u32, exists: bool, values: OwnRows) {
    let quad = quad_of_lanes(values);
    if exists && share == 0u {
        vectors[at] = quad;
    }
}

// Loads a vector's values of the sequences of a lane, where the first lane overwrites them
// afterwards: so only that lane reads them.
fn load_overwritten(at: u32, share: u32, exists: bool) -> OwnRows {
    var quad = Quad(0.0);
    if exists && share == 0u {
        quad = vectors[at];
    }
    return own_rows(quad, share);
}

// The same, where nobody overwrites them before the next barrier.
fn load_kept(at: u32, share: u32) -> OwnRows {
    let quad = vectors[at];
    var own: OwnRows;
    for (var part = 0u; part < PARTS; part++) {
        own[part] = row_in_group(quad, share, part);
    }
    return own;
}

// Applies the formulas of the first of two stages within the cell to unit j, and returns the
// operand of the second.
fn apply_middle(t: u32, first: u32, j: u32, product: array<Rows, GATES>, h_before: Rows) -> Rows {
    var slots = load_slots(t, first, j);
    var h_read = h_before;
    if DROPS_RECURRENT {
        h_read *= load_gate_mask(t, first, FIRST_STAGE, j);
    }
    cell_middle(&slots, product, h_read);
    let valid = Counts(t) < load_lengths(first);
    slots[SLOTS - 1u] = select(Rows(0.0), slots[SLOTS - 1u], valid);
    store_slots(t, first, j, slots);
    return slots[SLOTS - 1u];
}

// Applies the formulas of the cell to unit j. Returns h as the next step sees it; in a projected
// layer m.
fn apply_cell(t: u32, first: u32, j: u32, product: array<Rows, GATES>, h_before: Rows) -> Rows {
    let length = load_lengths(first);
    var slots = load_slots(t, first, j);
    let c_before = load_c(t, first, j);
    var c_now = c_before;
    let h_after = cell_forward(&slots, product, load_peephole(j), h_before, &c_now);
    store_unit(t, first, j, length, slots, keep_cell(t, first, j, c_before, c_now));
    if PROJECTED {
        return store_projected_unit(t, first, j, length, h_after);
    }
    return finish_output(t, first, j, length, h_before, h_after);
}

// Computes output p of W_hr m.
fn project(group: u32, p: u32, share: u32, valid: bool) -> OwnRows {
    var sum = Quad(0.0);
    let first = (OUTPUTS + 3u) / 4u * RECURRENT_GATES * UNITS + p;
    let fours = select(0u, UNITS / 4u, valid);
    for (var four = share; four < fours; four += LANES) {
        let at = (OUTPUTS + four * 4u) * GROUPS + group;
        let x = vectors[at];
        let y = vectors[at + GROUPS];
        let z = vectors[at + 2u * GROUPS];
        let w = vectors[at + 3u * GROUPS];
        sum = add_dot4(sum, load_weight(first + four * OUTPUTS, false), x, y, z, w);
    }
    let is_last = valid && share == LANES - 1u;
    for (var k = select(UNITS, UNITS / 4u * 4u, is_last); k < UNITS; k++) {
        let factors = load_weight(first + UNITS / 4u * OUTPUTS, false);
        sum += factors[k % 4u] * vectors[(OUTPUTS + k) * GROUPS + group];
    }
    return sum_of_lanes(sum, share);
}

// Returns the beginning of the vectors that the gates of the first stage multiply; h is at `now`.
fn read_from(now: u32) -> u32 {
    return select(now, MASKED, DROPS_RECURRENT);
}

// Multiplies h, which is at `now`, by the masks of the gates for step t.
fn mask_stage(t: u32, workgroup: u32, now: u32, lane: u32) {
    for (var p = lane; p < OUTPUTS; p += WIDTH) {
        for (var group = 0u; group < GROUPS; group++) {
            let first = first_of(workgroup, group);
            for (var gate = 0u; gate < FIRST_GATES; gate++) {
                let mask = load_gate_mask_quad(t, first, gate, p);
                let at = MASKED + gate * OUTPUTS + p;
                vectors[at * GROUPS + group] = vectors[(now + p) * GROUPS + group] * mask;
            }
        }
    }
}

// Computes the first of two stages within the cell, of all units in step t.
fn middle_stage(t: u32, workgroup: u32, worker: u32, share: u32, valid: bool) {
    for (var start = 0u; start < UNITS; start += WORKERS) {
        let own = own_element(start, worker, UNITS);
        let j = own.index;
        let takes_part = own.exists && finishes(share);
        var products =
            multiply_recurrent(0u, FIRST_STAGE, read_from(0u), j, share, own.exists && valid);
        for (var group = 0u; group < GROUPS; group++) {
            var h_before = load_kept(j * GROUPS + group, share);
            var middles: OwnRows;
            for (var part = 0u; part < PARTS; part++) {
                let first = own_sequence(workgroup, group, share, part);
                if takes_part && first < u.batch {
                    let product = products[group][part];
                    middles[part] = apply_middle(t, first, j, product, h_before[part]);
                }
            }
            store_vector((OUTPUTS + j) * GROUPS + group, share, own.exists, middles);
        }
    }
}

// Computes all units in step t, whose h is at `now`, except for the projection.
fn units_stage(t: u32, workgroup: u32, worker: u32, share: u32, now: u32, valid: bool) {
    for (var start = 0u; start < UNITS; start += WORKERS) {
        let own = own_element(start, worker, UNITS);
        let j = own.index;
        let takes_part = own.exists && finishes(share);
        let from_gate = select(0u, FIRST_STAGE, HAS_MIDDLE);
        let base = select(read_from(now), OUTPUTS, HAS_MIDDLE);
        var products =
            multiply_recurrent(from_gate, RECURRENT_GATES, base, j, share, own.exists && valid);
        // The second stage of a cell no longer reads h, so it is overwritten.
        let next = select(select(OUTPUTS - now, 0u, HAS_MIDDLE), OUTPUTS, PROJECTED);
        for (var group = 0u; group < GROUPS; group++) {
            var h_before: OwnRows;
            if HAS_MIDDLE {
                h_before = load_overwritten(j * GROUPS + group, share, own.exists);
            } else if !PROJECTED {
                h_before = load_kept((now + j) * GROUPS + group, share);
            }
            var after: OwnRows;
            for (var part = 0u; part < PARTS; part++) {
                let first = own_sequence(workgroup, group, share, part);
                if takes_part && first < u.batch {
                    after[part] = apply_cell(t, first, j, products[group][part], h_before[part]);
                }
            }
            store_vector((next + j) * GROUPS + group, share, own.exists, after);
        }
    }
}

// Computes the outputs of a projected layer in step t.
fn projection_stage(t: u32, workgroup: u32, worker: u32, share: u32, valid: bool) {
    for (var start = 0u; start < OUTPUTS; start += WORKERS) {
        let own = own_element(start, worker, OUTPUTS);
        let p = own.index;
        let takes_part = own.exists && finishes(share);
        for (var group = 0u; group < GROUPS; group++) {
            let at = p * GROUPS + group;
            var products = project(group, p, share, own.exists && valid);
            var h_before = load_overwritten(at, share, own.exists);
            var after: OwnRows;
            for (var part = 0u; part < PARTS; part++) {
                let first = own_sequence(workgroup, group, share, part);
                if takes_part && first < u.batch {
                    let length = load_lengths(first);
                    after[part] =
                        finish_projection(t, first, p, length, h_before[part], products[part]);
                }
            }
            store_vector(at, share, own.exists, after);
        }
    }
}

// Clears steps top..end, which are padding in all sequences of the tile.
fn clear_padding(top: u32, workgroup: u32, lane: u32) {
    let first = first_of(workgroup, 0u);
    for (var t = top; t < u.end; t++) {
        for (var i = 0u; i < SEQUENCES * GROUPS; i += ROWS) {
            for (var j = lane; j < UNITS; j += WIDTH) {
                clear_unit(t, first + i, j);
            }
            for (var p = lane; p < OUTPUTS; p += WIDTH) {
                clear_output(t, first + i, p);
            }
        }
    }
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    cache_weights(lane);
    for (var p = lane; p < OUTPUTS; p += WIDTH) {
        for (var group = 0u; group < GROUPS; group++) {
            vectors[p * GROUPS + group] = load_h_quad(u.begin, first_of(workgroup.x, group), p);
        }
    }
    let longest = longest_of(workgroup.x);
    let worker = lane / LANES;
    let share = lane % LANES;
    hold_weights(worker, share);
    workgroupBarrier();
    var now = 0u;
    // The first step is never skipped: there an empty sequence stores its initial state.
    let top = clamp(max(longest, 1u), u.begin, u.end);
    for (var t = u.begin; t < top; t++) {
        if DROPS_RECURRENT {
            mask_stage(t, workgroup.x, now, lane);
            workgroupBarrier();
        }
        if HAS_MIDDLE {
            middle_stage(t, workgroup.x, worker, share, t < longest);
            workgroupBarrier();
        }
        units_stage(t, workgroup.x, worker, share, now, t < longest);
        workgroupBarrier();
        if PROJECTED {
            projection_stage(t, workgroup.x, worker, share, t < longest);
            workgroupBarrier();
        } else if !HAS_MIDDLE {
            now = OUTPUTS - now;
        }
    }
    clear_padding(top, workgroup.x, lane);
}
