// Computes c = a @ b + bias, or c += a @ b. An invocation computes ROWS rows by 8 columns in
// registers, as blocks of 4 by 4; a and b come through the cache. The files in shaders/gemm/ load
// four elements of a and b in each of their layouts.

struct Gemm {
    a: u32, b: u32, bias: u32, lengths: u32, c: u32,
    rows: u32, columns: u32, inner: u32,
    a_row: u32, a_column: u32, b_row: u32, b_column: u32, c_row: u32,
    has_bias: u32, accumulate: u32, batch: u32, slices: u32,
}

@group(0) @binding(2) var<storage, read> bias: array<f32>;     // [N]
@group(0) @binding(3) var<storage, read> lengths: array<u32>;  // [B]
@group(0) @binding(4) var<storage, read_write> c: array<f32>;  // [slices, M, N]
@group(1) @binding(0) var<uniform> u: Gemm;

override WIDE: u32 = 8;  // invocations of a workgroup along the columns
override HIGH: u32 = 8;  // and along the rows
override ROWS: u32 = 8;  // rows of an invocation's block: 8 or 4
// The rows of c, or the inner dimension, are the steps of B sequences. Padded rows count as zero,
// padded terms of the inner dimension are left out.
override RAGGED_ROWS: bool = false;
override RAGGED_TERMS: bool = false;

// Returns the offsets of four rows of a, or columns of b. Past the last one it repeats; those
// results are never stored.
fn lines(tensor: u32, first: u32, count: u32, stride: u32) -> vec4<u32> {
    return tensor + min(first + vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(count - 1u)) * stride;
}

struct Sums {
    top_left: mat4x4<f32>, top_right: mat4x4<f32>,
    bottom_left: mat4x4<f32>, bottom_right: mat4x4<f32>,
}

// Computes an outer product: a row of c is a column of the result. No array is indexed, so that all
// values stay in registers.
fn outer(rows: vec4<f32>, columns: vec4<f32>) -> mat4x4<f32> {
    return mat4x4<f32>(rows.x * columns, rows.y * columns, rows.z * columns, rows.w * columns);
}

fn add(
    sums: ptr<function, Sums>, top: vec4<f32>, bottom: vec4<f32>, left: vec4<f32>, right: vec4<f32>,
) {
    (*sums).top_left += outer(top, left);
    (*sums).top_right += outer(top, right);
    if ROWS > 4u {
        (*sums).bottom_left += outer(bottom, left);
        (*sums).bottom_right += outer(bottom, right);
    }
}

// Whether a row of c is a valid step of its sequence.
fn is_valid(row: u32) -> bool {
    return !RAGGED_ROWS || row / u.batch < lengths[u.lengths + row % u.batch];
}

fn any_is_valid(first: u32) -> bool {
    for (var i = 0u; i < ROWS; i++) {
        if first + i < u.rows && is_valid(first + i) {
            return true;
        }
    }
    return false;
}

fn store(slice: u32, row: u32, column: u32, sums: vec4<f32>) {
    let valid = row < u.rows && is_valid(row);
    for (var i = 0u; i < 4u; i++) {
        if row < u.rows && column + i < u.columns {
            let at = u.c + (slice * u.rows + row) * u.c_row + column + i;
            var value = select(0.0, sums[i], valid);
            if u.has_bias != 0u {
                value += bias[u.bias + column + i];
            }
            // Sums over ragged terms begin with c.
            if !RAGGED_TERMS && u.accumulate != 0u {
                value += c[at];
            }
            c[at] = value;
        }
    }
}

fn store_block(slice: u32, row: u32, column: u32, sums: mat4x4<f32>) {
    store(slice, row, column, sums[0]);
    store(slice, row + 1u, column, sums[1]);
    store(slice, row + 2u, column, sums[2]);
    store(slice, row + 3u, column, sums[3]);
}

// Loads what a sum begins with; zeros past the last row or column.
fn load(slice: u32, row: u32, column: u32) -> vec4<f32> {
    var values = vec4<f32>();
    for (var i = 0u; i < 4u; i++) {
        if row < u.rows && column + i < u.columns {
            values[i] = c[u.c + (slice * u.rows + row) * u.c_row + column + i];
        }
    }
    return values;
}

fn load_block(slice: u32, row: u32, column: u32) -> mat4x4<f32> {
    return mat4x4<f32>(
        load(slice, row, column),
        load(slice, row + 1u, column),
        load(slice, row + 2u, column),
        load(slice, row + 3u, column),
    );
}

@compute @workgroup_size(WIDE, HIGH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
) {
    // The later the step, the fewer sequences are valid, and some drivers give each thread a run of
    // workgroups: so steps are taken from both ends in turn.
    let from_end = RAGGED_ROWS && workgroup.y % 2u == 1u;
    let high = select(workgroup.y, workgroup.y / 2u, RAGGED_ROWS);
    let row = (select(high, workgroups.y - 1u - high, from_end) * HIGH + lane.y) * ROWS;
    let column = (workgroup.x * WIDE + lane.x) * 8u;
    if row >= u.rows || column >= u.columns {
        return;
    }
    let top = rows_of_a(row);
    let bottom = rows_of_a(row + 4u);
    let left = columns_of_b(column);
    let right = columns_of_b(column + 4u);
    var sums: Sums;
    if RAGGED_TERMS && u.accumulate != 0u {
        sums.top_left = load_block(workgroup.z, row, column);
        sums.top_right = load_block(workgroup.z, row, column + 4u);
        if ROWS > 4u {
            sums.bottom_left = load_block(workgroup.z, row + 4u, column);
            sums.bottom_right = load_block(workgroup.z, row + 4u, column + 4u);
        }
    }
    // Ragged terms are ordered by step, then sequence. A slice takes the sequences b, b + slices,
    // ... Blocks of steps are summed from the last to the first, as chunks of a backward pass are.
    let series = select(1u, u.batch, RAGGED_TERMS);
    let first = select(series, workgroup.z, any_is_valid(row));
    var end = u.inner / series;
    let size = select(end, BLOCK_STEPS, RAGGED_TERMS);
    while end > 0u {
        let begin = (end - 1u) / size * size;
        for (var b = first; b < series; b += u.slices) {
            var length = end;
            if RAGGED_TERMS {
                length = min(length, lengths[u.lengths + b]);
            }
            length -= min(length, begin);
            var k = begin * series + b;
            for (var rest = length % 4u; rest > 0u; rest--) {
                var a_bottom = vec4<f32>();
                if ROWS > 4u {
                    a_bottom = load_a(bottom, k);
                }
                add(&sums, load_a(top, k), a_bottom, load_b(left, k), load_b(right, k));
                k += series;
            }
            for (var fours = length / 4u; fours > 0u; fours--) {
                let a_top = load_a_four(top, k, series);
                var a_bottom = mat4x4<f32>();
                if ROWS > 4u {
                    a_bottom = load_a_four(bottom, k, series);
                }
                let b_left = load_b_four(left, k, series);
                let b_right = load_b_four(right, k, series);
                add(&sums, a_top[0], a_bottom[0], b_left[0], b_right[0]);
                add(&sums, a_top[1], a_bottom[1], b_left[1], b_right[1]);
                add(&sums, a_top[2], a_bottom[2], b_left[2], b_right[2]);
                add(&sums, a_top[3], a_bottom[3], b_left[3], b_right[3]);
                k += 4u * series;
            }
        }
        end = begin;
    }
    store_block(workgroup.z, row, column, sums.top_left);
    store_block(workgroup.z, row, column + 4u, sums.top_right);
    if ROWS > 4u {
        store_block(workgroup.z, row + 4u, column, sums.bottom_left);
        store_block(workgroup.z, row + 4u, column + 4u, sums.bottom_right);
    }
}
