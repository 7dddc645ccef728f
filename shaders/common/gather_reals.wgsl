// Real numbers.
alias Source = f32;
alias Out = f32;
const OVER_TIME = true;
fn take(at: u32) -> Out { return source[u.source + at]; }
