// Moves columns of a [T, B, ...] tensor into columns of another, in the order of time or with each sequence's valid steps
// reversed; zeros past its end.

struct Arrange {
    source: u32, lengths: u32, out: u32,
    source_stride: u32, out_stride: u32, steps: u32, batch: u32, width: u32, reversed: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [T, B, source_stride]
@group(0) @binding(1) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [T, B, out_stride]
@group(1) @binding(0) var<uniform> u: Arrange;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at >= u.steps * u.batch * u.width {
        return;
    }
    let i = at % u.width;
    let b = at / u.width % u.batch;
    let t = at / u.width / u.batch;
    let length = min(lengths[u.lengths + b], u.steps);
    var value = 0.0;
    if t < length {
        let step = select(t, length - 1u - t, u.reversed != 0u);
        value = source[u.source + (step * u.batch + b) * u.source_stride + i];
    }
    let place = u.out + (t * u.batch + b) * u.out_stride + i;
    if u.accumulate != 0u {
        value += out[place];
    }
    out[place] = value;
}
