// Integers: labels, lengths.
alias Source = u32;
alias Out = u32;
const OVER_TIME = true;
fn take(at: u32) -> Out { return source[u.source + at]; }
