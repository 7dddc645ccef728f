// Computes the gradient of each token's vector: the sum of the gradients of the rows with that
// token. A workgroup takes one token and 64 elements of its vector, and reads all rows.

struct LookupGradient {
    dout: u32, tokens: u32, lengths: u32, dtable: u32,
    steps: u32, batch: u32, reversed: u32, width: u32, token_stride: u32, table_stride: u32,
    out_stride: u32, vocabulary: u32, padding: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> dout: array<f32>;          // [T, B, out_stride]
@group(0) @binding(1) var<storage, read> tokens: array<u32>;        // [T, B]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;       // [B]
@group(0) @binding(3) var<storage, read_write> dtable: array<f32>;  // V vectors [width]
@group(1) @binding(0) var<uniform> u: LookupGradient;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let blocks = (u.width + 63u) / 64u;
    let block = workgroup.x + workgroup.y * workgroups.x;
    let token = block / blocks;
    let i = block % blocks * 64u + lane;
    if token >= u.vocabulary || i >= u.width {
        return;
    }
    let at = u.dtable + token * u.token_stride + i * u.table_stride;
    var sum = 0.0;
    if u.accumulate != 0u {
        sum = dtable[at];
    }
    if token != u.padding {
        // Blocks of steps from the last to the first, as chunks of a backward pass add them.
        let size = BLOCK_STEPS * u.batch;
        var end = u.steps * u.batch;
        while end > 0u {
            let begin = (end - 1u) / size * size;
            for (var row = begin; row < end; row++) {
                if token_of(row) == token {
                    sum += dout[u.dout + row * u.out_stride + i];
                }
            }
            end = begin;
        }
    }
    dtable[at] = sum;
}
