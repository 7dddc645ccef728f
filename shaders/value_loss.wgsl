// Computes a loss of target values and its gradient; an invocation takes one row. The loss is a part
// of its own: OUTPUTS outputs for each target, of which TERMS are averaged, and `loss_of`.

struct ValueLoss {
    predictions: u32, targets: u32, labels: u32, weight: u32, dpredictions: u32, scores: u32,
    rows: u32, width: u32, delta: f32,
}

@group(0) @binding(0) var<storage, read> predictions: array<f32>;  // [rows, OUTPUTS * K]
@group(0) @binding(1) var<storage, read> targets: array<f32>;      // [rows, K]: MISSING
@group(0) @binding(2) var<storage, read> labels: array<u32>;       // [rows]: IGNORE for no target
@group(0) @binding(3) var<storage, read> weight: array<f32>;       // [2]
@group(0) @binding(4) var<storage, read_write> dpredictions: array<f32>;  // [rows, OUTPUTS * K]
@group(0) @binding(5) var<storage, read_write> scores: array<f32>;  // [2, rows]: losses, zeros
@group(1) @binding(0) var<uniform> u: ValueLoss;

// The loss of one output, and its gradient.
struct OutputLoss { loss: f32, gradient: f32 }

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if row >= u.rows {
        return;
    }
    let ignored = labels[u.labels + row] == IGNORE;
    var present = 0u;
    for (var k = row * u.width; k < (row + 1u) * u.width; k++) {
        present += u32(!is_missing(k));
    }
    let share = 1.0 / f32(max(present, 1u) * TERMS);
    let scale = weight[u.weight] * share;
    var sum = 0.0;
    for (var k = 0u; k < u.width; k++) {
        let at = row * u.width + k;
        let absent = ignored || is_missing(at);
        let first = row * u.width * OUTPUTS + k;
        for (var j = 0u; j < OUTPUTS; j++) {
            let each = loss_of(first, j, targets[u.targets + at]);
            sum += select(each.loss, 0.0, absent);
            let gradient = select(each.gradient * scale, 0.0, absent);
            dpredictions[u.dpredictions + first + j * u.width] = gradient;
        }
    }
    scores[u.scores + row] = sum * share;
    scores[u.scores + u.rows + row] = 0.0;
}

// Output j of the target whose first output is at `first`.
fn output(first: u32, j: u32) -> f32 {
    return predictions[u.predictions + first + j * u.width];
}

// Compares bits, which no driver's fast floating-point mode changes.
fn is_missing(k: u32) -> bool {
    return bitcast<u32>(targets[u.targets + k]) == MISSING_BITS;
}
