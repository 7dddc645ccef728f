// Sums the gradient of the initial state over the batch: the gradient of the learnt vector. If the
// state is CARRIED, it is learnt in the first chunk of time only, and a later one has gradient 0.
// Sums in blocks of 64, which keeps the rounding error small.

struct InitialStateGradient {
    dstate: u32, control: u32, out: u32,
    batch: u32, width: u32,
}

@group(0) @binding(0) var<storage, read> dstate: array<f32>;     // [B, width]
@group(0) @binding(1) var<storage, read> control: array<u32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [width]
@group(1) @binding(0) var<uniform> u: InitialStateGradient;

override CARRIED: bool = false;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let n = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if n >= u.width {
        return;
    }
    var end = u.batch;
    if CARRIED {
        if control[u.control + CONTROL_CHUNK] > 0u {
            end = 0u;
        }
    }
    var sum = 0.0;
    for (var start = 0u; start < end; start += 64u) {
        var block = 0.0;
        for (var b = start; b < min(start + 64u, end); b++) {
            block += dstate[u.dstate + b * u.width + n];
        }
        sum += block;
    }
    out[u.out + n] = sum;
}
