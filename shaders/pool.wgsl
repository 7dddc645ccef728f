// Reduces the valid steps of each sequence to one vector; an invocation takes one element of it.
// The reduction is in a part: the uniform's struct, and `pooled`.

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [T, B, width]
@group(0) @binding(1) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [B, width]
@group(1) @binding(0) var<uniform> u: Pool;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.batch * u.width {
        return;
    }
    let b = at / u.width;
    out[u.out + at] = pooled(at, b, min(lengths[u.lengths + b], u.steps));
}

// The element `at` of [B, width] at step t.
fn element(t: u32, at: u32) -> f32 {
    return source[u.source + t * u.batch * u.width + at];
}
