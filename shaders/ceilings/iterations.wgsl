// How often an invocation may go through its loops: counts up to a limit, if it is let.

@group(0) @binding(0) var<storage, read_write> count: array<u32>;  // [2]: the limit; in 0, out iterations

@compute @workgroup_size(1)
fn main() {
    let limit = count[0];
    let never = limit + count[1];
    var n = 0u;
    while n < limit {
        // So that no compiler goes to the end at once.
        if n == never {
            break;
        }
        n++;
    }
    count[1] = n;
}
