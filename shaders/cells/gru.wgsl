// GRU, gates r, z, n, with the reset gate after the recurrent matmul:
// n = tanh(W_n x + b_n + r (R_n h + b_hn)), h' = (1 - z) n + z h. Slot 3 saves R_n h + b_hn.

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    let r = gate_of((*slots)[0] + product[0]);
    let z = gate_of((*slots)[1] + product[1]);
    let n = activation_of((*slots)[2] + r * product[2]);
    *slots = array(r, z, n, product[2]);
    return (1.0 - z) * n + z * h;
}

fn cell_backward(
    slots: ptr<function, array<Rows, SLOTS>>,
    s: States,
    w: vec3<f32>,
    dh: ptr<function, Rows>,
    dc: ptr<function, Rows>,
) {
    let r = (*slots)[0];
    let z = (*slots)[1];
    let n = (*slots)[2];
    let product = (*slots)[3];
    let dn = activation_back(*dh * (1.0 - z), n);
    let dz = gate_back(*dh * (s.h_before - n), z);
    *slots = array(gate_back(dn * product, r), dz, dn, dn * r);
    *dh = *dh * z;
}
