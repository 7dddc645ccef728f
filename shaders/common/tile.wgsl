// A workgroup of a scan takes GROUPS groups of four sequences at once, so that a weight that an invocation loads serves all of
// them. The host sets it by the device. In workgroup memory the groups' vectors lie interleaved.

override WIDTH: u32 = 64;  // invocations
override UNITS: u32 = 64;  // H
override OUTPUTS: u32 = 64;  // P

// Groups of LANES invocations, each of which takes a unit or an output at a time: the terms of its sums shared out, the rest of
// its groups of sequences.
override WORKERS: u32 = WIDTH / LANES;

fn takes(share: u32, group: u32) -> bool {
    return group % LANES == share;
}

// The first sequence of a group. Batches may be sorted by length, and some drivers give each thread a run of workgroups: so the
// tiles are taken from both ends in turn.
fn first_of(workgroup: u32, group: u32) -> u32 {
    let last = (u.batch - 1u) / (4u * GROUPS);
    let tile = select(workgroup / 2u, last - workgroup / 2u, workgroup % 2u == 1u);
    return (tile * GROUPS + group) * 4u;
}

// Valid steps of the longest sequence of a workgroup.
fn longest_of(workgroup: u32) -> u32 {
    var longest = 0u;
    for (var group = 0u; group < GROUPS; group++) {
        let length = load_lengths(first_of(workgroup, group));
        longest = max(longest, max(max(length.x, length.y), max(length.z, length.w)));
    }
    return longest;
}
