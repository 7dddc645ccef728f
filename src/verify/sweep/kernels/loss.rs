//! Losses, metrics, the gradient's norm and the record of a step.

use super::{KernelProgram, edges};
use crate::kernels::{
    ClipFactor, Form, IGNORE, LabelWeight, MeanSquaredError, Record, SoftmaxCrossEntropy,
    SquaredNorm, Tally, history,
};
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

pub(super) fn label_weight(program: &mut KernelProgram, effort: Effort) {
    for &rows in edges(effort) {
        for labels in [program.labels(rows, 3), program.indices(rows, |_| IGNORE)] {
            let weight = program.reals(1, 2);
            program.push(LabelWeight { labels, weight });
        }
    }
}

pub(super) fn tally(program: &mut KernelProgram, effort: Effort) {
    for &classes in edges(effort) {
        // With a confusion matrix and without.
        for side in [classes, 0] {
            let outputs = program.reals(9, classes);
            let labels = program.labels(9, classes as u32);
            let confusion = program.indices(side * side, |_| 0);
            let ranks = program.indices(classes, |class| class as u32);
            program.push(Tally {
                outputs,
                labels,
                confusion,
                ranks,
                classes,
            });
        }
    }
}

pub(super) fn record(program: &mut KernelProgram, effort: Effort) {
    for &batch in edges(effort) {
        for (steps, chunks, with_norm) in [(1, 1, true), (3, 2, false), (3, 3, true)] {
            let rows = steps * batch;
            let scores = program.reals(2, rows);
            let labels = program.labels(rows, 3);
            let lengths = program.indices(batch, move |b| [steps as u32, 0, 1, 9][b % 4]);
            let weight = program.reals(1, 2);
            let norm = with_norm.then(|| program.reals(1, 2));
            let control = program.control(5, 100, 1);
            let history = program.reals(2, history::WORDS);
            program.push(Record {
                scores,
                labels,
                lengths,
                weight,
                norm,
                control,
                history,
                batch,
                chunks,
            });
        }
    }
}
