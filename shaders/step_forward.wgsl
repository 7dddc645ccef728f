// Computes one stage of a time step of a layer, for layers that are too large for a scan. A
// workgroup takes four sequences and WIDTH units. Stage 0 stores the operand of stage 1: a cell's
// middle in the last slot, or a projected layer's m behind the slots. Twin:
// src/kernels/recurrence/forward.rs.

struct StepForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    t: u32, has_bias: u32,
}

@group(1) @binding(0) var<uniform> u: StepForward;

const GROUPS = 1u;         // groups of four sequences in a workgroup
override WIDTH: u32 = 64;  // invocations, units, and elements of the operand loaded at a time
// A constant, so that the gates of a stage, which index arrays of an invocation, are constants too.
override STAGE: u32 = 0u;

// With masks of the gates: h, then h times the mask of each gate.
override OPERAND_SIZE: u32 = (1u + u32(DROPS_RECURRENT) * FIRST_GATES) * WIDTH;
var<workgroup> operand: array<Rows, OPERAND_SIZE>;

// Adds four terms of the inner dimension, whose values begin at `at`.
fn add_operand(
    products: ptr<function, Products>, from_gate: u32, to_gate: u32, factors: Weights, at: u32,
) {
    let x = operand[at];
    let y = operand[at + 1u];
    let z = operand[at + 2u];
    let w = operand[at + 3u];
    add_four(products, 0u, from_gate, to_gate, factors, x, y, z, w);
}

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = workgroup.y * 4u;
    let unit = workgroup.x * WIDTH + lane;
    let second = STAGE == 1u;
    let projects = PROJECTED && second;
    // The projection has no bias, and one product, in the place of the first gate's.
    let from_gate = select(0u, FIRST_STAGE, second && !projects);
    let stage_gates = select(min(FIRST_STAGE, RECURRENT_GATES), RECURRENT_GATES, second);
    let to_gate = select(stage_gates, 1u, projects);
    let count = select(u.hidden_size, u.output_size, projects);  // elements of the result
    let inner = select(u.output_size, u.hidden_size, second);
    let columns = select(RECURRENT_GATES * u.hidden_size, u.output_size, projects);
    let j = min(unit, count - 1u);
    let recurrent_size = (u.output_size + 3u) / 4u * RECURRENT_GATES * u.hidden_size;
    let column = select(0u, recurrent_size, projects) + j;
    var products: Products;
    if !projects {
        for (var gate = from_gate; gate < to_gate; gate++) {
            products[0][gate] = load_bias(gate, j);
        }
    }
    let terms = select(inner, 0u, from_gate == to_gate);
    for (var start = 0u; start < terms; start += WIDTH) {
        let k_own = min(start + lane, terms - 1u);
        if second {
            operand[lane] = load_slot(u.t, first, select(SLOTS - 1u, SLOTS, PROJECTED), k_own);
        } else {
            let h_own = load_h(u.t, first, k_own);
            operand[lane] = h_own;
            for (var gate = 0u; gate < FIRST_GATES && DROPS_RECURRENT; gate++) {
                let mask = load_gate_mask(u.t, first, gate, k_own);
                operand[(1u + gate) * WIDTH + lane] = h_own * mask;
            }
        }
        workgroupBarrier();
        let end = min(start + WIDTH, terms);
        var k = start;
        for (; k + 3u < end; k += 4u) {
            let factors = load_weights(from_gate, to_gate, column + k / 4u * columns, false);
            if DROPS_RECURRENT && !second {
                for (var gate = from_gate; gate < to_gate; gate++) {
                    let at = (1u + gate) * WIDTH + k - start;
                    add_operand(&products, gate, gate + 1u, factors, at);
                }
            } else {
                add_operand(&products, from_gate, to_gate, factors, k - start);
            }
        }
        for (; k < end; k++) {
            let factors = load_weights(from_gate, to_gate, column + k / 4u * columns, false);
            if DROPS_RECURRENT && !second {
                for (var gate = from_gate; gate < to_gate; gate++) {
                    let value = operand[(1u + gate) * WIDTH + k - start];
                    add_one(&products, 0u, gate, gate + 1u, factors, k % 4u, value);
                }
            } else {
                add_one(&products, 0u, from_gate, to_gate, factors, k % 4u, operand[k - start]);
            }
        }
        workgroupBarrier();
    }
    if unit >= count {
        return;
    }
    let length = load_lengths(first);
    if projects {
        let h_before = load_h(u.t, first, j);
        finish_projection(u.t, first, j, length, h_before, products[0][0]);
        return;
    }
    var slots = load_slots(u.t, first, j);
    var h_before = Rows(0.0);
    if !PROJECTED {
        h_before = load_h(u.t, first, j);
    }
    if HAS_MIDDLE && !second {
        if DROPS_RECURRENT {
            h_before *= load_gate_mask(u.t, first, FIRST_STAGE, j);
        }
        cell_middle(&slots, products[0], h_before);
        for (var slot = 0u; slot < SLOTS; slot++) {
            slots[slot] = select(Rows(0.0), slots[slot], Counts(u.t) < length);
        }
        store_slots(u.t, first, j, slots);
        return;
    }
    let c_before = load_c(u.t, first, j);
    var c_now = c_before;
    let h_after = cell_forward(&slots, products[0], load_peephole(j), h_before, &c_now);
    store_unit(u.t, first, j, length, slots, keep_cell(u.t, first, j, c_before, c_now));
    if PROJECTED {
        store_projected_unit(u.t, first, j, length, h_after);
    } else {
        finish_output(u.t, first, j, length, h_before, h_after);
    }
}
