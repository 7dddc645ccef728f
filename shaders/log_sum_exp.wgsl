// Computes the largest value x of each row and ln of the sum of e^(value - x); a workgroup takes
// one row.

struct LogSumExp { values: u32, norms: u32, rows: u32, width: u32 }

@group(0) @binding(0) var<storage, read> values: array<f32>;       // [rows, width]
@group(0) @binding(1) var<storage, read_write> norms: array<f32>;  // [2, rows]
@group(1) @binding(0) var<uniform> u: LogSumExp;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup.x + workgroup.y * workgroups.x;
    if row >= u.rows {
        return;
    }
    let start = u.values + row * u.width;
    var largest = values[start];
    for (var k = lane; k < u.width; k += LANES) {
        largest = max(largest, values[start + k]);
    }
    largest = largest_of_all(lane, largest);
    var sum = 0.0;
    for (var k = lane; k < u.width; k += LANES) {
        sum += exp_of(values[start + k] - largest);
    }
    sum = sum_of_all(lane, sum);
    if lane == 0u {
        norms[u.norms + row] = largest;
        norms[u.norms + u.rows + row] = ln_of(sum);
    }
}
