// For a layer without recurrent weights. Never reads `weights`, whose buffer is smaller than a
// vec4.

const CACHED = 0u;

fn load_weight(at: u32, is_cached: bool) -> vec4<f32> {
    return vec4<f32>(0.0);
}

fn cache_weights(lane: u32) {
}
