// Loads a, whose columns are contiguous in memory by fours: a vec4 holds four terms of one row.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;  // [M, K]

fn rows_of_a(first: u32) -> vec4<u32> {
    return lines(u.a, first, u.rows, u.a_row) / 4u;
}

fn load_a(lines: vec4<u32>, k: u32) -> vec4<f32> {
    let at = lines + k / 4u;
    let i = k % 4u;
    return vec4<f32>(a[at.x][i], a[at.y][i], a[at.z][i], a[at.w][i]);
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_a_four(lines: vec4<u32>, k: u32, apart: u32) -> mat4x4<f32> {
    let at = lines + k / 4u;
    return transpose(mat4x4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]));
}
