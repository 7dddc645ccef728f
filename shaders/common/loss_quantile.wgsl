// The pinball loss of OUTPUTS quantiles, whose levels are `level_of(j)`.

fn loss_of(first: u32, j: u32, wanted: f32) -> OutputLoss {
    let level = level_of(j);
    let rest = wanted - output(first, j);
    let slope = select(level - 1.0, level, rest > 0.0);
    return OutputLoss(slope * rest, select(-slope, 0.0, rest == 0.0));
}
