//! The layers of a model as one chain: inputs, recurrent layers, head.

use serde_json::json;

use super::graph::{Argument, LayerCall};
use super::layers::{self, DescribedDirection, LENGTHS, LayerEntry, Recurrence};
use super::options::{LayerOptions, refused};
use super::scaling::{self, ScalingStep};
use super::{DescribedHead, DescribedLayer, DescribedModel, HeadActivation, StoredName};
use crate::error::{Error, Result};
use crate::messages::excerpt;
use crate::network::Reads;

/// What a tensor holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TensorContents {
    /// `[N, T, F]`: input values.
    Values,
    /// `[N, T]`: input tokens.
    Tokens,
    /// `[N, T]`: which steps are valid.
    Mask,
    /// `[N, T, F]`: embedded or one-hot tokens.
    Vectors,
    /// `[N, T, P]`: of a recurrent layer.
    EveryStep,
    /// `[N, P]`: of a recurrent layer.
    LastStep,
    /// `[N, K]` or `[N, T, K]`: of the head.
    Outputs,
}

/// A tensor of the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ChainTensor {
    pub contents: TensorContents,
    /// The number of layers before it that change values.
    pub stage: usize,
}

/// The chain as far as it has been read.
pub(super) struct Chain {
    model: DescribedModel,
    head: Option<DescribedHead>,
    /// The tensor at the end.
    last: ChainTensor,
    /// The contents that the last layer read.
    before: TensorContents,
    /// Recurrent layers with a mask that the model's user gives.
    masked: usize,
    /// Whether the last recurrent layer has zeros at masked steps.
    zeros_masked: bool,
    /// The reduction that the tensor after a pooling layer holds, in place of the last step.
    pooled: Option<Reads>,
    /// Labels of layers that drop values or add noise in training.
    only_training: Vec<String>,
}

/// What gatescan has instead of a graph.
pub(super) const CHAIN: &str =
    "a chain of layers, and the sum of a recurrent layer's outputs and inputs (Add)";

impl Chain {
    /// A chain that begins with these inputs.
    pub fn new(contents: TensorContents) -> Chain {
        Chain {
            model: DescribedModel::default(),
            head: None,
            last: ChainTensor { contents, stage: 0 },
            before: contents,
            masked: 0,
            zeros_masked: false,
            pooled: None,
            only_training: vec![],
        }
    }

    /// The tensor at the end of the chain.
    pub fn last(&self) -> ChainTensor {
        self.last
    }

    /// Adds a layer; returns the tensors that it returns.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the layer and what gatescan does not have.
    pub fn add(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        if call.is_masked
            && !matches!(
                entry.class,
                "SimpleRNN" | "LSTM" | "GRU" | "RNN" | "Bidirectional" | "GlobalAveragePooling1D"
            )
        {
            return Err(entry.misplaced("is called with a mask", "masks of recurrent layers"));
        }
        match entry.class {
            "SimpleRNN" | "LSTM" | "GRU" | "RNN" => {
                let recurrence = layers::recurrence(entry.class, &entry.label, entry.options)?;
                if recurrence.sequence.goes_backwards {
                    let options = LayerOptions::untyped(&entry.label, entry.options);
                    let has = "`false`, and Bidirectional layers";
                    return Err(options.refused("go_backwards", &json!(true), has));
                }
                self.recurrent(entry, call, recurrence, None)
            }
            "Bidirectional" => {
                let (forward, backward) = layers::bidirectional(entry)?;
                self.recurrent(entry, call, forward, Some(backward))
            }
            "GlobalAveragePooling1D" => self.pool(entry, call, Reads::Mean),
            "GlobalMaxPooling1D" => self.pool(entry, call, Reads::Max),
            "Dense" | "TimeDistributed" => self.dense(entry, call),
            "Embedding" | "OneHot" => self.tokens(entry, call),
            "Add" if call.tensors().count() == 2 => self.residual(entry, call),
            "Normalization" | "Rescaling" | "Add" | "Subtract" | "Multiply" | "TrueDivide"
            | "Divide" => self.scale(entry, call),
            "Activation" | "Softmax" => self.activation(entry, call),
            _ => self.unchanged(entry, call),
        }
    }

    /// The only tensor that a layer reads, which is the last of the chain.
    fn input(&self, entry: &LayerEntry, call: &LayerCall) -> Result<ChainTensor> {
        let mut tensors = call.tensors();
        let (Some(tensor), None) = (tensors.next(), tensors.next()) else {
            return Err(entry.unknown());
        };
        if tensor.contents == TensorContents::Mask {
            return Err(entry.misplaced("reads a mask", "masks of recurrent layers"));
        }
        if tensor.stage != self.last.stage {
            let problem = "reads a tensor that another layer has read";
            return Err(entry.misplaced(problem, CHAIN));
        }
        Ok(tensor)
    }

    /// The next tensor.
    fn advance(&mut self, read: TensorContents, contents: TensorContents) -> ChainTensor {
        self.before = read;
        self.last = ChainTensor {
            contents,
            stage: self.last.stage + 1,
        };
        self.last
    }

    fn recurrent(
        &mut self,
        entry: &LayerEntry,
        call: &LayerCall,
        recurrence: Recurrence,
        backward: Option<DescribedDirection>,
    ) -> Result<Vec<ChainTensor>> {
        let sequence = recurrence.sequence;
        if call.is_masked && sequence.zeros_masked && !sequence.every_step {
            let options = LayerOptions::untyped(&entry.label, entry.options);
            let has = "`false` in a layer with a mask that returns the last step";
            return Err(options.refused("zero_output_for_mask", &json!(true), has));
        }
        let read = self.recurrent_input(entry, call)?;
        self.masked += usize::from(call.is_masked);
        self.zeros_masked = sequence.zeros_masked;
        self.note_state(entry, &recurrence);
        let is_bidirectional = backward.is_some();
        self.model.layers.push(DescribedLayer {
            stored: StoredName::of(entry),
            label: entry.label.clone(),
            forward: recurrence.direction,
            backward,
            residual: false,
            is_masked: call.is_masked,
        });
        let contents = if sequence.every_step {
            TensorContents::EveryStep
        } else {
            TensorContents::LastStep
        };
        let outputs = self.advance(read, contents);
        let mut returned = vec![outputs];
        // The first state of one direction is h after the last step; others are not read.
        if sequence.returns_state && !is_bidirectional {
            returned.push(ChainTensor {
                contents: TensorContents::LastStep,
                ..outputs
            });
        }
        Ok(returned)
    }

    fn recurrent_input(&self, entry: &LayerEntry, call: &LayerCall) -> Result<TensorContents> {
        let tensor = self.input(entry, call)?;
        let problem = match tensor.contents {
            TensorContents::Values | TensorContents::Vectors | TensorContents::EveryStep => {
                return Ok(tensor.contents);
            }
            TensorContents::LastStep => "reads the last step of a recurrent layer only",
            TensorContents::Outputs => "is after the head",
            TensorContents::Tokens | TensorContents::Mask => "reads inputs without features",
        };
        let has = "recurrent layers that read every step of inputs or of each other";
        Err(entry.misplaced(problem, has))
    }

    fn note_state(&mut self, entry: &LayerEntry, recurrence: &Recurrence) {
        if recurrence.sequence.is_stateful {
            self.model.notes.push(format!(
                "{}: stateful is true; gatescan begins every sequence with zero states, as Keras \
                 does after reset_states(), and carries states only from line to line of a stream",
                entry.label
            ));
        }
        if recurrence.has_dropout {
            self.only_training.push(entry.label.clone());
        }
    }

    /// The mean or the maximum over the steps of the last recurrent layer, of which gatescan takes
    /// the valid ones.
    fn pool(
        &mut self,
        entry: &LayerEntry,
        call: &LayerCall,
        reads: Reads,
    ) -> Result<Vec<ChainTensor>> {
        let tensor = self.input(entry, call)?;
        let mut options = LayerOptions::new(&entry.label, entry.options)?;
        options.only("data_format", json!("channels_last"), "`channels_last`")?;
        options.only("keepdims", json!(false), "`false`")?;
        options.finish()?;
        let layer = self.model.layers.last();
        let Some(layer) = layer.filter(|_| tensor.contents == TensorContents::EveryStep) else {
            let has = "a mean or maximum over the steps of the last recurrent layer";
            return Err(entry.misplaced("does not read every step of a recurrent layer", has));
        };
        // Without a mask, outputs at masked steps repeat the last valid one, which changes no
        // maximum; a backward direction and a sum have others there.
        let repeats = layer.backward.is_none() && !layer.residual && !self.zeros_masked;
        let is_exact = match reads {
            Reads::Max => !layer.is_masked || repeats,
            _ => call.is_masked == layer.is_masked,
        };
        if !is_exact {
            let problem = "reads steps that the mask of the recurrent layer leaves out";
            let has = "a mean or maximum over valid steps: call GlobalAveragePooling1D with the \
                       mask too, and GlobalMaxPooling1D after a layer of one direction";
            return Err(entry.misplaced(problem, has));
        }
        self.pooled = Some(reads);
        Ok(vec![
            self.advance(tensor.contents, TensorContents::LastStep),
        ])
    }

    fn dense(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        let dense = layers::dense(entry)?;
        let tensor = self.input(entry, call)?;
        let has = "one Dense, after the recurrent layers";
        let reads = match tensor.contents {
            TensorContents::EveryStep => Reads::Every,
            TensorContents::LastStep if entry.class == "Dense" => {
                self.pooled.unwrap_or(Reads::Last)
            }
            TensorContents::LastStep => {
                return Err(entry.misplaced("reads one step", "TimeDistributed of every step"));
            }
            TensorContents::Outputs => return Err(entry.misplaced("is after the head", has)),
            _ => return Err(entry.misplaced("is before the recurrent layers", has)),
        };
        self.note_lora(entry, dense.lora_rank);
        let mut head = DescribedHead {
            stored: StoredName::of(entry),
            label: entry.label.clone(),
            units: dense.units,
            has_bias: dense.has_bias,
            reads,
            activation: HeadActivation::Linear,
        };
        head.activate(&entry.label, dense.activation)?;
        self.head = Some(head);
        Ok(vec![self.advance(tensor.contents, TensorContents::Outputs)])
    }

    fn note_lora(&mut self, entry: &LayerEntry, rank: Option<usize>) {
        if let Some(rank) = rank {
            self.model.notes.push(format!(
                "{}: lora_rank is {rank}; its weights are those that Keras saved, with the \
                 low-rank adaptation merged into them",
                entry.label
            ));
        }
    }

    /// An `Embedding`, or `keras.ops.one_hot`.
    fn tokens(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        let tensor = self.input(entry, call)?;
        if tensor.contents != TensorContents::Tokens {
            let problem = "does not read the model's inputs [N, T]";
            return Err(entry.misplaced(problem, "tokens [N, T] as inputs"));
        }
        if entry.class == "OneHot" {
            // Its dtype is the one of its output.
            let mut options = LayerOptions::new(&entry.label, entry.options)?;
            options.only(
                "axis",
                json!(-1),
                "one-hot vectors along the last axis (-1)",
            )?;
            options.only("sparse", json!(false), "`false`")?;
            self.model.one_hot = Some(options.size("num_classes")?);
            options.finish()?;
        } else {
            let mut options = LayerOptions::new(&entry.label, entry.options)?;
            if options.flag("mask_zero", false)? {
                return Err(options.refused("mask_zero", &json!(true), LENGTHS));
            }
            options.skip(&["input_length", "output_dim"]);
            self.model.tokens = Some(options.size("input_dim")?);
            let rank = layers::lora_rank(&mut options)?;
            options.finish()?;
            self.model.embedding = Some(StoredName::of(entry));
            self.note_lora(entry, rank);
        }
        Ok(vec![self.advance(tensor.contents, TensorContents::Vectors)])
    }

    /// The sum of a recurrent layer's outputs and inputs.
    fn residual(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        LayerOptions::new(&entry.label, entry.options)?.finish()?;
        let mut stages: Vec<usize> = call.tensors().map(|tensor| tensor.stage).collect();
        stages.sort_unstable();
        let is_last = self.last.contents == TensorContents::EveryStep;
        let reads_all = call.tensors().all(|tensor| {
            let every = tensor.contents == TensorContents::EveryStep;
            every || tensor.stage + 1 == self.last.stage && tensor.contents == self.before
        });
        let is_sum = is_last
            && reads_all
            && stages[..] == [self.last.stage.wrapping_sub(1), self.last.stage];
        match self
            .model
            .layers
            .last_mut()
            .filter(|layer| is_sum && !layer.residual)
        {
            None => Err(entry.unknown()),
            Some(layer) => {
                layer.residual = true;
                let contents = self.last.contents;
                Ok(vec![self.advance(contents, contents)])
            }
        }
    }

    fn scale(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        let tensor = self.input(entry, call)?;
        let steps: Vec<ScalingStep> = scaling::steps(entry, &call.arguments)?;
        match tensor.contents {
            TensorContents::Values => self.model.input_scaling.extend(steps),
            TensorContents::Outputs => self.model.target_scaling.extend(steps),
            _ => {
                let problem = "is neither on the inputs nor on the outputs";
                let has = "shifts and scales of input values, and of the head's outputs";
                return Err(entry.misplaced(problem, has));
            }
        }
        Ok(vec![self.advance(tensor.contents, tensor.contents)])
    }

    /// A layer that is an activation only.
    fn activation(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        let tensor = self.input(entry, call)?;
        let mut options = LayerOptions::new(&entry.label, entry.options)?;
        let name = match entry.class {
            "Softmax" => {
                options.only("axis", json!(-1), "the softmax along the last axis (-1)")?;
                "softmax"
            }
            _ => options.activation("activation", "linear")?,
        };
        options.finish()?;
        if name == "linear" {
            return Ok(vec![tensor]);
        }
        let head = self.head.as_mut();
        let Some(head) = head.filter(|_| self.model.target_scaling.is_empty()) else {
            let has = "an activation of the head only: `softmax`";
            return Err(entry.misplaced(&format!("applies `{name}`"), has));
        };
        head.activate(&entry.label, name)?;
        Ok(vec![self.advance(tensor.contents, tensor.contents)])
    }

    /// A layer that changes no output.
    fn unchanged(&mut self, entry: &LayerEntry, call: &LayerCall) -> Result<Vec<ChainTensor>> {
        let options: &[&'static str] = match entry.class {
            "Dropout" | "AlphaDropout" => &["rate", "noise_shape"],
            "SpatialDropout1D" | "GaussianDropout" => &["rate"],
            "GaussianNoise" => &["stddev"],
            "ActivityRegularization" => &["l1", "l2"],
            "Flatten" => &["data_format"],
            "Identity" => &[],
            _ => return Err(entry.unknown()),
        };
        let tensor = self.input(entry, call)?;
        let mut read = LayerOptions::new(&entry.label, entry.options)?;
        read.skip(options);
        read.finish()?;
        match entry.class {
            "Flatten" if !self.is_flat(tensor) => Err(entry.unknown()),
            "Flatten" | "Identity" => Ok(vec![tensor]),
            _ => {
                self.only_training.push(entry.label.clone());
                Ok(vec![tensor])
            }
        }
    }

    /// Whether a tensor has one row for each sequence.
    fn is_flat(&self, tensor: ChainTensor) -> bool {
        let reads = self.head.as_ref().map(|head| head.reads);
        match tensor.contents {
            TensorContents::LastStep => true,
            TensorContents::Outputs => reads.is_some_and(|reads| !reads.is_per_step()),
            _ => false,
        }
    }

    /// The model whose outputs are this tensor.
    ///
    /// # Errors
    /// [`Error::Usage`] for a chain without recurrent layers or head.
    pub fn finish(mut self, outputs: ChainTensor) -> Result<DescribedModel> {
        if self.model.layers.is_empty() {
            return Err(Error::usage(
                "the model has no recurrent layer; gatescan has SimpleRNN, LSTM, GRU and \
                 Bidirectional",
            ));
        }
        let Some(head) = self.head.filter(|_| outputs == self.last) else {
            return Err(Error::usage(
                "the model's output is not the one of a Dense after the recurrent layers; \
                 gatescan's networks end with such a head; add one in Keras",
            ));
        };
        self.model.head = head;
        if let Some(layer) = self
            .model
            .layers
            .iter()
            .find(|layer| self.masked > 0 && !layer.is_masked)
        {
            return Err(Error::usage(format!(
                "{} has no mask, and other recurrent layers have one; gatescan has the same \
                 lengths in every layer; change the model in Keras",
                layer.label
            )));
        }
        if self.masked > 0 {
            self.model.notes.push(
                "the input that marks valid steps became the lengths of the sequences: valid \
                 steps come first, and all steps are valid in data without lengths"
                    .into(),
            );
        }
        if !self.only_training.is_empty() {
            self.model.notes.push(format!(
                "dropout, noise and penalties apply in training only and are not taken over: {}",
                self.only_training.join(", ")
            ));
        }
        Ok(self.model)
    }
}

impl DescribedHead {
    /// Applies an activation to the head's outputs.
    fn activate(&mut self, label: &str, name: &str) -> Result<()> {
        match name {
            "linear" => Ok(()),
            "softmax" if self.activation == HeadActivation::Linear => {
                self.activation = HeadActivation::Softmax;
                Ok(())
            }
            _ => {
                let has = match (name, self.units) {
                    ("sigmoid", 1) => {
                        "`softmax` over two classes instead of `sigmoid`: a Dense(2, \
                         activation=\"softmax\") with the kernel [0, w] and the bias [0, b] has \
                         the same probabilities"
                    }
                    ("softmax", _) => "one `softmax`",
                    _ => "`linear` and `softmax` in the head",
                };
                Err(refused(
                    label,
                    "activation",
                    &format!("`{}`", excerpt(name)),
                    has,
                ))
            }
        }
    }
}

impl LayerCall<'_> {
    /// The tensors among the arguments.
    pub fn tensors(&self) -> impl Iterator<Item = ChainTensor> {
        self.arguments.iter().filter_map(|argument| match argument {
            Argument::Tensor(tensor) => Some(*tensor),
            Argument::Constant(_) => None,
        })
    }
}
