// Weights that invocations keep in registers as f16.

// Rounds to the nearest f16, between two to the even one: a conversion alone may round either way.
// A value that f16 cannot hold becomes NaN, so that the loss shows it.
fn halved(value: vec4<f32>) -> vec4<f16> {
    let bits = bitcast<vec4<u32>>(value);
    let is_inside = (bits & vec4<u32>(0x7fffffffu)) < vec4<u32>(0x477ff000u);
    let is_odd = (bits >> vec4<u32>(13u)) & vec4<u32>(1u);
    let nearest = bits + vec4<u32>(0xfffu) + is_odd;  // wraps for a NaN, which is not inside
    let kept = select(bits | vec4<u32>(0x7fc00000u), nearest, is_inside);
    return vec4<f16>(bitcast<vec4<f32>>(kept & vec4<u32>(0xffffe000u)));
}
