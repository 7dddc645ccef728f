//! Strings of images side by side, which are read column by column.

use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Inputs, MAX_VALUES, Split, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::rng::{Philox, Stream};

/// The largest `longest` and `times`.
const MOST: usize = 1000;

/// Strings of images side by side, whose target is the list of their labels. A time step is one
/// column of pixels or several, from the left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageStrings {
    /// The fewest images of a string.
    pub shortest: usize,
    /// The most images of a string.
    pub longest: usize,
    /// Columns of pixels that are a time step; they divide the columns of an image.
    #[serde(default = "one")]
    pub columns: usize,
    /// The number of strings that each image of a split is in.
    #[serde(default = "one")]
    pub times: usize,
    /// Determines which images make a string; the seed of the recipe does not.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub seed: u64,
}

fn one() -> usize {
    1
}

impl ImageStrings {
    /// Checks the fields.
    pub(super) fn validate(&self) -> Result<()> {
        let counts = [
            ("data.strings.longest", self.longest),
            ("data.strings.columns", self.columns),
            ("data.strings.times", self.times),
        ];
        for (field, value) in counts {
            let allowed = (1..=MOST).contains(&value);
            fields::require(allowed, field, value, &format!("1 to {MOST}"))?;
        }
        fields::require(
            (1..=self.longest).contains(&self.shortest),
            "data.strings.shortest",
            self.shortest,
            &format!("1 to data.strings.longest = {}", self.longest),
        )
    }

    /// Returns the steps and features of the longest string of images `[rows, columns]`.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns that do not divide those of an image.
    pub(super) fn sizes(&self, [rows, columns]: [usize; 2]) -> Result<[usize; 2]> {
        if !columns.is_multiple_of(self.columns) {
            return Err(Error::usage(format!(
                "data.strings.columns is {}, and the images have {columns} columns; it must divide \
                 them",
                self.columns
            )));
        }
        Ok([self.longest * columns / self.columns, rows * self.columns])
    }

    /// Makes the strings of the images of a split.
    ///
    /// # Errors
    /// [`Error::Usage`] for columns that do not divide those of an image, and for too few images or
    /// too many strings.
    pub(super) fn of(&self, images: &Dataset, split: Split) -> Result<Dataset> {
        let (
            Inputs::Bytes { values, scale },
            Targets::Classes {
                labels, classes, ..
            },
        ) = (&images.inputs, &images.targets)
        else {
            return Err(Error::usage("strings are made of images with labels"));
        };
        let size = [images.steps, images.features];
        let [steps, features] = self.sizes(size)?;
        let strings = self.drawn(images.count, split)?;
        let total = strings.len() as u128 * steps as u128 * features as u128;
        if total > u128::from(MAX_VALUES) {
            return Err(Error::usage(format!(
                "data.strings make {} strings of up to {steps} steps, {total} pixels; at most \
                 {MAX_VALUES} are allowed: reduce data.strings.times or data.strings.longest",
                strings.len()
            )));
        }
        let mut pixels = vec![0; strings.len() * steps * features];
        for (string, out) in strings
            .iter()
            .zip(pixels.chunks_exact_mut(steps * features))
        {
            let columns = string.iter().flat_map(|&image| {
                let image = &values[image as usize * size[0] * size[1]..][..size[0] * size[1]];
                (0..size[1]).flat_map(move |column| image.iter().skip(column).step_by(size[1]))
            });
            out.iter_mut()
                .zip(columns)
                .for_each(|(out, &pixel)| *out = pixel);
        }
        let lists: Vec<Vec<u32>> = strings
            .iter()
            .map(|string| string.iter().map(|&n| labels[n as usize] + 1).collect())
            .collect();
        let steps_each = size[1] / self.columns;
        let length = |string: &Vec<u32>| (string.len() * steps_each) as u32;
        Ok(Dataset {
            count: strings.len(),
            steps,
            features,
            inputs: Inputs::Bytes {
                values: pixels,
                scale: *scale,
            },
            targets: Targets::lists(lists.iter().map(Vec::as_slice), classes + 1),
            lengths: Some(strings.iter().map(length).collect()),
            weights: None,
        })
    }

    /// Returns the images of each string: `times` permutations of all images, cut into strings of
    /// random lengths; the last images are left out if they are fewer than `shortest`.
    fn drawn(&self, images: usize, split: Split) -> Result<Vec<Vec<u32>>> {
        let mut random = Philox::new(self.seed, Stream::Strings(split as u32));
        let mut strings = vec![];
        for _ in 0..self.times {
            let order = random.permutation(images);
            let mut rest = &order[..];
            while rest.len() >= self.shortest {
                let lengths = (self.longest - self.shortest + 1) as u32;
                let length = self.shortest + random.below(lengths) as usize;
                let (string, more) = rest.split_at(length.min(rest.len()));
                strings.push(string.to_vec());
                rest = more;
            }
        }
        if strings.is_empty() {
            return Err(Error::usage(format!(
                "the {} split has {images} images, fewer than data.strings.shortest = {}",
                split.name(),
                self.shortest
            )));
        }
        Ok(strings)
    }

    /// Returns the names of the blank and of `classes` classes.
    pub(super) fn class_names(classes: usize) -> Vec<String> {
        let names = (0..classes).map(|class| class.to_string());
        std::iter::once(BLANK_NAME.to_string())
            .chain(names)
            .collect()
    }
}

/// The name of the blank among the names of classes.
pub const BLANK_NAME: &str = "(blank)";

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Dataset {
        // Two rows of three columns; pixel = 10 * image + 3 * row + column.
        let pixel = |at: usize| (10 * (at / 6) + at % 6) as u8;
        Dataset {
            count: 7,
            steps: 2,
            features: 3,
            inputs: Inputs::Bytes {
                values: (0..42).map(pixel).collect(),
                scale: 0.5,
            },
            targets: Targets::Classes {
                labels: (0..7).map(|n| n % 5).collect(),
                classes: 5,
                per_step: false,
            },
            lengths: None,
            weights: None,
        }
    }

    fn strings() -> ImageStrings {
        ImageStrings {
            shortest: 2,
            longest: 3,
            columns: 1,
            times: 1,
            seed: 4,
        }
    }

    #[test]
    fn a_string_is_read_column_by_column() {
        let data = strings().of(&images(), Split::Train).unwrap();
        data.check().unwrap();
        assert_eq!((data.steps, data.features), (9, 2));
        let Inputs::Bytes { values, .. } = &data.inputs else {
            panic!("bytes")
        };
        for n in 0..data.count {
            let own = &values[n * 18..(n + 1) * 18];
            let list = data.targets.list(n);
            assert_eq!(data.lengths.as_ref().unwrap()[n] as usize, 3 * list.len());
            for (j, &label) in list.iter().enumerate() {
                let first = own[6 * j];
                assert_eq!(u32::from(first / 10 % 5) + 1, label);
                let columns = [0, 3, 1, 4, 2, 5].map(|at| first + at);
                assert_eq!(own[6 * j..6 * j + 6], columns);
            }
            assert!(own[6 * list.len()..].iter().all(|&pixel| pixel == 0));
        }
    }

    #[test]
    fn each_image_is_in_as_many_strings_as_asked() {
        let mut strings = strings();
        strings.times = 3;
        let drawn = strings.drawn(100, Split::Test).unwrap();
        let mut counts = [0; 100];
        drawn
            .iter()
            .flatten()
            .for_each(|&n| counts[n as usize] += 1);
        assert!(counts.iter().all(|&count| count <= 3));
        assert!(counts.iter().sum::<i32>() >= 297);
        assert!(drawn.iter().all(|string| (2..=3).contains(&string.len())));
        assert_ne!(drawn, strings.drawn(100, Split::Train).unwrap());
        assert!(strings.drawn(1, Split::Test).is_err());
    }

    #[test]
    fn columns_must_divide_an_image() {
        let mut strings = strings();
        strings.columns = 3;
        let data = strings.of(&images(), Split::Train).unwrap();
        assert_eq!((data.steps, data.features), (3, 6));
        strings.columns = 2;
        let error = strings.of(&images(), Split::Train).unwrap_err().to_string();
        assert!(error.contains("columns is 2"), "{error}");
    }
}
