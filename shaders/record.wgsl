// Ends a step: writes its row of the history, and moves the control words on.

struct Record {
    scores: u32, weight: u32, norm: u32, control: u32, history: u32,
    rows: u32, batch: u32, updates: u32,
}

@group(0) @binding(0) var<storage, read> scores: array<f32>;          // [2, rows]
@group(0) @binding(1) var<storage, read> weight: array<f32>;          // [2]: 1 / labelled, labelled
@group(0) @binding(2) var<storage, read> norm: array<f32>;            // [2]
@group(0) @binding(3) var<storage, read_write> control: array<u32>;
@group(0) @binding(4) var<storage, read_write> history: array<f32>;   // [rows, 4]: loss, hits, labelled, norm
@group(1) @binding(0) var<uniform> u: Record;

// Words of a control buffer and of a row of the history; src/kernels/mod.rs has the same.
const STEP = 0u;
const CURSOR = 1u;
const ROW = 3u;
const WORDS = 4u;

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
    if lane == 0u {
        let row = control[u.control + ROW];
        let at = u.history + row * WORDS;
        history[at] = loss * weight[u.weight];
        history[at + 1u] = hits;
        history[at + 2u] = weight[u.weight + 1u];
        history[at + 3u] = select(0.0, norm[u.norm], u.updates != 0u);
        control[u.control + STEP] += u.updates;
        control[u.control + CURSOR] += u.batch;
        control[u.control + ROW] = row + 1u;
    }
}
