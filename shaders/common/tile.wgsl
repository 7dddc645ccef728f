// The tile of a workgroup of a scan: GROUPS groups of SEQUENCES sequences (1, 2 or 4), which all
// use a weight that an invocation loads. The host chooses the tile for the device. In workgroup
// memory the vectors of the groups are interleaved. A `Quad` has a value of each sequence of a
// group.

override WIDTH: u32 = 64;  // invocations
override UNITS: u32 = 64;  // H
override OUTPUTS: u32 = 64;  // P

// The sizes of the layer, which a step reads from its uniform.
fn hidden_size() -> u32 {
    return UNITS;
}

fn output_size() -> u32 {
    return OUTPUTS;
}

// Workers of LANES invocations each. A worker computes one element, or EACH, at a time.
override WORKERS: u32 = WIDTH / LANES;

// Whether a lane of a worker has sequences of an element to finish.
fn finishes(share: u32) -> bool {
    return share < FINISHERS;
}

// The element of a worker among those from `start` on. Operations of subgroups need uniform control
// flow, so that workers without an element take part in the loops too, with the last element.
struct OwnElement { index: u32, exists: bool }

fn own_element(start: u32, worker: u32, count: u32) -> OwnElement {
    return OwnElement(min(start + worker, count - 1u), start + worker < count);
}

// Returns the first sequence of a group. Batches may be sorted by length, and some drivers give
// each thread a run of workgroups: so tiles are taken from both ends in turn.
fn first_of(workgroup: u32, group: u32) -> u32 {
    let last = (u.batch - 1u) / (SEQUENCES * GROUPS);
    let tile = select(workgroup / 2u, last - workgroup / 2u, workgroup % 2u == 1u);
    return (tile * GROUPS + group) * SEQUENCES;
}

// Returns the first of the sequences that a lane finishes at once; there are none from B on.
fn own_sequence(workgroup: u32, group: u32, share: u32, part: u32) -> u32 {
    return first_of(workgroup, group) + sequence_in_group(share, part);
}

// Returns the valid steps of the longest sequence of a workgroup.
fn longest_of(workgroup: u32) -> u32 {
    let first = first_of(workgroup, 0u);
    var longest = 0u;
    for (var i = 0u; i < SEQUENCES * GROUPS; i++) {
        longest = max(longest, length_of(first + i));
    }
    return longest;
}
