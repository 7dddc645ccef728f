// Computes time steps begin..end of a layer. A workgroup takes a tile of sequences through all of
// these steps, with their h in workgroup memory. Twin: src/kernels/recurrence/forward.rs.

struct ScanForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    begin: u32, end: u32, has_bias: u32,
}

@group(1) @binding(0) var<uniform> u: ScanForward;

// In a layer of one stage: h twice, to read one copy while writing the other. In a layer of two
// stages: h, and the operand of the second stage.
var<workgroup> vectors: array<Rows, (OUTPUTS + UNITS) * GROUPS>;

// Adds four terms of the inner dimension, whose values begin at `at`, to the products of all
// groups.
fn add_terms(
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
) -> Products {
    var products: Products;
    if RECURRENT_GATES == 0u {
        return products;
    }
    for (var gate = from_gate; gate < to_gate; gate++) {
        let value = select(Rows(0.0), load_bias(gate, j), share == 0u);
        for (var group = 0u; group < GROUPS; group++) {
            products[group][gate] = value;
        }
    }
    let columns = RECURRENT_GATES * u.hidden_size;
    let inner = select(0u, u.output_size, valid);
    let fours = inner / 4u;
    var four = share;
    for (; four < min(CACHED / columns, fours); four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, true);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    for (; four < fours; four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, false);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    // The last lane, which may have fewer vec4s, takes the remaining terms.
    for (var k = select(inner, fours * 4u, share == LANES - 1u); k < inner; k++) {
        let rest = load_weights(from_gate, to_gate, fours * columns + j, false);
        for (var group = 0u; group < GROUPS; group++) {
            let value = vectors[(base + k) * GROUPS + group];
            add_one(&products, group, from_gate, to_gate, rest, k % 4u, value);
        }
    }
    for (var group = 0u; group < GROUPS; group++) {
        for (var gate = from_gate; gate < to_gate; gate++) {
            products[group][gate] = sum_of_lanes(products[group][gate]);
        }
    }
    return products;
}

// Applies the formulas of the first of two stages within the cell to unit j.
fn apply_middle(t: u32, first: u32, group: u32, j: u32, product: array<Rows, GATES>) {
    var slots = load_slots(t, first, j);
    cell_middle(&slots, product, vectors[j * GROUPS + group]);
    let valid = vec4<u32>(t) < load_lengths(first);
    slots[SLOTS - 1u] = select(Rows(0.0), slots[SLOTS - 1u], valid);
    store_slots(t, first, j, slots);
    vectors[(OUTPUTS + j) * GROUPS + group] = slots[SLOTS - 1u];
}

// Applies the formulas of the cell to unit j, whose h is at `now`.
fn apply_cell(t: u32, first: u32, group: u32, j: u32, now: u32, product: array<Rows, GATES>) {
    let length = load_lengths(first);
    var slots = load_slots(t, first, j);
    var h_before = Rows(0.0);
    if !PROJECTED {
        h_before = vectors[(now + j) * GROUPS + group];
    }
    var c_now = load_c(t, first, j);
    let h_after = cell_forward(&slots, product, load_peephole(j), h_before, &c_now);
    store_unit(t, first, j, length, slots, c_now);
    if PROJECTED {
        let m = store_projected_unit(t, first, j, length, h_after);
        vectors[(OUTPUTS + j) * GROUPS + group] = m;
        return;
    }
    let h_next = finish_output(t, first, j, length, h_before, h_after);
    // The second stage of a cell no longer reads h, so it is overwritten.
    let next = select(OUTPUTS - now, 0u, HAS_MIDDLE);
    vectors[(next + j) * GROUPS + group] = h_next;
}

// Computes output p of W_hr m.
fn project(group: u32, p: u32, share: u32, valid: bool) -> Rows {
    var sum = Rows(0.0);
    let first = (u.output_size + 3u) / 4u * RECURRENT_GATES * u.hidden_size + p;
    let inner = select(0u, u.hidden_size, valid);
    let fours = inner / 4u;
    for (var four = share; four < fours; four += LANES) {
        let at = (OUTPUTS + four * 4u) * GROUPS + group;
        let x = vectors[at];
        let y = vectors[at + GROUPS];
        let z = vectors[at + 2u * GROUPS];
        let w = vectors[at + 3u * GROUPS];
        sum = add_dot4(sum, load_weight(first + four * u.output_size, false), x, y, z, w);
    }
    for (var k = select(inner, fours * 4u, share == LANES - 1u); k < inner; k++) {
        let factors = load_weight(first + fours * u.output_size, false);
        sum += factors[k % 4u] * vectors[(OUTPUTS + k) * GROUPS + group];
    }
    return sum_of_lanes(sum);
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    cache_weights(lane);
    for (var p = lane; p < u.output_size; p += WIDTH) {
        for (var group = 0u; group < GROUPS; group++) {
            vectors[p * GROUPS + group] = load_h(u.begin, first_of(workgroup.x, group), p);
        }
    }
    let longest = longest_of(workgroup.x);
    workgroupBarrier();
    let worker = lane / LANES;
    let share = lane % LANES;
    var now = 0u;
    // The first step is never skipped: there an empty sequence stores its initial state.
    let top = clamp(max(longest, 1u), u.begin, u.end);
    for (var t = u.begin; t < top; t++) {
        if HAS_MIDDLE {
            for (var start = 0u; start < u.hidden_size; start += WORKERS) {
                let own = own_element(start, worker, u.hidden_size);
                let valid = own.exists && t < longest;
                let products = multiply_recurrent(0u, FIRST_STAGE, 0u, own.index, share, valid);
                for (var group = 0u; group < GROUPS; group++) {
                    if own.exists && finishes(share, group) {
                        let first = first_of(workgroup.x, group);
                        apply_middle(t, first, group, own.index, products[group]);
                    }
                }
            }
            workgroupBarrier();
        }
        for (var start = 0u; start < u.hidden_size; start += WORKERS) {
            let own = own_element(start, worker, u.hidden_size);
            let valid = own.exists && t < longest;
            let from_gate = select(0u, FIRST_STAGE, HAS_MIDDLE);
            let base = select(now, OUTPUTS, HAS_MIDDLE);
            let products =
                multiply_recurrent(from_gate, RECURRENT_GATES, base, own.index, share, valid);
            for (var group = 0u; group < GROUPS; group++) {
                if own.exists && finishes(share, group) {
                    let first = first_of(workgroup.x, group);
                    apply_cell(t, first, group, own.index, now, products[group]);
                }
            }
        }
        workgroupBarrier();
        if PROJECTED {
            for (var start = 0u; start < u.output_size; start += WORKERS) {
                let own = own_element(start, worker, u.output_size);
                let p = own.index;
                for (var group = 0u; group < GROUPS; group++) {
                    let first = first_of(workgroup.x, group);
                    let at = p * GROUPS + group;
                    let product = project(group, p, share, own.exists && t < longest);
                    if own.exists && finishes(share, group) {
                        let length = load_lengths(first);
                        vectors[at] = finish_projection(t, first, p, length, vectors[at], product);
                    }
                }
            }
            workgroupBarrier();
        } else if !HAS_MIDDLE {
            now = OUTPUTS - now;
        }
    }
    // The remaining steps are padding in all sequences of the tile.
    for (var t = top; t < u.end; t++) {
        for (var group = 0u; group < GROUPS; group++) {
            for (var j = lane; j < u.hidden_size; j += WIDTH) {
                clear_unit(t, first_of(workgroup.x, group), j);
            }
            for (var p = lane; p < u.output_size; p += WIDTH) {
                clear_output(t, first_of(workgroup.x, group), p);
            }
        }
    }
}
