//! Connectionist temporal classification.

use super::KernelProgram;
use crate::kernels::{CtcGradient, CtcPaths, IGNORE, LogSumExp};
use crate::verify::Effort;

/// T, B, K and L; the last lists of a quick sweep have more states than a workgroup invocations.
const SIZES: [[usize; 4]; 4] = [[1, 1, 2, 1], [5, 3, 4, 2], [9, 6, 70, 4], [40, 1, 5, 33]];

/// Further sizes of a full sweep.
const MORE_SIZES: [[usize; 4]; 4] = [[2, 2, 2, 1], [33, 5, 65, 8], [70, 2, 3, 64], [7, 66, 3, 3]];

pub(super) fn ctc(program: &mut KernelProgram, effort: Effort) {
    let more = MORE_SIZES.iter().filter(|_| effort.is_full());
    for &size in SIZES.iter().chain(more) {
        push_ctc(program, size);
    }
}

/// Pushes the calls of a loss of T, B, K and L: lists of L labels and shorter ones, with labels
/// that repeat, sequences of T steps and shorter ones, of which some have too few for their labels,
/// and a sequence that is ignored.
fn push_ctc(program: &mut KernelProgram, [steps, batch, classes, longest]: [usize; 4]) {
    let logits = program.reals(steps * batch, classes);
    let norms = program.reals(2, steps * batch);
    program.push(LogSumExp {
        values: logits,
        norms,
        width: classes,
    });
    let lists = program.indices(longest * batch, move |at| {
        let (j, b) = (at / batch, at % batch);
        let label = 1 + (2 * j / 3 + b) % (classes - 1);
        if j + b % (longest + 1) < longest {
            label as u32
        } else {
            IGNORE
        }
    });
    let labels = program.indices(batch, |b| if b == 5 { IGNORE } else { 0 });
    let lengths = program.indices(batch, move |b| (steps - b % steps.min(4)) as u32);
    let paths = program.reals(2 * batch, steps * (2 * longest + 1));
    let scores = program.reals(2, batch);
    let zero_infinity = true;
    program.push(CtcPaths {
        logits,
        norms,
        lists,
        labels,
        lengths,
        paths,
        scores,
        steps,
        classes,
        zero_infinity,
    });
    let weight = program.reals(1, 2);
    let dlogits = program.reals(steps * batch, classes);
    program.push(CtcGradient {
        logits,
        norms,
        lists,
        labels,
        lengths,
        paths,
        weight,
        dlogits,
        steps,
        classes,
        zero_infinity,
    });
}
