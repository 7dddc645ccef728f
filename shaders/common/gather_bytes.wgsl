// Bytes, four to a word, lowest first, scaled.
alias Source = u32;
alias Out = f32;
const OVER_TIME = true;
fn take(at: u32) -> Out { return f32((source[u.source + at / 4u] >> (8u * (at % 4u))) & 0xffu) * u.scale; }
