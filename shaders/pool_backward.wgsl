// Computes the gradient of pooled steps; an invocation takes one element of one step. The formula
// is in a part: the uniform's struct, and `share`.

@group(0) @binding(0) var<storage, read> dout: array<f32>;           // [B, width]
@group(0) @binding(1) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(2) var<storage, read_write> dsource: array<f32>;  // [T, B, width]
@group(1) @binding(0) var<uniform> u: PoolBackward;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.steps * u.batch * u.width {
        return;
    }
    let t = at / (u.batch * u.width);
    let b = at / u.width % u.batch;
    let length = min(lengths[u.lengths + b], u.steps);
    var gradient = 0.0;
    if t < length {
        gradient = share(dout[u.dout + b * u.width + at % u.width], t, b, at % u.width, length);
    }
    dsource[u.dsource + at] = gradient;
}
