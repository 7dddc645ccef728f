// As lanes.wgsl, in a tile of one sequence: `Quad` is f32. The first lane finishes the sequence,
// and each of SPLIT lanes OWN_EACH of a worker's EACH elements.

const FINISHERS = 1u;
const PARTS = 1u;
const SPLIT = min(LANES, EACH);
const OWN_EACH = EACH / SPLIT;

alias OwnRows = array<Rows, PARTS>;

fn sequence_in_group(share: u32, part: u32) -> u32 {
    return 0u;
}

fn row_in_group(values: Quad, share: u32, part: u32) -> Rows {
    return values;
}

// Returns the value in the first lane, which alone finishes the sequence.
fn own_rows(values: Quad, share: u32) -> OwnRows {
    return OwnRows(values);
}

fn sum_of_lanes(values: Quad, share: u32) -> OwnRows {
    var sum = values;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return OwnRows(sum);
}

// Returns the sums over all lanes of the elements that a lane finishes: of elements
// i * SPLIT + share % SPLIT. At each distance a lane keeps half of the elements and gives the
// others away.
fn sums_of_elements(values: array<Quad, EACH>, share: u32) -> array<OwnRows, OWN_EACH> {
    var sums = values;
    var count = EACH;
    for (var distance = 1u; distance < LANES; distance *= 2u) {
        let is_high = share / distance % 2u == 1u;
        if count == 1u {
            sums[0] += subgroupShuffleXor(sums[0], distance);
        }
        for (var e = 0u; e < count / 2u; e++) {
            let even = sums[2u * e];
            let odd = sums[2u * e + 1u];
            let other = subgroupShuffleXor(select(odd, even, is_high), distance);
            sums[e] = select(even, odd, is_high) + other;
        }
        count = max(count / 2u, 1u);
    }
    var own: array<OwnRows, OWN_EACH>;
    for (var e = 0u; e < OWN_EACH; e++) {
        own[e] = OwnRows(sums[e]);
    }
    return own;
}

fn quad_of_lanes(values: OwnRows) -> Quad {
    return values[0];
}

fn load_h_quad(t: u32, first: u32, p: u32) -> Quad {
    return load_h(t, first, p);
}

fn load_gate_mask_quad(t: u32, first: u32, gate: u32, p: u32) -> Quad {
    return load_gate_mask(t, first, gate, p);
}
