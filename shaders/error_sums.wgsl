// Adds the errors of one target's predictions to the sums so far: at the last valid step of each
// sequence.

struct ErrorSums {
    outputs: u32, targets: u32, labels: u32, lengths: u32, sums: u32,
    rows: u32, size: u32, batch: u32,
}

@group(0) @binding(0) var<storage, read> outputs: array<f32>;     // [rows, size]
@group(0) @binding(1) var<storage, read> targets: array<f32>;     // [rows]
@group(0) @binding(2) var<storage, read> labels: array<u32>;      // [rows]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;     // [B]
@group(0) @binding(4) var<storage, read_write> sums: array<f32>;  // [3]: absolute, squared, number
@group(1) @binding(0) var<uniform> u: ErrorSums;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var absolute = 0.0;
    var squared = 0.0;
    var number = 0.0;
    for (var b = lane; b < u.batch; b += LANES) {
        let length = min(lengths[u.lengths + b], u.rows / u.batch);
        let row = (max(length, 1u) - 1u) * u.batch + b;
        if length > 0u && labels[u.labels + row] != IGNORE {
            let error = outputs[u.outputs + row * u.size] - targets[u.targets + row];
            absolute += abs(error);
            squared += error * error;
            number += 1.0;
        }
    }
    absolute = sum_of_all(lane, absolute);
    squared = sum_of_all(lane, squared);
    number = sum_of_all(lane, number);
    if lane == 0u {
        sums[u.sums] += absolute;
        sums[u.sums + 1u] += squared;
        sums[u.sums + 2u] += number;
    }
}
