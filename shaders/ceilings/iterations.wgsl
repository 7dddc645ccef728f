// Counts up to a limit, to find out how many loop iterations the driver allows an invocation.

// [2]: the limit; then 0 on input, the iterations on output.
@group(0) @binding(0) var<storage, read_write> count: array<u32>;

@compute @workgroup_size(1)
fn main() {
    let limit = count[0];
    let never = limit + count[1];
    var n = 0u;
    while n < limit {
        // Keeps a compiler from replacing the loop by its result.
        if n == never {
            break;
        }
        n++;
    }
    count[1] = n;
}
