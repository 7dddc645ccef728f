// LSTM, gates i, f, g, o: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c').

const GATES = 4u;
const SLOTS = 4u;
const STATES = 2u;
const FIRST_STAGE = 4u;

fn product_slot(gate: u32) -> u32 { return gate; }

fn cell_forward(slots: ptr<function, array<Rows, SLOTS>>, product: array<Rows, GATES>, h: Rows, c: ptr<function, Rows>) -> Rows {
    let i = sigmoid_of((*slots)[0] + product[0]);
    let f = sigmoid_of((*slots)[1] + product[1]);
    let g = tanh_of((*slots)[2] + product[2]);
    let o = sigmoid_of((*slots)[3] + product[3]);
    *slots = array(i, f, g, o);
    *c = f * *c + i * g;
    return o * tanh_of(*c);
}

fn cell_backward(slots: ptr<function, array<Rows, SLOTS>>, s: States, dh: ptr<function, Rows>, dc: ptr<function, Rows>) {
    let i = (*slots)[0];
    let f = (*slots)[1];
    let g = (*slots)[2];
    let o = (*slots)[3];
    let squashed = tanh_of(s.c);
    let d = *dc + *dh * o * (1.0 - squashed * squashed);
    *slots = array(
        d * g * i * (1.0 - i),
        d * s.c_before * f * (1.0 - f),
        d * i * (1.0 - g * g),
        *dh * squashed * o * (1.0 - o),
    );
    *dh = Rows(0.0);
    *dc = d * f;
}
