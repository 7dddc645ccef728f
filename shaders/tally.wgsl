// Counts the ranks of the labelled classes and the confusion matrix; a workgroup takes one row.

struct Tally {
    outputs: u32, labels: u32, confusion: u32, ranks: u32,
    rows: u32, classes: u32, confuses: u32,
}

@group(0) @binding(0) var<storage, read> outputs: array<f32>;                   // [rows, K]
@group(0) @binding(1) var<storage, read> labels: array<u32>;                    // [rows]
@group(0) @binding(2) var<storage, read_write> confusion: array<atomic<u32>>;  // [K, K]
@group(0) @binding(3) var<storage, read_write> ranks: array<atomic<u32>>;       // [K]
@group(1) @binding(0) var<uniform> u: Tally;

const LANES = 64u;

// The sum of integers does not depend on their order.
var<workgroup> ahead: atomic<u32>;
var<workgroup> largest: atomic<u32>;
// K minus the lowest class that has the largest output.
var<workgroup> from_end: atomic<u32>;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup.x + workgroup.y * workgroups.x;
    if row >= u.rows {
        return;
    }
    let label = labels[u.labels + row];
    if label == IGNORE {
        return;
    }
    if lane == 0u {
        atomicStore(&ahead, 0u);
        atomicStore(&largest, 0u);
        atomicStore(&from_end, 0u);
    }
    workgroupBarrier();
    let start = u.outputs + row * u.classes;
    let own = key(outputs[start + label]);
    var larger = 0u;
    var most = 0u;
    for (var k = lane; k < u.classes; k += LANES) {
        let other = key(outputs[start + k]);
        most = max(most, other);
        if other > own || (other == own && k < label) {
            larger += 1u;
        }
    }
    atomicAdd(&ahead, larger);
    atomicMax(&largest, most);
    workgroupBarrier();
    most = atomicLoad(&largest);
    for (var k = lane; k < u.classes; k += LANES) {
        if key(outputs[start + k]) == most {
            atomicMax(&from_end, u.classes - k);
        }
    }
    workgroupBarrier();
    if lane == 0u {
        atomicAdd(&ranks[u.ranks + atomicLoad(&ahead)], 1u);
        if u.confuses != 0u {
            let predicted = u.classes - atomicLoad(&from_end);
            atomicAdd(&confusion[u.confusion + label * u.classes + predicted], 1u);
        }
    }
}
