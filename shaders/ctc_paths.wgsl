// Computes the logarithms of the probabilities of CTC's partial alignments, from the beginning of
// each sequence and from its end, and the loss of each sequence. A workgroup takes one direction of
// one sequence; the backward direction counts steps and states from the end.

struct CtcPaths {
    logits: u32, norms: u32, lists: u32, labels: u32, lengths: u32, paths: u32, scores: u32,
    steps: u32, batch: u32, classes: u32, longest: u32, infeasible: f32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;        // [T * B, K]
@group(0) @binding(1) var<storage, read> norms: array<f32>;         // [2, T * B]
@group(0) @binding(2) var<storage, read> lists: array<u32>;         // [L, B]: labels, then IGNORE
@group(0) @binding(3) var<storage, read> labels: array<u32>;        // [B]: IGNORE for no target
@group(0) @binding(4) var<storage, read> lengths: array<u32>;       // [B]
@group(0) @binding(5) var<storage, read_write> paths: array<f32>;   // [2, B, T, 2 L + 1]
@group(0) @binding(6) var<storage, read_write> scores: array<f32>;  // [2, B]: losses, zeros
@group(1) @binding(0) var<uniform> u: CtcPaths;

@compute @workgroup_size(LANES)
fn main(
    @builtin(workgroup_id) workgroup: vec3<u32>,
    @builtin(num_workgroups) workgroups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup.x + workgroup.y * workgroups.x;
    if index >= 2u * u.batch {
        return;
    }
    let b = index % u.batch;
    let is_backward = index >= u.batch;
    let is_ignored = labels[u.labels + b] == IGNORE;
    let length = select(min(lengths[u.lengths + b], u.steps), 0u, is_ignored);
    let count = label_count(b);
    let states = 2u * count + 1u;
    let width = 2u * u.longest + 1u;
    let first = u.paths + index * u.steps * width;
    for (var step = 0u; step < length; step++) {
        let row = select(step, length - 1u - step, is_backward) * u.batch + b;
        for (var n = lane; n < states; n += LANES) {
            let state = select(n, states - 1u - n, is_backward);
            let k = class_of(b, state);
            var value = select(LOG_ZERO, 0.0, n < 2u);
            if step > 0u {
                let before = first + (step - 1u) * width + n;
                let own = paths[before];
                var last = LOG_ZERO;
                var skipped = LOG_ZERO;
                if n > 0u {
                    last = paths[before - 1u];
                }
                if n > 1u {
                    // A blank may be skipped between two labels that differ; all blanks are equal.
                    let other = select(n - 2u, states + 1u - n, is_backward);
                    if class_of(b, other) != k {
                        skipped = paths[before - 2u];
                    }
                }
                value = log_sum(own, last, skipped);
            }
            if value > LOG_ZERO {
                value += emission(row, k);
            }
            paths[first + step * width + n] = value;
        }
        storageBarrier();
    }
    if is_backward {
        return;
    }
    var norm = 0.0;
    for (var t = lane; t < length; t += LANES) {
        norm += norms[u.norms + u.steps * u.batch + t * u.batch + b];
    }
    norm = sum_of_all(lane, norm);
    if lane == 0u {
        // No step explains no label.
        var value = select(LOG_ZERO, 0.0, count == 0u);
        if length > 0u {
            let ends = first + (length - 1u) * width + states - 1u;
            value = paths[ends];
            if count > 0u {
                value = log_sum(value, paths[ends - 1u], LOG_ZERO);
            }
        }
        let loss = (norm - value) / f32(max(count, 1u));
        let feasible = select(u.infeasible, loss, value > LOG_ZERO);
        scores[u.scores + b] = select(feasible, 0.0, is_ignored);
        scores[u.scores + u.batch + b] = 0.0;
    }
}

// ln of the sum of e^a, e^b and e^c, of which LOG_ZERO stands for 0.
fn log_sum(a: f32, b: f32, c: f32) -> f32 {
    let largest = max(a, max(b, c));
    let sum = exp_of(a - largest) + exp_of(b - largest) + exp_of(c - largest);
    return select(largest + ln_of(sum), LOG_ZERO, largest == LOG_ZERO);
}
