// LANES lanes of a subgroup share the terms of each sum, so that the loads of a workgroup that has few units do not wait for one another.
// Consecutive invocations are neighbours in a subgroup.

override LANES: u32 = 4u;  // a power of two

// The sum of the neighbours' values, the same bits in each of them.
fn sum_of_lanes(value: Rows) -> Rows {
    var sum = value;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return sum;
}
