// Maps x to an integer in the same order, with NaN as the largest. Uses the bits, since a compiler
// may assume that x is not NaN.
fn key(x: f32) -> u32 {
    let bits = bitcast<u32>(x);
    let size = bits & 0x7fffffffu;
    if size > 0x7f800000u {
        return 0xffffffffu;
    }
    return select(0x80000000u + size, 0x80000000u - size, bits != size);
}
