// Returns the token of a row of [T, B], in the order of time or with the valid steps of each
// sequence reversed.
fn token_of(row: u32) -> u32 {
    let b = row % u.batch;
    var t = row / u.batch;
    let length = min(lengths[u.lengths + b], u.steps);
    if u.reversed != 0u && t < length {
        t = length - 1u - t;
    }
    return tokens[u.tokens + t * u.batch + b];
}
