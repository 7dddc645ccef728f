// Walks time steps begin..end of a layer for four sequences a workgroup, with their h in workgroup memory.

struct ScanForward {
    recurrent_t: u32, bias: u32, gates: u32, h: u32, c: u32, last: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, begin: u32, end: u32, has_bias: u32,
}

@group(0) @binding(0) var<storage, read> recurrent_t: array<f32>;  // [H, G*H]: R transposed
@group(0) @binding(1) var<storage, read> bias: array<f32>;         // [G*H]: b_hh
@group(0) @binding(2) var<storage, read_write> gates: array<f32>;  // [T, B, SLOTS, H]: in W x + b_ih, out slots
@group(0) @binding(3) var<storage, read_write> h: array<f32>;      // [T+1, B, H]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;      // [T+1, B, H]
@group(0) @binding(5) var<storage, read_write> last: array<f32>;   // [S, B, H]: states after the last valid step
@group(0) @binding(6) var<storage, read> lengths: array<u32>;      // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;     // [3, H]: w_i, w_f, w_o
@group(1) @binding(0) var<uniform> u: ScanForward;

override WIDTH: u32 = 64;  // invocations
override UNITS: u32 = 64;  // H

// A cell of one stage: h, twice, to read one while writing the other. Of two stages: h, and what is between them.
var<workgroup> vectors: array<Rows, 2u * UNITS>;

// Adds rows of R, for gates from..to of unit j, times the vector that starts at `base`.
fn add_products(product: ptr<function, array<Rows, GATES>>, from_gate: u32, to_gate: u32, base: u32, j: u32) {
    for (var k = 0u; k < u.hidden_size; k++) {
        let value = vectors[base + k];
        let row = u.recurrent_t + k * GATES * u.hidden_size + j;
        for (var gate = from_gate; gate < to_gate; gate++) {
            (*product)[gate] += recurrent_t[row + gate * u.hidden_size] * value;
        }
    }
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * 4u;
    for (var j = lane; j < u.hidden_size; j += WIDTH) {
        vectors[j] = load_h(u.begin, first, j);
    }
    workgroupBarrier();
    var now = 0u;
    for (var t = u.begin; t < u.end; t++) {
        if FIRST_STAGE < GATES {
            let length = load_lengths(first);
            for (var j = lane; j < u.hidden_size; j += WIDTH) {
                var product: array<Rows, GATES>;
                for (var gate = 0u; gate < FIRST_STAGE; gate++) {
                    product[gate] = load_bias(gate, j);
                }
                add_products(&product, 0u, FIRST_STAGE, 0u, j);
                var slots = load_gates(t, first, j);
                cell_middle(&slots, product, vectors[j]);
                slots[SLOTS - 1u] = select(Rows(0.0), slots[SLOTS - 1u], vec4<u32>(t) < length);
                store_gates(t, first, j, slots);
                vectors[UNITS + j] = slots[SLOTS - 1u];
            }
            workgroupBarrier();
        }
        for (var j = lane; j < u.hidden_size; j += WIDTH) {
            var product: array<Rows, GATES>;
            let from_gate = select(0u, FIRST_STAGE, FIRST_STAGE < GATES);
            for (var gate = from_gate; gate < GATES; gate++) {
                product[gate] = load_bias(gate, j);
            }
            add_products(&product, from_gate, GATES, select(now, UNITS, FIRST_STAGE < GATES), j);
            var slots = load_gates(t, first, j);
            let h_before = vectors[now + j];
            var c_now = load_c(t, first, j);
            let h_now = cell_forward(&slots, product, load_peephole(j), h_before, &c_now);
            let h_next = finish_step(t, first, j, slots, h_before, h_now, c_now);
            if FIRST_STAGE < GATES {
                vectors[j] = h_next;
            } else {
                vectors[(UNITS - now) + j] = h_next;
            }
        }
        workgroupBarrier();
        if FIRST_STAGE == GATES {
            now = UNITS - now;
        }
    }
}
