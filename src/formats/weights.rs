//! The parameters of a model in the layouts of other frameworks.

use crate::data::preparation::Normal;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::Direction;

/// The parameters of one direction of a layer; gates are in PyTorch's order.
pub(super) struct LayerWeights<'a> {
    /// `[G*H, I]`
    pub input: &'a [f32],
    /// `[G*H, P]`
    pub recurrent: &'a [f32],
    /// `[P, H]`
    pub projection: Option<&'a [f32]>,
    /// `[3*H]`: of i, f, o.
    pub peepholes: Option<&'a [f32]>,
    /// `[G*H]`
    pub input_bias: Option<&'a [f32]>,
    /// `[G*H]`; zeros or absent if one bias is trained.
    pub recurrent_bias: Option<&'a [f32]>,
    /// `[P]` and `[H]`: h and c before the first step, where they are learnt.
    pub initial: [Option<&'a [f32]>; 2],
}

impl<'a> LayerWeights<'a> {
    pub fn of(model: &'a Model, direction: &Direction) -> Result<LayerWeights<'a>> {
        let find = |kind: &str| parameter(model, &format!("rnn.{kind}_{}", direction.suffix));
        Ok(LayerWeights {
            input: find("weight_ih")?,
            recurrent: find("weight_hh")?,
            projection: find("weight_hr").ok(),
            peepholes: find("weight_peephole").ok(),
            input_bias: find("bias_ih").ok(),
            recurrent_bias: find("bias_hh").ok(),
            initial: ["h0", "c0"].map(|kind| find(kind).ok()),
        })
    }
}

/// Returns the values of a parameter.
///
/// # Errors
/// [`Error::Usage`] if the model has no such parameter.
pub(super) fn parameter<'a>(model: &'a Model, name: &str) -> Result<&'a [f32]> {
    let found = model.parameters.iter().find(|each| each.name == name);
    let values = found.map(|parameter| &parameter.values[..]);
    values.ok_or_else(|| Error::usage(format!("the model has no parameter {name}")))
}

/// Reorders equal blocks of values, one for each gate: block n of the result is block `order[n]`.
pub(super) fn reorder_blocks(values: &[f32], order: &[usize]) -> Vec<f32> {
    let size = values.len() / order.len();
    let blocks = order.iter().map(|&block| &values[block * size..][..size]);
    blocks.collect::<Vec<_>>().concat()
}

/// Transposes a matrix of `columns` columns.
pub(super) fn transposed(values: &[f32], columns: usize) -> Vec<f32> {
    let column = |n: usize| values.iter().skip(n).step_by(columns).copied();
    (0..columns).flat_map(column).collect()
}

/// Returns `[K][I]`: the weights of the linear regression that is added to the last values; none
/// without one.
pub(super) fn linear_weights(model: &Model) -> Vec<Vec<f32>> {
    let rows = model.preparation.linear.chunks(model.network.input_size);
    let rounded = |row: &[f64]| row.iter().map(|&weight| weight as f32).collect();
    rows.map(rounded).collect()
}

/// Means and deviations of all columns; `None` if the values are not normalised.
pub(super) fn columns(normals: &[Normal]) -> Option<[Vec<f32>; 2]> {
    let all = |part: fn(&Normal) -> f64| normals.iter().map(|each| part(each) as f32).collect();
    (!normals.is_empty()).then(|| [all(|normal| normal.mean), all(|normal| normal.deviation)])
}
