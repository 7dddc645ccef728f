// Workgroup memory holds the first of the packed weights, in whole rows.

override KEPT: u32 = 64;  // of fours

var<workgroup> kept: array<vec4<f32>, KEPT>;

fn load_kept(at: u32) -> vec4<f32> {
    return kept[at];
}

// Once for all steps.
fn keep_weights(lane: u32) {
    for (var i = lane; i < KEPT; i += WIDTH) {
        kept[i] = weights[u.weights / 4u + i];
    }
}
