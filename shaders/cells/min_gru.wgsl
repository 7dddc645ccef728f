// Minimal GRU, gates z, n: h' = (1 - z) h + z n with z = σ(W_z x + b_z), n = W_n x + b_n. No gate
// has a recurrent matmul.

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    let z = sigmoid_of((*slots)[0]);
    (*slots)[0] = z;
    return (1.0 - z) * h + z * (*slots)[1];
}

fn cell_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    w: vec3<f32>,
    dh: ptr<function, Rows>,
    dc: ptr<function, Rows>,
) {
    let z = (*slots)[0];
    let n = (*slots)[1];
    let kept = 1.0 - z;
    *slots = array(*dh * (n - s.h_before) * z * kept, *dh * z);
    *dh = *dh * kept;
}
