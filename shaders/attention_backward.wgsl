// Computes the gradient of the scores of attention,
// dscores[t] = weights[t] * (dout . (source[t] - pooled)); a workgroup takes one step of one
// sequence. Padded steps have the gradient 0.

struct AttentionBackward {
    source: u32, weights: u32, pooled: u32, dout: u32, lengths: u32, dscores: u32,
    steps: u32, batch: u32, width: u32,
}

@group(0) @binding(0) var<storage, read> source: array<f32>;         // [T, B, width]
@group(0) @binding(1) var<storage, read> weights: array<f32>;        // [T, B]
@group(0) @binding(2) var<storage, read> pooled: array<f32>;         // [B, width]
@group(0) @binding(3) var<storage, read> dout: array<f32>;           // [B, width]
@group(0) @binding(4) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(5) var<storage, read_write> dscores: array<f32>;  // [T, B]
@group(1) @binding(0) var<uniform> u: AttentionBackward;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup.x + workgroup.y * workgroups.x;
    if row >= u.steps * u.batch {
        return;
    }
    let b = row % u.batch;
    let valid = row / u.batch < lengths[u.lengths + b];
    var sum = 0.0;
    if valid {
        for (var i = lane; i < u.width; i += LANES) {
            let at = b * u.width + i;
            let distance = source[u.source + row * u.width + i] - pooled[u.pooled + at];
            sum += dout[u.dout + at] * distance;
        }
    }
    sum = sum_of_all(lane, sum);
    if lane == 0u {
        dscores[u.dscores + row] = select(0.0, weights[u.weights + row] * sum, valid);
    }
}
