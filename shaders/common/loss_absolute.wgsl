// The absolute error.

const OUTPUTS = 1u;
const TERMS = 1u;

fn loss_of(first: u32, j: u32, wanted: f32) -> OutputLoss {
    let error = output(first, j) - wanted;
    let sign = select(select(0.0, -1.0, error < 0.0), 1.0, error > 0.0);
    return OutputLoss(abs(error), sign);
}
