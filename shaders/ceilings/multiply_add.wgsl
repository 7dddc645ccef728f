// Computes 256 rounds of 32 multiply-adds in 8 independent chains, to measure the rate of
// arithmetic.
@group(0) @binding(0) var<storage, read> source: array<vec4<f32>>;
@group(0) @binding(1) var<storage, read_write> sums: array<vec4<f32>>;

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) invocation: vec3<u32>) {
    // Read from a buffer, since a compiler would fold constants.
    let factor = source[0];
    let term = source[1];
    var a = vec4<f32>(f32(invocation.x));
    var b = a + 1.0;
    var c = a + 2.0;
    var d = a + 3.0;
    var e = a + 4.0;
    var f = a + 5.0;
    var g = a + 6.0;
    var h = a + 7.0;
    for (var round = 0u; round < 256u; round++) {
        a = fma(a, factor, term);
        b = fma(b, factor, term);
        c = fma(c, factor, term);
        d = fma(d, factor, term);
        e = fma(e, factor, term);
        f = fma(f, factor, term);
        g = fma(g, factor, term);
        h = fma(h, factor, term);
    }
    // Stored, since a compiler drops unused results.
    sums[invocation.x % arrayLength(&sums)] = a + b + c + d + e + f + g + h;
}
