// Computes one stage of the backward pass of a time step of a layer, for layers that are too large
// for a scan; src/kernels/step_backward.rs describes the stages. A workgroup takes four sequences
// and WIDTH units. Twin: src/kernels/recurrence/backward.rs.

struct StepBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32,
    peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32,
    t: u32, stage: u32, has_upstream: u32, given_states: u32,
}

@group(1) @binding(0) var<uniform> u: StepBackward;

override WIDTH: u32 = 64;  // invocations, units, and gradients loaded at a time

var<workgroup> operand: array<Rows, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let first = workgroup.y * 4u;
    let unit = workgroup.x * WIDTH + lane;
    let second = u.stage == STAGE_MIDDLE;
    let count = select(u.output_size, u.hidden_size, second);  // elements of the result
    let j = min(unit, count - 1u);
    let is_latest = u.stage != STAGE_END && u.t + 1u == u.steps;
    var sum = Rows(0.0);
    if second || !is_latest {
        // Units and end multiply the gates of the step after t; at the end t is -1.
        let from_step = select(u.t + 1u, u.t, second);  // wraps
        let from_gate = select(0u, FIRST_STAGE, second);
        // The projection is one more gate, of P rows.
        let stage_gates = min(FIRST_STAGE, RECURRENT_GATES);
        let to_gate = select(stage_gates, RECURRENT_GATES + u32(PROJECTED), second);
        let rows = select(u.hidden_size, u.output_size, PROJECTED && second);
        for (var gate = from_gate; gate < to_gate; gate++) {
            let slot = select(product_slot(gate), SLOTS + 1u, gate == RECURRENT_GATES);
            let column = gate * ((u.hidden_size + 3u) / 4u) * u.output_size + j;
            var own = Rows(0.0);
            for (var start = 0u; start < rows; start += WIDTH) {
                operand[lane] = load_slot(from_step, first, slot, min(start + lane, rows - 1u));
                workgroupBarrier();
                let end = min(start + WIDTH, rows);
                var k = start;
                for (; k + 3u < end; k += 4u) {
                    let at = k - start;
                    let x = operand[at];
                    let y = operand[at + 1u];
                    let z = operand[at + 2u];
                    let w = operand[at + 3u];
                    let factors = load_weight(column + k / 4u * count, false);
                    if DROPS_RECURRENT {
                        own = add_dot4(own, factors, x, y, z, w);
                    } else {
                        sum = add_dot4(sum, factors, x, y, z, w);
                    }
                }
                for (; k < end; k++) {
                    let factors = load_weight(column + k / 4u * count, false);
                    if DROPS_RECURRENT {
                        own += factors[k % 4u] * operand[k - start];
                    } else {
                        sum += factors[k % 4u] * operand[k - start];
                    }
                }
                workgroupBarrier();
            }
            if DROPS_RECURRENT {
                // The second stage multiplies what is masked already.
                if !second {
                    own *= load_gate_mask(from_step, first, gate, j);
                }
                sum += own;
            }
        }
    }
    if unit >= count {
        return;
    }
    if HAS_MIDDLE && second {
        apply_middle_backward(u.t, first, j, sum);
        return;
    }
    if !second && (!is_latest || u.given_states > 0u) {
        sum += load_dstate(0u, first, j);
    }
    if u.stage == STAGE_END {
        store_dstate(0u, first, j, sum);
        return;
    }
    if PROJECTED && !second {
        projection_backward(u.t, first, j, sum);
        return;
    }
    var dc = Rows(0.0);
    if STATES > 1u && (!is_latest || u.given_states > 1u) {
        dc = load_dstate(1u, first, j);
    }
    apply_cell_backward(u.t, first, j, sum, dc);
}
