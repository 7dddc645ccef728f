//! Losses, metrics, the gradient's norm and the record of a step.

use super::{KernelProgram, edges, narrow_edges};
use crate::kernels::{
    ClipFactor, ErrorSums, Form, HeadWeight, IGNORE, JoinScores, LabelSmoothing, LabelWeight,
    MeanSquaredError, Record, SoftmaxCrossEntropy, SquaredNorm, Tally, TargetWeight, ValueLoss,
    ValueLossKind, WeighOutputs, history,
};
use crate::network::Quantiles;
use crate::tensor::Tensor;
use crate::verify::Effort;

pub(super) fn squared_norm(program: &mut KernelProgram, effort: Effort) {
    for &count in edges(effort).iter().chain(&[4095, 4096, 4097, 9000]) {
        let source = program.reals(1, count);
        let partials = program.reals(1, SquaredNorm::PARTIALS);
        program.push(SquaredNorm { source, partials });
        for limit in [None, Some(1e-3), Some(1e9)] {
            for form in [Form::Torch, Form::Tensorflow] {
                let norm = program.reals(1, 2);
                program.push(ClipFactor {
                    partials,
                    norm,
                    limit,
                    form,
                });
            }
        }
    }
}

pub(super) fn softmax(program: &mut KernelProgram, effort: Effort) {
    for &classes in edges(effort) {
        for rows in [1, 7] {
            let logits = program.reals(rows, classes);
            let labels = program.labels(rows, classes as u32);
            let weight = program.reals(1, 2);
            let dlogits = program.reals(rows, classes);
            let scores = program.reals(2, rows);
            program.push(SoftmaxCrossEntropy {
                logits,
                labels,
                weight,
                dlogits,
                scores,
                classes,
            });
        }
    }
}

pub(super) fn squared_error(program: &mut KernelProgram, effort: Effort) {
    for &width in edges(effort) {
        for rows in [1, 65] {
            let predictions = program.reals(rows, width);
            let targets = program.targets(rows, width);
            let labels = program.labels(rows, 1);
            let weight = program.reals(1, 2);
            let dpredictions = program.reals(rows, width);
            let scores = program.reals(2, rows);
            program.push(MeanSquaredError {
                predictions,
                targets,
                labels,
                weight,
                dpredictions,
                scores,
                width,
            });
        }
    }
}

pub(super) fn value_loss(program: &mut KernelProgram, effort: Effort) {
    let levels = [0.1, 0.5, 0.9];
    let levels = Quantiles::new(&levels).expect("they are levels");
    let kinds = [
        (ValueLossKind::Absolute, 1),
        (ValueLossKind::Huber { delta: 0.3 }, 1),
        (ValueLossKind::Quantile(levels), 3),
        (ValueLossKind::Gaussian, 2),
        (ValueLossKind::BinaryCrossEntropy, 1),
    ];
    for (kind, outputs) in kinds {
        for width in narrow_edges(effort) {
            for rows in [1, 65] {
                let predictions = program.reals(rows, outputs * width);
                let targets = program.targets(rows, width);
                let labels = program.labels(rows, 1);
                let weight = program.reals(1, 2);
                let dpredictions = program.reals(rows, outputs * width);
                let scores = program.reals(2, rows);
                program.push(ValueLoss {
                    kind,
                    predictions,
                    targets,
                    labels,
                    weight,
                    dpredictions,
                    scores,
                    width,
                });
            }
        }
    }
}

pub(super) fn label_smoothing(program: &mut KernelProgram, effort: Effort) {
    for &classes in edges(effort) {
        let rows = 7;
        let logits = program.reals(rows, classes);
        let labels = program.labels(rows, classes as u32);
        let weight = program.reals(1, 2);
        let dlogits = program.reals(rows, classes);
        let scores = program.reals(2, rows);
        program.push(LabelSmoothing {
            logits,
            labels,
            weight,
            dlogits,
            scores,
            classes,
            smoothing: 0.1,
        });
    }
}

pub(super) fn target_weight(program: &mut KernelProgram, effort: Effort) {
    for &rows in edges(effort) {
        for labels in [program.labels(rows, 3), program.indices(rows, |_| IGNORE)] {
            let weights = program.positives_below(rows, 3.0);
            let weight = program.reals(1, 2);
            program.push(TargetWeight {
                labels,
                weights,
                weight,
            });
        }
    }
}

pub(super) fn weigh_outputs(program: &mut KernelProgram, effort: Effort) {
    for width in narrow_edges(effort) {
        let rows = 9;
        let weights = program.positives_below(rows, 3.0);
        // An output for each weight, or several.
        for steps in [1, 3] {
            let gradient = program.reals(steps * rows, width);
            let scores = program.reals(2, rows);
            program.push(WeighOutputs {
                weights,
                gradient,
                scores,
                width,
            });
        }
    }
}

pub(super) fn join_scores(program: &mut KernelProgram, effort: Effort) {
    for &rows in edges(effort) {
        // The second head has as many rows, or fewer.
        for (accumulate, all) in [
            (false, rows),
            (true, rows),
            (false, rows + 3),
            (true, 2 * rows),
        ] {
            let (scores, out) = (program.reals(2, rows), program.reals(2, all));
            let (head_weight, weight) = (program.reals(1, 2), program.positives_below(2, 9.0));
            program.push(HeadWeight {
                weight: head_weight,
                factor: 1.7,
            });
            program.push(JoinScores {
                scores,
                head_weight,
                weight,
                out,
                accumulate,
            });
        }
    }
}

pub(super) fn label_weight(program: &mut KernelProgram, effort: Effort) {
    for &rows in edges(effort) {
        for labels in [program.labels(rows, 3), program.indices(rows, |_| IGNORE)] {
            let weight = program.reals(1, 2);
            program.push(LabelWeight { labels, weight });
        }
    }
}

pub(super) fn error_sums(program: &mut KernelProgram, effort: Effort) {
    for &batch in edges(effort) {
        for (steps, size) in [(1, 2), (3, 1)] {
            let rows = steps * batch;
            let outputs = program.reals(rows, size);
            let targets = program.reals(rows, 1);
            let labels = program.labels(rows, 1);
            // Lengths from 0 to beyond the last step.
            let lengths = program.indices(batch, move |b| b as u32 % (steps as u32 + 2));
            let sums = program.positives_below(3, 9.0);
            program.push(ErrorSums {
                outputs,
                targets,
                labels,
                lengths,
                sums,
            });
        }
    }
}

pub(super) fn tally(program: &mut KernelProgram, effort: Effort) {
    for &classes in edges(effort) {
        // With a confusion matrix and without.
        for side in [classes, 0] {
            let outputs = program.reals(9, classes);
            push_tally(program, outputs, [9, classes, side], 0);
        }
    }
    tally_special_values(program, effort);
}

/// The tally of `[rows, classes, side]`: a confusion matrix of `side` rows that begins with `first`
/// in each element.
fn push_tally(
    program: &mut KernelProgram,
    outputs: Tensor,
    [rows, classes, side]: [usize; 3],
    first: u32,
) {
    let labels = program.labels(rows, classes as u32);
    let confusion = program.indices(side * side, move |_| first);
    let ranks = program.indices(classes, |class| class as u32);
    program.push(Tally {
        outputs,
        labels,
        confusion,
        ranks,
        classes,
    });
}

/// Outputs with NaN of both signs, infinities and zeros of both signs, which often tie.
fn tally_special_values(program: &mut KernelProgram, effort: Effort) {
    const VALUES: [f32; 9] = [
        1.0,
        f32::NAN,
        -0.0,
        f32::INFINITY,
        0.0,
        f32::NEG_INFINITY,
        -f32::NAN,
        -1.0,
        f32::MAX,
    ];
    let rows = 40;
    for &classes in edges(effort).iter().chain(&[2, 3]) {
        // The larger the number of different values, the fewer the ties.
        for different in [2, 5, VALUES.len()] {
            let outputs = program.reals_of(rows * classes, move |n| {
                let mixed = (n as u32).wrapping_mul(0x9E37_79B9) >> 16;
                let first = n / classes % VALUES.len();
                VALUES[(first + mixed as usize % different) % VALUES.len()]
            });
            push_tally(program, outputs, [rows, classes, classes], 3);
        }
    }
}

pub(super) fn record(program: &mut KernelProgram, effort: Effort) {
    for &batch in edges(effort) {
        for (steps, chunks, with_norm) in [(1, 1, true), (3, 2, false), (3, 3, true)] {
            record_steps(program, [steps, batch, chunks], Special::None, with_norm);
        }
    }
    // Losses, norms and both that are not finite, and the largest that are.
    for batch in [5, 64, 65] {
        for value in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for special in [Special::Score(value), Special::Norm(value)] {
                for with_norm in [true, false] {
                    record_steps(program, [2, batch, 1], special, with_norm);
                }
            }
        }
        record_steps(program, [2, batch, 1], Special::Norm(f32::MAX), true);
    }
}

/// A value in place of a random one.
#[derive(Debug, Clone, Copy)]
enum Special {
    None,
    /// The loss of the last output.
    Score(f32),
    Norm(f32),
}

/// The record of a step with `[steps, batch, chunks]`.
fn record_steps(
    program: &mut KernelProgram,
    [steps, batch, chunks]: [usize; 3],
    special: Special,
    with_norm: bool,
) {
    let rows = steps * batch;
    let scores = program.reals(2, rows);
    let norm = program.reals(1, 2);
    match special {
        Special::None => {}
        Special::Score(value) => program.set_real(scores.part(rows - 1, [1]), value),
        Special::Norm(value) => program.set_real(norm.part(0, [1]), value),
    }
    let labels = program.labels(rows, 3);
    let lengths = program.indices(batch, move |b| [steps as u32, 0, 1, 9][b % 4]);
    let weight = program.reals(1, 2);
    let control = program.control(5, 100, 1);
    let history = program.reals(2, history::WORDS);
    program.push(Record {
        scores,
        labels,
        lengths,
        weight,
        norm: with_norm.then_some(norm),
        control,
        history,
        batch,
        chunks,
    });
}
