// Sets the initial state of every sequence of a batch to the learnt vector; if it is CARRIED, only
// in the first chunk of time: a later one keeps what `carry_state` has written.

struct InitialState {
    learnt: u32, control: u32, initial: u32,
    count: u32, width: u32,
}

@group(0) @binding(0) var<storage, read> learnt: array<f32>;         // [width]
@group(0) @binding(1) var<storage, read> control: array<u32>;
@group(0) @binding(2) var<storage, read_write> initial: array<f32>;  // [B, width]
@group(1) @binding(0) var<uniform> u: InitialState;

override CARRIED: bool = false;

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
    if CARRIED {
        if control[u.control + CONTROL_CHUNK] > 0u {
            return;
        }
    }
    initial[u.initial + at] = learnt[u.learnt + at % u.width];
}
