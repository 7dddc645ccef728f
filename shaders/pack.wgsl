// Packs matrices for matmuls: four terms of a column become one vec4, zeros past the last.

struct Pack { source: u32, out: u32, blocks: u32, inner: u32, columns: u32, transposed: u32 }

// [blocks, inner, columns], or [blocks, columns, inner] if transposed.
@group(0) @binding(0) var<storage, read> source: array<f32>;
// [blocks, ceil(inner / 4), columns].
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;
@group(1) @binding(0) var<uniform> u: Pack;

@compute @workgroup_size(64)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    let fours = (u.inner + 3u) / 4u;
    if at >= u.blocks * fours * u.columns {
        return;
    }
    let column = at % u.columns;
    let first = at / u.columns % fours * 4u;
    let block = u.source + at / u.columns / fours * u.inner * u.columns;
    var four = vec4<f32>(0.0);
    for (var k = first; k < min(first + 4u, u.inner); k++) {
        let element = select(k * u.columns + column, column * u.inner + k, u.transposed != 0u);
        four[k - first] = source[block + element];
    }
    out[u.out / 4u + at] = four;
}
