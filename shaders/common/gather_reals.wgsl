// Real numbers.
alias Source = f32;
alias Out = f32;
const OVER_TIME = true;
fn load(at: u32) -> Out {
    return source[u.source + at];
}
