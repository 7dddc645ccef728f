// Computes the sum of squares of the elements of each of 64 workgroups. clip_factor adds these up.

struct SquaredNorm { source: u32, partials: u32, count: u32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;          // [count]
@group(0) @binding(1) var<storage, read_write> partials: array<f32>;  // [64]
@group(1) @binding(0) var<uniform> u: SquaredNorm;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var sum = 0.0;
    for (var at = workgroup.x * LANES + lane; at < u.count; at += LANES * LANES) {
        let value = source[u.source + at];
        sum += value * value;
    }
    sum = sum_of_all(lane, sum);
    if lane == 0u {
        partials[u.partials + workgroup.x] = sum;
    }
}
