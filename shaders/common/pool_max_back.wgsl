// The gradient of the maximum: that of the step that has it.

struct PoolBackward {
    dout: u32, lengths: u32, dsource: u32, picked: u32,
    steps: u32, batch: u32, width: u32,
}

@group(0) @binding(3) var<storage, read> picked: array<u32>;  // [B, width]

fn share(d: f32, t: u32, b: u32, i: u32, length: u32) -> f32 {
    return select(0.0, d, picked[u.picked + b * u.width + i] == t);
}
