//! The weights of the targets of arrays in training.

use std::io::{Read, Seek};

use super::targets::InputSizes;
use super::{Array, ArrayFiles, Npy};
use crate::data::MISSING;
use crate::error::{Error, Result};

impl Npy {
    /// Returns the weight of each target, `[N]`, or `[N, T]` if `per_step`, if the recipe names
    /// them.
    ///
    /// # Errors
    /// [`Error::File`] for an array of another shape, and for weights that are not finite or below
    /// 0.
    pub(super) fn read_weights<R: Read + Seek>(
        &self,
        files: &mut ArrayFiles<R>,
        sizes: &InputSizes,
        per_step: bool,
    ) -> Result<Option<Vec<f32>>> {
        let Some(name) = &self.weights else {
            return Ok(None);
        };
        let path = files.path_of(name);
        let weights = weights_of(files.array(name)?, sizes, per_step);
        weights
            .map(Some)
            .map_err(|problem| Error::file(path, problem))
    }
}

fn weights_of(array: Array, sizes: &InputSizes, per_step: bool) -> Result<Vec<f32>, String> {
    let (count, steps) = (sizes.count, sizes.steps);
    let shape = array.shape.clone();
    let each = match shape[..] {
        [n] if n == count => 1,
        [n, t] if per_step && (n, t) == (count, steps) => steps,
        [r] if per_step && Some(r) == sizes.concatenated_rows() => 0,
        _ => {
            let every = format!(", or [{count}, {steps}] for one at each step");
            return Err(format!(
                "the array is {shape:?}; weights must be [{count}], one for each sequence{}",
                if per_step { every } else { String::new() }
            ));
        }
    };
    let mut numbers = array.numbers("weights")?;
    if let (0, Some(lengths)) = (each, sizes.lengths) {
        numbers = numbers.padded(lengths, steps, 1);
    }
    if let (true, Some(lengths)) = (each != 1, sizes.lengths) {
        numbers.clear_padding(lengths, steps, 1);
    }
    let weights = numbers.prepared_targets(0..numbers.len(), &[]);
    let is_allowed = |weight: &f32| (0.0..MISSING).contains(weight);
    if let Some(at) = weights.iter().position(|weight| !is_allowed(weight)) {
        return Err(format!(
            "element {at} is missing, infinite or below 0; weights must be finite and at least 0"
        ));
    }
    if each != 1 || !per_step {
        return Ok(weights);
    }
    Ok(weights
        .iter()
        .flat_map(|&weight| vec![weight; steps])
        .collect())
}
