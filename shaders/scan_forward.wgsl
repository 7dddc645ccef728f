// Walks time steps begin..end of a layer for four sequences a workgroup, with their h in workgroup memory. Past the end of
// the longest of them there are no products to take.

struct ScanForward {
    recurrent_t: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, begin: u32, end: u32, has_bias: u32,
}

@group(0) @binding(0) var<storage, read> recurrent_t: array<f32>;  // [P, G*H]: R transposed; then W_hr's transpose [H, P]
@group(0) @binding(1) var<storage, read> bias: array<f32>;         // [G*H]: b_hh
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;  // [T, B, row_size]: in W x + b_ih, out slots
@group(0) @binding(3) var<storage, read_write> h: array<f32>;      // [T+1, B, P]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;      // [T+1, B, H]
@group(0) @binding(5) var<storage, read_write> last: array<f32>;   // [B, P], [B, H]: states after the last valid step
@group(0) @binding(6) var<storage, read> lengths: array<u32>;      // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;     // [3, H]: w_i, w_f, w_o
@group(1) @binding(0) var<uniform> u: ScanForward;

override WIDTH: u32 = 64;  // invocations
override UNITS: u32 = 64;  // H
override OUTPUTS: u32 = 64;  // P

// A layer of one stage: h, twice, to read one while writing the other. Of two stages: h, and what is between them.
var<workgroup> vectors: array<Rows, OUTPUTS + UNITS>;

// Adds rows of R, for gates from..to of unit j, times the vector that starts at `base`.
fn add_products(product: ptr<function, array<Rows, GATES>>, from_gate: u32, to_gate: u32, base: u32, j: u32) {
    for (var k = 0u; k < u.output_size; k++) {
        let value = vectors[base + k];
        let row = u.recurrent_t + k * GATES * u.hidden_size + j;
        for (var gate = from_gate; gate < to_gate; gate++) {
            (*product)[gate] += recurrent_t[row + gate * u.hidden_size] * value;
        }
    }
}

// Output p of what lies between the stages, times W_hr.
fn project(p: u32) -> Rows {
    var sum = Rows(0.0);
    let column = u.recurrent_t + GATES * u.hidden_size * u.output_size + p;
    for (var k = 0u; k < u.hidden_size; k++) {
        sum += recurrent_t[column + k * u.output_size] * vectors[OUTPUTS + k];
    }
    return sum;
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * 4u;
    for (var p = lane; p < u.output_size; p += WIDTH) {
        vectors[p] = load_h(u.begin, first, p);
    }
    let length = load_lengths(first);
    let longest = longest(length);
    workgroupBarrier();
    var now = 0u;
    for (var t = u.begin; t < u.end; t++) {
        if FIRST_STAGE < GATES {
            for (var j = lane; j < u.hidden_size; j += WIDTH) {
                var product: array<Rows, GATES>;
                for (var gate = 0u; gate < FIRST_STAGE; gate++) {
                    product[gate] = load_bias(gate, j);
                }
                if t < longest {
                    add_products(&product, 0u, FIRST_STAGE, 0u, j);
                }
                var slots = load_gates(t, first, j);
                cell_middle(&slots, product, vectors[j]);
                slots[SLOTS - 1u] = select(Rows(0.0), slots[SLOTS - 1u], vec4<u32>(t) < length);
                store_gates(t, first, j, slots);
                vectors[OUTPUTS + j] = slots[SLOTS - 1u];
            }
            workgroupBarrier();
        }
        for (var j = lane; j < u.hidden_size; j += WIDTH) {
            var product: array<Rows, GATES>;
            let from_gate = select(0u, FIRST_STAGE, FIRST_STAGE < GATES);
            for (var gate = from_gate; gate < GATES; gate++) {
                product[gate] = load_bias(gate, j);
            }
            if t < longest {
                add_products(&product, from_gate, GATES, select(now, OUTPUTS, FIRST_STAGE < GATES), j);
            }
            var slots = load_gates(t, first, j);
            var h_before = Rows(0.0);
            if !PROJECTED {
                h_before = vectors[now + j];
            }
            var c_now = load_c(t, first, j);
            let h_now = cell_forward(&slots, product, load_peephole(j), h_before, &c_now);
            finish_unit(t, first, j, length, slots, c_now);
            if PROJECTED {
                vectors[OUTPUTS + j] = finish_projected_unit(t, first, j, length, h_now);
            } else if FIRST_STAGE < GATES {
                vectors[j] = finish_output(t, first, j, length, h_before, h_now);
            } else {
                vectors[(OUTPUTS - now) + j] = finish_output(t, first, j, length, h_before, h_now);
            }
        }
        workgroupBarrier();
        if PROJECTED {
            for (var p = lane; p < u.output_size; p += WIDTH) {
                var product = Rows(0.0);
                if t < longest {
                    product = project(p);
                }
                vectors[p] = finish_projection(t, first, p, length, vectors[p], product);
            }
            workgroupBarrier();
        } else if FIRST_STAGE == GATES {
            now = OUTPUTS - now;
        }
    }
}
