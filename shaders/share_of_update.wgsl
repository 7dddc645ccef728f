// Multiplies the gradient of a batch's mean loss by the batch's sum of weights over that of all
// batches of the update; an invocation takes one element.

struct ShareOfUpdate {
    weight: u32, update_weights: u32, control: u32, gradient: u32,
    factor: f32, count: u32,
}

@group(0) @binding(0) var<storage, read> weight: array<f32>;          // [2]
@group(0) @binding(1) var<storage, read> update_weights: array<f32>;  // [rows of the history]
@group(0) @binding(2) var<storage, read> control: array<u32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;  // [count]
@group(1) @binding(0) var<uniform> u: ShareOfUpdate;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.count {
        return;
    }
    let row = control[u.control + CONTROL_ROW];
    let ratio = weight[u.weight] * update_weights[u.update_weights + row];
    // Without a weight above 0, the batch has no gradient.
    var share = 0.0;
    if ratio > 0.0 {
        share = u.factor / ratio;
    }
    gradient[u.gradient + at] *= share;
}
