// As one_lane.wgsl, in a tile of groups of two sequences: `Quad` is vec2<f32>. An invocation
// finishes both sequences, one after the other.

const FINISHERS = 1u;
const PARTS = 2u;
const SPLIT = 1u;
const OWN_EACH = EACH;

alias OwnRows = array<Rows, PARTS>;

fn sequence_in_group(share: u32, part: u32) -> u32 {
    return part;
}

fn row_in_group(values: Quad, share: u32, part: u32) -> Rows {
    return select(values.x, values.y, part == 1u);
}

fn own_rows(values: Quad, share: u32) -> OwnRows {
    return OwnRows(values.x, values.y);
}

fn sum_of_lanes(values: Quad, share: u32) -> OwnRows {
    return own_rows(values, share);
}

fn sums_of_elements(values: array<Quad, EACH>, share: u32) -> array<OwnRows, OWN_EACH> {
    var loaded = values;
    var own: array<OwnRows, OWN_EACH>;
    for (var e = 0u; e < EACH; e++) {
        own[e] = own_rows(loaded[e], share);
    }
    return own;
}

fn quad_of_lanes(values: OwnRows) -> Quad {
    return Quad(values[0], values[1]);
}

fn load_h_quad(t: u32, first: u32, p: u32) -> Quad {
    return Quad(load_h(t, first, p), load_h(t, first + 1u, p));
}

fn load_gate_mask_quad(t: u32, first: u32, gate: u32, p: u32) -> Quad {
    return Quad(load_gate_mask(t, first, gate, p), load_gate_mask(t, first + 1u, gate, p));
}
