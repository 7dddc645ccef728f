// Adds the losses of one of several heads to those of all: their sum times weight[0] is the sum of
// the heads' mean losses, each times the head's weight.

struct JoinScores {
    scores: u32, head_weight: u32, weight: u32, out: u32, rows: u32, all: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<f32>;       // [2, rows]: losses, hits
@group(0) @binding(1) var<storage, read> head_weight: array<f32>;  // [2]: factor / count, count
@group(0) @binding(2) var<storage, read> weight: array<f32>;       // [2]: 1 / count, count of all
@group(0) @binding(3) var<storage, read_write> out: array<f32>;    // [2, all]: losses, zeros
@group(1) @binding(0) var<uniform> u: JoinScores;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if row >= u.all {
        return;
    }
    let share = head_weight[u.head_weight] * max(weight[u.weight + 1u], 1.0);
    // Lists have a loss for each sequence, where other heads have one for each step.
    var loss = 0.0;
    if row < u.rows {
        loss = scores[u.scores + row] * share;
    }
    if u.accumulate != 0u {
        loss += out[u.out + row];
    }
    out[u.out + row] = loss;
    out[u.out + u.all + row] = 0.0;
}
