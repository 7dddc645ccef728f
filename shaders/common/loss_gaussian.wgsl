// The negative log-likelihood of a normal distribution whose mean is output 0 and the logarithm of
// whose variance is output 1.

const OUTPUTS = 2u;
const TERMS = 1u;

fn loss_of(first: u32, j: u32, wanted: f32) -> OutputLoss {
    let error = output(first, 0u) - wanted;
    let spread = output(first, 1u);
    let log_variance = select(spread, SMALLEST_LOG_VARIANCE, spread < SMALLEST_LOG_VARIANCE);
    let precision = exp_of(Rows(-log_variance)).x;
    let square = error * error * precision;
    if j == 0u {
        return OutputLoss(0.5 * (log_variance + square), error * precision);
    }
    return OutputLoss(0.0, 0.5 * (1.0 - square));
}
