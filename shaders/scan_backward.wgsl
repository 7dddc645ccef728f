// Walks time steps end..begin of a layer backwards for four sequences a workgroup, the gates' gradients of the step in
// hand in workgroup memory. Past the end of the longest of them there are no products to take back. Weight gradients are left
// to products over all steps at once.

struct ScanBackward {
    recurrent: u32, gates: u32, h: u32, c: u32, upstream: u32, dstate: u32, lengths: u32, peephole: u32,
    steps: u32, batch: u32, hidden_size: u32, output_size: u32, row_size: u32, begin: u32, end: u32, has_upstream: u32, given_states: u32,
}

@group(0) @binding(0) var<storage, read> recurrent: array<f32>;     // [G*H, P]: R; then W_hr [P, H]
@group(0) @binding(1) var<storage, read_write> gates: array<f32>;   // [T, B, row_size]: in slots, out gradients
@group(0) @binding(2) var<storage, read> h: array<f32>;             // [T+1, B, P]
@group(0) @binding(3) var<storage, read> c: array<f32>;             // [T+1, B, H]
@group(0) @binding(4) var<storage, read> upstream: array<f32>;      // [T, B, P]
@group(0) @binding(5) var<storage, read_write> dstate: array<f32>;  // [B, P], [B, H]: gradients of the states, last to first
@group(0) @binding(6) var<storage, read> lengths: array<u32>;       // [B]
@group(0) @binding(7) var<storage, read> peephole: array<f32>;      // [3, H]: w_i, w_f, w_o
@group(1) @binding(0) var<uniform> u: ScanBackward;

override WIDTH: u32 = 64;  // invocations
override UNITS: u32 = 64;  // H
override OUTPUTS: u32 = 64;  // P

// Behind the gates' gradients, those of a projection's product.
var<workgroup> dgates: array<Rows, GATES * UNITS + u32(PROJECTED) * OUTPUTS>;

// The gradient that reaches element p of the vector that gates from..to multiply.
fn products_back(from_gate: u32, to_gate: u32, p: u32) -> Rows {
    var sum = Rows(0.0);
    for (var gate = from_gate; gate < to_gate; gate++) {
        let row = u.recurrent + gate * u.hidden_size * u.output_size + p;
        for (var k = 0u; k < u.hidden_size; k++) {
            sum += recurrent[row + k * u.output_size] * dgates[gate * UNITS + k];
        }
    }
    return sum;
}

// The gradient that reaches unit j through W_hr.
fn projection_back(j: u32) -> Rows {
    var sum = Rows(0.0);
    let column = u.recurrent + GATES * u.hidden_size * u.output_size + j;
    for (var p = 0u; p < u.output_size; p++) {
        sum += recurrent[column + p * u.hidden_size] * dgates[GATES * UNITS + p];
    }
    return sum;
}

// The gradient of h after step t - 1.
fn load_dh(t: u32, first: u32, p: u32) -> Rows {
    if t < u.end || u.given_states > 0u {
        return load_dstate(0u, first, p);
    }
    return Rows(0.0);
}

@compute @workgroup_size(WIDTH)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let first = workgroup.x * 4u;
    let longest = longest(load_lengths(first));
    for (var t = u.end; t > u.begin; t--) {
        let valid = t <= longest;
        if PROJECTED {
            for (var p = lane; p < u.output_size; p += WIDTH) {
                dgates[GATES * UNITS + p] = projection_backward(t - 1u, first, p, load_dh(t, first, p));
            }
            workgroupBarrier();
        }
        for (var j = lane; j < u.hidden_size; j += WIDTH) {
            var dh: Rows;
            if PROJECTED {
                if valid {
                    dh = projection_back(j);
                }
            } else {
                dh = load_dh(t, first, j);
            }
            var dc = Rows(0.0);
            if STATES > 1u && (t < u.end || u.given_states > 1u) {
                dc = load_dstate(1u, first, j);
            }
            let slots = unit_backward(t - 1u, first, j, dh, dc);
            for (var gate = select(0u, FIRST_STAGE, FIRST_STAGE < GATES); gate < GATES; gate++) {
                var values = slots;
                dgates[gate * UNITS + j] = values[product_slot(gate)];
            }
        }
        workgroupBarrier();
        if FIRST_STAGE < GATES {
            for (var j = lane; j < u.hidden_size; j += WIDTH) {
                var dmiddle = Rows(0.0);
                if valid {
                    dmiddle = products_back(FIRST_STAGE, GATES, j);
                }
                var slots = unit_middle_backward(t - 1u, first, j, dmiddle);
                for (var gate = 0u; gate < FIRST_STAGE; gate++) {
                    dgates[gate * UNITS + j] = slots[product_slot(gate)];
                }
            }
            workgroupBarrier();
        }
        for (var p = lane; p < u.output_size; p += WIDTH) {
            if valid {
                store_dstate(0u, first, p, load_dstate(0u, first, p) + products_back(0u, FIRST_STAGE, p));
            }
        }
        workgroupBarrier();
    }
}
