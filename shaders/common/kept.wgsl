// Workgroup memory holds the first of the packed weights, in whole rows.

override KEPT: u32 = 64;  // of fours

var<workgroup> kept: array<vec4<f32>, KEPT>;

fn load_weight(at: u32, is_kept: bool) -> vec4<f32> {
    if is_kept {
        return kept[at];
    }
    return weights[u.weights / 4u + at];
}

// Once for all steps.
fn keep_weights(lane: u32) {
    for (var at = lane; at < KEPT; at += WIDTH) {
        kept[at] = load_weight(at, false);
    }
}
