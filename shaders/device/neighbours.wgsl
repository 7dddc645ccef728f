// Finds out whether consecutive invocations of a workgroup are neighbours in a subgroup. Neither
// Vulkan, Metal nor DX12 promises that, and the lanes of a scan rely on it.

override WIDTH: u32 = 64;  // invocations
override MOST: u32 = 4;    // lanes that share a sum at most

// [workgroups, log2(MOST), WIDTH]: the invocation at each distance 1, 2, 4, ... below MOST.
@group(0) @binding(0) var<storage, read_write> found: array<u32>;

@compute @workgroup_size(WIDTH)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    var distances = 0u;
    for (var distance = 1u; distance < MOST; distance *= 2u) {
        distances++;
    }
    var at = workgroup.x * distances * WIDTH + lane;
    for (var distance = 1u; distance < MOST; distance *= 2u) {
        found[at] = subgroupShuffleXor(lane, distance);
        at += WIDTH;
    }
}
