// Changes the cross-entropy of the true class and its gradient to those of smoothed targets; a
// workgroup takes one row.

struct LabelSmoothing {
    logits: u32, labels: u32, weight: u32, dlogits: u32, scores: u32,
    rows: u32, classes: u32, smoothing: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;         // [rows, K]
@group(0) @binding(1) var<storage, read> labels: array<u32>;         // [rows]
@group(0) @binding(2) var<storage, read> weight: array<f32>;         // [2]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // [rows, K]
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;   // [2, rows]: losses, hits
@group(1) @binding(0) var<uniform> u: LabelSmoothing;

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
    let label = labels[u.labels + row];
    if label == IGNORE {
        return;
    }
    let start = row * u.classes;
    let share = 1.0 / f32(u.classes);
    let scale = weight[u.weight];
    var sum = 0.0;
    for (var k = lane; k < u.classes; k += LANES) {
        sum += logits[u.logits + start + k];
        let moved = select(-share, 1.0 - share, k == label);
        dlogits[u.dlogits + start + k] += moved * u.smoothing * scale;
    }
    sum = sum_of_all(lane, sum);
    if lane == 0u {
        let own = logits[u.logits + start + label];
        scores[u.scores + row] += u.smoothing * (own - sum * share);
    }
}
