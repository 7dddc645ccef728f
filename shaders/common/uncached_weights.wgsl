// Loads packed weights without a cache in workgroup memory: for steps, for scans of which several
// workgroups share a core's memory, and for rows that do not fit.

const CACHED = 0u;

fn load_weight(at: u32, is_cached: bool) -> vec4<f32> {
    return weights[u.weights / 4u + at];
}

fn cache_weights(lane: u32) {
}
