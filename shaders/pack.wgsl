// Matrices with four terms of each column side by side, zeros past the last: products load them as one vector.

struct Pack { source: u32, out: u32, blocks: u32, terms: u32, columns: u32, transposed: u32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;           // [blocks, terms, columns], transposed [blocks, columns, terms]
@group(0) @binding(1) var<storage, read_write> out: array<vec4<f32>>;  // [blocks, ceil(terms / 4), columns]
@group(1) @binding(0) var<uniform> u: Pack;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    let fours = (u.terms + 3u) / 4u;
    if at >= u.blocks * fours * u.columns {
        return;
    }
    let column = at % u.columns;
    let first = at / u.columns % fours * 4u;
    let block = u.source + at / u.columns / fours * u.terms * u.columns;
    var four = vec4<f32>(0.0);
    for (var k = first; k < min(first + 4u, u.terms); k++) {
        four[k - first] = source[block + select(k * u.columns + column, column * u.terms + k, u.transposed != 0u)];
    }
    out[u.out / 4u + at] = four;
}
