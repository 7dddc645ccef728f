// out[n] = sum over m of source[m, n], or of source[m, n] * factor[m, n], an invocation a column; in blocks of 64 rows,
// which keeps rounding small.

struct ColumnSum { source: u32, factor: u32, out: u32, rows: u32, columns: u32, stride: u32 }

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [M, N], rows `stride` apart
@group(0) @binding(1) var<storage, read> factor: array<f32>;     // [M, N]
@group(0) @binding(2) var<storage, read_write> out: array<f32>;  // [N]
@group(1) @binding(0) var<uniform> u: ColumnSum;

override FACTORS: bool = false;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
    if id.x >= u.columns {
        return;
    }
    var sum = 0.0;
    for (var start = 0u; start < u.rows; start += 64u) {
        var block = 0.0;
        for (var m = start; m < min(start + 64u, u.rows); m++) {
            let value = source[u.source + m * u.stride + id.x];
            if FACTORS {
                block += value * factor[u.factor + m * u.columns + id.x];
            } else {
                block += value;
            }
        }
        sum += block;
    }
    out[u.out + id.x] = sum;
}
