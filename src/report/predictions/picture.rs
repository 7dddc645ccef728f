//! Pictures of sequences.

use ndarray::{ArrayView2, Axis};

use crate::data::text::Vocabulary;
use crate::data::{Dataset, Inputs};

/// The longest side of an image in pixels; larger images are averaged over squares of elements.
const LONGEST_SIDE: usize = 64;
/// The most features of sequences that are drawn as lines.
const MOST_LINES: usize = 8;
/// Tokens of a text before a mistake.
const CONTEXT: usize = 60;

/// A picture of a sequence's inputs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SequencePicture {
    /// One row of `columns` pixels for each time step; brightness from 0 to 1.
    Image { columns: usize, values: Vec<f32> },
    /// One line for each feature, of one value for each time step.
    Lines(Vec<Vec<f32>>),
    /// The text before a mistake.
    Text(String),
}

impl SequencePicture {
    /// An image of bytes or of many features, lines of a few features, and no picture of tokens.
    pub(super) fn new(data: &Dataset, sequence: usize) -> Option<SequencePicture> {
        let lengths = data.lengths.as_ref();
        let length = lengths.map_or(data.steps, |all| all[sequence] as usize);
        let valid = 0..length * data.features;
        let is_image = matches!(data.inputs, Inputs::Bytes { .. }) || data.features > MOST_LINES;
        let values: Vec<f32> = match &data.read(&[sequence]).ok()?.inputs {
            Inputs::Bytes { values, .. } => {
                values[valid].iter().map(|&byte| f32::from(byte)).collect()
            }
            Inputs::Floats(values) => values[valid].to_vec(),
            Inputs::Tokens { .. } | Inputs::Stored(_) => return None,
        };
        match (length, data.features) {
            (0, _) => None,
            (_, features) if features == 1 || !is_image => {
                let line = |k: usize| values.iter().skip(k).step_by(features).copied().collect();
                Some(SequencePicture::Lines((0..features).map(line).collect()))
            }
            (length, features) => {
                let values = ArrayView2::from_shape((length, features), &values).ok()?;
                Some(image(values))
            }
        }
    }
}

impl SequencePicture {
    /// The picture with time from left to right.
    pub(super) fn with_time_across(self) -> SequencePicture {
        let SequencePicture::Image { columns, values } = self else {
            return self;
        };
        let rows = values.len() / columns;
        let across = (0..columns).flat_map(|column| (0..rows).map(move |row| (row, column)));
        SequencePicture::Image {
            columns: rows,
            values: across
                .map(|(row, column)| values[row * columns + column])
                .collect(),
        }
    }

    /// The text up to and including a step of a sequence of tokens.
    pub(super) fn of_text(
        data: &Dataset,
        vocabulary: &Vocabulary,
        (sequence, step): (usize, usize),
    ) -> Option<SequencePicture> {
        let Inputs::Tokens { values, .. } = &data.inputs else {
            return None;
        };
        let first = (step + 1).saturating_sub(CONTEXT);
        let row = sequence * data.steps;
        let tokens = &values[row + first..=row + step];
        let bytes = |&token: &u32| {
            if vocabulary.is_known(token) {
                vocabulary.bytes(token)
            } else {
                "\u{fffd}".into()
            }
        };
        let bytes: Vec<u8> = tokens.iter().flat_map(bytes).collect();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Some(SequencePicture::Text(text))
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
        let inputs = Array3::from_shape_fn((1, 130, 9), |(_, t, i)| (t / 3 * 9 + i) as f32);
        let labels = Array1::zeros(1);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 1)).unwrap();
        let Some(SequencePicture::Image { columns, values }) = SequencePicture::new(&data, 0)
        else {
            panic!("an image was expected");
        };
        assert_eq!((columns, values.len()), (9, 9 * 44));
        assert!(values.is_sorted());
    }

    #[test]
    fn a_few_features_are_lines() {
        let inputs = Array3::from_shape_fn((2, 3, 2), |(n, t, i)| (n * 6 + t * 2 + i) as f32);
        let labels = Array1::zeros(2);
        let data = Dataset::new(inputs.view(), Targets::classes(labels.view(), 1)).unwrap();
        let Some(SequencePicture::Lines(lines)) = SequencePicture::new(&data, 1) else {
            panic!("lines were expected");
        };
        assert_eq!(lines, [[6.0, 8.0, 10.0], [7.0, 9.0, 11.0]]);
    }
}
