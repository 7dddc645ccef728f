// Adds the gradients of a batch to those of the earlier batches of the same update; an invocation
// takes one parameter.

struct Accumulate { gradients: u32, control: u32, sums: u32, count: u32 }

@group(0) @binding(0) var<storage, read> gradients: array<f32>;   // [count]
@group(0) @binding(1) var<storage, read> control: array<u32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;  // [count]
@group(1) @binding(0) var<uniform> u: Accumulate;

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
    // The first batch replaces the sums of the update before.
    var before = 0.0;
    if control[u.control + CONTROL_TAKEN] != 0u {
        before = sums[u.sums + at];
    }
    sums[u.sums + at] = before + gradients[u.gradients + at];
}
