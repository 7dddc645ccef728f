//! Optimizers and gradient clipping.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
pub use crate::kernels::Form;

/// An optimiser and its constants. Where weight decay is not said to be decoupled it is an L2 penalty: `weight_decay * p` is
/// added to the clipped gradient of p.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Optimizer {
    /// Stochastic gradient descent, with momentum and Nesterov's (Sutskever et al. 2013).
    Sgd {
        /// Learning rate.
        lr: f32,
        #[serde(default)]
        momentum: f64,
        /// What a gradient lacks of 1 as it enters the velocity, but for the first.
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
        /// Where epsilon stands: in `m̂ / (sqrt(v̂) + epsilon)`, as in the paper's algorithm and PyTorch, or as TensorFlow's
        /// "epsilon hat", not divided by the bias correction.
        #[serde(default)]
        form: Form,
        #[serde(default)]
        weight_decay: f64,
        /// Divides by the largest second moment so far (Reddi et al. 2018).
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
        /// Divides by the largest second moment so far.
        #[serde(default)]
        amsgrad: bool,
    },
    /// RMSProp (Tieleman & Hinton 2012).
    Rmsprop {
        /// Learning rate.
        lr: f32,
        /// PyTorch's has epsilon outside the root and a mean square that starts at 0; TensorFlow's has it inside and starts
        /// at 1, so that its first updates are small.
        #[serde(default)]
        form: Form,
        /// How much of the mean square is kept each step: 0.99 in PyTorch (`alpha`), 0.9 in TensorFlow (`decay`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        rho: Option<f64>,
        /// 1e-8 in PyTorch, 1e-10 in TensorFlow.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        epsilon: Option<f64>,
        #[serde(default)]
        momentum: f64,
        /// Divides by the standard deviation of the gradient in place of its root mean square (Graves 2013).
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

/// What is done about gradients that are too large.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Clip {
    None,
    /// Scales the whole gradient down where its Euclidean norm is larger than `limit`.
    Norm {
        limit: f64,
        form: Form,
    },
    /// Clamps each element to ± this.
    Value(f64),
}

impl Optimizer {
    /// Plain gradient descent.
    pub fn sgd(lr: f32) -> Self {
        Optimizer::Sgd {
            lr,
            momentum: 0.0,
            dampening: 0.0,
            nesterov: false,
            weight_decay: 0.0,
        }
    }

    /// Adam with the paper's constants, as in PyTorch.
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

    /// AdamW with PyTorch's constants.
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

    /// RMSProp with PyTorch's constants.
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

    /// The rate that a run starts with.
    pub fn learning_rate(&self) -> f32 {
        match self {
            Optimizer::Sgd { lr, .. }
            | Optimizer::Adam { lr, .. }
            | Optimizer::AdamW { lr, .. }
            | Optimizer::Rmsprop { lr, .. } => *lr,
        }
    }

    /// Changes the rate that a run starts with.
    pub fn set_learning_rate(&mut self, rate: f32) {
        match self {
            Optimizer::Sgd { lr, .. }
            | Optimizer::Adam { lr, .. }
            | Optimizer::AdamW { lr, .. }
            | Optimizer::Rmsprop { lr, .. } => *lr = rate,
        }
    }

    /// Refuses constants that make no sense.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the key and says what is allowed.
    pub fn validate(&self) -> Result<()> {
        let lr = f64::from(self.learning_rate());
        positive("lr", lr)?;
        match *self {
            Optimizer::Sgd {
                momentum,
                dampening,
                nesterov,
                weight_decay,
                ..
            } => {
                fraction("momentum", momentum)?;
                if !(0.0..=1.0).contains(&dampening) {
                    return refuse("dampening", dampening, "at least 0 and at most 1");
                }
                not_negative("weight_decay", weight_decay)?;
                if momentum == 0.0 && (nesterov || dampening != 0.0) {
                    return refuse(
                        "momentum",
                        0.0,
                        "above 0 where nesterov or dampening is set",
                    );
                }
                if nesterov && dampening != 0.0 {
                    return refuse("dampening", dampening, "0 where nesterov is true");
                }
                Ok(())
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
                positive("epsilon", epsilon)?;
                fraction("beta1", beta1)?;
                fraction("beta2", beta2)?;
                not_negative("weight_decay", weight_decay)
            }
            Optimizer::Rmsprop {
                form,
                rho,
                epsilon,
                momentum,
                weight_decay,
                ..
            } => {
                positive("epsilon", rmsprop_epsilon(form, epsilon))?;
                fraction("rho", rmsprop_rho(form, rho))?;
                fraction("momentum", momentum)?;
                not_negative("weight_decay", weight_decay)
            }
        }
    }
}

pub(crate) fn rmsprop_rho(form: Form, rho: Option<f64>) -> f64 {
    rho.unwrap_or(match form {
        Form::Torch => 0.99,
        Form::Tensorflow => 0.9,
    })
}

pub(crate) fn rmsprop_epsilon(form: Form, epsilon: Option<f64>) -> f64 {
    epsilon.unwrap_or(match form {
        Form::Torch => 1e-8,
        Form::Tensorflow => 1e-10,
    })
}

fn positive(key: &str, value: f64) -> Result<()> {
    match value.is_finite() && value > 0.0 {
        true => Ok(()),
        false => refuse(key, value, "a finite number above 0"),
    }
}

fn not_negative(key: &str, value: f64) -> Result<()> {
    match value.is_finite() && value >= 0.0 {
        true => Ok(()),
        false => refuse(key, value, "a finite number, at least 0"),
    }
}

fn fraction(key: &str, value: f64) -> Result<()> {
    match (0.0..1.0).contains(&value) {
        true => Ok(()),
        false => refuse(key, value, "at least 0 and below 1"),
    }
}

fn refuse(key: &str, value: f64, allowed: &str) -> Result<()> {
    Err(Error::usage(format!(
        "optimizer.{key} is {value}; it must be {allowed}"
    )))
}
