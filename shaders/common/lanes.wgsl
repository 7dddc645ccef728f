// LANES lanes of a subgroup, 2 to 16, share the inner dimension of each matmul, so that more loads
// are in flight in a workgroup with few units. The lanes then divide the sums among themselves: a
// lane finishes PARTS of a group's four sequences, and OWN_EACH of a worker's EACH elements.
//
// Consecutive invocations are neighbours in a subgroup: src/backend/gpu/neighbours.rs tests it.

alias Quad = vec4<f32>;  // a value of each of four sequences

const FINISHERS = min(LANES, 4u);  // lanes that finish the four sequences of an element
const PARTS = 4u / FINISHERS;      // sequences of a group for each of them
const SPLIT = clamp(LANES / 4u, 1u, EACH);
const OWN_EACH = EACH / SPLIT;

// Values of the sequences that a lane finishes.
alias OwnRows = array<Rows, PARTS>;

// Returns the index in its group of a sequence that a lane finishes.
fn sequence_in_group(share: u32, part: u32) -> u32 {
    return share % FINISHERS + part * FINISHERS;
}

fn row_in_group(values: Quad, share: u32, part: u32) -> Rows {
    return values[sequence_in_group(share, part)];
}

// Returns the values of a lane's sequences, of which the first of FINISHERS lanes has all four.
fn own_rows(values: Quad, share: u32) -> OwnRows {
    var own: OwnRows;
    let y = subgroupShuffleXor(values.y, 1u);
    if LANES == 2u {
        let w = subgroupShuffleXor(values.w, 1u);
        own[0] = select(values.x, y, share == 1u);
        own[PARTS - 1u] = select(values.z, w, share == 1u);
        return own;
    }
    let z = subgroupShuffleXor(values.z, 2u);
    let w = subgroupShuffleXor(values.w, 3u);
    let low = select(values.x, y, share % 4u == 1u);
    own[0] = select(low, select(z, w, share % 4u == 3u), share % 4u > 1u);
    return own;
}

// Returns the sums, over up to four lanes, of the sequences that a lane finishes. At each distance
// a lane keeps half of the sequences and gives the others away.
fn sum_of_finishers(values: Quad, share: u32) -> OwnRows {
    let is_odd = share % 2u == 1u;
    let given = select(values.yw, values.xz, is_odd);
    let half = select(values.xz, values.yw, is_odd) + subgroupShuffleXor(given, 1u);
    var own: OwnRows;
    own[0] = half.x;
    own[PARTS - 1u] = half.y;
    if LANES > 2u {
        let is_high = share % 4u > 1u;
        let other = subgroupShuffleXor(select(half.y, half.x, is_high), 2u);
        own[0] = select(half.x, half.y, is_high) + other;
    }
    return own;
}

// Returns the sums over all lanes of the sequences that a lane finishes.
fn sum_of_lanes(values: Quad, share: u32) -> OwnRows {
    var own = sum_of_finishers(values, share);
    for (var distance = 4u; distance < LANES; distance *= 2u) {
        own[0] += subgroupShuffleXor(own[0], distance);
    }
    return own;
}

// Returns the sums over all lanes of the elements and sequences that a lane finishes: of elements
// i * SPLIT + share / 4 % SPLIT.
fn sums_of_elements(values: array<Quad, EACH>, share: u32) -> array<OwnRows, OWN_EACH> {
    var loaded = values;
    var sums: array<OwnRows, EACH>;
    for (var e = 0u; e < EACH; e++) {
        sums[e] = sum_of_finishers(loaded[e], share);
    }
    var count = EACH;
    for (var distance = 4u; distance < LANES; distance *= 2u) {
        let is_high = share / distance % 2u == 1u;
        if count == 1u {
            sums[0][0] += subgroupShuffleXor(sums[0][0], distance);
        }
        for (var e = 0u; e < count / 2u; e++) {
            let even = sums[2u * e][0];
            let odd = sums[2u * e + 1u][0];
            let other = subgroupShuffleXor(select(odd, even, is_high), distance);
            sums[e][0] = select(even, odd, is_high) + other;
        }
        count = max(count / 2u, 1u);
    }
    var own: array<OwnRows, OWN_EACH>;
    for (var e = 0u; e < OWN_EACH; e++) {
        own[e] = sums[e];
    }
    return own;
}

// Returns the values of all four sequences, in the first of FINISHERS lanes.
fn quad_of_lanes(values: OwnRows) -> Quad {
    var own = values;
    let y = subgroupShuffleXor(own[0], 1u);
    if LANES == 2u {
        let w = subgroupShuffleXor(own[PARTS - 1u], 1u);
        return Quad(own[0], y, own[PARTS - 1u], w);
    }
    let z = subgroupShuffleXor(own[0], 2u);
    return Quad(own[0], y, z, subgroupShuffleXor(own[0], 3u));
}

fn load_h_quad(t: u32, first: u32, p: u32) -> Quad {
    return Quad(
        load_h(t, first, p),
        load_h(t, first + 1u, p),
        load_h(t, first + 2u, p),
        load_h(t, first + 3u, p),
    );
}

fn load_gate_mask_quad(t: u32, first: u32, gate: u32, p: u32) -> Quad {
    return Quad(
        load_gate_mask(t, first, gate, p),
        load_gate_mask(t, first + 1u, gate, p),
        load_gate_mask(t, first + 2u, gate, p),
        load_gate_mask(t, first + 3u, gate, p),
    );
}
