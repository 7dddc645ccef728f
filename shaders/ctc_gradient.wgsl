// Computes the gradient of CTC with respect to logits: the probability of each class minus the
// share of the alignments that have it at this step. A workgroup takes one step of one sequence.

struct CtcGradient {
    logits: u32, norms: u32, lists: u32, labels: u32, lengths: u32, paths: u32, weight: u32,
    dlogits: u32,
    steps: u32, batch: u32, classes: u32, longest: u32, infeasible: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;         // [T * B, K]
@group(0) @binding(1) var<storage, read> norms: array<f32>;          // [2, T * B]
@group(0) @binding(2) var<storage, read> lists: array<u32>;          // [L, B]: labels, then IGNORE
@group(0) @binding(3) var<storage, read> labels: array<u32>;         // [B]: IGNORE for no target
@group(0) @binding(4) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(5) var<storage, read> paths: array<f32>;          // [2, B, T, 2 L + 1]
@group(0) @binding(6) var<storage, read> weight: array<f32>;         // [2]
@group(0) @binding(7) var<storage, read_write> dlogits: array<f32>;  // [T * B, K]
@group(1) @binding(0) var<uniform> u: CtcGradient;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup.x + workgroup.y * workgroups.x;
    if row >= u.steps * u.batch {
        return;
    }
    let b = row % u.batch;
    let t = row / u.batch;
    let is_ignored = labels[u.labels + b] == IGNORE;
    let length = select(min(lengths[u.lengths + b], u.steps), 0u, is_ignored);
    let out = u.dlogits + row * u.classes;
    if t >= length {
        for (var k = lane; k < u.classes; k += LANES) {
            dlogits[out + k] = 0.0;
        }
        return;
    }
    let count = label_count(b);
    let states = 2u * count + 1u;
    let width = 2u * u.longest + 1u;
    let ahead = u.paths + (b * u.steps + t) * width;
    let back = u.paths + ((u.batch + b) * u.steps + length - 1u - t) * width + states - 1u;
    var largest = LOG_ZERO;
    for (var s = lane; s < states; s += LANES) {
        largest = max(largest, through(ahead, back, s) - emission(row, class_of(b, s)));
    }
    largest = largest_of_all(lane, largest);
    var blanks = 0.0;
    var others = 0.0;
    for (var s = lane; s < states; s += LANES) {
        let share = share_of(ahead, back, s, emission(row, class_of(b, s)) + largest);
        blanks += select(0.0, share, s % 2u == 0u);
        others += select(share, 0.0, s % 2u == 0u);
    }
    blanks = sum_of_all(lane, blanks);
    others = sum_of_all(lane, others);
    let is_feasible = blanks + others > 0.0;
    let part = 1.0 / select(1.0, blanks + others, is_feasible);
    let scale = weight[u.weight] / f32(max(count, 1u));
    let norm = norms[u.norms + u.steps * u.batch + row];
    for (var k = lane; k < u.classes; k += LANES) {
        let relative = emission(row, k);
        var shares = select(0.0, blanks, k == BLANK);
        // The positions of the class in the order of the labels.
        for (var j = 0u; j < count; j++) {
            if lists[u.lists + j * u.batch + b] == k {
                shares += share_of(ahead, back, 2u * j + 1u, relative + largest);
            }
        }
        let gradient = (exp_of(relative - norm) - shares * part) * scale;
        dlogits[out + k] = select(u.infeasible, gradient, is_feasible);
    }
}

// ln of the probability of the alignments through state s at this step, twice with its own factor;
// below LOG_ZERO / 2 if there are none.
fn through(ahead: u32, back: u32, s: u32) -> f32 {
    return paths[ahead + s] + paths[back - s];
}

// The share of the alignments through state s, relative to those of the likeliest state; `base` is
// the logarithm of what the share is relative to.
fn share_of(ahead: u32, back: u32, s: u32, base: f32) -> f32 {
    let value = through(ahead, back, s);
    return select(exp_of(value - base), 0.0, value < LOG_ZERO / 2.0);
}
