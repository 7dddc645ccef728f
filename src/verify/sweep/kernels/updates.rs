//! The optimizers' rules: after few and many updates, with moments so small that epsilon matters,
//! and with every way of clipping and decaying.

use super::KernelProgram;
use crate::kernels::{
    Accumulate, Adam, Average, Descent, Form, Rmsprop, Sgd, ShareOfUpdate, TreeSum, control,
};
use crate::tensor::Tensor;
use crate::verify::Effort;
use crate::verify::sweep::scene::UPDATES;

/// Magnitudes of gradients. Their squares are the magnitudes of moments: far above, near and far
/// below the optimizers' epsilons.
const MAGNITUDES: [f32; 3] = [1.0, 1e-5, 1e-8];

/// The part of an update that all rules share.
struct Setting {
    updates: u32,
    /// The magnitude of gradients.
    magnitude: f32,
    clip_value: Option<f64>,
    l2: f64,
    weight_decay: f64,
}

/// Returns every count of updates with every magnitude. Clips and decays follow from the place in
/// the list, so that each occurs with each.
fn settings() -> Vec<Setting> {
    let mut settings = vec![];
    for (n, updates) in UPDATES.into_iter().enumerate() {
        for (m, magnitude) in MAGNITUDES.into_iter().enumerate() {
            // Half of the gradients are clipped.
            let limit = f64::from(magnitude) / 4.0;
            settings.push(Setting {
                updates,
                magnitude,
                clip_value: (n % 2 == 0).then_some(limit),
                l2: [0.0, 0.1, 0.1 * f64::from(magnitude)][(n + m) % 3],
                weight_decay: [0.0, 0.1][(n / 2 + m) % 2],
            });
        }
    }
    settings
}

pub(super) fn adam(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        for setting in settings() {
            for (form, amsgrad) in [
                (Form::Torch, false),
                (Form::Torch, true),
                (Form::Tensorflow, false),
                (Form::Tensorflow, true),
            ] {
                let second = setting.magnitude * setting.magnitude;
                let adam = Adam {
                    descent: descent(program, count, &setting),
                    first_moment: program.reals_below(count, setting.magnitude),
                    second_moment: program.positives_below(count, second),
                    largest_moment: moment_if(program, amsgrad, count, second),
                    beta1: 0.9,
                    beta2: 0.999,
                    epsilon: 1e-8,
                    form,
                    weight_decay: setting.weight_decay,
                };
                program.push(adam);
            }
        }
    }
}

pub(super) fn share_of_update(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        // A batch with labels, and one without.
        for (limit, factor) in [(1.0, 2.5), (0.0, 1.0)] {
            let share = ShareOfUpdate {
                weight: program.positives_below(2, limit),
                factor,
                update_weights: program.positives_below(5, 9.0),
                control: program.control_after(3, 2),
                gradient: program.reals(1, count),
            };
            program.push(share);
        }
    }
}

pub(super) fn accumulate(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        // The first batch of an update, and a later one.
        for taken in [0, 7] {
            let control = program.indices(control::WORDS, move |word| match word {
                control::TAKEN => taken,
                _ => 1,
            });
            let accumulate = Accumulate {
                gradients: program.reals(1, count),
                control,
                sums: program.reals(1, count),
            };
            program.push(accumulate);
        }
    }
}

pub(super) fn tree_sum(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        // A part that waits, one that completes two levels, and the last one of 5 and of 8 parts.
        for (part, ends) in [(4, false), (3, false), (4, true), (7, true)] {
            let control = program.indices(control::WORDS, move |word| match word {
                // A later process of two, which have 8 parts each.
                control::TAKEN => 3 * (8 + part),
                _ => 1,
            });
            let sum = TreeSum {
                gradients: program.reals(1, count),
                control,
                partials: program.reals(3, count),
                sums: program.reals(1, count),
                batch: 3,
                leaves: 8,
                ends,
            };
            program.push(sum);
        }
    }
}

pub(super) fn average(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        for decay in [0.0, 0.9, 0.999] {
            let average = Average {
                parameters: program.reals_below(count, 1.0),
                average: program.reals_below(count, 1.0),
                decay,
            };
            program.push(average);
        }
    }
}

pub(super) fn rmsprop(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        for setting in settings() {
            for (form, momentum, centered) in [
                (Form::Torch, 0.0, false),
                (Form::Torch, 0.9, true),
                (Form::Tensorflow, 0.9, false),
                (Form::Tensorflow, 0.0, true),
            ] {
                let square = setting.magnitude * setting.magnitude;
                let velocity = moment_if(program, momentum > 0.0, count, setting.magnitude);
                let rmsprop = Rmsprop {
                    descent: descent(program, count, &setting),
                    mean_square: program.positives_below(count, 4.0 * square),
                    // Its square is below most mean squares.
                    mean_gradient: moment_if(program, centered, count, 0.1 * setting.magnitude),
                    velocity,
                    rho: 0.9,
                    momentum,
                    epsilon: 1e-8,
                    form,
                };
                program.push(rmsprop);
            }
        }
    }
}

pub(super) fn sgd(program: &mut KernelProgram, effort: Effort) {
    for &count in counts(effort) {
        for setting in settings() {
            for (momentum, dampening, nesterov) in
                [(0.0, 0.0, false), (0.9, 0.1, false), (0.9, 0.0, true)]
            {
                let sgd = Sgd {
                    descent: descent(program, count, &setting),
                    velocity: moment_if(program, momentum > 0.0, count, setting.magnitude),
                    momentum,
                    dampening,
                    nesterov,
                };
                program.push(sgd);
            }
        }
    }
}

/// Numbers of parameters.
fn counts(effort: Effort) -> &'static [usize] {
    match effort {
        Effort::Quick => &[65],
        Effort::Full => &[1, 64, 65, 128],
    }
}

/// A descent of `count` parameters at the third learning rate of five.
fn descent(program: &mut KernelProgram, count: usize, setting: &Setting) -> Descent {
    Descent {
        parameters: program.reals_below(count, 1.0),
        gradients: program.reals_below(count, setting.magnitude),
        control: program.control_after(setting.updates, 2),
        rates: program.positives_below(5, 0.01),
        norm: program.positives_below(2, 1.0),
        clip_value: setting.clip_value,
        l2: setting.l2,
    }
}

/// A moment of values in 0 to `limit`; empty where the rule does not keep it.
fn moment_if(program: &mut KernelProgram, is_kept: bool, count: usize, limit: f32) -> Tensor {
    program.positives_below(if is_kept { count } else { 0 }, limit)
}
