// Loads a, whose rows are contiguous in memory by fours: a vec4 holds four rows of one column.

@group(0) @binding(0) var<storage, read> a: array<vec4<f32>>;  // [M, K]

fn rows_of_a(first: u32) -> u32 {
    return (u.a + min(first, u.rows - 4u)) / 4u;
}

fn load_a(line: u32, k: u32) -> vec4<f32> {
    return a[line + k * (u.a_column / 4u)];
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_a_four(line: u32, k: u32, apart: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_a(line, k),
        load_a(line, k + apart),
        load_a(line, k + 2u * apart),
        load_a(line, k + 3u * apart),
    );
}
