// Ends a step: writes its row of the history and advances the control words.

struct Record {
    scores: u32, labels: u32, lengths: u32, weight: u32, norm: u32, control: u32, history: u32,
    rows: u32, batch: u32, chunks: u32, updates: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<f32>;         // [2, rows]
@group(0) @binding(1) var<storage, read> labels: array<u32>;         // [rows]
@group(0) @binding(2) var<storage, read> lengths: array<u32>;        // [B]
@group(0) @binding(3) var<storage, read> weight: array<f32>;         // [2]: 1 / labelled, labelled
@group(0) @binding(4) var<storage, read> norm: array<f32>;           // [2]
@group(0) @binding(5) var<storage, read_write> control: array<u32>;
@group(0) @binding(6) var<storage, read_write> history: array<f32>;  // [rows, words]
@group(1) @binding(0) var<uniform> u: Record;

// Tests the bits, since a compiler may assume that all values are finite.
const EXPONENT = 0x7f800000u;

fn is_finite(value: f32) -> bool {
    return (bitcast<u32>(value) & EXPONENT) != EXPONENT;
}

@compute @workgroup_size(LANES)
fn main(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    var hits = 0.0;
    for (var row = lane; row < u.rows; row += LANES) {
        loss += scores[u.scores + row];
        hits += scores[u.scores + u.rows + row];
    }
    loss = sum_of_all(lane, loss);
    hits = sum_of_all(lane, hits);
    var last_loss = 0.0;
    var last_labelled = 0.0;
    for (var b = lane; b < u.batch; b += LANES) {
        let length = min(lengths[u.lengths + b], u.rows / u.batch);
        let row = (max(length, 1u) - 1u) * u.batch + b;
        if length > 0u && labels[u.labels + row] != IGNORE {
            last_loss += scores[u.scores + row];
            last_labelled += 1.0;
        }
    }
    last_loss = sum_of_all(lane, last_loss);
    last_labelled = sum_of_all(lane, last_labelled);
    if lane == 0u {
        let row = control[u.control + CONTROL_ROW];
        let at = u.history + row * HISTORY_WORDS;
        let mean = loss * weight[u.weight];
        let length = select(0.0, norm[u.norm], u.updates != 0u);
        history[at + HISTORY_LOSS] = mean;
        history[at + HISTORY_HITS] = hits;
        history[at + HISTORY_LABELLED] = weight[u.weight + 1u];
        history[at + HISTORY_NORM] = length;
        history[at + HISTORY_LAST_LOSS] = last_loss / max(last_labelled, 1.0);
        history[at + HISTORY_LAST_LABELLED] = last_labelled;
        history[at + HISTORY_NOT_FINITE] = select(1.0, 0.0, is_finite(mean) && is_finite(length));
        control[u.control + CONTROL_STEP] += u.updates;
        control[u.control + CONTROL_ROW] = row + 1u;
        let taken = control[u.control + CONTROL_TAKEN] + u.batch;
        control[u.control + CONTROL_TAKEN] = select(taken, 0u, u.updates != 0u);
        let chunk = control[u.control + CONTROL_CHUNK] + 1u;
        if chunk == u.chunks {
            control[u.control + CONTROL_CHUNK] = 0u;
            control[u.control + CONTROL_CURSOR] += u.batch;
        } else {
            control[u.control + CONTROL_CHUNK] = chunk;
        }
    }
}
