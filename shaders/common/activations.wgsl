// The activation functions of an LSTM or a GRU, by constants of the pipeline. `*_back` takes the
// gradient d of a function's result y back to its argument. Twin: src/cells/activations.rs.

override ACTIVATION: u32 = 0u;            // 0 tanh, 1 relu, 2 sigmoid, 3 softsign
override RECURRENT_ACTIVATION: u32 = 0u;  // 0 sigmoid, 1 a hard sigmoid
override GATE_SLOPE: f32 = 0.0;           // of a hard sigmoid

fn activation_of(x: Rows) -> Rows {
    if ACTIVATION == 1u {
        return select(x, Rows(0.0), x < Rows(0.0));
    }
    if ACTIVATION == 2u {
        return sigmoid_of(x);
    }
    if ACTIVATION == 3u {
        return x / (1.0 + abs(x));
    }
    return tanh_of(x);
}

fn activation_back(d: Rows, y: Rows) -> Rows {
    if ACTIVATION == 1u {
        return select(Rows(0.0), d, y > Rows(0.0));
    }
    if ACTIVATION == 2u {
        return d * y * (1.0 - y);
    }
    if ACTIVATION == 3u {
        let rest = 1.0 - abs(y);
        return d * rest * rest;
    }
    return d * (1.0 - y * y);
}

fn gate_of(x: Rows) -> Rows {
    if RECURRENT_ACTIVATION == 1u {
        let line = x * GATE_SLOPE + 0.5;
        let raised = select(line, Rows(0.0), line < Rows(0.0));
        return select(raised, Rows(1.0), raised > Rows(1.0));
    }
    return sigmoid_of(x);
}

fn gate_back(d: Rows, y: Rows) -> Rows {
    if RECURRENT_ACTIVATION == 1u {
        return select(Rows(0.0), d * GATE_SLOPE, (y > Rows(0.0)) & (y < Rows(1.0)));
    }
    return d * y * (1.0 - y);
}
