// Shared by both directions of a layer with layer normalisation. A workgroup takes four sequences,
// and an invocation the units lane, lane + WIDTH, ...: it is the only one that reads what it has
// stored of them. Sums over all units pass through workgroup memory, in a fixed order.
//
// Behind its slots a row of `gates` holds, addressed as further slots, the normalised values
// [NORMS, H] from NORMED on, which the backward pass multiplies by their gradients: the gradients
// of the gains; then, from GRADIENTS on, the gradients of the values after gain and shift: those of
// the shifts; and from SCALES on the reciprocals of the deviations [STATISTICS]. JOINT vectors over
// the units have one of these together. After the backward pass the slots from PRODUCTS on hold the
// gradients of the recurrent matmul. The cell's file says which values are normalised.

const GROUPS = 1u;     // groups of four sequences in a workgroup
const WIDTH = 64u;     // invocations
const BLOCKS = 8u;     // of a sum over the invocations
const SUMS = 4u;       // sums over the units that are computed at once
override UNITS: u32 = 64;  // H

// A value for each sum.
alias Each = array<Rows, SUMS>;

var<workgroup> operand: array<Rows, UNITS>;
var<workgroup> partials: array<Rows, SUMS * WIDTH>;
var<workgroup> block_sums: array<Rows, SUMS * BLOCKS>;

// Returns the means over the units of JOINT vectors, given the sums of this invocation's units.
fn mean_of_units(lane: u32, values: Each) -> Each {
    var own = values;
    for (var k = 0u; k < SUMS; k++) {
        partials[k * WIDTH + lane] = own[k];
    }
    workgroupBarrier();
    if lane < SUMS * BLOCKS {
        let first = lane * (WIDTH / BLOCKS);
        var sum = partials[first];
        for (var i = 1u; i < WIDTH / BLOCKS; i++) {
            sum += partials[first + i];
        }
        block_sums[lane] = sum;
    }
    workgroupBarrier();
    var means: Each;
    for (var k = 0u; k < SUMS; k++) {
        var sum = block_sums[k * BLOCKS];
        for (var i = 1u; i < BLOCKS; i++) {
            sum += block_sums[k * BLOCKS + i];
        }
        means[k] = sum / f32(JOINT * UNITS);
    }
    return means;
}

fn gain(k: u32, j: u32) -> f32 {
    return peephole[u.peephole + k * UNITS + j];
}

// Returns the first of the four sequences of a workgroup.
fn first_of(workgroup: u32) -> u32 {
    return workgroup * 4u;
}

// Returns the valid steps of the longest of four sequences.
fn longest_from(first: u32) -> u32 {
    var longest = 0u;
    for (var i = 0u; i < 4u; i++) {
        longest = max(longest, length_of(first + i));
    }
    return longest;
}
