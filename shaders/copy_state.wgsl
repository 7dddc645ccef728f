// Copies elements; an invocation copies one.

struct CopyState { source: u32, out: u32, count: u32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [count]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;  // [count]
@group(1) @binding(0) var<uniform> u: CopyState;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at < u.count {
        out[u.out + at] = source[u.source + at];
    }
}
