// LSTM, gates i, f, g, o: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'). With PEEPHOLES,
// i and f also see c, and o sees c'.

override CELL_CLIP: f32 = 0.0;  // the limit of |c'|; 0 for none

fn cell_forward(
    slots: ptr<function, array<Rows, SLOTS>>,
    product: array<Rows, GATES>,
    w: vec3<f32>,
    h: Rows,
    c: ptr<function, Rows>,
) -> Rows {
    var sums = array((*slots)[0] + product[0], (*slots)[1] + product[1], (*slots)[3] + product[3]);
    if PEEPHOLES {
        sums[0] += w.x * *c;
        sums[1] += w.y * *c;
    }
    let i = gate_of(sums[0]);
    let f = gate_of(sums[1]);
    let g = activation_of((*slots)[2] + product[2]);
    *c = f * *c + i * g;
    if CELL_CLIP > 0.0 {
        *c = clipped(*c, CELL_CLIP);
    }
    if PEEPHOLES {
        sums[2] += w.z * *c;
    }
    let o = gate_of(sums[2]);
    *slots = array(i, f, g, o);
    return o * activation_of(*c);
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
    let o = (*slots)[3];
    var c_after = s.c;
    if ZONEOUT_CELL {
        // The c that h was made of; s.c may be the old one.
        c_after = f * s.c_before + i * g;
        if CELL_CLIP > 0.0 {
            c_after = clipped(c_after, CELL_CLIP);
        }
    }
    let squashed = activation_of(c_after);
    let d_o = gate_back(*dh * squashed, o);
    var d = *dc + activation_back(*dh * o, squashed);
    if PEEPHOLES {
        d += d_o * w.z;
    }
    if CELL_CLIP > 0.0 {
        // Computes c' again: a c' that equals the limit may or may not have been clipped.
        d = select(d, Rows(0.0), is_clipped(f * s.c_before + i * g, CELL_CLIP));
    }
    let d_i = gate_back(d * g, i);
    let d_f = gate_back(d * s.c_before, f);
    *slots = array(d_i, d_f, activation_back(d * i, g), d_o);
    *dh = Rows(0.0);
    *dc = d * f;
    if PEEPHOLES {
        *dc += d_i * w.x + d_f * w.y;
    }
}
