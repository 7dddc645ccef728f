// Loads a in any layout, element by element.

@group(0) @binding(0) var<storage, read> a: array<f32>;  // [M, K]

fn rows_of_a(first: u32) -> vec4<u32> {
    return lines(u.a, first, u.rows, u.a_row);
}

fn load_a(lines: vec4<u32>, k: u32) -> vec4<f32> {
    let at = lines + k * u.a_column;
    return vec4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
}

// Loads terms k, k + apart, k + 2 apart and k + 3 apart.
fn load_a_four(lines: vec4<u32>, k: u32, apart: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load_a(lines, k),
        load_a(lines, k + apart),
        load_a(lines, k + 2u * apart),
        load_a(lines, k + 3u * apart),
    );
}
