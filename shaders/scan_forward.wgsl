// Walks time steps begin..end of a layer for GROUPS groups of four sequences a workgroup, with their h in workgroup memory.
// Past the end of the longest of them there are only zeros to store.

struct ScanForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, begin: u32, end: u32, has_bias: u32,
}

@group(1) @binding(0) var<uniform> u: ScanForward;

// A layer of one stage: h, twice, to read one while writing the other. Of two stages: h, and what is between them.
var<workgroup> vectors: array<Rows, (OUTPUTS + UNITS) * GROUPS>;

// Adds the four terms from `at` on to the products of all groups.
fn add_terms(products: ptr<function, Products>, from_gate: u32, to_gate: u32, four: Weights, at: u32) {
    for (var group = 0u; group < GROUPS; group++) {
        let first = at * GROUPS + group;
        add_four(
            products, group, from_gate, to_gate, four,
            vectors[first], vectors[first + GROUPS], vectors[first + 2u * GROUPS], vectors[first + 3u * GROUPS],
        );
    }
}

// Rows of R, for gates from..to of unit j, times the vectors that start at `base`; and their biases.
fn products_of(from_gate: u32, to_gate: u32, base: u32, j: u32, share: u32, valid: bool) -> Products {
    var products: Products;
    for (var gate = from_gate; gate < to_gate; gate++) {
        let value = select(Rows(0.0), load_bias(gate, j), share == 0u);
        for (var group = 0u; group < GROUPS; group++) {
            products[group][gate] = value;
        }
    }
    let columns = GATES * u.hidden_size;
    let terms = select(0u, u.output_size, valid);
    let fours = terms / 4u;
    var four = share;
    for (; four < min(KEPT / columns, fours); four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, true);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    for (; four < fours; four += LANES) {
        let factors = load_weights(from_gate, to_gate, four * columns + j, false);
        add_terms(&products, from_gate, to_gate, factors, base + four * 4u);
    }
    // What is left over is the last lane's, whose terms may be fewer.
    for (var k = select(terms, fours * 4u, share == LANES - 1u); k < terms; k++) {
        let rest = load_weights(from_gate, to_gate, fours * columns + j, false);
        for (var group = 0u; group < GROUPS; group++) {
            add_one(&products, group, from_gate, to_gate, rest, k % 4u, vectors[(base + k) * GROUPS + group]);
        }
    }
    for (var group = 0u; group < GROUPS; group++) {
        for (var gate = from_gate; gate < to_gate; gate++) {
            products[group][gate] = sum_of_lanes(products[group][gate]);
        }
    }
    return products;
}

// The first of two stages within a cell: leaves what lies between them.
fn middle(t: u32, first: u32, group: u32, j: u32, product: array<Rows, GATES>) {
    var slots = load_gates(t, first, j);
    cell_middle(&slots, product, vectors[j * GROUPS + group]);
    slots[SLOTS - 1u] = select(Rows(0.0), slots[SLOTS - 1u], vec4<u32>(t) < load_lengths(first));
    store_gates(t, first, j, slots);
    vectors[(OUTPUTS + j) * GROUPS + group] = slots[SLOTS - 1u];
}

// The rest of a unit's step; its h is at `now`.
fn unit(t: u32, first: u32, group: u32, j: u32, now: u32, product: array<Rows, GATES>) {
    let length = load_lengths(first);
    var slots = load_gates(t, first, j);
    var h_before = Rows(0.0);
    if !PROJECTED {
        h_before = vectors[(now + j) * GROUPS + group];
    }
    var c_now = load_c(t, first, j);
    let h_now = cell_forward(&slots, product, load_peephole(j), h_before, &c_now);
    finish_unit(t, first, j, length, slots, c_now);
    if PROJECTED {
        vectors[(OUTPUTS + j) * GROUPS + group] = finish_projected_unit(t, first, j, length, h_now);
    } else if FIRST_STAGE < GATES {
        vectors[j * GROUPS + group] = finish_output(t, first, j, length, h_before, h_now);
    } else {
        vectors[(OUTPUTS - now + j) * GROUPS + group] = finish_output(t, first, j, length, h_before, h_now);
    }
}

// Output p of what lies between the stages, times W_hr.
fn project(group: u32, p: u32, share: u32, valid: bool) -> Rows {
    var sum = Rows(0.0);
    let first = (u.output_size + 3u) / 4u * GATES * u.hidden_size + p;
    let terms = select(0u, u.hidden_size, valid);
    let fours = terms / 4u;
    for (var four = share; four < fours; four += LANES) {
        let at = (OUTPUTS + four * 4u) * GROUPS + group;
        let factors = load_weight(first + four * u.output_size, false);
        sum = plus_four(sum, factors, vectors[at], vectors[at + GROUPS], vectors[at + 2u * GROUPS], vectors[at + 3u * GROUPS]);
    }
    for (var k = select(terms, fours * 4u, share == LANES - 1u); k < terms; k++) {
        sum += load_weight(first + fours * u.output_size, false)[k % 4u] * vectors[(OUTPUTS + k) * GROUPS + group];
    }
    return sum_of_lanes(sum);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    keep_weights(lane);
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
    // The first step is always taken: there a sequence without any leaves its initial state.
    let top = clamp(max(longest, 1u), u.begin, u.end);
    for (var t = u.begin; t < top; t++) {
        if FIRST_STAGE < GATES {
            for (var j = worker; j < u.hidden_size; j += WORKERS) {
                let products = products_of(0u, FIRST_STAGE, 0u, j, share, t < longest);
                for (var group = 0u; group < GROUPS; group++) {
                    if takes(share, group) {
                        middle(t, first_of(workgroup.x, group), group, j, products[group]);
                    }
                }
            }
            workgroupBarrier();
        }
        for (var j = worker; j < u.hidden_size; j += WORKERS) {
            let from_gate = select(0u, FIRST_STAGE, FIRST_STAGE < GATES);
            let base = select(now, OUTPUTS, FIRST_STAGE < GATES);
            let products = products_of(from_gate, GATES, base, j, share, t < longest);
            for (var group = 0u; group < GROUPS; group++) {
                if takes(share, group) {
                    unit(t, first_of(workgroup.x, group), group, j, now, products[group]);
                }
            }
        }
        workgroupBarrier();
        if PROJECTED {
            for (var p = worker; p < u.output_size; p += WORKERS) {
                for (var group = 0u; group < GROUPS; group++) {
                    let first = first_of(workgroup.x, group);
                    let at = p * GROUPS + group;
                    let product = project(group, p, share, t < longest);
                    if takes(share, group) {
                        vectors[at] = finish_projection(t, first, p, load_lengths(first), vectors[at], product);
                    }
                }
            }
            workgroupBarrier();
        } else if FIRST_STAGE == GATES {
            now = OUTPUTS - now;
        }
    }
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
