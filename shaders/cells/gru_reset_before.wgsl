// GRU, gates r, z, n, with the reset gate before the recurrent matmul:
// n = tanh(W_n x + b_n + R_n (r h)), h' = (1 - z) n + z h. Slot 3 saves r h.

fn cell_middle(slots: ptr<function, array<Rows, SLOTS>>, product: array<Rows, GATES>, h: Rows) {
    let r = gate_of((*slots)[0] + product[0]);
    let z = gate_of((*slots)[1] + product[1]);
    *slots = array(r, z, (*slots)[2], r * h);
}

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    let n = activation_of((*slots)[2] + product[2]);
    let z = (*slots)[1];
    (*slots)[2] = n;
    return (1.0 - z) * n + z * h;
}

fn cell_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    w: vec3<f32>,
    dh: ptr<function, Rows>,
    dc: ptr<function, Rows>,
) {
    let z = (*slots)[1];
    let n = (*slots)[2];
    (*slots)[1] = gate_back(*dh * (s.h_before - n), z);
    (*slots)[2] = activation_back(*dh * (1.0 - z), n);
    *dh = *dh * z;
}

fn cell_middle_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    dmiddle: Rows,
    dh: ptr<function, Rows>,
) {
    let r = (*slots)[0];
    (*slots)[0] = gate_back(dmiddle * s.h_before, r);
    *dh = *dh + dmiddle * r;
}
