// Computes norm = [Euclidean norm of the gradient, factor that clips it].

struct ClipFactor { partials: u32, norm: u32, limit: f32, margin: f32 }

@group(0) @binding(0) var<storage, read> partials: array<f32>;    // [64]
@group(0) @binding(1) var<storage, read_write> norm: array<f32>;  // [2]
@group(1) @binding(0) var<uniform> u: ClipFactor;

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    let length = sqrt(sum_of_all(lane, partials[u.partials + lane]));
    if lane == 0u {
        norm[u.norm] = length;
        norm[u.norm + 1u] = 1.0;
        if u.limit > 0.0 && length + u.margin > u.limit {
            norm[u.norm + 1u] = u.limit / (length + u.margin);
        }
    }
}
