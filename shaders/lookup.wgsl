// Looks up each token's vector in a table: an embedding, or the matmul of a matrix with one-hot
// tokens.

struct Lookup {
    table: u32, bias: u32, tokens: u32, lengths: u32, out: u32,
    steps: u32, batch: u32, reversed: u32, width: u32, token_stride: u32, table_stride: u32,
    out_stride: u32, has_bias: u32,
}

@group(0) @binding(0) var<storage, read> table: array<f32>;      // V vectors [width]
@group(0) @binding(1) var<storage, read> bias: array<f32>;       // [width]
@group(0) @binding(2) var<storage, read> tokens: array<u32>;     // [T, B]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(4) var<storage, read_write> out: array<f32>;  // [T, B, out_stride]
@group(1) @binding(0) var<uniform> u: Lookup;

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
    let row = at / u.width;
    var value = table[u.table + token_of(row) * u.token_stride + i * u.table_stride];
    if u.has_bias != 0u {
        value += bias[u.bias + i];
    }
    out[u.out + row * u.out_stride + i] = value;
}
