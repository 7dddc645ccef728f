// One time step of a layer backwards, for sizes whose scan would not pay: a workgroup takes four sequences and WIDTH
// units. Stage 0 takes the gates' gradients of step t + 1 back through the product, then a unit's part of step t (of a
// projected layer, an output's); stage 1, for two stages, takes the second product of step t back, then what lies before
// it; stage 2 ends the walk: only the product.

struct StepBackward {
    weights: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, t: u32, stage: u32, has_upstream: u32, given_states: u32,
}

@group(1) @binding(0) var<uniform> u: StepBackward;

override WIDTH: u32 = 64;  // invocations, units and the piece of the gradients held at a time

var<workgroup> piece: array<Rows, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.y * 4u;
    let unit = workgroup.x * WIDTH + lane;
    let second = u.stage == 1u;
    let count = select(u.output_size, u.hidden_size, second);  // of what comes out
    let j = min(unit, count - 1u);
    let newest = u.stage < 2u && u.t + 1u == u.steps;
    var sum = Rows(0.0);
    if second || !newest {
        // Stages 0 and 2 take back the step after the one in hand (2 is called with t = -1).
        let from_step = select(u.t + 1u, u.t, second);
        let from_gate = select(0u, FIRST_STAGE, second);
        // A projection goes as one gate more, of P rows.
        let to_gate = select(FIRST_STAGE, GATES + u32(PROJECTED), second);
        let rows = select(u.hidden_size, u.output_size, PROJECTED && second);
        for (var gate = from_gate; gate < to_gate; gate++) {
            let slot = select(product_slot(gate), SLOTS + 1u, gate == GATES);
            let column = gate * ((u.hidden_size + 3u) / 4u) * u.output_size + j;
            for (var start = 0u; start < rows; start += WIDTH) {
                piece[lane] = load_gate(from_step, first, slot, min(start + lane, rows - 1u));
                workgroupBarrier();
                let end = min(start + WIDTH, rows);
                var k = start;
                for (; k + 3u < end; k += 4u) {
                    let at = k - start;
                    let factors = load_weight(column + k / 4u * count, false);
                    sum = plus_four(sum, factors, piece[at], piece[at + 1u], piece[at + 2u], piece[at + 3u]);
                }
                for (; k < end; k++) {
                    sum += load_weight(column + k / 4u * count, false)[k % 4u] * piece[k - start];
                }
                workgroupBarrier();
            }
        }
    }
    if unit >= count {
        return;
    }
    if FIRST_STAGE < GATES && second {
        unit_middle_backward(u.t, first, j, sum);
        return;
    }
    if !second && (!newest || u.given_states > 0u) {
        sum += load_dstate(0u, first, j);
    }
    if u.stage == 2u {
        store_dstate(0u, first, j, sum);
        return;
    }
    if PROJECTED && !second {
        projection_backward(u.t, first, j, sum);
        return;
    }
    var dc = Rows(0.0);
    if STATES > 1u && (!newest || u.given_states > 1u) {
        dc = load_dstate(1u, first, j);
    }
    unit_backward(u.t, first, j, sum, dc);
}
