//! Continuing a series: a network that predicts the next value reads its own predictions.

use super::stepper::Stepper;
use crate::backend::OpenDevice;
use crate::data::MAX_VALUES;
use crate::error::{Error, Result};
use crate::io::memory_limit;
use crate::model::Model;
use crate::network::{Loss, Network, Reads};

/// What the network reads for each value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Context {
    /// The last value only; its state carries the whole seed and all it has generated.
    CarriedState,
    /// The last T values, from a zero state.
    SlidingWindow(usize),
}

impl Context {
    /// Steps that a run reads.
    fn steps(self) -> usize {
        match self {
            Context::CarriedState => 1,
            Context::SlidingWindow(steps) => steps,
        }
    }
}

/// Continues `seed`, prepared inputs `[length, I - D]` without differences, by `count` steps.
/// `known` `[count, C]` are the prepared inputs of these steps that are known ahead, such as those
/// of a calendar, which follow those that the network predicts; it is empty if there are none.
/// Returns prepared inputs `[count, I - D]`.
///
/// # Errors
/// [`Error::Data`] for a network that does not predict, at every step, the values that it reads
/// next; for a seed that is empty, not a whole number of steps, or shorter than the window; for a
/// value of the continuation that is not finite; those of the device.
pub fn generate(
    model: &Model,
    seed: &[f32],
    known: &[f32],
    count: usize,
    context: Context,
    device: &OpenDevice,
) -> Result<Vec<f32>> {
    if count == 0 {
        return Ok(vec![]);
    }
    model.require_one_head("a series is continued by one")?;
    check_count(count, model.network.input_size)?;
    let known_width = known.len() / count;
    let (preparation, steps) = (&model.preparation, context.steps());
    let differences = preparation.differences.len();
    let width = check(&model.network, differences, seed, known_width, context)?;
    let (outputs_size, inputs) = (model.network.head.size, model.network.input_size);
    let predicted = model.network.head.targets();
    // The mean or the median of each target is the next value.
    let point = model.network.head.loss.point_output() * predicted;
    let mut stepper = match context {
        Context::CarriedState => Stepper::carrying_states(model, 1, device)?,
        Context::SlidingWindow(steps) => Stepper::of_window(model, steps, device)?,
    };
    let first = (steps - 1) * outputs_size + point;
    let newest = (stepper.network.head.outputs).part(first, [predicted]);
    let mut series = seed.to_vec();
    // The first prediction that is used follows the seed.
    let first_used = seed.len() / width - steps;
    let first_run = match context {
        // All of the seed sets the state.
        Context::CarriedState => 0,
        Context::SlidingWindow(_) => first_used,
    };
    for start in first_run..first_used + count {
        let window = &series[start * width..(start + steps) * width];
        let read = match context {
            Context::SlidingWindow(_) => preparation.with_differences(window, width),
            Context::CarriedState => {
                let row = |step: usize| &series[step * width..(step + 1) * width];
                let mut read = window.to_vec();
                read.extend(preparation.differences_at(start, row));
                read
            }
        };
        stepper.executor.write(&stepper.network.inputs, &read)?;
        stepper.run()?;
        if start >= first_used {
            let outputs = stepper.executor.read(&newest)?;
            check_finite(&outputs, start - first_used + 1)?;
            let values = preparation.restore(&outputs, &read[read.len() - inputs..]);
            let values = values.iter().enumerate();
            series.extend(values.map(|(k, &value)| preparation.prepare_input(k, value)));
            let step = start - first_used;
            series.extend(&known[step * known_width..(step + 1) * known_width]);
        }
    }
    Ok(series.split_off(seed.len()))
}

/// Returns an error for more steps than memory holds.
fn check_count(count: usize, width: usize) -> Result<()> {
    let values = count as u128 * width as u128;
    if values > u128::from(MAX_VALUES) {
        return Err(Error::usage(format!(
            "{count} steps of {width} values are to be generated; at most {MAX_VALUES} values are \
             allowed"
        )));
    }
    memory_limit::check_values(values).map_err(|problem| Error::usage(problem.to_string()))
}

/// Returns the inputs of a step without differences. Returns an error for a model that cannot
/// continue a series, and for a seed that it cannot read.
fn check(
    network: &Network,
    differences: usize,
    seed: &[f32],
    known: usize,
    context: Context,
) -> Result<usize> {
    let width = network.input_size.saturating_sub(differences);
    let predicted = network.head.targets();
    let is_one = network.heads.is_empty();
    if !is_one || network.head.reads != Reads::Every || predicted + known != width {
        return Err(Error::data(format!(
            "this network reads {} values at each step, of which {known} are known ahead and \
             {differences} follow from others, and predicts {predicted}; to continue a series it \
             must predict, at every step, what it reads next (train the recipe `series`)",
            network.input_size
        )));
    }
    if let Loss::Quantile { levels } = network.head.loss
        && levels.levels()[levels.middle()] != 0.5
    {
        return Err(Error::data(format!(
            "this network predicts the quantiles {:?}; to continue a series it must predict the \
             median too: add the level 0.5 and train again",
            levels.levels()
        )));
    }
    if network.layers.iter().any(|layer| layer.bidirectional) {
        return Err(Error::data(
            "this network has a bidirectional layer, which reads future values; a series can only \
             be continued by layers of one direction",
        ));
    }
    if seed.is_empty() || !seed.len().is_multiple_of(width) {
        return Err(Error::data(format!(
            "the seed has {} values; it needs a multiple of {width}, at least one",
            seed.len()
        )));
    }
    match context {
        Context::SlidingWindow(steps) if seed.len() / width < steps || steps == 0 => {
            Err(Error::data(format!(
                "the seed has {} steps and the window {steps}; the window must have at least 1 \
                 step, and the seed at least as many as the window: use a longer seed, or carry \
                 the state",
                seed.len() / width
            )))
        }
        _ => Ok(width),
    }
}

/// Returns an error if a value at `step` of the continuation, from 1, is not finite.
fn check_finite(values: &[f32], step: usize) -> Result<()> {
    match values.iter().find(|value| !value.is_finite()) {
        None => Ok(()),
        Some(value) => Err(Error::data(format!(
            "step {step} of the continuation is {value}: the continuation runs away; generate \
             fewer than {step} steps, or train the model longer"
        ))),
    }
}

/// The index of the first value of a continuation that is ten times larger than any value of the
/// seed, or not finite.
pub fn diverges_at(seed: &[f32], continuation: &[f32]) -> Option<usize> {
    let larger = |largest: f32, value: &f32| largest.max(value.abs());
    let largest = seed.iter().fold(0.0, larger);
    continuation
        .iter()
        .position(|value| !value.is_finite() || value.abs() > 10.0 * largest.max(1e-3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;
    use crate::network::{Head, Init, Input, Layer};

    fn network() -> Network {
        Network {
            input_size: 2,
            input: Input::Values,
            layers: vec![Layer::new(Cell::RnnTanh, 3)],
            head: Head {
                size: 2,
                reads: Reads::Every,
                loss: Loss::MeanSquaredError,
                init: Init::Glorot,
            },
            heads: vec![],
            categories: vec![],
        }
    }

    #[test]
    fn networks_and_seeds_that_do_not_fit_are_refused() {
        let window = Context::SlidingWindow(3);
        check(&network(), 0, &[0.0; 6], 0, window).expect("it is valid");
        let message = check(&network(), 0, &[0.0; 6], 1, window);
        let message = message.expect_err("too many are known").to_string();
        assert!(message.contains("of which 1 are known ahead"), "{message}");
        let mut last = network();
        last.head.reads = Reads::Last;
        let mut both = network();
        both.layers[0].bidirectional = true;
        for (network, seed, context, expected) in [
            (last, 6, window, "at every step"),
            (both, 6, window, "layers of one direction"),
            (network(), 5, Context::CarriedState, "a multiple of 2"),
            (network(), 0, Context::CarriedState, "a multiple of 2"),
            (network(), 4, window, "2 steps and the window 3"),
        ] {
            let message = check(&network, 0, &vec![0.0; seed], 0, context)
                .expect_err(expected)
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn divergence_is_found() {
        assert_eq!(diverges_at(&[1.0, -2.0], &[3.0, -19.0, 5.0]), None);
        assert_eq!(diverges_at(&[1.0, -2.0], &[3.0, -21.0, 5.0]), Some(1));
        assert_eq!(diverges_at(&[1.0], &[f32::NAN]), Some(0));
    }
}
