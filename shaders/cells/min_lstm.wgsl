// Minimal LSTM, gates i, f, g: h' = f' h + i' g with g = W_g x + b_g, f' = σ(f) / (σ(f) + σ(i)) and
// i' = 1 - f'. No gate has a recurrent matmul. Slot 3 saves f'.

// Returns σ(f) / (σ(f) + σ(i)) of the pre-activations, with every exponent shifted to at most 0, so
// that it is right where both sigmoids are 0.
fn forget_share(i: Rows, f: Rows) -> Rows {
    let shift = max(max(-i, -f), Rows(0.0));
    let one = exp_of(-shift);
    let of_input = one + exp_of(-i - shift);
    let of_forget = one + exp_of(-f - shift);
    return of_input / (of_input + of_forget);
}

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    let i = (*slots)[0];
    let f = (*slots)[1];
    let g = (*slots)[2];
    let kept = forget_share(i, f);
    *slots = array(sigmoid_of(i), sigmoid_of(f), g, kept);
    return kept * h + (1.0 - kept) * g;
}

fn cell_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    w: vec3<f32>,
    dh: ptr<function, Rows>,
    dc: ptr<function, Rows>,
) {
    let i = (*slots)[0];
    let f = (*slots)[1];
    let g = (*slots)[2];
    let kept = (*slots)[3];
    let taken = 1.0 - kept;
    let dratio = *dh * (s.h_before - g) * kept * taken;
    *slots = array(-(dratio * (1.0 - i)), dratio * (1.0 - f), *dh * taken, kept);
    *dh = *dh * kept;
}
