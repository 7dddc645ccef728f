//! Continuing a series: a network that predicts the next value is fed its own predictions.

use crate::backend::OpenDevice;
use crate::error::{Error, Result};
use crate::kernels::control;
use crate::model::Model;
use crate::network::{Network, Reads};
use crate::program::Phase;
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind};

/// How the network sees what came before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// It reads one value at a time and carries its state: it remembers the whole seed and all it has made.
    CarriedState,
    /// For every value it reads the last T values anew, from a zero state.
    SlidingWindow(usize),
}

/// `count` values that continue `seed`, a series `[length, I]`.
///
/// # Errors
/// [`Error::Data`] for a network that does not predict, at every step, as many values as it reads; for a seed that is
/// empty, no whole number of steps, or shorter than the window. What the device reports.
pub fn generate(
    saved: &Model,
    seed: &[f32],
    count: usize,
    memory: Memory,
    place: &OpenDevice,
) -> Result<Vec<f32>> {
    let network = &saved.network;
    let width = network.input_size;
    check(network, seed, memory)?;
    let steps = match memory {
        Memory::CarriedState => 1,
        Memory::SlidingWindow(steps) => steps,
    };
    let mut model = RecordedNetwork::new(network, steps, 1, Gradients::None, place.tuning())?;
    let program = &mut model.program;
    let control = program.buffer("control", Kind::Control, Element::Index, [control::WORDS]);
    if memory == Memory::CarriedState {
        model.carry_states(Phase::Evaluate, control);
    }
    model.forward(Phase::Evaluate);
    let mut executor = place.load(&model.program)?;
    executor.write(
        &model.parameters,
        &network.from_parameters(&saved.parameters)?,
    )?;
    executor.write_index(&model.lengths, &[steps as u32])?;
    // Every step goes on from the one before; before the first of all, the last states are zeros.
    executor.write_index(&control.part(control::CHUNK, [1]), &[1])?;

    let newest = model.head.outputs.part((steps - 1) * width, [width]);
    let mut series = seed.to_vec();
    let first = seed.len() / width - steps;
    // The seed but for its end only fills the state; a window has nothing to fill.
    let mut at = if memory == Memory::CarriedState {
        0
    } else {
        first
    };
    while series.len() < seed.len() + count * width {
        executor.write(&model.inputs, &series[at * width..(at + steps) * width])?;
        executor.run(&[Phase::Evaluate], 1)?;
        if at >= first {
            series.extend(executor.read(&newest)?);
        }
        at += 1;
    }
    Ok(series.split_off(seed.len()))
}

fn check(network: &Network, seed: &[f32], memory: Memory) -> Result<()> {
    let refuse = |message: String| Err(Error::Data(message));
    let width = network.input_size;
    if network.head.reads != Reads::Every || network.head.size != width {
        return refuse(format!(
            "this network reads {width} values a step and answers with {}; to continue a series it must predict, at \
             every step, what it reads next (train the recipe `series`)",
            network.head.size
        ));
    }
    if network.layers.iter().any(|layer| layer.bidirectional) {
        return refuse(
            "this network has a bidirectional layer, which reads what is yet to come; a series can only be continued by \
             layers of one direction"
                .into(),
        );
    }
    if seed.is_empty() || !seed.len().is_multiple_of(width) {
        return refuse(format!(
            "the seed has {} values; it needs a multiple of {width}, at least one",
            seed.len()
        ));
    }
    match memory {
        Memory::SlidingWindow(steps) if seed.len() / width < steps || steps == 0 => {
            refuse(format!(
                "the seed has {} steps and the window {steps}; it must be as long as the window or longer",
                seed.len() / width
            ))
        }
        _ => Ok(()),
    }
}

/// Where a continuation leaves what its seed was like: the first step at which it is ten times larger than anything in the
/// seed, or no finite number.
pub fn runs_away(seed: &[f32], continuation: &[f32]) -> Option<usize> {
    let largest = seed
        .iter()
        .fold(0.0f32, |largest, value| largest.max(value.abs()));
    continuation
        .iter()
        .position(|value| !value.is_finite() || value.abs() > 10.0 * largest.max(1e-3))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;
    use crate::network::{Head, Init, Input, Layer, Loss};

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
        }
    }

    #[test]
    fn what_cannot_be_continued_is_refused() {
        let window = Memory::SlidingWindow(3);
        check(&network(), &[0.0; 6], window).expect("it makes sense");
        let mut last = network();
        last.head.reads = Reads::Last;
        let mut both = network();
        both.layers[0].bidirectional = true;
        for (network, seed, memory, expected) in [
            (last, 6, window, "at every step"),
            (both, 6, window, "layers of one direction"),
            (network(), 5, Memory::CarriedState, "a multiple of 2"),
            (network(), 0, Memory::CarriedState, "a multiple of 2"),
            (network(), 4, window, "2 steps and the window 3"),
        ] {
            let message = check(&network, &vec![0.0; seed], memory)
                .expect_err(expected)
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn running_away_is_noticed() {
        assert_eq!(runs_away(&[1.0, -2.0], &[3.0, -19.0, 5.0]), None);
        assert_eq!(runs_away(&[1.0, -2.0], &[3.0, -21.0, 5.0]), Some(1));
        assert_eq!(runs_away(&[1.0], &[f32::NAN]), Some(0));
    }
}
