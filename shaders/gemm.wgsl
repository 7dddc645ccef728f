// Matrix product: c = a @ b + bias, or c += a @ b. An invocation computes 8 rows by 8 columns in registers, out of the
// cache; strides make every transpose and every block of columns the same code.

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

// Four elements of row k of b; past the last column its repeats, which are never stored.
fn load_b(k: u32, column: u32) -> vec4<f32> {
    let row = u.b + k * u.b_row;
    let end = u.columns - 1u;
    return vec4<f32>(
        b[row + min(column, end) * u.b_column],
        b[row + min(column + 1u, end) * u.b_column],
        b[row + min(column + 2u, end) * u.b_column],
        b[row + min(column + 3u, end) * u.b_column],
    );
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

@compute @workgroup_size(SIDE, SIDE)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    let row = id.y * 8u;
    let column = id.x * 8u;
    if row >= u.rows || column >= u.columns {
        return;
    }
    var at: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) {
        at[i] = u.a + min(row + i, u.rows - 1u) * u.a_row;
    }
    var left: array<vec4<f32>, 8>;
    var right: array<vec4<f32>, 8>;
    for (var k = 0u; k < u.inner; k++) {
        let b_left = load_b(k, column);
        let b_right = load_b(k, column + 4u);
        let step = k * u.a_column;
        for (var i = 0u; i < 8u; i++) {
            let value = a[at[i] + step];
            left[i] += value * b_left;
            right[i] += value * b_right;
        }
    }
    for (var i = 0u; i < 8u; i++) {
        store(row + i, column, left[i]);
        store(row + i, column + 4u, right[i]);
    }
}
