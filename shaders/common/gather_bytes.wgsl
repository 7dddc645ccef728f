// Bytes, four to a word, the lowest byte first, scaled.
alias Source = u32;
alias Out = f32;
const OVER_TIME = true;
fn load(at: u32) -> Out {
    let word = source[u.source + at / 4u];
    return f32((word >> (8u * (at % 4u))) & 0xffu) * u.scale;
}
