// The mean over valid steps; 0 for a sequence without steps.

struct Pool { source: u32, lengths: u32, out: u32, steps: u32, batch: u32, width: u32 }

fn pooled(at: u32, b: u32, length: u32) -> f32 {
    var sum = 0.0;
    for (var t = 0u; t < length; t++) {
        sum += element(t, at);
    }
    return sum / f32(max(length, 1u));
}
