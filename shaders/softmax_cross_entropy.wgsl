// Computes the softmax cross-entropy and its gradient; a workgroup takes one row.

struct SoftmaxCrossEntropy {
    logits: u32, labels: u32, weight: u32, dlogits: u32, scores: u32,
    rows: u32, classes: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;         // [rows, K]
@group(0) @binding(1) var<storage, read> labels: array<u32>;         // [rows]
@group(0) @binding(2) var<storage, read> weight: array<f32>;         // [2]
@group(0) @binding(3) var<storage, read_write> dlogits: array<f32>;  // [rows, K]
@group(0) @binding(4) var<storage, read_write> scores: array<f32>;   // [2, rows]: losses, hits
@group(1) @binding(0) var<uniform> u: SoftmaxCrossEntropy;

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
    let start = u.logits + row * u.classes;
    let label = labels[u.labels + row];
    let ignored = label == IGNORE;
    let own = logits[start + select(label, 0u, ignored)];
    var largest = logits[start];
    // The number of classes ranked before the label: larger, or equal and of lower index.
    var ahead = 0.0;
    for (var k = lane; k < u.classes; k += LANES) {
        let value = logits[start + k];
        largest = max(largest, value);
        if value > own || (value == own && k < label) {
            ahead += 1.0;
        }
    }
    largest = largest_of_all(lane, largest);
    ahead = sum_of_all(lane, ahead);
    var sum = 0.0;
    for (var k = lane; k < u.classes; k += LANES) {
        sum += exp_of(Rows(logits[start + k] - largest)).x;
    }
    sum = sum_of_all(lane, sum);
    let scale = select(weight[u.weight], 0.0, ignored);
    for (var k = lane; k < u.classes; k += LANES) {
        let probability = exp_of(Rows(logits[start + k] - largest)).x / sum;
        let target_k = select(0.0, 1.0, k == label);
        dlogits[u.dlogits + row * u.classes + k] = (probability - target_k) * scale;
    }
    if lane == 0u {
        scores[u.scores + row] = select(ln_of(sum) + (largest - own), 0.0, ignored);
        scores[u.scores + u.rows + row] = select(0.0, 1.0, !ignored && ahead == 0.0);
    }
}
