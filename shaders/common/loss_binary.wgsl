// The binary cross-entropy of a logit, in a form that does not overflow.

const OUTPUTS = 1u;
const TERMS = 1u;

fn loss_of(first: u32, j: u32, wanted: f32) -> OutputLoss {
    let logit = output(first, j);
    let magnitude = abs(logit);
    let positive = select(0.0, logit, logit > 0.0);
    let rest = ln_of(1.0 + exp_of(Rows(-magnitude)).x);
    return OutputLoss((positive - logit * wanted) + rest, sigmoid_of(Rows(logit)).x - wanted);
}
