// Walks time steps end..begin of a layer backwards for GROUPS groups of four sequences a workgroup, the gates' gradients of
// the step in hand in workgroup memory. Past the end of the longest of them there are only zeros to store. Weight gradients are left
// to products over all steps at once.

struct ScanBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, begin: u32, end: u32, has_upstream: u32, given_states: u32,
}

@group(1) @binding(0) var<uniform> u: ScanBackward;

// Behind the gates' gradients, those of a projection's product.
var<workgroup> dgates: array<Rows, (GATES * UNITS + u32(PROJECTED) * OUTPUTS) * GROUPS>;

// An invocation's elements lie so far apart, of `count`.
fn stride_of(count: u32) -> u32 {
    return (count + EACH - 1u) / EACH;
}

alias Sums = array<array<Rows, GROUPS>, EACH>;
// Of four terms.
alias Weights = array<vec4<f32>, EACH>;

// What elements p, p + stride, ... weigh the four terms of a row by.
fn load_weights(row: u32, p: u32, stride: u32, is_kept: bool) -> Weights {
    var four: Weights;
    for (var e = 0u; e < EACH; e++) {
        four[e] = load_weight(row * u.output_size + min(p + e * stride, u.output_size - 1u), is_kept);
    }
    return four;
}

// Adds the four terms from `at` on to the sums of all groups.
fn add_terms(sums: ptr<function, Sums>, factors: Weights, at: u32) {
    var four = factors;
    for (var group = 0u; group < GROUPS; group++) {
        let first = at * GROUPS + group;
        let x = dgates[first];
        let y = dgates[first + GROUPS];
        let z = dgates[first + 2u * GROUPS];
        let w = dgates[first + 3u * GROUPS];
        for (var e = 0u; e < EACH; e++) {
            (*sums)[e][group] = plus_four((*sums)[e][group], four[e], x, y, z, w);
        }
    }
}

// The gradients that reach elements p, p + stride, ... of the vector that gates from..to multiply.
fn products_back(from_gate: u32, to_gate: u32, p: u32, share: u32) -> Sums {
    var sums: Sums;
    let stride = stride_of(u.output_size);
    let fours = u.hidden_size / 4u;
    let rows = (u.hidden_size + 3u) / 4u;  // of a gate
    let kept_rows = KEPT / u.output_size;
    for (var gate = from_gate; gate < to_gate; gate++) {
        let row = gate * rows;
        let at = gate * UNITS;
        var four = share;
        for (; four < min(max(kept_rows, row) - row, fours); four += LANES) {
            add_terms(&sums, load_weights(row + four, p, stride, true), at + four * 4u);
        }
        for (; four < fours; four += LANES) {
            add_terms(&sums, load_weights(row + four, p, stride, false), at + four * 4u);
        }
        // What is left over is the last lane's, whose terms may be fewer.
        for (var k = select(u.hidden_size, fours * 4u, share == LANES - 1u); k < u.hidden_size; k++) {
            var rest = load_weights(row + fours, p, stride, false);
            for (var group = 0u; group < GROUPS; group++) {
                for (var e = 0u; e < EACH; e++) {
                    sums[e][group] += rest[e][k % 4u] * dgates[(at + k) * GROUPS + group];
                }
            }
        }
    }
    for (var e = 0u; e < EACH; e++) {
        for (var group = 0u; group < GROUPS; group++) {
            sums[e][group] = sum_of_lanes(sums[e][group]);
        }
    }
    return sums;
}

// The gradient that reaches unit j through W_hr.
fn projection_back(group: u32, j: u32, share: u32) -> Rows {
    var sum = Rows(0.0);
    let first = GATES * ((u.hidden_size + 3u) / 4u) * u.output_size + j;
    let fours = u.output_size / 4u;
    for (var four = share; four < fours; four += LANES) {
        let at = (GATES * UNITS + four * 4u) * GROUPS + group;
        let factors = load_weight(first + four * u.hidden_size, false);
        sum = plus_four(sum, factors, dgates[at], dgates[at + GROUPS], dgates[at + 2u * GROUPS], dgates[at + 3u * GROUPS]);
    }
    for (var p = select(u.output_size, fours * 4u, share == LANES - 1u); p < u.output_size; p++) {
        sum += load_weight(first + fours * u.hidden_size, false)[p % 4u] * dgates[(GATES * UNITS + p) * GROUPS + group];
    }
    return sum_of_lanes(sum);
}

// Adds to the gradient of h.
fn add_dstate(first: u32, p: u32, value: Rows) {
    store_dstate(0u, first, p, load_dstate(0u, first, p) + value);
}

// A unit's part of step t - 1. The gradient of what it gives is `projected`, where the layer projects.
fn unit(t: u32, first: u32, group: u32, j: u32, projected: Rows) {
    var dh = projected;
    if !PROJECTED {
        dh = load_dstate(0u, first, j);
    }
    var dc = Rows(0.0);
    if STATES > 1u {
        dc = load_dstate(1u, first, j);
    }
    var slots = unit_backward(t - 1u, first, j, dh, dc);
    for (var gate = select(0u, FIRST_STAGE, FIRST_STAGE < GATES); gate < GATES; gate++) {
        dgates[(gate * UNITS + j) * GROUPS + group] = slots[product_slot(gate)];
    }
}

// The same of the first stage within a cell, from the gradient of what lies between the two.
fn middle(t: u32, first: u32, group: u32, j: u32, dmiddle: Rows) {
    var slots = unit_middle_backward(t - 1u, first, j, dmiddle);
    for (var gate = 0u; gate < FIRST_STAGE; gate++) {
        dgates[(gate * UNITS + j) * GROUPS + group] = slots[product_slot(gate)];
    }
}

// What the sequences of a group have past the end of all, and states whose gradient is not given.
fn begin_group(first: u32, worker: u32, top: u32) {
    for (var p = worker; p < u.output_size; p += WORKERS) {
        if u.given_states < 1u {
            store_dstate(0u, first, p, Rows(0.0));
        }
        for (var t = top; t < u.end && PROJECTED; t++) {
            store_gate(t, first, SLOTS + 1u, p, Rows(0.0));
        }
    }
    for (var j = worker; j < u.hidden_size; j += WORKERS) {
        if STATES > 1u && u.given_states < 2u {
            store_dstate(1u, first, j, Rows(0.0));
        }
        for (var t = top; t < u.end; t++) {
            for (var slot = 0u; slot < SLOTS; slot++) {
                store_gate(t, first, slot, j, Rows(0.0));
            }
        }
    }
}

// Invocations take each other's elements of `dstate` on where each has several.
fn barrier() {
    workgroupBarrier();
    if EACH > 1u {
        storageBarrier();
    }
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    keep_weights(lane);
    let top = clamp(longest_of(workgroup.x), u.begin, u.end);
    let worker = lane / LANES;
    let share = lane % LANES;
    for (var group = 0u; group < GROUPS; group++) {
        if takes(share, group) {
            begin_group(first_of(workgroup.x, group), worker, top);
        }
    }
    for (var t = top; t > u.begin; t--) {
        if PROJECTED {
            for (var p = worker; p < u.output_size; p += WORKERS) {
                for (var group = 0u; group < GROUPS; group++) {
                    if takes(share, group) {
                        let first = first_of(workgroup.x, group);
                        let d = projection_backward(t - 1u, first, p, load_dstate(0u, first, p));
                        dgates[(GATES * UNITS + p) * GROUPS + group] = d;
                    }
                }
            }
            barrier();
        }
        for (var j = worker; j < u.hidden_size; j += WORKERS) {
            for (var group = 0u; group < GROUPS; group++) {
                var projected = Rows(0.0);
                if PROJECTED {
                    projected = projection_back(group, j, share);
                }
                if takes(share, group) {
                    unit(t, first_of(workgroup.x, group), group, j, projected);
                }
            }
        }
        barrier();
        if FIRST_STAGE < GATES {
            let stride = stride_of(u.hidden_size);
            for (var j = worker; j < stride; j += WORKERS) {
                var dmiddle = products_back(FIRST_STAGE, GATES, j, share);
                for (var e = 0u; e < EACH; e++) {
                    for (var group = 0u; group < GROUPS && j + e * stride < u.hidden_size; group++) {
                        if takes(share, group) {
                            middle(t, first_of(workgroup.x, group), group, j + e * stride, dmiddle[e][group]);
                        }
                    }
                }
            }
            barrier();
        }
        let stride = stride_of(u.output_size);
        for (var p = worker; p < stride; p += WORKERS) {
            var sums = products_back(0u, FIRST_STAGE, p, share);
            for (var e = 0u; e < EACH; e++) {
                for (var group = 0u; group < GROUPS && p + e * stride < u.output_size; group++) {
                    if takes(share, group) {
                        add_dstate(first_of(workgroup.x, group), p + e * stride, sums[e][group]);
                    }
                }
            }
        }
        barrier();
    }
}
