// Lengths: how many of a sequence's valid steps lie in the chunk that is taken.
alias Source = u32;
alias Out = u32;
const OVER_TIME = false;
fn take(at: u32) -> Out {
    let before = control[u.control + CHUNK] * u.chunk_steps;
    let length = source[u.source + at];
    return min(length - min(length, before), u.chunk_steps);
}
