// Computes the factor of the mean over outputs of different weights:
// weight = [1 / sum, count], with 0 for 1 / 0.

struct TargetWeight { labels: u32, weights: u32, weight: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> labels: array<u32>;        // [rows]
@group(0) @binding(1) var<storage, read> weights: array<f32>;       // [rows]
@group(0) @binding(2) var<storage, read_write> weight: array<f32>;  // [2]
@group(1) @binding(0) var<uniform> u: TargetWeight;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var count = 0.0;
    var sum = 0.0;
    for (var row = lane; row < u.rows; row += LANES) {
        if labels[u.labels + row] != IGNORE {
            count += 1.0;
            sum += weights[u.weights + row];
        }
    }
    count = sum_of_all(lane, count);
    sum = sum_of_all(lane, sum);
    if lane == 0u {
        weight[u.weight] = select(0.0, 1.0 / sum, sum > 0.0);
        weight[u.weight + 1u] = count;
    }
}
