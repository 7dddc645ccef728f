// Moves an average towards the parameters; an invocation takes one parameter.

struct Average { parameters: u32, average: u32, count: u32, rest: f32 }

@group(0) @binding(0) var<storage, read> parameters: array<f32>;     // [count]
@group(0) @binding(1) var<storage, read_write> average: array<f32>;  // [count]
@group(1) @binding(0) var<uniform> u: Average;

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
    let before = average[u.average + at];
    average[u.average + at] = before + u.rest * (parameters[u.parameters + at] - before);
}
