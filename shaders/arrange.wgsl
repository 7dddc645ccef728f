// Copies columns of a [T, B, ...] tensor to columns of another, in another order of time,
// multiplied by a mask or added to the values there. src/kernels/arrange.rs explains the orders and
// the mask's side.

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

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
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
            for (var padded = length; padded < u.steps; padded++) {
                value += source[u.source + (padded * u.batch + b) * u.source_stride + i];
            }
        }
        if u.mask_side != NO_MASK {
            let mask_step = select(t, step, u.mask_side == BY_SOURCE);
            value *= mask[u.mask + (mask_step * u.batch + b) * u.mask_stride + i];
        }
    }
    let out_at = u.out + (t * u.batch + b) * u.out_stride + i;
    if u.accumulate != 0u {
        value += out[out_at];
    }
    out[out_at] = value;
}
