// Initialises the states of a chunk of time: with the last states of the previous chunk, or with
// zeros in the first chunk.

struct CarryState {
    last: u32, control: u32, initial: u32,
    count: u32,
}

@group(0) @binding(0) var<storage, read> last: array<f32>;           // [count]
@group(0) @binding(1) var<storage, read> control: array<u32>;
@group(0) @binding(2) var<storage, read_write> initial: array<f32>;  // [count]
@group(1) @binding(0) var<uniform> u: CarryState;

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
    var value = 0.0;
    if control[u.control + CONTROL_CHUNK] > 0u {
        value = last[u.last + at];
    }
    initial[u.initial + at] = value;
}
