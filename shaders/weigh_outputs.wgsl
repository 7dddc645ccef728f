// Multiplies the losses and the gradients of outputs by the outputs' weights.

struct WeighOutputs {
    weights: u32, gradient: u32, scores: u32,
    rows: u32, width: u32, outputs: u32,
}

@group(0) @binding(0) var<storage, read> weights: array<f32>;         // [rows]
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;  // [outputs, width]
@group(0) @binding(2) var<storage, read_write> scores: array<f32>;    // [2, rows]: losses, hits
@group(1) @binding(0) var<uniform> u: WeighOutputs;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.outputs * u.width {
        return;
    }
    let row = at / u.width;
    let weight = weights[u.weights + row % u.rows];
    gradient[u.gradient + at] *= weight;
    if at % u.width == 0u && row < u.rows {
        scores[u.scores + row] *= weight;
    }
}
