// Loads b in any layout, element by element.

@group(0) @binding(1) var<storage, read> b: array<f32>;  // [K, N]

fn columns_of_b(first: u32) -> vec4<u32> {
    return lines(u.b, first, u.columns, u.b_column);
}

fn load_b(lines: vec4<u32>, k: u32) -> vec4<f32> {
    let at = lines + k * u.b_row;
    return vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_b_four(lines: vec4<u32>, k: u32, apart: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_b(lines, k),
        load_b(lines, k + apart),
        load_b(lines, k + 2u * apart),
        load_b(lines, k + 3u * apart),
    );
}
