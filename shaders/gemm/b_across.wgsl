// Loads b, whose columns are contiguous in memory by fours: a vec4 holds four columns of one row.

@group(0) @binding(1) var<storage, read> b: array<vec4<f32>>;  // [K, N]

fn columns_of_b(first: u32) -> u32 {
    return (u.b + min(first, u.columns - 4u)) / 4u;
}

fn load_b(line: u32, k: u32) -> vec4<f32> {
    return b[line + k * (u.b_row / 4u)];
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_b_four(line: u32, k: u32, apart: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_b(line, k),
        load_b(line, k + apart),
        load_b(line, k + 2u * apart),
        load_b(line, k + 3u * apart),
    );
}
