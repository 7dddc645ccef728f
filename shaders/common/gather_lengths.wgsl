// Lengths of sequences, as the number of valid steps in the chunk.
alias Source = u32;
alias Out = u32;
const OVER_TIME = false;
fn load(at: u32) -> Out {
    let before = control[u.control + CONTROL_CHUNK] * u.chunk_steps;
    let length = source[u.source + at];
    return min(length - min(length, before), u.chunk_steps);
}
