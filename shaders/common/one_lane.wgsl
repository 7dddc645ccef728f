// Every invocation computes whole sums, and finishes all sequences of its groups: for devices
// without subgroups, and for layers with enough units to keep the device busy.

const FINISHERS = 1u;
const PARTS = 1u;
const SPLIT = 1u;
const OWN_EACH = EACH;

alias OwnRows = array<Rows, PARTS>;

fn sequence_in_group(share: u32, part: u32) -> u32 {
    return 0u;
}

fn row_in_group(values: Quad, share: u32, part: u32) -> Rows {
    return values;
}

fn own_rows(values: Quad, share: u32) -> OwnRows {
    return OwnRows(values);
}

fn sum_of_lanes(values: Quad, share: u32) -> OwnRows {
    return OwnRows(values);
}

fn sums_of_elements(values: array<Quad, EACH>, share: u32) -> array<OwnRows, OWN_EACH> {
    var loaded = values;
    var own: array<OwnRows, OWN_EACH>;
    for (var e = 0u; e < EACH; e++) {
        own[e] = OwnRows(loaded[e]);
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
