//! The table of a network's parameters: names, shapes and offsets in the flat vector of all of
//! them.

use std::collections::HashSet;
use std::ops::Range;

use super::{Bias, Direction, Input, Network, Reads};
use crate::error::{Error, Result};
use crate::messages::element_index;
use crate::tensor::Shape;

const EMBEDDING: &str = "embedding.weight";
const HEAD_WEIGHT: &str = "head.weight";
/// The query of a head that reads by attention.
pub(crate) const HEAD_QUERY: &str = "head.query";

/// Parameters start at multiples of this many elements.
const ALIGNMENT: usize = 4;

/// One named array of values, as in files and other frameworks.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// PyTorch's name.
    pub name: String,
    pub shape: Vec<usize>,
    /// Row-major.
    pub values: Vec<f32>,
}

impl Parameter {
    /// Checks that all values are finite.
    ///
    /// # Errors
    /// [`Error::Usage`] with the parameter's name, and the index of its first value that is not.
    pub fn check_finite(&self) -> Result<()> {
        let Some(at) = self.values.iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        Err(Error::usage(format!(
            "{} is {} at {:?}; weights and biases must be finite: the training that made them \
             has diverged; use weights from before that",
            self.name,
            self.values[at],
            element_index(at, &self.shape)
        )))
    }
}

/// One parameter in the flat vector of all of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// PyTorch's name.
    pub name: String,
    pub role: ParameterRole,
    /// The index of its direction in [`Network::directions`]; `None` for embeddings and head.
    pub direction: Option<usize>,
    pub shape: Shape,
    /// Elements before it.
    pub offset: usize,
}

/// The role of a parameter in the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ParameterRole {
    /// `[V, size]`.
    Embedding,
    /// `[categories, size]`, of the table of a column of categories with this index.
    CategoryTable(usize),
    /// W `[G*H, I]`.
    InputWeights,
    /// R `[G*H, P]`.
    RecurrentWeights,
    /// W_hr `[P, H]`.
    Projection,
    /// `[PEEPHOLES*H]`.
    Peepholes,
    /// b_ih `[G*H]`.
    InputBias,
    /// b_hh `[G*H]`.
    RecurrentBias,
    /// Gains of layer normalisation: of the gates and then of c in an LSTM `[5*H]`, of the gates
    /// of W x and then of R h in a GRU `[6*H]`.
    NormGains,
    /// `[5*H]`: its shifts in an LSTM; those of a GRU are its biases.
    NormShifts,
    /// `[P]`: h before the first step, where it is learnt.
    InitialHidden,
    /// `[H]`: c before the first step, where it is learnt.
    InitialCell,
    /// `[K, features that the last layer emits]`.
    HeadWeights,
    /// `[K]`.
    HeadBias,
    /// `[features that the last layer emits]`, of a head that reads by attention.
    HeadQuery,
}

impl ParameterRole {
    /// Returns PyTorch's name of the parameter with this role; `suffix` is its direction's.
    fn name(self, suffix: &str) -> String {
        match self {
            ParameterRole::Embedding => EMBEDDING.into(),
            ParameterRole::CategoryTable(index) => format!("embeddings.{index}.weight"),
            ParameterRole::InputWeights => format!("rnn.weight_ih_{suffix}"),
            ParameterRole::RecurrentWeights => format!("rnn.weight_hh_{suffix}"),
            ParameterRole::Projection => format!("rnn.weight_hr_{suffix}"),
            ParameterRole::Peepholes => format!("rnn.weight_peephole_{suffix}"),
            ParameterRole::InputBias => format!("rnn.bias_ih_{suffix}"),
            ParameterRole::RecurrentBias => format!("rnn.bias_hh_{suffix}"),
            ParameterRole::NormGains => format!("rnn.norm_weight_{suffix}"),
            ParameterRole::NormShifts => format!("rnn.norm_bias_{suffix}"),
            ParameterRole::InitialHidden => format!("rnn.h0_{suffix}"),
            ParameterRole::InitialCell => format!("rnn.c0_{suffix}"),
            ParameterRole::HeadWeights => HEAD_WEIGHT.into(),
            ParameterRole::HeadBias => "head.bias".into(),
            ParameterRole::HeadQuery => HEAD_QUERY.into(),
        }
    }
}

impl ParameterRole {
    /// Whether it is a table whose rows are vectors: of tokens, or of categories.
    pub(crate) fn is_table(self) -> bool {
        matches!(
            self,
            ParameterRole::Embedding | ParameterRole::CategoryTable(_)
        )
    }

    /// Returns the state of which a parameter is the initial value: 0 for h, 1 for c.
    pub(crate) fn initial_state(self) -> Option<usize> {
        match self {
            ParameterRole::InitialHidden => Some(0),
            ParameterRole::InitialCell => Some(1),
            _ => None,
        }
    }
}

impl Entry {
    /// Returns the elements that it covers in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.shape.len()
    }
}

/// A parameter without its offset. Its extents may be too large for a [`Shape`].
struct Declaration {
    role: ParameterRole,
    direction: Option<usize>,
    name: String,
    extents: Vec<usize>,
}

impl Direction {
    /// The roles and extents of the direction's parameters, in the order of the flat vector.
    fn parameters(&self) -> Vec<(ParameterRole, Vec<usize>)> {
        let (layer, spec) = (&self.layer, self.layer.cell.spec());
        let (h, p) = (layer.hidden_size, layer.output_size());
        let rows = spec.gates.saturating_mul(h);
        let recurrent_rows = spec.recurrent_gates.saturating_mul(h);
        let peepholes = spec.peepholes.len().saturating_mul(h);
        let mut parameters = vec![(ParameterRole::InputWeights, vec![rows, self.inputs])];
        if recurrent_rows > 0 {
            parameters.push((ParameterRole::RecurrentWeights, vec![recurrent_rows, p]));
        }
        if layer.projection_size.is_some() {
            // Directly after the recurrent weights: kernels bind both as one tensor.
            parameters.push((ParameterRole::Projection, vec![p, h]));
        }
        if peepholes > 0 {
            parameters.push((ParameterRole::Peepholes, vec![peepholes]));
        }
        let norm = layer.norm();
        let gains = norm.map_or(0, |norm| norm.vectors.saturating_mul(h));
        let shifts_are_biases = norm.is_some_and(|norm| norm.shifts_are_biases);
        if shifts_are_biases {
            // Before the biases: kernels bind gains and shifts as one tensor.
            parameters.push((ParameterRole::NormGains, vec![gains]));
        }
        if layer.bias != Bias::None {
            parameters.push((ParameterRole::InputBias, vec![rows]));
        }
        if layer.bias == Bias::Double {
            parameters.push((ParameterRole::RecurrentBias, vec![recurrent_rows]));
        }
        if norm.is_some() && !shifts_are_biases {
            parameters.push((ParameterRole::NormGains, vec![gains]));
            parameters.push((ParameterRole::NormShifts, vec![gains]));
        }
        if layer.learn_initial_state {
            let states = [
                (ParameterRole::InitialHidden, vec![p]),
                (ParameterRole::InitialCell, vec![h]),
            ];
            parameters.extend(states.into_iter().take(spec.states));
        }
        parameters
    }

    /// Whether PyTorch's module has a second bias where this direction has only one.
    fn lacks_second_bias(&self) -> bool {
        self.layer.bias == Bias::Single && self.layer.cell.spec().frameworks.pytorch.is_some()
    }
}

impl Network {
    /// All parameters, in the order of the flat vector.
    fn declarations(&self) -> Vec<Declaration> {
        let single = |role: ParameterRole, extents: Vec<usize>| Declaration {
            role,
            direction: None,
            name: role.name(""),
            extents,
        };
        let mut declarations = vec![];
        if let Input::Embedding { size, .. } = self.input {
            let extents = vec![self.input_size, size];
            declarations.push(single(ParameterRole::Embedding, extents));
        }
        for (index, table) in self.categories.iter().enumerate() {
            let extents = vec![table.count, table.size];
            declarations.push(single(ParameterRole::CategoryTable(index), extents));
        }
        for (index, direction) in self.directions().iter().enumerate() {
            let parameters = direction.parameters().into_iter();
            declarations.extend(parameters.map(|(role, extents)| Declaration {
                role,
                direction: Some(index),
                name: role.name(&direction.suffix),
                extents,
            }));
        }
        if !self.is_tied() {
            let extents = vec![self.head.size, self.head_inputs()];
            declarations.push(single(ParameterRole::HeadWeights, extents));
        }
        declarations.push(single(ParameterRole::HeadBias, vec![self.head.size]));
        if self.head.reads == Reads::Attention {
            let extents = vec![self.head_inputs()];
            declarations.push(single(ParameterRole::HeadQuery, extents));
        }
        declarations
    }

    /// The number of parameters, of any network, however large.
    pub(super) fn parameter_count(&self) -> u128 {
        let count = |declaration: &Declaration| {
            let extents = declaration.extents.iter().map(|&extent| extent as u128);
            extents.product::<u128>()
        };
        let declarations = self.declarations();
        (declarations.iter().map(count)).fold(0, u128::saturating_add)
    }

    /// Returns the table of parameters, and the length of the flat vector that holds them.
    pub fn table(&self) -> (Vec<Entry>, usize) {
        let mut offset = 0;
        let entry = |declaration: Declaration| {
            let shape: Shape = match declaration.extents[..] {
                [rows, columns] => [rows, columns].into(),
                _ => [declaration.extents[0]].into(),
            };
            let entry = Entry {
                name: declaration.name,
                role: declaration.role,
                direction: declaration.direction,
                shape,
                offset,
            };
            offset = (offset + shape.len()).next_multiple_of(ALIGNMENT);
            entry
        };
        let entries: Vec<Entry> = self.declarations().into_iter().map(entry).collect();
        (entries, offset)
    }

    /// Returns the role of the head's weights `[K, head_inputs]`: its own, or the embedding's
    /// table.
    pub(crate) fn head_role(&self) -> ParameterRole {
        if self.is_tied() {
            ParameterRole::Embedding
        } else {
            ParameterRole::HeadWeights
        }
    }

    /// Returns the name of the head's weights `[K, head_inputs]`: its own, or the embedding's
    /// table.
    pub fn head_weight(&self) -> &'static str {
        if self.is_tied() {
            EMBEDDING
        } else {
            HEAD_WEIGHT
        }
    }

    /// Returns the flat vector as named arrays. A layer with one bias gets a `bias_hh` of zeros too
    /// where PyTorch's module of its cell has two, so that it loads there unchanged.
    pub fn to_parameters(&self, flat: &[f32]) -> Vec<Parameter> {
        let directions = self.directions();
        let mut parameters = vec![];
        for entry in self.table().0 {
            let shape = entry.shape.extents().to_vec();
            let second = second_bias(&entry, &directions).map(|name| Parameter {
                name,
                shape: shape.clone(),
                values: vec![0.0; entry.shape.len()],
            });
            parameters.push(Parameter {
                values: flat[entry.range()].to_vec(),
                name: entry.name,
                shape,
            });
            parameters.extend(second);
        }
        parameters
    }

    /// Returns the flat vector of named arrays, the inverse of [`Network::to_parameters`]. A
    /// `bias_hh` that the network does not train is added to its `bias_ih`, which computes the
    /// same.
    ///
    /// # Errors
    /// [`Error::Usage`] where a parameter is missing, unknown, has another shape, or is not finite.
    pub fn from_parameters(&self, parameters: &[Parameter]) -> Result<Vec<f32>> {
        let (entries, len) = self.table();
        let directions = self.directions();
        // It grows with the parameters found, not with the sizes that a file claims.
        let mut flat = vec![];
        let mut known = HashSet::new();
        for entry in &entries {
            let parameter = find(parameters, &entry.name, entry.shape)?;
            flat.resize(entry.offset, 0.0);
            flat.extend(&parameter.values);
            known.insert(entry.name.clone());
            let Some(second) = second_bias(entry, &directions) else {
                continue;
            };
            if parameters.iter().any(|p| p.name == second) {
                let second = find(parameters, &second, entry.shape)?;
                let sums = flat[entry.range()].iter_mut().zip(&second.values);
                sums.for_each(|(value, more)| *value += more);
                known.insert(second.name.clone());
            }
        }
        // Removes each name once, so that it also finds a parameter that is there twice.
        if let Some(extra) = parameters.iter().find(|p| !known.remove(&p.name)) {
            return Err(Error::usage(format!(
                "the model holds {}, which its network does not have",
                extra.name
            )));
        }
        flat.resize(len, 0.0);
        Ok(flat)
    }
}

/// Returns the parameter with that name and shape, whose values are finite.
fn find<'a>(parameters: &'a [Parameter], name: &str, shape: Shape) -> Result<&'a Parameter> {
    let found = parameters.iter().find(|p| p.name == name);
    let found = found
        .ok_or_else(|| Error::usage(format!("the model has no parameter {name} {shape:?}")))?;
    if found.shape != shape.extents() || found.values.len() != shape.len() {
        return Err(Error::usage(format!(
            "{name} is {:?}, and the network needs {shape:?}",
            found.shape
        )));
    }
    found.check_finite()?;
    Ok(found)
}

/// Returns the name of the second bias that PyTorch's module has beside `entry`, where the network
/// has only one.
fn second_bias(entry: &Entry, directions: &[Direction]) -> Option<String> {
    let direction = &directions[entry.direction?];
    let lacks = entry.role == ParameterRole::InputBias && direction.lacks_second_bias();
    lacks.then(|| ParameterRole::RecurrentBias.name(&direction.suffix))
}
