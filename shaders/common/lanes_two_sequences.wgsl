// As lanes.wgsl, in a tile of groups of two sequences: `Quad` is vec2<f32>. Two lanes finish a
// sequence each.

const FINISHERS = 2u;
const PARTS = 1u;
const SPLIT = clamp(LANES / 2u, 1u, EACH);
const OWN_EACH = EACH / SPLIT;

alias OwnRows = array<Rows, PARTS>;

fn sequence_in_group(share: u32, part: u32) -> u32 {
    return share % 2u;
}

fn row_in_group(values: Quad, share: u32, part: u32) -> Rows {
    return select(values.x, values.y, share % 2u == 1u);
}

// Returns the value of a lane's sequence, of which the first of two lanes has both.
fn own_rows(values: Quad, share: u32) -> OwnRows {
    let y = subgroupShuffleXor(values.y, 1u);
    return OwnRows(select(values.x, y, share % 2u == 1u));
}

// Returns the sum over two lanes of the sequence that a lane finishes: it gives the other away.
fn sum_of_finishers(values: Quad, share: u32) -> Rows {
    let is_odd = share % 2u == 1u;
    let given = select(values.y, values.x, is_odd);
    return select(values.x, values.y, is_odd) + subgroupShuffleXor(given, 1u);
}

fn sum_of_lanes(values: Quad, share: u32) -> OwnRows {
    var sum = sum_of_finishers(values, share);
    for (var distance = 2u; distance < LANES; distance *= 2u) {
        sum += subgroupShuffleXor(sum, distance);
    }
    return OwnRows(sum);
}

// Returns the sums over all lanes of the elements that a lane finishes: of elements
// i * SPLIT + share / 2 % SPLIT.
fn sums_of_elements(values: array<Quad, EACH>, share: u32) -> array<OwnRows, OWN_EACH> {
    var loaded = values;
    var sums: array<Rows, EACH>;
    for (var e = 0u; e < EACH; e++) {
        sums[e] = sum_of_finishers(loaded[e], share);
    }
    var count = EACH;
    for (var distance = 2u; distance < LANES; distance *= 2u) {
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

// Returns the values of both sequences, in the first of two lanes.
fn quad_of_lanes(values: OwnRows) -> Quad {
    let y = subgroupShuffleXor(values[0], 1u);
    return Quad(values[0], y);
}

fn load_h_quad(t: u32, first: u32, p: u32) -> Quad {
    return Quad(load_h(t, first, p), load_h(t, first + 1u, p));
}

fn load_gate_mask_quad(t: u32, first: u32, gate: u32, p: u32) -> Quad {
    return Quad(load_gate_mask(t, first, gate, p), load_gate_mask(t, first + 1u, gate, p));
}
