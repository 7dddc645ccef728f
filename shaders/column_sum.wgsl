// Computes out[n] = sum over m of source[m, n], or of source[m, n] * factor[m, n]. Invocations
// share the rows of a column and add up in a fixed order. Each sums in blocks of 64 rows, or of
// BLOCK_STEPS steps of a sequence, which keeps the rounding error small.

struct ColumnSum {
    source: u32, factor: u32, lengths: u32, out: u32,
    rows: u32, columns: u32, copies: u32, stride: u32, batch: u32, accumulate: u32,
}

@group(0) @binding(0) var<storage, read> source: array<f32>;     // [M, N], rows u.stride apart
@group(0) @binding(1) var<storage, read> factor: array<f32>;     // [M, N]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;    // [B]
@group(0) @binding(3) var<storage, read_write> out: array<f32>;  // [copies, N]
@group(1) @binding(0) var<uniform> u: ColumnSum;

override FACTORS: bool = false;
// Rows are the steps of B sequences, and padded steps are left out.
override RAGGED: bool = false;
override COLUMNS: u32 = 32;  // of a workgroup
override LANES: u32 = 8;     // invocations that share a column's rows

var<workgroup> sums: array<f32, COLUMNS * LANES>;

fn value(row: u32, n: u32) -> f32 {
    let value = source[u.source + row * u.stride + n];
    if FACTORS {
        return value * factor[u.factor + row * u.columns + n];
    }
    return value;
}

// Returns the sum over the invocations that share a column, to the first of them.
fn over_lanes(own: f32, lane: vec2<u32>) -> f32 {
    var sum = own;
    if LANES > 1u {
        // The first lane may still read the sums of the block before.
        workgroupBarrier();
        sums[lane.y * COLUMNS + lane.x] = own;
        workgroupBarrier();
        for (var other = 1u; other < LANES && lane.y == 0u; other++) {
            sum += sums[other * COLUMNS + lane.x];
        }
    }
    return sum;
}

@compute @workgroup_size(COLUMNS, LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_id) lane: vec3<u32>,
) {
    let column = (workgroup.x + workgroup.y * workgroups.x) * COLUMNS + lane.x;
    // Past the last column an invocation repeats it, so that all reach the barrier.
    let n = min(column, u.columns - 1u);
    var total = 0.0;
    if u.accumulate != 0u && lane.y == 0u && column == n {
        total = out[u.out + n];
    }
    if RAGGED {
        // Blocks of steps from the last to the first, as chunks of a backward pass add them.
        var end = u.rows / u.batch;
        while end > 0u {
            let begin = (end - 1u) / BLOCK_STEPS * BLOCK_STEPS;
            var sum = 0.0;
            for (var b = lane.y; b < u.batch; b += LANES) {
                let length = min(lengths[u.lengths + b], end);
                var block = 0.0;
                for (var t = begin; t < length; t++) {
                    block += value(t * u.batch + b, n);
                }
                sum += block;
            }
            total += over_lanes(sum, lane.xy);
            end = begin;
        }
    } else {
        var sum = 0.0;
        for (var start = lane.y; start < u.rows; start += 64u * LANES) {
            var block = 0.0;
            for (var m = start; m < min(start + 64u * LANES, u.rows); m += LANES) {
                block += value(m, n);
            }
            sum += block;
        }
        total += over_lanes(sum, lane.xy);
    }
    if lane.y == 0u && column < u.columns {
        for (var copy = 0u; copy < u.copies; copy++) {
            out[u.out + copy * u.columns + column] = total;
        }
    }
}
