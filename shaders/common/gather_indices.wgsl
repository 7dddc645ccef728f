// Integers: labels and tokens.
alias Source = u32;
alias Out = u32;
const OVER_TIME = true;
fn load(at: u32) -> Out {
    return source[u.source + at];
}
