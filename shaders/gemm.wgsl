// Matrix product: c = a @ b + bias, or c += a @ b. An invocation computes 8 rows by 8 columns in registers, as four blocks,
// out of the cache; strides make every transpose and every block of columns the same code.

struct Gemm {
    a: u32, b: u32, bias: u32, c: u32,
    rows: u32, columns: u32, inner: u32,
    a_row: u32, a_column: u32, b_row: u32, b_column: u32, c_row: u32,
    has_bias: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;        // [M, K]
@group(0) @binding(1) var<storage, read> b: array<f32>;        // [K, N]
@group(0) @binding(2) var<storage, read> bias: array<f32>;     // [N]
@group(0) @binding(3) var<storage, read_write> c: array<f32>;  // [M, N]
@group(1) @binding(0) var<uniform> u: Gemm;

const SIDE = 8u;

// Where the first elements of four rows of a lie, or of four columns of b; past the last one it repeats, and is never stored.
fn lines(tensor: u32, first: u32, count: u32, stride: u32) -> vec4<u32> {
    return tensor + min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u)) * stride;
}

fn load_a(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(a[at.x], a[at.y], a[at.z], a[at.w]);
}

fn load_b(at: vec4<u32>) -> vec4<f32> {
    return vec4<f32>(b[at.x], b[at.y], b[at.z], b[at.w]);
}

// Rows of c are columns of the matrix. Without indices into arrays everything stays in registers, unchecked.
fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

fn store(row: u32, column: u32, values: vec4<f32>) {
    for (var i = 0u; i < 4u; i++) {
        if row < u.rows && column + i < u.columns {
            let at = u.c + row * u.c_row + column + i;
            var value = values[i];
            if u.has_bias != 0u {
                value += bias[u.bias + column + i];
            }
            if u.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}

fn store_block(row: u32, column: u32, values: mat4x4<f32>) {
    store(row, column, values[0]);
    store(row + 1u, column, values[1]);
    store(row + 2u, column, values[2]);
    store(row + 3u, column, values[3]);
}

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * 8u;
    let column = id.x * 8u;
    if row >= u.rows || column >= u.columns {
        return;
    }
    let top = lines(u.a, row, u.rows, u.a_row);
    let bottom = lines(u.a, row + 4u, u.rows, u.a_row);
    let left = lines(u.b, column, u.columns, u.b_column);
    let right = lines(u.b, column + 4u, u.columns, u.b_column);
    var top_left: mat4x4<f32>;
    var top_right: mat4x4<f32>;
    var bottom_left: mat4x4<f32>;
    var bottom_right: mat4x4<f32>;
    for (var k = 0u; k < u.inner; k++) {
        let a_top = load_a(top + k * u.a_column);
        let a_bottom = load_a(bottom + k * u.a_column);
        let b_left = load_b(left + k * u.b_row);
        let b_right = load_b(right + k * u.b_row);
        top_left += outer(a_top, b_left);
        top_right += outer(a_top, b_right);
        bottom_left += outer(a_bottom, b_left);
        bottom_right += outer(a_bottom, b_right);
    }
    store_block(row, column, top_left);
    store_block(row, column + 4u, top_right);
    store_block(row + 4u, column, bottom_left);
    store_block(row + 4u, column + 4u, bottom_right);
}
