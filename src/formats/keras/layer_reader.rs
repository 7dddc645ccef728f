//! Making layers of the arrays that Keras stores.

use super::super::hints::{ImportHints, ImportedNetwork, bias_of, embedding_input};
use super::super::weights::{reorder_blocks, transposed};
use super::{array, keras_layer};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::network::{Bias, Input, Layer, Parameter};

/// The arrays of one layer or direction.
#[derive(Default)]
pub(super) struct ArrayGroup {
    path: String,
    kernel: Option<Parameter>,
    recurrent: Option<Parameter>,
    bias: Option<Parameter>,
}

impl ArrayGroup {
    /// The path of the arrays, as `layers/lstm/cell`.
    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn is_recurrent(&self) -> bool {
        self.recurrent.is_some()
    }

    /// The number of outputs of a `Dense`, and whether it has a bias.
    pub fn outputs(&self) -> (Option<usize>, bool) {
        let outputs = matrix(&self.kernel).map(|(_, outputs)| outputs);
        (
            outputs.filter(|_| !self.is_recurrent()),
            self.bias.is_some(),
        )
    }
}

/// The embedding, if there is one, and the other arrays grouped by their paths.
///
/// # Errors
/// [`Error::Usage`] that names an array that is not one of a layer that gatescan has.
pub(super) fn group(arrays: Vec<Parameter>) -> Result<(Option<Parameter>, Vec<ArrayGroup>)> {
    let mut groups: Vec<ArrayGroup> = vec![];
    let mut embedding = None;
    for array in arrays {
        let (path, kind) = array.name.rsplit_once('/').unwrap_or(("", &array.name));
        if kind == "embeddings" && embedding.is_none() {
            embedding = Some(array);
            continue;
        }
        let mut group = match groups.pop_if(|group| group.path == path) {
            Some(group) => group,
            None => ArrayGroup {
                path: path.into(),
                ..ArrayGroup::default()
            },
        };
        let member = match kind {
            "kernel" => &mut group.kernel,
            "recurrent_kernel" => &mut group.recurrent,
            "bias" => &mut group.bias,
            "mean" | "variance" => {
                return Err(Error::usage(format!(
                    "array {} belongs to a Normalization, and a file of weights does not say where \
                     it is applied; import the .keras that `model.save(\"model.keras\")` writes",
                    array.name
                )));
            }
            _ => {
                return Err(Error::usage(format!(
                    "array {} is not a weight of SimpleRNN, LSTM, GRU, Dense or Embedding; save \
                     the model by `numpy.savez(\"model.npz\", **{{w.path: w for w in \
                     model.weights}})`",
                    array.name
                )));
            }
        };
        *member = Some(array);
        groups.push(group);
    }
    Ok((embedding, groups))
}

/// Makes layers of groups of arrays, one after another.
pub(super) struct LayerReader<'a> {
    hints: &'a ImportHints,
    pub layers: Vec<Layer>,
    parameters: Vec<Parameter>,
    /// The number of features that the first recurrent layer reads.
    features: Option<usize>,
    /// K of the head.
    outputs: Option<usize>,
}

impl<'a> LayerReader<'a> {
    pub fn new(hints: &'a ImportHints) -> LayerReader<'a> {
        LayerReader {
            hints,
            layers: vec![],
            parameters: vec![],
            features: None,
            outputs: None,
        }
    }

    /// Reads a layer or a direction; without `cell`, its cell follows from its shapes and the
    /// hints.
    ///
    /// # Errors
    /// [`Error::Usage`] that names the arrays that do not fit.
    pub fn read(&mut self, group: ArrayGroup, cell: Option<Cell>) -> Result<()> {
        let path = group.path.clone();
        let (rows, _) = matrix(&group.kernel)
            .ok_or_else(|| Error::usage(format!("{path}: there is no matrix kernel")))?;
        if self.outputs.is_some() {
            return Err(Error::usage(format!(
                "{path} is after the linear head; gatescan has one `Dense`, the last layer"
            )));
        }
        if group.recurrent.is_none() {
            self.outputs = Some(self.head(group)?);
            return Ok(());
        }
        self.features.get_or_insert(rows);
        let is_backward = path.split('/').any(|part| part.starts_with("backward_"));
        if is_backward && !self.layers.is_empty() {
            let level = self.layers.len() - 1;
            let backward = self.direction(group, cell, level, "_reverse")?;
            self.add_backward(backward, &path)
        } else {
            let suffix = if is_backward { "_reverse" } else { "" };
            let layer = self.direction(group, cell, self.layers.len(), suffix)?;
            self.layers.push(layer);
            Ok(())
        }
    }

    /// Adds the backward direction to the last layer.
    fn add_backward(&mut self, backward: Layer, path: &str) -> Result<()> {
        let Some(forward) = self.layers.last_mut() else {
            return Ok(());
        };
        forward.bidirectional = true;
        let same_biases = (forward.bias == Bias::None) == (backward.bias == Bias::None);
        if forward.cell != backward.cell || !same_biases {
            return Err(Error::usage(format!(
                "{path}: both directions of a layer must have the same cell and the same biases"
            )));
        }
        if backward.bias == Bias::Double {
            forward.bias = Bias::Double;
        }
        let size = backward.hidden_size;
        forward.backward_hidden_size = (size != forward.hidden_size).then_some(size);
        Ok(())
    }

    /// Reads a `Dense`; returns K.
    fn head(&mut self, group: ArrayGroup) -> Result<usize> {
        let Some((rows, outputs)) = matrix(&group.kernel) else {
            return Err(Error::usage(format!(
                "{}: its kernel is not a matrix",
                group.path
            )));
        };
        let kernel = group.kernel.map_or(vec![], |kernel| kernel.values);
        let kernel = transposed(&kernel, outputs);
        self.parameters
            .push(array("head.weight", &[outputs, rows], kernel));
        let bias = group.bias.map_or(vec![0.0; outputs], |bias| bias.values);
        self.parameters
            .push(array("head.bias", &[bias.len()], bias));
        Ok(outputs)
    }

    /// Reads one direction; returns it as a layer of its own.
    fn direction(
        &mut self,
        group: ArrayGroup,
        cell: Option<Cell>,
        level: usize,
        suffix: &str,
    ) -> Result<Layer> {
        let ArrayGroup {
            path,
            kernel,
            recurrent,
            bias,
        } = group;
        let sizes = DirectionSizes::of(&kernel, &recurrent)
            .map_err(|problem| Error::usage(format!("{path}: {problem}")))?;
        let DirectionSizes { inputs, h, columns } = sizes;
        let has_two_biases = bias.as_ref().map(|bias| bias.shape.len() == 2);
        let cell = match cell {
            Some(cell) => known_cell(cell, columns / h, has_two_biases, &path)?,
            None => self.hints.cell_of(columns / h, has_two_biases, &path)?,
        };
        // The orders of Keras are their own inverses.
        let order = keras_layer(cell)?.gate_order;
        let mut store = |kind: &str, shape: &[usize], values: &[f32]| {
            let name = format!("rnn.{kind}_l{level}{suffix}");
            let values = reorder_blocks(values, order);
            self.parameters.push(array(&name, shape, values));
        };
        for (kind, matrix, rows) in [("weight_ih", kernel, inputs), ("weight_hh", recurrent, h)] {
            let values = matrix.map_or(vec![], |matrix| matrix.values);
            store(kind, &[columns, rows], &transposed(&values, columns));
        }
        let mut trained = Bias::None;
        if let Some(bias) = &bias {
            let (first, second) = bias.values.split_at(columns.min(bias.values.len()));
            if first.len() != columns || ![0, columns].contains(&second.len()) {
                let problem = format!("{path}: its bias has the shape {:?}", bias.shape);
                return Err(Error::usage(problem));
            }
            store("bias_ih", &[columns], first);
            if !second.is_empty() {
                store("bias_hh", &[columns], second);
            }
            trained = bias_of(cell, true, Some(second));
        }
        Ok(Layer {
            bias: trained,
            ..Layer::new(cell, h)
        })
    }

    /// Returns the network of all layers that were read.
    ///
    /// # Errors
    /// [`Error::Usage`] if there is no recurrent layer or no head.
    pub fn finish(mut self, embedding: Option<Parameter>) -> Result<ImportedNetwork> {
        let features = self.features.ok_or_else(|| {
            Error::usage("there is no recurrent layer: no array `.../recurrent_kernel`")
        })?;
        let outputs = self.outputs.ok_or_else(|| {
            Error::usage("there is no linear head: no `Dense` after the recurrent layers")
        })?;
        let (input_size, input) = match embedding {
            None if self.hints.one_hot => (features, Input::OneHot),
            None => (features, Input::Values),
            Some(mut table) => {
                let &[vocabulary, size] = &table.shape[..] else {
                    return Err(Error::usage(format!("{} is not a matrix", table.name)));
                };
                table.name = "embedding.weight".into();
                self.parameters.push(table);
                (vocabulary, embedding_input(size))
            }
        };
        Ok(ImportedNetwork {
            input_size,
            input,
            layers: self.layers,
            outputs,
            parameters: self.parameters,
        })
    }
}

/// Returns a cell whose arrays have these numbers of gates and biases.
///
/// # Errors
/// [`Error::Usage`] if the cell has others.
fn known_cell(cell: Cell, gates: usize, two_biases: Option<bool>, path: &str) -> Result<Cell> {
    let spec = cell.spec();
    let has_biases = two_biases.is_none_or(|two| two == spec.needs_recurrent_bias());
    if spec.gates == gates && has_biases {
        return Ok(cell);
    }
    Err(Error::usage(format!(
        "{path}: its arrays are not those of the cell `{}` that config.json describes",
        cell.name()
    )))
}

/// The sizes of a direction's kernel `[I, G*H]` and recurrent kernel `[H, G*H]`.
struct DirectionSizes {
    inputs: usize,
    h: usize,
    /// G*H.
    columns: usize,
}

impl DirectionSizes {
    fn of(
        kernel: &Option<Parameter>,
        recurrent: &Option<Parameter>,
    ) -> Result<DirectionSizes, String> {
        let (Some((inputs, columns)), Some((h, width))) = (matrix(kernel), matrix(recurrent))
        else {
            return Err("kernel and recurrent_kernel must be matrices".into());
        };
        if columns != width || width % h != 0 {
            return Err(format!(
                "kernel [{inputs}, {columns}] and recurrent_kernel [{h}, {width}] are not those of \
                 a recurrent layer"
            ));
        }
        Ok(DirectionSizes { inputs, h, columns })
    }
}

/// The extents of an array, if it is a matrix with elements.
fn matrix(array: &Option<Parameter>) -> Option<(usize, usize)> {
    match array.as_ref()?.shape[..] {
        [rows, columns] if rows > 0 && columns > 0 => Some((rows, columns)),
        _ => None,
    }
}
