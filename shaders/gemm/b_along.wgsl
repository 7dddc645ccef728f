// Loads b, whose rows are contiguous in memory by fours: a vec4 holds four terms of one column.

@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;  // [K, N]

fn columns_of_b(first: u32) -> vec4<u32> {
    return lines(u.b, first, u.columns, u.b_column) / 4u;
}

fn load_b(lines: vec4<u32>, k: u32) -> vec4<f32> {
    let at = lines + k / 4u;
    let i = k % 4u;
    return vec4<f32>(b[at.x][i], b[at.y][i], b[at.z][i], b[at.w][i]);
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_b_four(lines: vec4<u32>, k: u32, apart: u32) -> mat4x4<f32> {
    let at = lines + k / 4u;
    return transpose(mat4x4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]));
}
