// Computes the weight of one output in the mean over the labelled outputs:
// weight = [1 / max(count, 1), count].

struct LabelWeight { labels: u32, weight: u32, rows: u32 }

@group(0) @binding(0) var<storage, read> labels: array<u32>;        // [rows]
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;  // [2]
@group(1) @binding(0) var<uniform> u: LabelWeight;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var count = 0.0;
    for (var row = lane; row < u.rows; row += LANES) {
        if labels[u.labels + row] != IGNORE {
            count += 1.0;
        }
    }
    count = sum_of_all(lane, count);
    if lane == 0u {
        weight[u.weight] = 1.0 / max(count, 1.0);
        weight[u.weight + 1u] = count;
    }
}
