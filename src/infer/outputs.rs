//! What the outputs of a network stand for, in the units of the data.

use ndarray::ArrayViewMut1;

use crate::network::{Head, Loss};

/// Converts outputs of rows `[R, J * K]` in the units of the data: the quantiles of each target are
/// sorted, since a network may let them cross, and a logarithm of a variance becomes the standard
/// deviation. Other outputs stay as they are.
pub(crate) fn interpret(head: &Head, outputs: &mut [f64]) {
    let width = head.targets();
    for row in outputs.chunks_exact_mut(head.size) {
        match head.loss {
            Loss::Quantile { levels } => {
                for k in 0..width {
                    let of_target = |j: usize| j * width + k;
                    let mut sorted: Vec<f64> = (0..levels.levels().len())
                        .map(|j| row[of_target(j)])
                        .collect();
                    sorted.sort_by(f64::total_cmp);
                    for (j, value) in sorted.into_iter().enumerate() {
                        row[of_target(j)] = value;
                    }
                }
            }
            Loss::GaussianNll => {
                let deviations = row[width..].iter_mut();
                deviations.for_each(|output| *output = (*output / 2.0).exp());
            }
            _ => {}
        }
    }
}

/// Returns the name of each output in predictions, `[J * K]`, from those of the targets `[K]`:
/// `name_q0.1` for a quantile, `name_mean` and `name_std` for a normal distribution.
pub fn output_names(head: &Head, targets: &[String]) -> Vec<String> {
    let with = |suffix: &str| -> Vec<String> {
        let names = targets.iter();
        names.map(|name| format!("{name}{suffix}")).collect()
    };
    match head.loss {
        Loss::Quantile { levels } => {
            let levels = levels.levels().iter();
            levels
                .flat_map(|level| with(&format!("_q{level}")))
                .collect()
        }
        Loss::GaussianNll => [with("_mean"), with("_std")].concat(),
        _ => targets.to_vec(),
    }
}

/// Returns the outputs of step `s` of the `steps` ahead that a network predicts at once: `[J, K]`
/// of `[J, S, K]`. All outputs are those of a network that predicts one step.
pub fn of_step(head: &Head, outputs: &[f64], steps: usize, s: usize) -> Vec<f64> {
    let width = head.targets();
    let columns = width / steps.max(1);
    let own = s * columns..(s + 1) * columns;
    let of_target = outputs.chunks(width.max(1));
    of_target
        .flat_map(|row| &row[own.clone()])
        .copied()
        .collect()
}

/// Converts logits of labels to probabilities.
pub(crate) fn sigmoid(mut row: ArrayViewMut1<f32>) {
    row.mapv_inplace(|logit| 1.0 / (1.0 + (-logit).exp()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::{Init, Reads};

    fn head(size: usize, loss: Loss) -> Head {
        Head {
            size,
            reads: Reads::Last,
            loss,
            init: Init::default(),
        }
    }

    #[test]
    fn quantiles_are_sorted_for_each_target() {
        let head = head(6, Loss::quantiles(&[0.1, 0.5, 0.9]).unwrap());
        let mut outputs = [3.0, 10.0, 1.0, 11.0, 2.0, 9.0];
        interpret(&head, &mut outputs);
        assert_eq!(outputs, [1.0, 9.0, 2.0, 10.0, 3.0, 11.0]);
        let names = output_names(&head, &["a".into(), "b".into()]);
        assert_eq!(names[..3], ["a_q0.1", "b_q0.1", "a_q0.5"]);
    }

    #[test]
    fn outputs_of_a_step_ahead_are_those_of_each_target() {
        // Two targets, two steps ahead: quantiles of both steps.
        let head = head(8, Loss::quantiles(&[0.1, 0.9]).unwrap());
        let outputs: Vec<f64> = (0..8).map(f64::from).collect();
        assert_eq!(of_step(&head, &outputs, 2, 0), [0.0, 1.0, 4.0, 5.0]);
        assert_eq!(of_step(&head, &outputs, 2, 1), [2.0, 3.0, 6.0, 7.0]);
        assert_eq!(of_step(&head, &outputs, 1, 0), outputs);
    }

    #[test]
    fn variances_become_deviations() {
        let head = head(4, Loss::GaussianNll);
        let mut outputs = [1.0, 2.0, 0.0, 4f64.ln()];
        interpret(&head, &mut outputs);
        assert_eq!(outputs[..3], [1.0, 2.0, 1.0]);
        assert!((outputs[3] - 2.0).abs() < 1e-12);
        let names = output_names(&head, &["a".into(), "b".into()]);
        assert_eq!(names, ["a_mean", "b_mean", "a_std", "b_std"]);
    }
}
