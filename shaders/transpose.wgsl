// out[j, i] = source[i, j].

struct Transpose { source: u32, out: u32, rows: u32, columns: u32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [rows, columns]
@group(0) @binding(1) var<storage, read_write> out: array<f32>;  // [columns, rows]
@group(1) @binding(0) var<uniform> u: Transpose;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) workgroup: vec3<u32>, @builtin(num_workgroups) workgroups: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let at = (workgroup.x + workgroup.y * workgroups.x) * 64u + lane;
    if at < u.rows * u.columns {
        out[u.out + at] = source[u.source + at % u.rows * u.columns + at / u.rows];
    }
}
