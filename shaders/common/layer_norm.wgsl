// Shared by both directions of an LSTM with layer normalisation. A workgroup takes four sequences,
// and an invocation the units lane, lane + WIDTH, ...: it is the only one that reads what it has
// stored of them. Sums over all units pass through workgroup memory, in a fixed order.
//
// Behind its slots a row of `gates` holds, for the gates and then c, the normalised values [5, H],
// which the backward pass multiplies by their gradients: the gradients of the gains; then the
// gradients of the normalised values after gain and shift [5, H]: those of the shifts; and the
// reciprocals of the deviations [5].

const GROUPS = 1u;     // groups of four sequences in a workgroup
const WIDTH = 64u;     // invocations
const BLOCKS = 8u;     // of a sum over the invocations
const NORMS = 5u;      // the gates and c
const OF_C = 4u;
override UNITS: u32 = 64;  // H

const GRADIENTS = SLOTS + NORMS;
const SCALES = SLOTS + 2u * NORMS;

// A value for each gate.
alias Each = array<Rows, GATES>;

var<workgroup> operand: array<Rows, UNITS>;
var<workgroup> partials: array<Rows, GATES * WIDTH>;
var<workgroup> block_sums: array<Rows, GATES * BLOCKS>;

fn mean_of_units(lane: u32, values: Each) -> Each {
    var own = values;
    for (var k = 0u; k < GATES; k++) {
        partials[k * WIDTH + lane] = own[k];
    }
    workgroupBarrier();
    if lane < GATES * BLOCKS {
        let first = lane * (WIDTH / BLOCKS);
        var sum = partials[first];
        for (var i = 1u; i < WIDTH / BLOCKS; i++) {
            sum += partials[first + i];
        }
        block_sums[lane] = sum;
    }
    workgroupBarrier();
    var means: Each;
    for (var k = 0u; k < GATES; k++) {
        var sum = block_sums[k * BLOCKS];
        for (var i = 1u; i < BLOCKS; i++) {
            sum += block_sums[k * BLOCKS + i];
        }
        means[k] = sum / f32(UNITS);
    }
    return means;
}

fn gain(k: u32, j: u32) -> f32 {
    return peephole[u.peephole + k * UNITS + j];
}

fn shift(k: u32, j: u32) -> f32 {
    return peephole[u.peephole + u.shift + k * UNITS + j];
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
