//! The optimizers and gradient clips of a sweep.

use crate::kernels::Form;
use crate::recipe::optimizer::{Clip, Optimizer};

const LEARNING_RATE: f32 = 0.01;
const WEIGHT_DECAY: f64 = 0.1;

/// Returns pairs of optimizer and clip in which each form and option occurs at least once.
pub(super) fn optimizers() -> Vec<(Optimizer, Clip)> {
    use Form::{Tensorflow, Torch};
    let norm = |limit, form| Clip::Norm { limit, form };
    vec![
        (Optimizer::sgd(LEARNING_RATE), norm(0.1, Torch)),
        (adam(Torch, false), Clip::None),
        (rmsprop(Torch, 0.9, false), Clip::Value(0.01)),
        (sgd(0.9, 0.1, false), Clip::Value(0.01)),
        (adam(Tensorflow, true), norm(0.1, Tensorflow)),
        (rmsprop(Tensorflow, 0.9, false), Clip::None),
        (sgd(0.9, 0.0, true), norm(1e6, Torch)),
        (adam_w(true), Clip::Value(0.01)),
        (rmsprop(Torch, 0.0, true), norm(0.1, Torch)),
        (rmsprop(Tensorflow, 0.5, true), Clip::None),
    ]
}

fn sgd(momentum: f64, dampening: f64, nesterov: bool) -> Optimizer {
    Optimizer::Sgd {
        lr: LEARNING_RATE,
        momentum,
        dampening,
        nesterov,
        weight_decay: WEIGHT_DECAY,
    }
}

fn adam(form: Form, amsgrad: bool) -> Optimizer {
    Optimizer::Adam {
        lr: LEARNING_RATE,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        form,
        weight_decay: WEIGHT_DECAY,
        amsgrad,
    }
}

fn adam_w(amsgrad: bool) -> Optimizer {
    Optimizer::AdamW {
        lr: LEARNING_RATE,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: WEIGHT_DECAY,
        amsgrad,
    }
}

fn rmsprop(form: Form, momentum: f64, centered: bool) -> Optimizer {
    Optimizer::Rmsprop {
        lr: LEARNING_RATE,
        form,
        rho: None,
        epsilon: None,
        momentum,
        centered,
        weight_decay: WEIGHT_DECAY,
    }
}
