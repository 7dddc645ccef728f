// LANES lanes of a subgroup share the inner dimension of each matmul, so that more loads are in
// flight in a workgroup with few units. Consecutive invocations are neighbours in a subgroup.

override LANES: u32 = 4u;  // a power of two

// Returns the sum of the neighbours' values, the same bits in each of them.
fn sum_of_lanes(value: Rows) -> Rows {
    var sum = value;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return sum;
}
