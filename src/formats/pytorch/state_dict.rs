//! The tensors of a `state_dict` by the modules that they belong to.

use std::collections::BTreeMap;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};

use super::split_name;
use crate::error::{Error, Result};
use crate::network::Parameter;

/// The modules of a `state_dict`, sorted by their names, numbers in names by their values.
pub(super) struct StateDict {
    pub recurrent: Vec<RecurrentModule>,
    pub matrices: Vec<MatrixModule>,
}

/// An `nn.RNN`, `nn.LSTM` or `nn.GRU`.
pub(super) struct RecurrentModule {
    pub name: ModuleName,
    /// The tensors of each layer, named as `weight_ih` or `weight_ih_reverse`.
    pub layers: Vec<Vec<Parameter>>,
}

/// An `nn.Linear` or `nn.Embedding`.
pub(super) struct MatrixModule {
    pub name: ModuleName,
    /// `[K, inputs]`, or the vectors `[V, size]` of an embedding.
    pub weight: Option<Parameter>,
    pub bias: Option<Parameter>,
}

/// The name of a module in the `state_dict`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ModuleName {
    /// They are compared first.
    parts: Vec<NamePart>,
    text: String,
}

/// A part of a module's name; numbers are ordered by their values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum NamePart {
    Number(u64),
    Text(String),
}

impl ModuleName {
    pub fn new(name: &str) -> ModuleName {
        let part = |run: &[char]| {
            let text: String = run.iter().collect();
            let number = text.parse().map(NamePart::Number);
            number.unwrap_or(NamePart::Text(text))
        };
        let chars: Vec<char> = name.chars().collect();
        let runs = chars.chunk_by(|a, b| a.is_ascii_digit() == b.is_ascii_digit());
        ModuleName {
            parts: runs.map(part).collect(),
            text: name.into(),
        }
    }

    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name in a message: quoted, or a phrase for the module whose tensors have no prefix.
    pub fn quoted(&self) -> String {
        match self.as_str() {
            "" => "the module itself".into(),
            name => format!("`{name}`"),
        }
    }

    /// Returns whether the names differ in numbers only, as `rnn.0` and `rnn.1`.
    pub fn is_numbered_like(&self, other: &ModuleName) -> bool {
        let same = |(a, b): (&NamePart, &NamePart)| match (a, b) {
            (NamePart::Number(_), NamePart::Number(_)) => true,
            (a, b) => a == b,
        };
        self.parts.len() == other.parts.len() && self.parts.iter().zip(&other.parts).all(same)
    }
}

/// The layers of a recurrent module by their levels.
type Levels = BTreeMap<usize, Vec<Parameter>>;

impl StateDict {
    /// Reads a safetensors file. Of tied tensors, `safetensors.torch.save_model` writes one, and
    /// the names of the others into the metadata.
    ///
    /// # Errors
    /// [`Error::Usage`] for a file that is none, and for the first tensor that belongs to no
    /// recurrent, linear or embedding module, is not F32, or is not finite.
    pub fn read(bytes: &[u8]) -> Result<StateDict> {
        let not_safetensors =
            |error| Error::usage(format!("not a safetensors file ({error}); is it cut off?"));
        let file = SafeTensors::deserialize(bytes).map_err(not_safetensors)?;
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(not_safetensors)?;
        let mut tensors: BTreeMap<String, TensorView> = file.tensors().into_iter().collect();
        for (name, kept) in header.metadata().iter().flatten() {
            if let (None, Some(view)) = (tensors.get(name), tensors.get(kept)) {
                tensors.insert(name.clone(), view.clone());
            }
        }
        let mut recurrent: BTreeMap<ModuleName, Levels> = BTreeMap::new();
        let mut matrices: BTreeMap<ModuleName, MatrixModule> = BTreeMap::new();
        for (name, view) in &tensors {
            let (prefix, own) = name.rsplit_once('.').unwrap_or(("", name));
            let module = ModuleName::new(prefix);
            if let Some((kind, level, reverse)) = split_name(own) {
                let mut tensor = read_tensor(name, view)?;
                tensor.name = format!("{kind}{reverse}");
                let levels = recurrent.entry(module).or_default();
                levels.entry(level).or_default().push(tensor);
                continue;
            }
            check_role(name, own, view.shape().len())?;
            let tensor = read_tensor(name, view)?;
            let matrix = matrices
                .entry(module.clone())
                .or_insert_with(|| MatrixModule::new(module));
            match own {
                "bias" => matrix.bias = Some(tensor),
                _ => matrix.weight = Some(tensor),
            }
        }
        let recurrent = recurrent.into_iter().map(RecurrentModule::new);
        Ok(StateDict {
            recurrent: recurrent.collect::<Result<_>>()?,
            matrices: matrices.into_values().collect(),
        })
    }
}

impl RecurrentModule {
    fn new((name, levels): (ModuleName, Levels)) -> Result<RecurrentModule> {
        match (0..)
            .zip(levels.keys())
            .find(|(level, found)| level != *found)
        {
            None => Ok(RecurrentModule {
                name,
                layers: levels.into_values().collect(),
            }),
            Some((level, _)) => Err(Error::usage(format!(
                "{} has no tensor weight_ih_l{level}, but tensors of a later layer; save the \
                 whole state_dict",
                name.quoted()
            ))),
        }
    }
}

impl MatrixModule {
    fn new(name: ModuleName) -> MatrixModule {
        MatrixModule {
            name,
            weight: None,
            bias: None,
        }
    }

    /// The rows and columns of the weight.
    pub fn shape(&self) -> Option<(usize, usize)> {
        match self.weight.as_ref()?.shape[..] {
            [rows, columns] => Some((rows, columns)),
            _ => None,
        }
    }
}

/// Reads a tensor of F32.
fn read_tensor(name: &str, view: &TensorView) -> Result<Parameter> {
    if view.dtype() != Dtype::F32 {
        return Err(Error::usage(format!(
            "tensor {name} is of type {}; gatescan reads F32: save `module.float().state_dict()`",
            view.dtype()
        )));
    }
    let (values, _) = view.data().as_chunks();
    let tensor = Parameter {
        name: name.into(),
        shape: view.shape().to_vec(),
        values: values.iter().copied().map(f32::from_le_bytes).collect(),
    };
    tensor.check_finite()?;
    Ok(tensor)
}

/// Endings of weights that another module computes from several tensors.
const REPARAMETRISED: [&str; 7] = ["_g", "_v", "_orig", "_mask", "_raw", "_u", "_bar"];

/// Refuses a tensor that is not the weight or the bias of a linear layer or an embedding.
fn check_role(name: &str, own: &str, dimensions: usize) -> Result<()> {
    let is_reparametrised = name.split('.').any(|part| part == "parametrizations")
        || own.contains("weight") && REPARAMETRISED.iter().any(|ending| own.ends_with(ending));
    let owner = match (own, dimensions) {
        ("weight", 2) | ("bias", 1) => return Ok(()),
        ("weight_ih" | "weight_hh" | "bias_ih" | "bias_hh", _) => {
            "an nn.RNNCell, nn.LSTMCell or nn.GRUCell, whose steps the module's own code connects; \
             use nn.RNN, nn.LSTM or nn.GRU, whose tensors have the same names with _l0 at the end"
        }
        ("running_mean" | "running_var" | "num_batches_tracked", _) => {
            "an nn.BatchNorm, which gatescan does not have"
        }
        ("in_proj_weight" | "in_proj_bias" | "bias_k" | "bias_v", _)
        | ("q_proj_weight" | "k_proj_weight" | "v_proj_weight", _) => {
            "an nn.MultiheadAttention, which gatescan does not have"
        }
        ("weight", 1) => {
            "a normalisation (nn.LayerNorm, nn.BatchNorm, nn.GroupNorm) or an nn.PReLU, which \
             gatescan does not have"
        }
        ("weight", 3..) => "a convolution or an nn.Bilinear, which gatescan does not have",
        _ if is_reparametrised => {
            "a weight that is computed from several tensors (weight or spectral normalisation, \
             pruning); remove the parametrisation before saving \
             (torch.nn.utils.parametrize.remove_parametrizations, prune.remove)"
        }
        _ => {
            "the module's own code, as positional weights, initial states and other parameters and \
             buffers do; save the state_dict without it only if forward does not use it"
        }
    };
    Err(Error::usage(format!(
        "tensor {name} belongs to {owner}; gatescan imports stacked nn.RNN, nn.LSTM and nn.GRU, \
         one nn.Linear and at most one nn.Embedding"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_ordered_by_their_numbers() {
        let mut names = ["rnn.10", "rnn.9", "gru", "rnn.9.cell"].map(ModuleName::new);
        names.sort();
        let names = names.map(|name| name.as_str().to_string());
        assert_eq!(names, ["gru", "rnn.9", "rnn.9.cell", "rnn.10"]);
        let numbered = |a: &str, b: &str| ModuleName::new(a).is_numbered_like(&ModuleName::new(b));
        assert!(numbered("rnn.0", "rnn.11") && numbered("lstm1", "lstm2"));
        assert!(numbered("a.0.rnn1", "a.1.rnn2"));
        assert!(!numbered("encoder.0", "decoder.0") && !numbered("rnn", "rnn2"));
    }

    #[test]
    fn tensors_of_other_modules_are_refused_by_name() {
        for (name, dimensions, expected) in [
            ("cell.weight_ih", 2, "nn.LSTMCell"),
            ("norm.weight", 1, "nn.LayerNorm"),
            ("bn.num_batches_tracked", 0, "nn.BatchNorm"),
            ("conv.weight", 3, "a convolution"),
            ("attention.in_proj_weight", 2, "nn.MultiheadAttention"),
            ("rnn.weight_hh_l0_orig", 2, "prune.remove"),
            (
                "fc.parametrizations.weight.original0",
                2,
                "remove_parametrizations",
            ),
            ("position", 2, "positional weights"),
            ("h0", 3, "initial states"),
        ] {
            let own = name.rsplit_once('.').map_or(name, |(_, own)| own);
            let message = check_role(name, own, dimensions)
                .expect_err(name)
                .to_string();
            assert!(
                message.starts_with(&format!("tensor {name} ")) && message.contains(expected),
                "{message}"
            );
        }
    }
}
