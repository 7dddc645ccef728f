// Functions of one sequence or of four (`Rows`), built on plain arithmetic and bits: the exp and
// tanh of some drivers overflow or lose digits. Twins and error bounds: src/numeric/real.rs.

// e^x = 2^n (1 + rest) for |x| < 88.
struct SplitExp { power: Rows, rest: Rows }

fn split_exp(x: Rows) -> SplitExp {
    let n = round(x * 1.44269504);
    let power = bitcast<Rows>((Ints(n) + 127) << Counts(23u));
    // ln 2 in two parts, the first of few bits, so that its product with n is exact.
    let r = (x - n * 0.693359375) + n * 2.12194440e-4;
    var series = Rows(1.0 / 5040.0);
    series = series * r + 1.0 / 720.0;
    series = series * r + 1.0 / 120.0;
    series = series * r + 1.0 / 24.0;
    series = series * r + 1.0 / 6.0;
    series = series * r + 0.5;
    return SplitExp(power, (series * r) * r + r);
}

fn exp_of(x: Rows) -> Rows {
    let e = split_exp(clamp(x, Rows(-87.0), Rows(87.0)));
    return e.power + e.power * e.rest;
}

fn sigmoid_of(x: Rows) -> Rows {
    return 1.0 / (1.0 + exp_of(-x));
}

fn tanh_of(x: Rows) -> Rows {
    let e = split_exp(clamp(2.0 * x, Rows(-20.0), Rows(20.0)));
    let difference = e.power * e.rest + (e.power - 1.0);
    // Near 0 the series to x^7: a compiler that reorders sums could lose the difference's digits
    // there.
    let x2 = x * x;
    let series = x + x * x2 * (-1.0 / 3.0 + x2 * (2.0 / 15.0 - x2 * (17.0 / 315.0)));
    return select(difference / (difference + 2.0), series, abs(x) < Rows(0.1));
}

// Clamps x to ±limit. NaN stays NaN, unlike in clamp().
fn clipped(x: Rows, limit: f32) -> Rows {
    return select(select(x, Rows(limit), x > Rows(limit)), Rows(-limit), x < Rows(-limit));
}

// Whether clipping changes a value, so that its gradient is zero.
fn is_clipped(x: Rows, limit: f32) -> Flags {
    return (x > Rows(limit)) | (x < Rows(-limit));
}

// ln x for x >= 1: x = 2^n m with m in [sqrt(1/2), sqrt(2)], and ln m = 2 artanh((m - 1) / (m + 1))
// by its series, whose first omitted term is 1e-10 of the sum.
fn ln_of(x: f32) -> f32 {
    // Below 1 only for logits that are not finite, and then neither is the score.
    let bits = bitcast<u32>(x) - 0x3f3504f3u; // wraps
    let n = f32(bits >> 23u);
    let m = bitcast<f32>((bits & 0x7fffffu) + 0x3f3504f3u);
    let s = (m - 1.0) / (m + 1.0);
    let s2 = s * s;
    var series = 1.0 / 11.0 * s2 + 1.0 / 9.0;
    series = series * s2 + 1.0 / 7.0;
    series = series * s2 + 1.0 / 5.0;
    series = series * s2 + 1.0 / 3.0;
    series = series * s2 + 1.0;
    return n * 0.693359375 + (2.0 * s * series - n * 2.12194440e-4);
}
