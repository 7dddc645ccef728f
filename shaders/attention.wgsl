// Computes the weights of the valid steps of a sequence: the softmax of their scores over time. A
// workgroup takes one sequence. Padded steps have the weight 0.

struct Attention { scores: u32, lengths: u32, weights: u32, steps: u32, batch: u32 }

@group(0) @binding(0) var<storage, read> scores: array<f32>;         // [T, B]
@group(0) @binding(1) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(2) var<storage, read_write> weights: array<f32>;  // [T, B]
@group(1) @binding(0) var<uniform> u: Attention;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let b = workgroup.x + workgroup.y * workgroups.x;
    if b >= u.batch {
        return;
    }
    let length = min(lengths[u.lengths + b], u.steps);
    var largest = scores[u.scores + b];
    for (var t = lane; t < length; t += LANES) {
        largest = max(largest, score(t, b));
    }
    largest = largest_of_all(lane, largest);
    var sum = 0.0;
    for (var t = lane; t < length; t += LANES) {
        sum += exp_of(Rows(score(t, b) - largest)).x;
    }
    sum = sum_of_all(lane, sum);
    for (var t = lane; t < u.steps; t += LANES) {
        var weight = 0.0;
        if t < length {
            weight = exp_of(Rows(score(t, b) - largest)).x / sum;
        }
        weights[u.weights + t * u.batch + b] = weight;
    }
}

fn score(t: u32, b: u32) -> f32 {
    return scores[u.scores + t * u.batch + b];
}
