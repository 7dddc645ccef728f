//! The model's file as JSON: its header, and where each part of it is among the parameters.

use safetensors::SafeTensors;
use serde::Serialize;

use crate::error::{Error, Result};
use crate::train::Trainer;

/// What a `model.safetensors` consists of besides the values of the parameters.
#[derive(Serialize)]
pub(super) struct ModelText {
    /// The JSON of the header with its padding; its length in 8 bytes comes before it.
    header: String,
    /// The tensors in the order of the file: offset into the flat parameters, or `None` for zeros,
    /// and number of elements.
    parts: Vec<(Option<usize>, usize)>,
}

impl ModelText {
    /// Returns the text of the trainer's model.
    ///
    /// # Errors
    /// Those of [`Trainer::model`]; [`Error::Usage`] for a description that is too large.
    pub(super) fn new(trainer: &mut Trainer) -> Result<ModelText> {
        let unreadable = |problem: String| Error::usage(format!("the model: {problem}"));
        let bytes = trainer.model()?.to_bytes().map_err(unreadable)?;
        let read = SafeTensors::read_metadata(&bytes);
        let (length, metadata) = read.map_err(|error| unreadable(error.to_string()))?;
        let header = String::from_utf8_lossy(&bytes[8..8 + length]).into_owned();
        let mut tensors: Vec<_> = metadata.tensors().into_iter().collect();
        tensors.sort_by_key(|(_, info)| info.data_offsets.0);
        let entries = &trainer.recording().entries;
        let parts = tensors.into_iter().map(|(name, info)| {
            let entry = entries.iter().find(|entry| entry.name == name);
            let len = info.shape.iter().product();
            (entry.map(|entry| entry.offset), len)
        });
        let parts = parts.collect();
        Ok(ModelText { header, parts })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::OpenDevice;
    use crate::backend::tuning::Tuning;
    use crate::recipe::Recipe;

    /// The file that the player puts together from the flat parameters.
    fn assembled(text: &ModelText, flat: &[f32]) -> Vec<u8> {
        let mut bytes = (text.header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(text.header.bytes());
        for &(offset, len) in &text.parts {
            match offset {
                Some(offset) => {
                    let values = flat[offset..offset + len].iter();
                    bytes.extend(values.flat_map(|value| value.to_le_bytes()));
                }
                None => bytes.extend(std::iter::repeat_n(0, 4 * len)),
            }
        }
        bytes
    }

    #[test]
    fn header_and_parts_are_the_file_of_the_model() {
        // A single bias is written as two, of which the second is zero.
        for set in ["network.layer.0.bias=single", "network.layer.0.bias=double"] {
            let mut recipe = Recipe::load("series").expect("it is built in");
            recipe.network.set_hidden_size(3);
            recipe.set(&[set.to_string()]).expect("it is a field");
            let source = recipe.data.source();
            let data = source.made_up(300, recipe.seed).expect("they are made up");
            let device = OpenDevice::Cpu(Tuning::default());
            let mut trainer = Trainer::load(&recipe, &data, &device).expect("it loads");
            let text = ModelText::new(&mut trainer).expect("it is described");
            let model = trainer.model().expect("it has a model");
            let flat = model.network.from_parameters(&model.parameters);
            let flat = flat.expect("they are complete");
            assert_eq!(assembled(&text, &flat), model.to_bytes().expect("bytes"));
        }
    }
}
