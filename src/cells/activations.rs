//! The activation functions of LSTMs and GRUs, and the options that their formulas look up.

use serde::{Deserialize, Serialize};

use crate::numeric::real::Number;

/// The activation function of a cell's candidate, and of an LSTM's cell state where it becomes h:
/// `activation` of Keras's `LSTM` and `GRU`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Activation {
    #[default]
    Tanh,
    /// `max(0, x)`; its slope at 0 is 0. The states of such a cell have no bound.
    Relu,
    Sigmoid,
    /// `x / (1 + |x|)`.
    Softsign,
}

/// The activation function of a cell's gates: `recurrent_activation` of Keras's `LSTM` and `GRU`.
/// The slope of a hard sigmoid is 0 where it is 0 or 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum RecurrentActivation {
    #[default]
    Sigmoid,
    /// `clip(x / 6 + 1/2, 0, 1)`: `hard_sigmoid` of Keras 3 and PyTorch.
    HardSigmoid,
    /// `clip(0.2 x + 0.5, 0, 1)`: `hard_sigmoid` of Keras 2 and TensorFlow's Keras, and the
    /// default values of ONNX's `HardSigmoid`.
    #[serde(rename = "hard-sigmoid-keras2")]
    HardSigmoidKeras2,
}

impl Activation {
    /// Every function, in the order of the shaders' constants.
    pub const ALL: [Activation; 4] = [
        Activation::Tanh,
        Activation::Relu,
        Activation::Sigmoid,
        Activation::Softsign,
    ];

    /// Returns the name in recipes, which is also Keras's.
    pub fn name(self) -> &'static str {
        match self {
            Activation::Tanh => "tanh",
            Activation::Relu => "relu",
            Activation::Sigmoid => "sigmoid",
            Activation::Softsign => "softsign",
        }
    }

    /// Whether it is the one of a cell without options.
    pub fn is_default(&self) -> bool {
        *self == Activation::default()
    }

    /// Applies the function.
    #[inline(always)]
    pub(crate) fn of<R: Number>(self, x: R) -> R {
        let zero = x.constant(0.0);
        match self {
            Activation::Tanh => Number::tanh(x),
            // In this form a NaN stays a NaN.
            Activation::Relu => R::where_larger(zero, x, zero, x),
            Activation::Sigmoid => x.sigmoid(),
            Activation::Softsign => x / (x.constant(1.0) + magnitude(x)),
        }
    }

    /// Returns the gradient `d` of the function's result `y` taken back to its argument.
    #[inline(always)]
    pub(crate) fn back<R: Number>(self, d: R, y: R) -> R {
        let (zero, one) = (y.constant(0.0), y.constant(1.0));
        match self {
            Activation::Tanh => d * (one - y * y),
            Activation::Relu => R::where_larger(y, zero, d, zero),
            Activation::Sigmoid => d * y * (one - y),
            Activation::Softsign => {
                let rest = one - magnitude(y);
                d * rest * rest
            }
        }
    }
}

/// Returns `|x|`; NaN stays NaN.
#[inline(always)]
fn magnitude<R: Number>(x: R) -> R {
    R::where_larger(x, x.constant(0.0), x, -x)
}

impl RecurrentActivation {
    /// Every function, in the order of the shaders' constants.
    pub const ALL: [RecurrentActivation; 3] = [
        RecurrentActivation::Sigmoid,
        RecurrentActivation::HardSigmoid,
        RecurrentActivation::HardSigmoidKeras2,
    ];

    /// Returns the name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            RecurrentActivation::Sigmoid => "sigmoid",
            RecurrentActivation::HardSigmoid => "hard-sigmoid",
            RecurrentActivation::HardSigmoidKeras2 => "hard-sigmoid-keras2",
        }
    }

    /// Whether it is the one of a cell without options.
    pub fn is_default(&self) -> bool {
        *self == RecurrentActivation::default()
    }

    /// Returns the slope of a hard sigmoid between its limits; it is 1/2 at 0.
    pub fn slope(self) -> Option<f32> {
        match self {
            RecurrentActivation::Sigmoid => None,
            RecurrentActivation::HardSigmoid => Some(1.0 / 6.0),
            RecurrentActivation::HardSigmoidKeras2 => Some(0.2),
        }
    }

    /// Applies the function.
    #[inline(always)]
    pub(crate) fn of<R: Number>(self, x: R) -> R {
        let Some(slope) = self.slope() else {
            return x.sigmoid();
        };
        let (zero, one) = (x.constant(0.0), x.constant(1.0));
        let line = x * x.constant(slope) + x.constant(0.5);
        let raised = R::where_larger(zero, line, zero, line);
        R::where_larger(raised, one, one, raised)
    }

    /// Returns the gradient `d` of the function's result `y` taken back to its argument.
    #[inline(always)]
    pub(crate) fn back<R: Number>(self, d: R, y: R) -> R {
        let (zero, one) = (y.constant(0.0), y.constant(1.0));
        let Some(slope) = self.slope() else {
            return d * y * (one - y);
        };
        let inside = R::where_larger(y, zero, d * y.constant(slope), zero);
        R::where_larger(one, y, inside, zero)
    }
}

/// The parts of a cell's formulas that options can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct FormulaOptions {
    pub activation: Activation,
    pub recurrent_activation: RecurrentActivation,
    /// Whether the c of a step is not the one that it computed (zoneout), so that the backward pass
    /// computes it again.
    pub keeps_c: bool,
}

impl FormulaOptions {
    /// Whether they are those of a cell without options.
    pub fn is_default(&self) -> bool {
        *self == FormulaOptions::default()
    }
}

/// Returns the functions of the unit's options; without `OPTIONAL`, constants.
#[inline(always)]
pub(super) fn functions<const OPTIONAL: bool>(
    options: FormulaOptions,
) -> (Activation, RecurrentActivation) {
    if OPTIONAL {
        (options.activation, options.recurrent_activation)
    } else {
        (Activation::Tanh, RecurrentActivation::Sigmoid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_have_their_values_at_their_limits() {
        let hard = RecurrentActivation::HardSigmoid;
        let keras2 = RecurrentActivation::HardSigmoidKeras2;
        for (x, expected, expected_keras2) in [
            (-3.0f64, 0.0, 0.0),
            (-2.5, 0.5 - 2.5 / 6.0, 0.0),
            (0.0, 0.5, 0.5),
            (1.0, 0.5 + 1.0 / 6.0, 0.7),
            (4.0, 1.0, 1.0),
        ] {
            assert!((hard.of(x) - expected).abs() < 1e-7, "{x}");
            assert!((keras2.of(x) - expected_keras2).abs() < 1e-7, "{x}");
        }
        // The slope at both limits is 0.
        assert_eq!([hard.back(1.0, 0.0), hard.back(1.0, 1.0)], [0.0; 2]);
        assert_eq!(Activation::Relu.back(1.0, 0.0), 0.0);
        assert_eq!(Activation::Softsign.of(-3.0), -0.75);
        assert_eq!(Activation::Softsign.back(2.0, -0.75), 0.125);
        assert!(Activation::ALL.iter().all(|act| act.of(f32::NAN).is_nan()));
        assert!(hard.of(f32::NAN).is_nan());
    }

    #[test]
    fn names_are_those_of_recipes() {
        for activation in Activation::ALL {
            assert_eq!(serde_json::to_value(activation).unwrap(), activation.name());
        }
        for activation in RecurrentActivation::ALL {
            assert_eq!(serde_json::to_value(activation).unwrap(), activation.name());
        }
    }
}
