// Counts the submission that it ends, so that the host notices submissions dropped by the driver.

// [1]: submissions so far, modulo 2^32.
@group(0) @binding(0) var<storage, read_write> done: array<u32>;

@compute @workgroup_size(1)
fn main() {
    done[0] += 1u;
}
