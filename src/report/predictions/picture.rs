//! Pictures of sequences.

use ndarray::{ArrayView2, Axis};

use crate::data::{Dataset, Inputs};

/// The longest side of an image in pixels; larger images are averaged over squares of elements.
const LONGEST_SIDE: usize = 64;

/// A picture of a sequence's inputs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SequencePicture {
    /// One row of `columns` pixels for each time step; brightness from 0 to 1.
    Image { columns: usize, values: Vec<f32> },
    /// One value for each time step.
    Curve(Vec<f32>),
}

impl SequencePicture {
    /// An image of a sequence of several features, a curve of one feature, and no picture of tokens
    /// or of inputs that are read from disk.
    pub(super) fn new(data: &Dataset, sequence: usize) -> Option<SequencePicture> {
        let lengths = data.lengths.as_ref();
        let length = lengths.map_or(data.steps, |all| all[sequence] as usize);
        let valid = 0..length * data.features;
        let values: Vec<f32> = match &data.read(&[sequence]).ok()?.inputs {
            Inputs::Bytes { values, .. } => {
                values[valid].iter().map(|&byte| f32::from(byte)).collect()
            }
            Inputs::Floats(values) => values[valid].to_vec(),
            Inputs::Tokens { .. } | Inputs::Stored(_) => return None,
        };
        match (length, data.features) {
            (0, _) => None,
            (_, 1) => Some(SequencePicture::Curve(values)),
            (length, features) => {
                let values = ArrayView2::from_shape((length, features), &values).ok()?;
                Some(image(values))
            }
        }
    }
}

fn image(values: ArrayView2<f32>) -> SequencePicture {
    let sides = [0, 1].map(|axis| values.len_of(Axis(axis)).div_ceil(LONGEST_SIDE));
    let mut pixels: Vec<f32> = vec![];
    for rows in values.axis_chunks_iter(Axis(0), sides[0]) {
        let squares = rows.axis_chunks_iter(Axis(1), sides[1]);
        pixels.extend(squares.map(|square| square.mean().unwrap_or_default()));
    }
    let least = pixels.iter().copied().fold(f32::MAX, f32::min);
    let most = pixels.iter().copied().fold(f32::MIN, f32::max);
    let range = (most - least).max(f32::MIN_POSITIVE);
    for pixel in &mut pixels {
        *pixel = (*pixel - least) / range;
    }
    SequencePicture::Image {
        columns: values.ncols().div_ceil(sides[1]),
        values: pixels,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array1, Array3};

    use super::*;
    use crate::data::Targets;

    #[test]
    fn large_pictures_are_averaged() {
        let inputs = Array3::from_shape_fn((1, 130, 2), |(_, t, i)| (t / 3 * 2 + i) as f32);
        let labels = Array1::zeros(1);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 1)).unwrap();
        let Some(SequencePicture::Image { columns, values }) = SequencePicture::new(&data, 0)
        else {
            panic!("an image was expected");
        };
        assert_eq!((columns, values.len()), (2, 88));
        assert!(values.is_sorted());
    }
}
