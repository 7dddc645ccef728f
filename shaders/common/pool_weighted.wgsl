// The sum over valid steps, each with its weight.

struct Pool {
    source: u32, lengths: u32, out: u32, weights: u32,
    steps: u32, batch: u32, width: u32,
}

@group(0) @binding(3) var<storage, read> weights: array<f32>;  // [T, B]

fn pooled(at: u32, b: u32, length: u32) -> f32 {
    var sum = 0.0;
    for (var t = 0u; t < length; t++) {
        sum += weights[u.weights + t * u.batch + b] * element(t, at);
    }
    return sum;
}
