// Moves columns of a [T, B, ...] tensor into columns of another, in an order of its own, and times a mask where there is one.

struct Arrange {
    source: u32, mask: u32, lengths: u32, out: u32,
    source_stride: u32, mask_stride: u32, out_stride: u32, steps: u32, batch: u32, width: u32,
    mask_side: u32, order: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [T, B, source_stride]
@group(0) @binding(1) var<storage, read> mask: array<f32>;       // [T, B, mask_stride]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [T, B, out_stride]
@group(1) @binding(0) var<uniform> u: Arrange;

// Orders and sides; src/kernels/arrange.rs explains them.
const REVERSED = 1u;
const REPEAT = 2u;
const COLLECT = 3u;
const NO_MASK = 0u;
const BY_SOURCE = 1u;

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
    var step = t;
    if u.order == REVERSED && t < length {
        step = length - 1u - t;
    } else if u.order == REPEAT && t >= length && length > 0u {
        step = length - 1u;
    }
    var value = 0.0;
    if step < length {
        value = source[u.source + (step * u.batch + b) * u.source_stride + i];
        if u.order == COLLECT && t + 1u == length {
            for (var past = length; past < u.steps; past++) {
                value += source[u.source + (past * u.batch + b) * u.source_stride + i];
            }
        }
        if u.mask_side != NO_MASK {
            let by = select(t, step, u.mask_side == BY_SOURCE);
            value *= mask[u.mask + (by * u.batch + b) * u.mask_stride + i];
        }
    }
    let place = u.out + (t * u.batch + b) * u.out_stride + i;
    if u.accumulate != 0u {
        value += out[place];
    }
    out[place] = value;
}
