//! The optimizer's update, recorded: the gradient's norm, its clipping, and the optimizer's rule
//! over the flat vector of parameters.

use std::ops::Range;

use super::RecordedNetwork;
use crate::backend::executor::Executor;
use crate::error::Result;
use crate::kernels::{self, Call, ClipFactor, Descent, Form, SquaredNorm};
use crate::program::{Phase, Program};
use crate::recipe::optimizer::{Clip, Optimizer, rmsprop_epsilon, rmsprop_rho};
use crate::tensor::{Element, Kind, Tensor};

/// The tensors of an update that the host reads and writes.
#[derive(Debug, Clone)]
pub struct RecordedUpdate {
    /// `[rows]`: the learning rate of each step until the next readback.
    pub rates: Tensor,
    /// `[2]`: the gradient's norm, and the factor that clips it.
    pub norm: Tensor,
    /// The optimizer's moments.
    pub moments: Vec<Moment>,
}

/// The name of the moving average among the moments.
const AVERAGE: &str = "average";

/// An optimizer's value per parameter, updated at every step.
#[derive(Debug, Clone)]
pub struct Moment {
    pub name: &'static str,
    /// `[parameters]`, with the offsets of the parameters.
    pub tensor: Tensor,
    /// The initial value of every element.
    pub initial: f32,
}

impl RecordedUpdate {
    /// Sets the moments to their initial values.
    ///
    /// # Errors
    /// Those of [`Executor::write`].
    pub fn initialise(&self, executor: &mut dyn Executor) -> Result<()> {
        let set = |moment: &Moment| {
            executor.write(&moment.tensor, &vec![moment.initial; moment.tensor.len()])
        };
        self.moments.iter().try_for_each(set)
    }
}

impl RecordedUpdate {
    /// The exponential moving average of the parameters, if it is recorded.
    pub fn average(&self) -> Option<Tensor> {
        let mut moments = self.moments.iter();
        let average = moments.find(|moment| moment.name == AVERAGE);
        average.map(|moment| moment.tensor)
    }
}

impl RecordedNetwork {
    /// Records, in [`Phase::Update`], the exponential moving average of the parameters with this
    /// decay, as a moment of the update. The host sets its initial value to the initial parameters.
    pub fn record_average(&mut self, update: &mut RecordedUpdate, decay: f64) {
        let (kind, element) = (Kind::Moments, Element::Real);
        let len = [self.parameters.len()];
        let average = self.program.buffer(AVERAGE, kind, element, len);
        update.moments.push(Moment {
            name: AVERAGE,
            tensor: average,
            initial: 0.0,
        });
        let call = kernels::Average {
            parameters: self.parameters,
            average,
            decay,
        };
        self.program.push(Phase::Update, call);
    }

    /// Records, in [`Phase::Update`], the gradient's norm, its clipping and the optimizer's update.
    /// The loop counts its steps in `control` and writes up to `rows` learning rates at a time.
    ///
    /// # Panics
    /// Where the network was recorded without gradients.
    pub fn record_update(
        &mut self,
        optimizer: &Optimizer,
        clip: Clip,
        control: Tensor,
        rows: usize,
    ) -> RecordedUpdate {
        let gradients = self.gradient_sums.or(self.gradients);
        let gradients = gradients.expect("the network was recorded with gradients");
        let buffer = |program: &mut Program, name, len: usize| {
            program.buffer(name, Kind::Control, Element::Real, [len])
        };
        let rates = buffer(&mut self.program, "rates", rows);
        let norm = buffer(&mut self.program, "norm", 2);
        self.record_norm(gradients, norm, clip);
        let descent = Descent {
            parameters: self.parameters,
            gradients,
            control,
            rates,
            norm,
            clip_value: match clip {
                Clip::Value(limit) => Some(limit),
                Clip::None | Clip::Norm { .. } => None,
            },
            l2: l2_penalty(optimizer),
        };
        let ranges = self.trained_ranges();
        let mut moments = Moments {
            program: &mut self.program,
            len: self.parameters.len(),
            range: 0..self.parameters.len(),
            kept: vec![],
        };
        let rules = ranges.into_iter().map(|range| {
            moments.range = range.clone();
            let descent = Descent {
                parameters: RecordedNetwork::part_of(self.parameters, &range),
                gradients: RecordedNetwork::part_of(gradients, &range),
                ..descent
            };
            rule(optimizer, descent, &mut moments)
        });
        let rules: Vec<Call> = rules.collect();
        let moments = moments.kept;
        rules
            .into_iter()
            .for_each(|rule| self.program.push(Phase::Update, rule));
        RecordedUpdate {
            rates,
            norm,
            moments,
        }
    }

    /// Records the gradient's norm and the factor that clips it.
    fn record_norm(&mut self, gradients: Tensor, norm: Tensor, clip: Clip) {
        let len = [SquaredNorm::PARTIALS];
        let program = &mut self.program;
        let partials = program.buffer("partials", Kind::Control, Element::Real, len);
        let squared_norm = SquaredNorm {
            source: gradients,
            partials,
        };
        let (limit, form) = match clip {
            Clip::Norm { limit, form } => (Some(limit), form),
            Clip::None | Clip::Value(_) => (None, Form::Torch),
        };
        let clip_factor = ClipFactor {
            partials,
            norm,
            limit,
            form,
        };
        program.push(Phase::Update, squared_norm);
        program.push(Phase::Update, clip_factor);
    }
}

/// The factor of the parameter that is added to its gradient; 0 for decoupled weight decay.
fn l2_penalty(optimizer: &Optimizer) -> f64 {
    match *optimizer {
        Optimizer::Sgd { weight_decay, .. }
        | Optimizer::Adam { weight_decay, .. }
        | Optimizer::Rmsprop { weight_decay, .. } => weight_decay,
        Optimizer::AdamW { .. } => 0.0,
    }
}

/// The moments that a rule creates.
struct Moments<'a> {
    program: &'a mut Program,
    /// The number of parameters.
    len: usize,
    /// The parameters of the rule.
    range: Range<usize>,
    kept: Vec<Moment>,
}

impl Moments<'_> {
    /// Returns the part of a moment that belongs to the rule's parameters, and creates the moment
    /// for the first rule.
    fn create(&mut self, name: &'static str, initial: f32) -> Tensor {
        let mut kept = self.kept.iter();
        let known = kept
            .find(|moment| moment.name == name)
            .map(|moment| moment.tensor);
        let whole = known.unwrap_or_else(|| {
            let tensor = self.buffer(name, self.len);
            self.kept.push(Moment {
                name,
                tensor,
                initial,
            });
            tensor
        });
        RecordedNetwork::part_of(whole, &self.range)
    }

    /// Creates a moment that starts as zeros if the rule uses it, and an empty tensor otherwise.
    fn create_if(&mut self, is_used: bool, name: &'static str) -> Tensor {
        if is_used {
            self.create(name, 0.0)
        } else {
            self.buffer(name, 0)
        }
    }

    fn buffer(&mut self, name: &'static str, len: usize) -> Tensor {
        let (kind, element) = (Kind::Moments, Element::Real);
        self.program.buffer(name, kind, element, [len])
    }
}

/// Returns the optimizer's rule as a kernel call.
fn rule(optimizer: &Optimizer, descent: Descent, moments: &mut Moments) -> Call {
    match *optimizer {
        Optimizer::Sgd {
            momentum,
            dampening,
            nesterov,
            ..
        } => sgd(descent, moments, momentum, dampening, nesterov).into(),
        Optimizer::Adam {
            beta1,
            beta2,
            epsilon,
            form,
            amsgrad,
            ..
        } => kernels::Adam {
            form,
            ..adam(descent, moments, [beta1, beta2], epsilon, amsgrad)
        }
        .into(),
        Optimizer::AdamW {
            beta1,
            beta2,
            epsilon,
            weight_decay,
            amsgrad,
            ..
        } => kernels::Adam {
            weight_decay,
            ..adam(descent, moments, [beta1, beta2], epsilon, amsgrad)
        }
        .into(),
        Optimizer::Rmsprop {
            form,
            rho,
            epsilon,
            momentum,
            centered,
            ..
        } => kernels::Rmsprop {
            rho: rmsprop_rho(form, rho),
            epsilon: rmsprop_epsilon(form, epsilon),
            ..rmsprop(descent, moments, form, momentum, centered)
        }
        .into(),
    }
}

fn sgd(
    descent: Descent,
    moments: &mut Moments,
    momentum: f64,
    dampening: f64,
    nesterov: bool,
) -> kernels::Sgd {
    kernels::Sgd {
        descent,
        velocity: moments.create_if(momentum > 0.0, "velocity"),
        momentum,
        dampening,
        nesterov,
    }
}

/// PyTorch's Adam without decoupled weight decay.
fn adam(
    descent: Descent,
    moments: &mut Moments,
    [beta1, beta2]: [f64; 2],
    epsilon: f64,
    amsgrad: bool,
) -> kernels::Adam {
    kernels::Adam {
        descent,
        first_moment: moments.create("first_moment", 0.0),
        second_moment: moments.create("second_moment", 0.0),
        largest_moment: moments.create_if(amsgrad, "largest_moment"),
        beta1,
        beta2,
        epsilon,
        form: Form::Torch,
        weight_decay: 0.0,
    }
}

/// RMSProp with its framework's default constants.
fn rmsprop(
    descent: Descent,
    moments: &mut Moments,
    form: Form,
    momentum: f64,
    centered: bool,
) -> kernels::Rmsprop {
    let initial = match form {
        Form::Torch => 0.0,
        Form::Tensorflow => 1.0,
    };
    kernels::Rmsprop {
        descent,
        mean_square: moments.create("mean_square", initial),
        mean_gradient: moments.create_if(centered, "mean_gradient"),
        velocity: moments.create_if(momentum > 0.0, "velocity"),
        rho: rmsprop_rho(form, None),
        momentum,
        epsilon: rmsprop_epsilon(form, None),
        form,
    }
}
