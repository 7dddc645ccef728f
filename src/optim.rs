//! What turns gradients into updates, as recorded calls over the flat vector of parameters.

use serde::{Deserialize, Serialize};

use crate::kernels::{self, ClipFactor, ClipForm, SquaredNorm};
use crate::model::Model;
use crate::program::{Element, Kind, Phase, Tensor};

/// An optimiser and its constants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Adam (Kingma & Ba 2015), with bias correction.
    Adam {
        /// Learning rate.
        lr: f32,
        #[serde(default = "default_beta1")]
        beta1: f64,
        #[serde(default = "default_beta2")]
        beta2: f64,
        #[serde(default = "default_epsilon")]
        epsilon: f64,
        #[serde(default)]
        form: AdamForm,
    },
}

fn default_beta1() -> f64 {
    0.9
}

fn default_beta2() -> f64 {
    0.999
}

fn default_epsilon() -> f64 {
    1e-8
}

/// Where epsilon stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdamForm {
    /// `m̂ / (sqrt(v̂) + epsilon)`, as in the paper's algorithm and PyTorch.
    #[default]
    Torch,
    /// "epsilon hat": it is not divided by the bias correction (TensorFlow 1).
    Tensorflow,
}

/// What an update reads from the host, and keeps.
#[derive(Debug, Clone, Copy)]
pub struct Update {
    /// `[slots]`: the learning rate of each step until the next readback.
    pub rates: Tensor,
    /// `[2]`: norm of the gradient, and the factor that clips it.
    pub norm: Tensor,
    /// `[2, parameters]`: m, v.
    pub moments: [Tensor; 2],
}

impl Optimizer {
    /// The rate that a run starts with.
    pub fn learning_rate(&self) -> f32 {
        match self {
            Optimizer::Adam { lr, .. } => *lr,
        }
    }

    /// Records the gradient's norm, its clipping to `limit` and the update, for a loop that keeps its count in `control` and
    /// writes up to `slots` learning rates at a time.
    ///
    /// # Panics
    /// Where the model was made without gradients.
    pub fn record(
        &self,
        model: &mut Model,
        control: Tensor,
        slots: usize,
        limit: Option<f32>,
    ) -> Update {
        let gradients = model.gradients.expect("the model was made with gradients");
        let (parameters, count) = (model.parameters, model.parameters.len());
        let program = &mut model.program;
        let real = Element::Real;
        let rates = program.buffer("rates", Kind::Control, real, [slots]);
        let norm = program.buffer("norm", Kind::Control, real, [2]);
        let partials = program.buffer("partials", Kind::Control, real, [SquaredNorm::PARTIALS]);
        let moments = ["first_moment", "second_moment"]
            .map(|name| program.buffer(name, Kind::Moments, real, [count]));
        let Optimizer::Adam {
            beta1,
            beta2,
            epsilon,
            form,
            ..
        } = self;
        // The two libraries that have Adam in these forms clip in their own.
        let clip_form = match form {
            AdamForm::Torch => ClipForm::Torch,
            AdamForm::Tensorflow => ClipForm::Tensorflow,
        };
        program.push(
            Phase::Update,
            SquaredNorm {
                source: gradients,
                partials,
            },
        );
        program.push(
            Phase::Update,
            ClipFactor {
                partials,
                norm,
                limit,
                form: clip_form,
            },
        );
        program.push(
            Phase::Update,
            kernels::Adam {
                parameters,
                gradients,
                first_moment: moments[0],
                second_moment: moments[1],
                control,
                rates,
                norm,
                beta1: *beta1,
                beta2: *beta2,
                epsilon: *epsilon,
                scaled_epsilon: *form == AdamForm::Tensorflow,
            },
        );
        Update {
            rates,
            norm,
            moments,
        }
    }
}
