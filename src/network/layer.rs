//! One recurrent layer.

use serde::{Deserialize, Serialize};

use super::{Dropout, Init, ParameterRole, at_least_one};
use crate::cells::{Activation, Cell, CellSpec, NormSpec, RecurrentActivation};
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::listed;

/// One recurrent layer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// The recurrence, by its [`Cell::name`]: `lstm`, `gru`, ...
    pub cell: Cell,
    /// H: hidden units.
    pub hidden_size: usize,
    /// The bias vectors that are trained.
    #[serde(default)]
    pub bias: Bias,
    /// Whether a second direction reads each sequence from its end; the layer emits the outputs of
    /// both, the forward direction's first.
    #[serde(default)]
    pub bidirectional: bool,
    /// H of the second direction, where it is not `hidden_size`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backward_hidden_size: Option<usize>,
    /// Added to the forget gate's initial bias (LSTMs only). TensorFlow adds it at run time
    /// instead, which trains the same.
    #[serde(default)]
    pub forget_bias: f32,
    /// The limit of |c| after each step (LSTMs only; TensorFlow's `cell_clip`). A clipped element
    /// has no gradient.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell_clip: Option<f64>,
    /// P: elements of h, which is then a projection `W_hr m` of the units' outputs m (LSTMs only;
    /// TensorFlow's `num_proj`, PyTorch's `proj_size`). W_hr is `rnn.weight_hr_l0` `[P, H]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_size: Option<usize>,
    /// The limit of |h| after each step (with a projection only; TensorFlow's `proj_clip`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub projection_clip: Option<f64>,
    /// The function of the candidate and of an LSTM's c (LSTMs and GRUs only; Keras's
    /// `activation`).
    #[serde(default, skip_serializing_if = "Activation::is_default")]
    pub activation: Activation,
    /// The function of the gates (LSTMs and GRUs only; Keras's `recurrent_activation`).
    #[serde(default, skip_serializing_if = "RecurrentActivation::is_default")]
    pub recurrent_activation: RecurrentActivation,
    /// The probability to drop an element of the h that a gate multiplies, in training (Keras's
    /// `recurrent_dropout`): each gate and sequence has one mask for all steps. What a GRU keeps of
    /// h is not dropped. The expected value does not change.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub recurrent_dropout: f64,
    /// The probability that an element of h keeps its value in a step of training (Krueger et al.
    /// 2017). Evaluation has the expectation.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub zoneout: f64,
    /// The same of an LSTM's c.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub zoneout_cell: f64,
    /// Whether values are normalised over the hidden units (after Ba et al. 2016), with gains that
    /// are trained. In an LSTM without peepholes each gate before its function, and c after each
    /// step, with shifts of their own (TensorFlow 1's `LayerNormBasicLSTMCell`). In the cell `gru`
    /// W x and R h, each over all gates together; the biases are the shifts (haste's
    /// `LayerNormGRU`). Not in other cells.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub layer_norm: bool,
    /// The epsilon that is added to variances; the default is 1e-12 in an LSTM (TensorFlow's) and
    /// 1e-5 in a GRU (haste's).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer_norm_epsilon: Option<f64>,
    /// Whether h and, in an LSTM, c before the first step are parameters, which start with zeros;
    /// all sequences have the same ones. Otherwise they are zeros.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub learn_initial_state: bool,
    /// Dropout in training.
    #[serde(default, skip_serializing_if = "Dropout::is_none")]
    pub dropout: Dropout,
    /// Whether the layer emits the sum of its outputs and its inputs, which must have the same size
    /// (TensorFlow's `ResidualWrapper`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub residual: bool,
    /// The outputs of the layer at padded steps.
    #[serde(default, skip_serializing_if = "Padding::is_zeros")]
    pub padding: Padding,
    /// The initialisation of weights and biases.
    #[serde(default)]
    pub init: Init,
}

/// The bias vectors that a recurrent layer trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Bias {
    /// None (`bias=False` in PyTorch).
    None,
    /// One vector, as in TensorFlow. The cell `gru` needs a separate recurrent bias, and so takes
    /// `double` instead.
    #[default]
    Single,
    /// `bias_ih` and `bias_hh`, as in PyTorch.
    Double,
}

impl Bias {
    /// Returns the biases that a layer of this cell can have, in ascending number.
    pub fn allowed(cell: Cell) -> &'static [Bias] {
        let spec = cell.spec();
        if spec.recurrent_gates == 0 {
            &[Bias::None, Bias::Single]
        } else if spec.needs_recurrent_bias() {
            &[Bias::None, Bias::Double]
        } else {
            &[Bias::None, Bias::Single, Bias::Double]
        }
    }

    /// Returns the most biases that a layer of this cell can have.
    pub fn largest(cell: Cell) -> Bias {
        let allowed = Bias::allowed(cell);
        allowed[allowed.len() - 1]
    }

    /// Returns the name in recipes.
    fn name(self) -> &'static str {
        match self {
            Bias::None => "none",
            Bias::Single => "single",
            Bias::Double => "double",
        }
    }
}

/// The outputs of a layer at padded steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Padding {
    /// Zeros, as in TensorFlow's `dynamic_rnn` and PyTorch's packed sequences.
    #[default]
    Zeros,
    /// The output of the last valid step, as with Keras's masking; zeros before a first valid step,
    /// and so in a backward direction, which starts with the padding.
    Repeat,
}

impl Padding {
    fn is_zeros(&self) -> bool {
        *self == Padding::Zeros
    }
}

impl Layer {
    /// A layer with one trained bias, Glorot weights and no forget bias.
    pub fn new(cell: Cell, hidden_size: usize) -> Self {
        Layer {
            cell,
            hidden_size,
            bias: Bias::default(),
            bidirectional: false,
            backward_hidden_size: None,
            forget_bias: 0.0,
            cell_clip: None,
            projection_size: None,
            projection_clip: None,
            activation: Activation::Tanh,
            recurrent_activation: RecurrentActivation::Sigmoid,
            recurrent_dropout: 0.0,
            zoneout: 0.0,
            zoneout_cell: 0.0,
            layer_norm: false,
            layer_norm_epsilon: None,
            learn_initial_state: false,
            dropout: Dropout::default(),
            residual: false,
            padding: Padding::Zeros,
            init: Init::default(),
        }
    }

    /// Returns P: the elements of h.
    pub fn output_size(&self) -> usize {
        self.projection_size.unwrap_or(self.hidden_size)
    }

    /// Returns the second direction of a bidirectional layer, as a layer of its own.
    pub(super) fn backward(&self) -> Option<Layer> {
        self.bidirectional.then(|| Layer {
            hidden_size: self.backward_hidden_size.unwrap_or(self.hidden_size),
            ..self.clone()
        })
    }

    /// Returns the number of features that the layer emits at one time step, over all directions.
    pub fn emitted_size(&self) -> usize {
        let backward = self.backward().map_or(0, |layer| layer.output_size());
        self.output_size().saturating_add(backward)
    }

    /// Whether the h that the next step reads is dropped.
    pub fn drops_state(&self) -> bool {
        self.dropout.state_keep_prob < 1.0
    }

    /// Returns the values saved for the backward pass per sequence and step: slots, the input and
    /// output of a projection, and with `masks`, in training, the masks of states.
    pub fn kept_size(&self, masks: bool) -> usize {
        let (h, p) = (self.hidden_size, self.output_size());
        let spec = self.cell.spec();
        let projected = self.projection_size.map_or(0, |size| h + size);
        let masks = [
            (self.recurrent_dropout > 0.0, spec.recurrent_gates * p),
            (self.drops_state(), p),
            (self.zoneout > 0.0, p),
            (self.zoneout_cell > 0.0, h),
        ]
        .iter()
        .map(|&(has, width)| if has && masks { width } else { 0 })
        .sum::<usize>();
        let norm = self.norm().map_or(0, |norm| norm.row_size(spec.slots, h));
        spec.slots * h + projected + norm + masks
    }

    /// Returns how the layer is normalised, if it is.
    pub fn norm(&self) -> Option<&'static NormSpec> {
        let norm = self.cell.spec().options.layer_norm;
        norm.filter(|_| self.layer_norm)
    }

    /// Returns what layer normalisation adds to the variances; `None` without normalisation.
    pub fn norm_epsilon(&self) -> Option<f64> {
        let default = self.norm()?.epsilon;
        Some(self.layer_norm_epsilon.unwrap_or(default))
    }

    /// Returns the parameter to which `forget_bias` is added: a bias before the normalisation would
    /// change the variance.
    pub(super) fn forget_bias_role(&self) -> ParameterRole {
        if self.layer_norm {
            ParameterRole::NormShifts
        } else {
            ParameterRole::InputBias
        }
    }

    /// Whether a parameter is a shift of layer normalisation. It begins with zeros.
    pub(super) fn is_shift(&self, role: ParameterRole) -> bool {
        match role {
            ParameterRole::NormShifts => true,
            ParameterRole::InputBias | ParameterRole::RecurrentBias => {
                self.norm().is_some_and(|norm| norm.shifts_are_biases)
            }
            _ => false,
        }
    }

    /// Checks every field; `path` is the layer's.
    pub(super) fn validate(&self, path: &str) -> Result<()> {
        at_least_one(&format!("{path}.hidden_size"), self.hidden_size)?;
        self.validate_directions(path)?;
        self.validate_bias(path)?;
        self.validate_forget_bias(path)?;
        self.validate_cell_clip(path)?;
        self.validate_projection(path)?;
        self.validate_activations(path)?;
        self.validate_state_noise(path)?;
        self.validate_layer_norm(path)?;
        self.dropout.validate(&format!("{path}.dropout"))
    }

    fn validate_directions(&self, path: &str) -> Result<()> {
        let field = format!("{path}.backward_hidden_size");
        match self.backward_hidden_size {
            Some(_) if !self.bidirectional => Err(Error::usage(format!(
                "{field} needs bidirectional = true; set it, or leave {field} out"
            ))),
            Some(size) => at_least_one(&field, size),
            None => Ok(()),
        }
    }

    fn validate_bias(&self, path: &str) -> Result<()> {
        let allowed = Bias::allowed(self.cell);
        if allowed.contains(&self.bias) {
            return Ok(());
        }
        let names: Vec<&str> = allowed.iter().map(|bias| bias.name()).collect();
        let cell = self.cell.name();
        Err(Error::invalid(
            format!("{path}.bias"),
            self.bias.name(),
            format!("{} with the cell {cell}", listed(&names)),
        ))
    }

    fn validate_forget_bias(&self, path: &str) -> Result<()> {
        let field = format!("{path}.forget_bias");
        if !self.forget_bias.is_finite() {
            return Err(Error::invalid(field, self.forget_bias, "finite"));
        }
        if self.forget_bias == 0.0 {
            return Ok(());
        }
        self.needs(&field, |spec| spec.options.forget_gate.is_some())?;
        if self.bias == Bias::None && !self.layer_norm {
            return Err(Error::usage(format!(
                "{field} needs a bias; set {path}.bias, or leave {field} out"
            )));
        }
        Ok(())
    }

    fn validate_cell_clip(&self, path: &str) -> Result<()> {
        let field = format!("{path}.cell_clip");
        let Some(limit) = self.cell_clip else {
            return Ok(());
        };
        self.needs(&field, |spec| spec.options.cell_clip)?;
        check_limit(&field, limit)
    }

    fn validate_projection(&self, path: &str) -> Result<()> {
        let field = format!("{path}.projection_size");
        if let Some(size) = self.projection_size {
            self.needs(&field, |spec| spec.options.projection)?;
            at_least_one(&field, size)?;
        }
        let Some(limit) = self.projection_clip else {
            return Ok(());
        };
        if self.projection_size.is_none() {
            return Err(Error::usage(format!(
                "{path}.projection_clip needs {field}; set it, or leave {path}.projection_clip out"
            )));
        }
        check_limit(&format!("{path}.projection_clip"), limit)
    }

    /// Checks recurrent dropout and zoneout.
    fn validate_state_noise(&self, path: &str) -> Result<()> {
        let rates = [
            ("recurrent_dropout", self.recurrent_dropout),
            ("zoneout", self.zoneout),
            ("zoneout_cell", self.zoneout_cell),
        ];
        for (name, rate) in rates {
            let field = format!("{path}.{name}");
            fields::fraction(&field, rate)?;
            if rate > 0.0 && name != "zoneout_cell" && self.dropout.state_keep_prob < 1.0 {
                return Err(Error::usage(format!(
                    "{field} and {path}.dropout.state_keep_prob both change the h that a step \
                     reads; leave one of them out"
                )));
            }
        }
        if self.recurrent_dropout > 0.0 {
            let field = format!("{path}.recurrent_dropout");
            self.needs(&field, |spec| spec.recurrent_gates > 0)?;
        }
        if self.zoneout_cell > 0.0 {
            // The gradients of peepholes need the c that the step computed.
            let field = format!("{path}.zoneout_cell");
            self.needs(&field, |spec| spec.states > 1 && spec.peepholes.is_empty())?;
        }
        Ok(())
    }

    /// Checks layer normalisation, which the scans of few options have.
    fn validate_layer_norm(&self, path: &str) -> Result<()> {
        let field = format!("{path}.layer_norm_epsilon");
        match self.layer_norm_epsilon {
            Some(_) if !self.layer_norm => {
                return Err(Error::usage(format!(
                    "{field} needs layer_norm = true; set it, or leave {field} out"
                )));
            }
            Some(epsilon) if !(epsilon > 0.0 && (epsilon as f32).is_normal()) => {
                let allowed = "a finite number above 0, in f32 too";
                return Err(Error::invalid(field, epsilon, allowed));
            }
            _ => {}
        }
        if !self.layer_norm {
            return Ok(());
        }
        let field = format!("{path}.layer_norm");
        self.needs(&field, |spec| spec.options.layer_norm.is_some())?;
        let others = [
            ("cell_clip", self.cell_clip.is_some()),
            ("projection_size", self.projection_size.is_some()),
            ("recurrent_dropout", self.recurrent_dropout > 0.0),
            ("zoneout", self.zoneout > 0.0),
            ("zoneout_cell", self.zoneout_cell > 0.0),
        ];
        match others.iter().find(|(_, is_set)| *is_set) {
            None => Ok(()),
            Some((other, _)) => Err(Error::usage(format!(
                "{field} and {path}.{other} are both set; a normalised layer has no {other}: leave \
                 one of them out"
            ))),
        }
    }

    fn validate_activations(&self, path: &str) -> Result<()> {
        let set = [
            ("activation", !self.activation.is_default()),
            (
                "recurrent_activation",
                !self.recurrent_activation.is_default(),
            ),
        ];
        match set.iter().find(|(_, is_set)| *is_set) {
            Some((field, _)) => {
                self.needs(&format!("{path}.{field}"), |spec| spec.options.activations)
            }
            None => Ok(()),
        }
    }

    /// Checks that the cell takes the option in `field`.
    fn needs(&self, field: &str, takes: impl Fn(&CellSpec) -> bool) -> Result<()> {
        if takes(self.cell.spec()) {
            return Ok(());
        }
        let cells = Cell::ALL.iter().filter(|cell| takes(cell.spec()));
        let cells: Vec<&str> = cells.map(|cell| cell.name()).collect();
        Err(Error::usage(format!(
            "{field} needs the cell {}; leave it out for `{}`",
            listed(&cells),
            self.cell.name()
        )))
    }
}

/// Checks a limit for clipping. It must be normal in f32 too: a GPU may flush a subnormal limit to
/// 0, which clips nothing.
fn check_limit(field: &str, limit: f64) -> Result<()> {
    if limit > 0.0 && (limit as f32).is_normal() {
        return Ok(());
    }
    let allowed = "a finite number above 0, in f32 too; leave it out to clip nothing";
    Err(Error::invalid(field, limit, allowed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(size: Option<usize>, limit: Option<f64>) -> Layer {
        Layer {
            projection_size: size,
            projection_clip: limit,
            ..Layer::new(Cell::Lstm, 4)
        }
    }

    #[test]
    fn invalid_options_are_refused_with_what_is_allowed() {
        let (gru, lstm) = (Layer::new(Cell::GruResetBefore, 4), project(None, None));
        let clip = |layer: &Layer, limit| Layer {
            cell_clip: Some(limit),
            ..layer.clone()
        };
        let positive = "it must be a finite number above 0";
        let of_lstms = "needs the cell `lstm` or `lstm-peephole`";
        let cases = [
            (clip(&gru, 1.0), "cell_clip", of_lstms),
            (
                Layer {
                    activation: Activation::Relu,
                    ..Layer::new(Cell::RnnTanh, 4)
                },
                "activation",
                "needs the cell `lstm`, `lstm-peephole`, `gru` or `gru-reset-before`",
            ),
            (
                Layer {
                    recurrent_activation: RecurrentActivation::HardSigmoid,
                    ..Layer::new(Cell::MinGru, 4)
                },
                "recurrent_activation",
                "needs the cell `lstm`",
            ),
            (clip(&lstm, 0.0), "cell_clip is 0", positive),
            (clip(&lstm, f64::NAN), "cell_clip is NaN", positive),
            (clip(&lstm, 1e-46), "cell_clip is", positive),
            (clip(&lstm, 1e39), "cell_clip is", positive),
            (
                Layer {
                    projection_size: Some(2),
                    ..gru.clone()
                },
                "projection_size",
                of_lstms,
            ),
            (project(Some(0), None), "projection_size is 0", "at least 1"),
            (
                project(None, Some(1.0)),
                "projection_clip",
                "needs network.layer.3.projection_size",
            ),
            (
                project(Some(2), Some(-1.0)),
                "projection_clip is -1",
                positive,
            ),
            (
                Layer {
                    bias: Bias::Single,
                    ..Layer::new(Cell::Gru, 4)
                },
                "bias is single",
                "`none` or `double` with the cell gru",
            ),
            (
                Layer {
                    forget_bias: 1.0,
                    bias: Bias::None,
                    ..lstm.clone()
                },
                "forget_bias",
                "needs a bias",
            ),
            (
                Layer {
                    layer_norm: true,
                    ..gru.clone()
                },
                "layer_norm",
                "needs the cell `lstm` or `gru`; leave it out for `gru-reset-before`",
            ),
            (
                Layer {
                    layer_norm: true,
                    ..project(Some(2), None)
                },
                "layer_norm and network.layer.3.projection_size are both set",
                "leave one of them out",
            ),
            (
                Layer {
                    layer_norm_epsilon: Some(1e-3),
                    ..lstm.clone()
                },
                "layer_norm_epsilon",
                "needs layer_norm = true",
            ),
            (
                Layer {
                    layer_norm: true,
                    layer_norm_epsilon: Some(0.0),
                    ..lstm.clone()
                },
                "layer_norm_epsilon is 0",
                positive,
            ),
            (
                Layer {
                    backward_hidden_size: Some(3),
                    ..lstm.clone()
                },
                "backward_hidden_size",
                "needs bidirectional = true",
            ),
        ];
        for (layer, problem, allowed) in cases {
            let error = layer.validate("network.layer.3").expect_err(problem);
            let message = error.to_string();
            assert!(
                message.starts_with("network.layer.3.")
                    && message.contains(problem)
                    && message.contains(allowed),
                "{message}"
            );
        }
        // As TensorFlow's num_proj, a projection may be wider than the layer.
        let wide = clip(&project(Some(9), Some(1.0)), 1.0);
        wide.validate("network.layer.0").expect("it is valid");
    }
}
