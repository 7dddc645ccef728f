// One time step of a layer, for sizes whose scan would not pay: a workgroup takes four sequences and WIDTH units.
// Stage 0 of a cell of two stages leaves in its last slot what stage 1 multiplies, that of a projected layer behind it.

struct StepForward {
    weights: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, t: u32, stage: u32, has_bias: u32,
}

@group(1) @binding(0) var<uniform> u: StepForward;

const GROUPS = 1u;         // of four sequences, of a workgroup
override WIDTH: u32 = 64;  // invocations, units and the piece of the vector held at a time

var<workgroup> piece: array<Rows, WIDTH>;

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.y * 4u;
    let unit = workgroup.x * WIDTH + lane;
    let second = u.stage == 1u;
    let projects = PROJECTED && second;
    // The projection has no bias and one product only, which takes the place of the first gate's.
    let from_gate = select(0u, FIRST_STAGE, second && !projects);
    let to_gate = select(select(FIRST_STAGE, GATES, second), 1u, projects);
    let count = select(u.hidden_size, u.output_size, projects);  // of what comes out
    let terms = select(u.output_size, u.hidden_size, second);  // of a product
    let columns = select(GATES * u.hidden_size, u.output_size, projects);
    let j = min(unit, count - 1u);
    let matrix = select(0u, (u.output_size + 3u) / 4u * GATES * u.hidden_size, projects);
    let column = matrix + j;
    var products: Products;
    if !projects {
        for (var gate = from_gate; gate < to_gate; gate++) {
            products[0][gate] = load_bias(gate, j);
        }
    }
    for (var start = 0u; start < terms; start += WIDTH) {
        let k_own = min(start + lane, terms - 1u);
        if second {
            piece[lane] = load_gate(u.t, first, select(SLOTS - 1u, SLOTS, PROJECTED), k_own);
        } else {
            piece[lane] = load_h(u.t, first, k_own);
        }
        workgroupBarrier();
        let end = min(start + WIDTH, terms);
        var k = start;
        for (; k + 3u < end; k += 4u) {
            let four = load_weights(from_gate, to_gate, column + k / 4u * columns, false);
            let at = k - start;
            add_four(&products, 0u, from_gate, to_gate, four, piece[at], piece[at + 1u], piece[at + 2u], piece[at + 3u]);
        }
        for (; k < end; k++) {
            let four = load_weights(from_gate, to_gate, column + k / 4u * columns, false);
            add_one(&products, 0u, from_gate, to_gate, four, k % 4u, piece[k - start]);
        }
        workgroupBarrier();
    }
    if unit >= count {
        return;
    }
    let steps = load_lengths(first);
    if projects {
        finish_projection(u.t, first, j, steps, load_h(u.t, first, j), products[0][0]);
        return;
    }
    var slots = load_gates(u.t, first, j);
    var h_before = Rows(0.0);
    if !PROJECTED {
        h_before = load_h(u.t, first, j);
    }
    if FIRST_STAGE < GATES && !second {
        cell_middle(&slots, products[0], h_before);
        for (var slot = 0u; slot < SLOTS; slot++) {
            slots[slot] = select(Rows(0.0), slots[slot], vec4<u32>(u.t) < steps);
        }
        store_gates(u.t, first, j, slots);
        return;
    }
    var c_now = load_c(u.t, first, j);
    let h_now = cell_forward(&slots, products[0], load_peephole(j), h_before, &c_now);
    finish_unit(u.t, first, j, steps, slots, c_now);
    if PROJECTED {
        finish_projected_unit(u.t, first, j, steps, h_now);
    } else {
        finish_output(u.t, first, j, steps, h_before, h_now);
    }
}
