//! What a visitor can try with the network in training: a drawing to classify, or text to sample.

use serde::Serialize;

use super::blob::{Blob, Segment};
use super::program::{ProgramText, Shaders};
use super::run::TensorText;
use crate::data::text::Vocabulary;
use crate::data::{Dataset, Inputs, Splits, Targets};
use crate::error::Result;
use crate::kernels::control;
use crate::network::{Input, Loss, Network, Reads};
use crate::program::{Phase, Program};
use crate::record::{Gradients, RecordedNetwork};
use crate::tensor::{Element, Kind};
use crate::train::Trainer;

/// The classes up to which each has a bar on the page.
const MOST_CLASSES: usize = 64;

/// What can be tried, if anything.
#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(super) enum Trial {
    None,
    /// An image of `rows` by `columns` pixels, each a byte times `scale`, and its class.
    Draw {
        network: Tried,
        rows: usize,
        columns: usize,
        scale: f32,
        classes: Vec<String>,
    },
    /// A text, token by token.
    Sample {
        network: Tried,
        /// `char`, `byte` or `word`.
        unit: &'static str,
        /// The strings of the tokens from 1 on; none for bytes.
        entries: Vec<String>,
    },
}

/// A network for one sequence, without the loss.
#[derive(Serialize)]
pub(super) struct Tried {
    program: ProgramText,
    parameters: TensorText,
    inputs: TensorText,
    outputs: TensorText,
    /// The states that the next step begins with.
    states: Vec<TensorText>,
    contents: Vec<(usize, Segment)>,
}

impl Trial {
    /// Returns what can be tried with the trainer's network, and the program that it plays.
    ///
    /// # Errors
    /// Those of recording.
    pub(super) fn new(
        trainer: &Trainer,
        data: &Splits,
        shaders: &mut Shaders,
        blob: &mut Blob,
    ) -> Result<(Trial, Option<Program>)> {
        let network = &trainer.recording().network;
        if !network.heads.is_empty() {
            return Ok((Trial::None, None));
        }
        if let Some((rows, columns, scale)) = image(&data.train) {
            let classes = (0..network.head.size).map(|class| data.preparation.class(class));
            let (network, program) = tried(network, data.train.steps, shaders, blob)?;
            let trial = Trial::Draw {
                network,
                rows,
                columns,
                scale,
                classes: classes.collect(),
            };
            return Ok((trial, Some(program)));
        }
        let vocabulary = data.preparation.vocabulary.as_ref();
        match vocabulary.filter(|_| predicts_tokens(network)) {
            Some(Vocabulary { unit, entries }) => {
                let (network, program) = tried(network, 1, shaders, blob)?;
                let trial = Trial::Sample {
                    network,
                    unit: unit.name(),
                    entries: entries.clone(),
                };
                Ok((trial, Some(program)))
            }
            None => Ok((Trial::None, None)),
        }
    }
}

/// Rows, columns and scale of images with one class each: a row is a time step, or a pixel of a
/// square image.
fn image(data: &Dataset) -> Option<(usize, usize, f32)> {
    let &Inputs::Bytes { scale, .. } = &data.inputs else {
        return None;
    };
    let Targets::Classes {
        classes,
        per_step: false,
        ..
    } = data.targets
    else {
        return None;
    };
    if classes > MOST_CLASSES {
        return None;
    }
    let side = data.steps.isqrt();
    match data.features {
        1 if side * side == data.steps => Some((side, side, scale)),
        1 => None,
        columns => Some((data.steps, columns, scale)),
    }
}

/// Whether the network predicts, at every step, the next token from those before.
fn predicts_tokens(network: &Network) -> bool {
    let is_causal = network.layers.iter().all(|layer| !layer.bidirectional);
    let reads_tokens = network.input != Input::Values;
    let predicts = network.head.loss == Loss::CrossEntropy && network.head.reads == Reads::Every;
    is_causal && reads_tokens && predicts
}

/// Records the forward pass of one sequence. Of a single step, the states are carried on.
fn tried(
    network: &Network,
    steps: usize,
    shaders: &mut Shaders,
    blob: &mut Blob,
) -> Result<(Tried, Program)> {
    let tuning = super::tuning();
    let mut recorded = RecordedNetwork::new(network, steps, 1, Gradients::None, tuning)?;
    let mut contents = vec![];
    let carries = steps == 1;
    if carries {
        let words = [control::WORDS];
        let program = &mut recorded.program;
        let control = program.buffer("control", Kind::Control, Element::Index, words);
        recorded.carry_states(Phase::Evaluate, control);
        // Any chunk except the first begins with the last states.
        let mut words = [0; control::WORDS];
        words[control::CHUNK] = 1;
        contents.push((control.buffer.index(), blob.add(&words)?));
    }
    recorded.forward(Phase::Evaluate);
    let lengths = recorded.lengths.buffer.index();
    contents.push((lengths, blob.add(&[steps as u32])?));
    let states = recorded.recurrences().filter(|_| carries);
    let tried = Tried {
        states: states.map(|layer| layer.states.last.into()).collect(),
        program: shaders.program(&recorded.program)?,
        parameters: recorded.parameters.into(),
        inputs: recorded.inputs.into(),
        outputs: recorded.head.outputs.into(),
        contents,
    };
    Ok((tried, recorded.program))
}
