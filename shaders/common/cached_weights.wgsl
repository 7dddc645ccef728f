// Loads packed weights, of which workgroup memory caches the first rows after the HELD vec4s that
// invocations keep in registers.

override CACHED: u32 = 64;  // vec4s

var<workgroup> cached_weights: array<vec4<f32>, CACHED>;

fn load_weight(at: u32, is_cached: bool) -> vec4<f32> {
    if is_cached {
        return cached_weights[at - HELD];
    }
    return weights[u.weights / 4u + at];
}

// Fills the cache, once for all time steps.
fn cache_weights(lane: u32) {
    for (var at = lane; at < CACHED; at += WIDTH) {
        cached_weights[at] = load_weight(HELD + at, false);
    }
}
