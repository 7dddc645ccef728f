// The maximum over valid steps, and the first step that has it; 0 for a sequence without steps.

struct Pool {
    source: u32, lengths: u32, out: u32, picked: u32,
    steps: u32, batch: u32, width: u32,
}

@group(0) @binding(3) var<storage, read_write> picked: array<u32>;  // [B, width]

fn pooled(at: u32, b: u32, length: u32) -> f32 {
    var largest = 0.0;
    var step = IGNORE;
    for (var t = 0u; t < length; t++) {
        let value = element(t, at);
        if t == 0u || key(value) > key(largest) {
            largest = value;
            step = t;
        }
    }
    picked[u.picked + at] = step;
    return largest;
}
