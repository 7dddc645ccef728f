// Vanilla RNN: h' = act(W x + b + R h). RELU is set by the host.

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    let sum = (*slots)[0] + product[0];
    if RELU {
        return select(sum, Rows(0.0), sum < Rows(0.0));
    }
    return tanh_of(sum);
}

fn cell_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    w: vec3<f32>,
    dh: ptr<function, Rows>,
    dc: ptr<function, Rows>,
) {
    if RELU {
        (*slots)[0] = select(Rows(0.0), *dh, s.h > Rows(0.0));
    } else {
        (*slots)[0] = *dh * (1.0 - s.h * s.h);
    }
    *dh = Rows(0.0);
}
