// Philox 4x32-10 (Salmon et al., SC 2011): four random words from a four-word counter and a
// two-word key. Twin: src/rng.rs.

// Returns the high and the low word of the 64-bit product.
fn multiply(a: u32, b: u32) -> vec2<u32> {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let middle = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let other = (a & 0xffffu) * (b >> 16u) + (middle & 0xffffu);
    let high = (a >> 16u) * (b >> 16u) + (middle >> 16u) + (other >> 16u);
    return vec2<u32>(high, a * b);  // wraps
}

fn philox(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let first = multiply(0xd2511f53u, c.x);
        let second = multiply(0xcd9e8d57u, c.z);
        c = vec4<u32>(second.x ^ c.y ^ k.x, second.y, first.x ^ c.w ^ k.y, first.y);
        k += vec2<u32>(0x9e3779b9u, 0xbb67ae85u);  // wraps
    }
    return c;
}
