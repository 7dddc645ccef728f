// The gradient of the mean over valid steps.

struct PoolBackward { dout: u32, lengths: u32, dsource: u32, steps: u32, batch: u32, width: u32 }

fn share(d: f32, t: u32, b: u32, i: u32, length: u32) -> f32 {
    return d / f32(length);
}
