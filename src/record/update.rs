//! The update recorded: the gradient's norm, its clipping, and the optimizer's rule over the flat vector of parameters.

use super::RecordedNetwork;
use crate::backend::executor::Executor;
use crate::error::Result;
use crate::kernels::{self, ClipFactor, Descent, Form, SquaredNorm};
use crate::program::{Phase, Program};
use crate::recipe::optimizer::{Clip, Optimizer, rmsprop_epsilon, rmsprop_rho};
use crate::tensor::{Element, Kind, Tensor};

/// What an update reads from the host, and keeps.
#[derive(Debug, Clone)]
pub struct Update {
    /// `[rows]`: the learning rate of each step until the next readback.
    pub rates: Tensor,
    /// `[2]`: norm of the gradient, and the factor that clips it.
    pub norm: Tensor,
    /// What the optimiser remembers of each parameter.
    pub moments: Vec<Moment>,
}

/// A number for each parameter that an optimiser carries from step to step.
#[derive(Debug, Clone)]
pub struct Moment {
    pub name: &'static str,
    /// `[parameters]`, laid out as they are.
    pub tensor: Tensor,
    /// The number that all of them start at.
    pub initial: f32,
}

impl Update {
    /// Sets the moments to what they start at.
    ///
    /// # Errors
    /// What the device reports.
    pub fn initialise(&self, executor: &mut dyn Executor) -> Result<()> {
        let set = |moment: &Moment| {
            executor.write(&moment.tensor, &vec![moment.initial; moment.tensor.len()])
        };
        self.moments.iter().try_for_each(set)
    }
}

impl Optimizer {
    /// Records the gradient's norm, its clipping and the update, for a loop that keeps its count in `control` and writes up
    /// to `rows` learning rates at a time.
    ///
    /// # Panics
    /// Where the model was made without gradients.
    pub fn record(
        &self,
        model: &mut RecordedNetwork,
        control: Tensor,
        rows: usize,
        clip: Clip,
    ) -> Update {
        let gradients = model.gradients.expect("the model was made with gradients");
        let (parameters, program) = (model.parameters, &mut model.program);
        let real = Element::Real;
        let rates = program.buffer("rates", Kind::Control, real, [rows]);
        let norm = program.buffer("norm", Kind::Control, real, [2]);
        let partials = program.buffer("partials", Kind::Control, real, [SquaredNorm::PARTIALS]);
        let source = gradients;
        program.push(Phase::Update, SquaredNorm { source, partials });
        let (limit, form, clip_value) = match clip {
            Clip::None => (None, Form::Torch, None),
            Clip::Norm { limit, form } => (Some(limit), form, None),
            Clip::Value(limit) => (None, Form::Torch, Some(limit)),
        };
        program.push(
            Phase::Update,
            ClipFactor {
                partials,
                norm,
                limit,
                form,
            },
        );
        let l2 = match *self {
            Optimizer::Sgd { weight_decay, .. }
            | Optimizer::Adam { weight_decay, .. }
            | Optimizer::Rmsprop { weight_decay, .. } => weight_decay,
            Optimizer::AdamW { .. } => 0.0,
        };
        let descent = Descent {
            parameters,
            gradients,
            control,
            rates,
            norm,
            clip_value,
            l2,
        };
        let moments = self.record_rule(program, descent);
        Update {
            rates,
            norm,
            moments,
        }
    }

    /// Records the rule itself; returns the moments that it keeps.
    fn record_rule(&self, program: &mut Program, descent: Descent) -> Vec<Moment> {
        let mut moments = vec![];
        // A moment that is not kept is empty.
        let mut moment = |name, kept: bool, initial| {
            let count = if kept { descent.parameters.len() } else { 0 };
            let tensor = program.buffer(name, Kind::Moments, Element::Real, [count]);
            if kept {
                moments.push(Moment {
                    name,
                    tensor,
                    initial,
                });
            }
            tensor
        };
        match *self {
            Optimizer::Sgd {
                momentum,
                dampening,
                nesterov,
                ..
            } => {
                let call = kernels::Sgd {
                    descent,
                    velocity: moment("velocity", momentum > 0.0, 0.0),
                    momentum,
                    dampening,
                    nesterov,
                };
                program.push(Phase::Update, call);
            }
            Optimizer::Adam {
                beta1,
                beta2,
                epsilon,
                amsgrad,
                ..
            }
            | Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                amsgrad,
                ..
            } => {
                let call = kernels::Adam {
                    descent,
                    first_moment: moment("first_moment", true, 0.0),
                    second_moment: moment("second_moment", true, 0.0),
                    largest_moment: moment("largest_moment", amsgrad, 0.0),
                    beta1,
                    beta2,
                    epsilon,
                    form: match *self {
                        Optimizer::Adam { form, .. } => form,
                        _ => Form::Torch,
                    },
                    weight_decay: match *self {
                        Optimizer::AdamW { weight_decay, .. } => weight_decay,
                        _ => 0.0,
                    },
                };
                program.push(Phase::Update, call);
            }
            Optimizer::Rmsprop {
                form,
                rho,
                epsilon,
                momentum,
                centered,
                ..
            } => {
                let start = match form {
                    Form::Torch => 0.0,
                    Form::Tensorflow => 1.0,
                };
                let call = kernels::Rmsprop {
                    descent,
                    mean_square: moment("mean_square", true, start),
                    mean_gradient: moment("mean_gradient", centered, 0.0),
                    velocity: moment("velocity", momentum > 0.0, 0.0),
                    rho: rmsprop_rho(form, rho),
                    momentum,
                    epsilon: rmsprop_epsilon(form, epsilon),
                    form,
                };
                program.push(Phase::Update, call);
            }
        }
        moments
    }
}
