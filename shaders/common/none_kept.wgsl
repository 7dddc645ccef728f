// All weights come through the cache: for steps, and where workgroups share a core's memory or a row does not fit.

const KEPT = 0u;

fn load_weight(at: u32, is_kept: bool) -> vec4<f32> {
    return weights[u.weights / 4u + at];
}

fn keep_weights(lane: u32) {
}
