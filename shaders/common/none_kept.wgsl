// All weights come through the cache; where workgroups share a core's memory, or a row does not fit.

const KEPT = 0u;

fn load_kept(at: u32) -> vec4<f32> {
    return vec4<f32>(0.0);
}

fn keep_weights(lane: u32) {
}
