// Half the squared error up to u.delta, beyond it the absolute error with the same slope.

const OUTPUTS = 1u;
const TERMS = 1u;

fn loss_of(first: u32, j: u32, wanted: f32) -> OutputLoss {
    let error = output(first, j) - wanted;
    let slope = clipped(Rows(error), u.delta).x;
    return OutputLoss(slope * (error - 0.5 * slope), slope);
}
