// The gradient of the weighted sum: by the step's weight, and by its score `source . query`.

struct PoolBackward {
    dout: u32, lengths: u32, dsource: u32, weights: u32, dscores: u32, query: u32,
    steps: u32, batch: u32, width: u32,
}

@group(0) @binding(3) var<storage, read> weights: array<f32>;  // [T, B]
@group(0) @binding(4) var<storage, read> dscores: array<f32>;  // [T, B]
@group(0) @binding(5) var<storage, read> query: array<f32>;    // [width]

fn share(d: f32, t: u32, b: u32, i: u32, length: u32) -> f32 {
    let row = t * u.batch + b;
    return weights[u.weights + row] * d + dscores[u.dscores + row] * query[u.query + i];
}
