//! Optimizers and gradient clipping.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::fields;
pub use crate::kernels::Form;

/// An optimizer and its constants. Weight decay is an L2 penalty, `weight_decay * p` added to the
/// clipped gradient of p, except where it is decoupled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Optimizer {
    /// Stochastic gradient descent, with momentum or Nesterov momentum (Sutskever et al. 2013).
    Sgd {
        /// Learning rate.
        lr: f32,
        #[serde(default)]
        momentum: f64,
        /// Each gradient except the first is added to the velocity times `1 - dampening`.
        #[serde(default)]
        dampening: f64,
        #[serde(default)]
        nesterov: bool,
        #[serde(default)]
        weight_decay: f64,
    },
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
        /// Where epsilon is added: in `m̂ / (sqrt(v̂) + epsilon)`, as in the paper's algorithm
        /// and PyTorch, or before the bias correction, as TensorFlow's "epsilon hat".
        #[serde(default)]
        form: Form,
        #[serde(default)]
        weight_decay: f64,
        /// Whether to divide by the largest second moment so far (Reddi et al. 2018).
        #[serde(default)]
        amsgrad: bool,
    },
    /// Adam with decoupled weight decay, `p -= lr * weight_decay * p` (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW {
        /// Learning rate.
        lr: f32,
        #[serde(default = "default_beta1")]
        beta1: f64,
        #[serde(default = "default_beta2")]
        beta2: f64,
        #[serde(default = "default_epsilon")]
        epsilon: f64,
        #[serde(default = "default_weight_decay")]
        weight_decay: f64,
        /// Whether to divide by the largest second moment so far.
        #[serde(default)]
        amsgrad: bool,
    },
    /// RMSProp (Tieleman & Hinton 2012).
    Rmsprop {
        /// Learning rate.
        lr: f32,
        /// PyTorch adds epsilon to the root, and the mean square starts at 0. TensorFlow adds it to
        /// the mean square, which starts at 1, so that the first updates are small.
        #[serde(default)]
        form: Form,
        /// The factor of the mean square in each step; by default 0.99 as in PyTorch (`alpha`), or
        /// 0.9 as in TensorFlow (`decay`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rho: Option<f64>,
        /// By default 1e-8 as in PyTorch, or 1e-10 as in TensorFlow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epsilon: Option<f64>,
        #[serde(default)]
        momentum: f64,
        /// Whether to divide by the standard deviation of the gradient instead of its root mean
        /// square (Graves 2013).
        #[serde(default)]
        centered: bool,
        #[serde(default)]
        weight_decay: f64,
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

fn default_weight_decay() -> f64 {
    0.01
}

/// Gradient clipping.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Clip {
    None,
    /// Scales the whole gradient down if its Euclidean norm is larger than `limit`.
    Norm {
        limit: f64,
        form: Form,
    },
    /// Clamps each element to ± this.
    Value(f64),
}

impl Optimizer {
    /// Returns plain gradient descent.
    pub fn sgd(lr: f32) -> Self {
        Optimizer::Sgd {
            lr,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        }
    }

    /// Returns Adam with the paper's constants, as in PyTorch.
    pub fn adam(lr: f32) -> Self {
        Optimizer::Adam {
            lr,
            beta1: default_beta1(),
            beta2: default_beta2(),
            epsilon: default_epsilon(),
            form: Form::default(),
            weight_decay: 0.0,
            amsgrad: false,
        }
    }

    /// Returns AdamW with PyTorch's constants.
    pub fn adamw(lr: f32) -> Self {
        Optimizer::AdamW {
            lr,
            beta1: default_beta1(),
            beta2: default_beta2(),
            epsilon: default_epsilon(),
            weight_decay: default_weight_decay(),
            amsgrad: false,
        }
    }

    /// Returns RMSProp with PyTorch's constants.
    pub fn rmsprop(lr: f32) -> Self {
        Optimizer::Rmsprop {
            lr,
            form: Form::default(),
            rho: None,
            epsilon: None,
            momentum: 0.0,
            centered: false,
            weight_decay: 0.0,
        }
    }

    /// Returns the learning rate, before its schedule.
    pub fn learning_rate(&self) -> f32 {
        match self {
            Optimizer::Sgd { lr, .. }
            | Optimizer::Adam { lr, .. }
            | Optimizer::AdamW { lr, .. }
            | Optimizer::Rmsprop { lr, .. } => *lr,
        }
    }

    /// Sets the learning rate, before its schedule.
    pub fn set_learning_rate(&mut self, rate: f32) {
        match self {
            Optimizer::Sgd { lr, .. }
            | Optimizer::Adam { lr, .. }
            | Optimizer::AdamW { lr, .. }
            | Optimizer::Rmsprop { lr, .. } => *lr = rate,
        }
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// [`Error::InvalidValue`](crate::error::Error::InvalidValue) for the first that is not
    /// allowed.
    pub fn validate(&self) -> Result<()> {
        fields::positive("optimizer.lr", self.learning_rate().into())?;
        let weight_decay = match *self {
            Optimizer::Sgd {
                momentum,
                dampening,
                nesterov,
                weight_decay,
                ..
            } => {
                check_momentum(momentum, dampening, nesterov)?;
                weight_decay
            }
            Optimizer::Adam {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            }
            | Optimizer::AdamW {
                beta1,
                beta2,
                epsilon,
                weight_decay,
                ..
            } => {
                fields::positive("optimizer.epsilon", epsilon)?;
                fields::fraction("optimizer.beta1", beta1)?;
                fields::fraction("optimizer.beta2", beta2)?;
                weight_decay
            }
            Optimizer::Rmsprop {
                form,
                rho,
                epsilon,
                momentum,
                weight_decay,
                ..
            } => {
                fields::positive("optimizer.epsilon", rmsprop_epsilon(form, epsilon))?;
                fields::fraction("optimizer.rho", rmsprop_rho(form, rho))?;
                fields::fraction("optimizer.momentum", momentum)?;
                weight_decay
            }
        };
        fields::not_negative("optimizer.weight_decay", weight_decay)
    }
}

fn check_momentum(momentum: f64, dampening: f64, nesterov: bool) -> Result<()> {
    let (of_momentum, of_dampening) = ("optimizer.momentum", "optimizer.dampening");
    fields::fraction(of_momentum, momentum)?;
    let is_allowed = (0.0..=1.0).contains(&dampening);
    fields::require(
        is_allowed,
        of_dampening,
        dampening,
        "at least 0 and at most 1",
    )?;
    let needs_momentum = nesterov || dampening != 0.0;
    let range = "above 0 if nesterov or dampening is set";
    fields::require(
        momentum > 0.0 || !needs_momentum,
        of_momentum,
        momentum,
        range,
    )?;
    let is_allowed = !nesterov || dampening == 0.0;
    fields::require(is_allowed, of_dampening, dampening, "0 if nesterov is true")
}

/// Returns rho, or the default of the form.
pub(crate) fn rmsprop_rho(form: Form, rho: Option<f64>) -> f64 {
    rho.unwrap_or(match form {
        Form::Torch => 0.99,
        Form::Tensorflow => 0.9,
    })
}

/// Returns epsilon, or the default of the form.
pub(crate) fn rmsprop_epsilon(form: Form, epsilon: Option<f64>) -> f64 {
    epsilon.unwrap_or(match form {
        Form::Torch => 1e-8,
        Form::Tensorflow => 1e-10,
    })
}
