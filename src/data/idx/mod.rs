//! IDX files, gzipped or plain: the format of MNIST, Fashion-MNIST and KMNIST.
//!
//! An image is one sequence: T is its rows, I its columns, and each time step is one row. Or
//! several images side by side are one sequence, which is read column by column.

mod file;
mod strings;
#[cfg(test)]
mod tests;

use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use file::{IMAGES, LABELS, find_file, open, read};
use serde::{Deserialize, Serialize};
pub use strings::{BLANK_NAME, ImageStrings};

use super::labelled::{LabelledData, LabelledRequest};
use super::preparation::Preparation;
use super::source::{
    DataSource, DataUse, ExpectedPath, InputRequest, PredictionInputs, SequenceSizes, TargetKind,
};
use super::{Dataset, Inputs, MAX_VALUES, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::shown_path;
use crate::network::Reads;
use crate::rng::{Philox, Stream};

/// `[T, I]` of MNIST's images.
const MNIST_SIZES: [usize; 2] = [28, 28];

/// Images of a directory of IDX files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Idx {
    pub path: PathBuf,
    pub classes: usize,
    /// Factor of the pixels, which are 0 to 1 before.
    #[serde(default = "default_scale")]
    pub scale: f32,
    /// The first images of the training files that are the validation split, as TensorFlow's loader
    /// of MNIST takes 5000; excludes `validation_fraction`. Early stopping, the best epoch and
    /// plateaus are decided by it.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_size: usize,
    /// The same as a part of the training files.
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub validation_fraction: f64,
    /// Makes sequences of several images, whose targets are lists of labels for the loss `ctc`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strings: Option<ImageStrings>,
}

fn default_scale() -> f32 {
    1.0
}

impl Idx {
    /// Returns a configuration for a directory, with defaults for everything else.
    pub fn new(path: &Path, classes: usize) -> Idx {
        Idx {
            path: path.to_path_buf(),
            classes,
            scale: default_scale(),
            validation_size: 0,
            validation_fraction: 0.0,
            strings: None,
        }
    }

    /// Divides the images of the training files of `directory` into training and validation split.
    fn divide(&self, all: Dataset, directory: &Path) -> Result<(Dataset, Option<Dataset>)> {
        let count = all.count;
        let (field, taken) = if self.validation_size > 0 {
            let value = self.validation_size.to_string();
            (
                format!("data.validation_size = {value}"),
                self.validation_size,
            )
        } else {
            let fraction = self.validation_fraction;
            let least = usize::from(fraction > 0.0);
            let taken = (count as f64 * fraction).round() as usize;
            (
                format!("data.validation_fraction = {fraction}"),
                taken.max(least),
            )
        };
        if taken == 0 {
            return Ok((all, None));
        }
        if taken >= count {
            return Err(Error::file(
                directory,
                format!(
                    "{field} of {count} training images leaves none to train on; reduce it, or set \
                     it to 0 for no validation split"
                ),
            ));
        }
        Ok((all.slice(taken..count)?, Some(all.slice(0..taken)?)))
    }

    /// Reads one split of a directory and scales its pixels.
    fn split_of(&self, directory: &Path, split: Split) -> Result<Dataset> {
        let directory = locate(directory)?;
        let data = match split {
            Split::Test => load_split(&directory, split, self.classes)?,
            Split::Train | Split::Validation => {
                let all = load_split(&directory, Split::Train, self.classes)?;
                let (train, validation) = self.divide(all, &directory)?;
                match split {
                    Split::Validation => validation.ok_or_else(no_validation)?,
                    Split::Train | Split::Test => train,
                }
            }
        };
        self.finished(data, split)
    }

    /// Returns the images of a split as a network reads them: strings if these are wanted, with
    /// scaled pixels.
    fn finished(&self, images: Dataset, split: Split) -> Result<Dataset> {
        let mut data = match &self.strings {
            Some(strings) => strings.of(&images, split)?,
            None => images,
        };
        self.rescale(&mut data);
        Ok(data)
    }

    /// Multiplies the pixels by `scale`.
    fn rescale(&self, data: &mut Dataset) {
        if let Inputs::Bytes { scale, .. } = &mut data.inputs {
            *scale *= self.scale;
        }
    }
}

fn no_validation() -> Error {
    Error::data(
        "the images have no validation split because data.validation_size and \
         data.validation_fraction are 0 or absent; set one of them, or use the split `train` or \
         `test`",
    )
}

impl DataSource for Idx {
    fn path(&self) -> Option<&Path> {
        Some(&self.path)
    }

    fn paths_mut(&mut self) -> Vec<&mut PathBuf> {
        vec![&mut self.path]
    }

    fn expected_path(&self) -> ExpectedPath {
        ExpectedPath::Directory("the IDX files of the data set")
    }

    fn exists(&self) -> bool {
        locate(&self.path).is_ok()
    }

    fn validate(&self, usage: &DataUse) -> Result<()> {
        fields::positive("data.scale", self.scale.into())?;
        fields::fraction("data.validation_fraction", self.validation_fraction)?;
        if self.validation_size > 0 && self.validation_fraction > 0.0 {
            return Err(Error::usage(
                "data.validation_size and data.validation_fraction are both set; the validation \
                 split is taken by one of them, so leave out the other",
            ));
        }
        fields::require(
            (2..=256).contains(&self.classes),
            "data.classes",
            self.classes,
            "2 to 256, because the labels of IDX files are bytes",
        )?;
        if let Some(strings) = &self.strings {
            strings.validate()?;
            let data = "data.strings makes lists of labels";
            return usage.require_head(data, TargetKind::Lists, Reads::Every);
        }
        usage.require_head(
            "data of kind idx have one class for each sequence",
            TargetKind::Classes,
            Reads::Last,
        )
    }

    /// With the blank, if there are strings.
    fn outputs(&self) -> usize {
        self.classes + usize::from(self.strings.is_some())
    }

    fn load(&self, _seed: u64, _known: Option<&Preparation>) -> Result<Splits> {
        let directory = locate(&self.path)?;
        let splits = load(&directory, self.classes)?;
        let (train, validation) = self.divide(Arc::unwrap_or_clone(splits.train), &directory)?;
        let finished = |images, split| self.finished(images, split).map(Arc::new);
        let validation = validation.map(|images| finished(images, Split::Validation));
        let test = splits.test.map(Arc::unwrap_or_clone);
        let test = test.map(|images| finished(images, Split::Test));
        let names = self.strings.as_ref();
        let names = names.map(|_| ImageStrings::class_names(self.classes));
        Ok(Splits {
            train: finished(train, Split::Train)?,
            validation: validation.transpose()?,
            test: test.transpose()?,
            preparation: Preparation {
                classes: names.unwrap_or_default(),
                ..splits.preparation
            },
            notes: splits.notes,
        })
    }

    /// Reads one split; the files of the other need not exist.
    fn load_split(
        &self,
        split: Split,
        _seed: u64,
        _known: Option<&Preparation>,
    ) -> Result<Arc<Dataset>> {
        Ok(self.split_of(&self.path, split)?.into())
    }

    /// Reads the test split of the directory, or the one of the request; the files of the other
    /// need not exist.
    fn load_labelled(&self, request: &LabelledRequest) -> Result<LabelledData> {
        let split = request.split.unwrap_or(Split::Test);
        Ok(LabelledData {
            split: Some(split),
            ..self.split_of(request.path, split)?.into()
        })
    }

    fn load_inputs(&self, request: &InputRequest) -> Result<PredictionInputs> {
        Ok(self.split_of(request.path, request.split)?.into())
    }

    fn made_up(&self, count: usize, seed: u64) -> Option<Splits> {
        let [steps, features] = MNIST_SIZES;
        let longest = self.strings.as_ref().map_or(1, |strings| strings.longest);
        let count = (count * longest).min(MAX_VALUES as usize / (steps * features));
        let mut random = Philox::new(seed, Stream::Images);
        let bytes = (0..count * steps * features).map(|_| random.next_u32() as u8);
        let data = Dataset {
            count,
            steps,
            features,
            inputs: Inputs::Bytes {
                values: bytes.collect(),
                scale: 1.0 / 255.0,
            },
            targets: Targets::Classes {
                labels: (0..count).map(|n| (n % self.classes) as u32).collect(),
                classes: self.classes,
                per_step: false,
            },
            lengths: None,
            weights: None,
        };
        let data = self.finished(data, Split::Train).ok()?;
        Some(data.into())
    }

    /// Returns the sizes of the images, or those of MNIST if the files do not exist; or those of
    /// strings of them.
    fn sizes(&self, seed: u64) -> Result<SequenceSizes> {
        let loaded = self.load_split(Split::Test, seed, None);
        let [steps, inputs] = match (loaded, &self.strings) {
            (Ok(data), _) => [data.steps, data.features],
            (Err(_), None) => MNIST_SIZES,
            (Err(_), Some(strings)) => strings.sizes(MNIST_SIZES)?,
        };
        Ok(SequenceSizes {
            steps,
            inputs,
            outputs: self.outputs(),
        })
    }
}

/// Reads both splits of `directory`: images `[N, rows, columns]` as bytes that stand for 0 to 1,
/// and a label in `0..classes` for each.
///
/// # Errors
/// [`Error::File`] for a missing or damaged file, and if the images of the splits differ in size.
pub fn load(directory: &Path, classes: usize) -> Result<Splits> {
    let [train, test] =
        [Split::Train, Split::Test].map(|split| move || load_split(directory, split, classes));
    let (train, test) = rayon::join(train, test);
    let (train, test) = (train?, test?);
    if (train.steps, train.features) != (test.steps, test.features) {
        return Err(Error::file(
            find_file(directory, Split::Test, &IMAGES)?,
            format!(
                "the test images are {}x{}, but the training images in the same directory are \
                 {}x{}; both must have the same size",
                test.steps, test.features, train.steps, train.features
            ),
        ));
    }
    Ok(Splits {
        test: Some(test.into()),
        ..train.into()
    })
}

/// Reads one split of `directory`; see [`load`].
///
/// # Errors
/// [`Error::File`] for a missing or damaged file.
pub fn load_split(directory: &Path, split: Split, classes: usize) -> Result<Dataset> {
    let images = find_file(directory, split, &IMAGES)?;
    let labels = find_file(directory, split, &LABELS)?;
    read_split(
        (&images, open(&images)?),
        (&labels, open(&labels)?),
        classes,
    )
}

/// Reads one split from the contents of its two files, plain or gzipped. Errors name the paths.
///
/// # Errors
/// [`Error::File`] for a file that is damaged, does not match the other, or holds more than
/// 2^32 - 1 values.
pub fn read_split<R: BufRead>(
    (images_path, images): (&Path, R),
    (labels_path, labels): (&Path, R),
    classes: usize,
) -> Result<Dataset> {
    let ([count, steps, features], images) = read(images, images_path, &IMAGES)?;
    let ([label_count], labels) = read(labels, labels_path, &LABELS)?;
    if count != label_count {
        return Err(Error::file(
            labels_path,
            format!(
                "holds {label_count} labels, but {} holds {count} images; \
                 each image needs one label",
                shown_path(images_path)
            ),
        ));
    }
    let is_wrong = |&label: &u8| usize::from(label) >= classes;
    if let Some(index) = labels.iter().position(is_wrong) {
        return Err(Error::file(
            labels_path,
            format!(
                "label {index} (counted from 0) is {}; with data.classes = {classes}, \
                 labels must be from 0 to {}",
                labels[index],
                classes.saturating_sub(1)
            ),
        ));
    }
    Ok(Dataset {
        count,
        steps,
        features,
        inputs: Inputs::Bytes {
            values: images,
            scale: 1.0 / 255.0,
        },
        targets: Targets::Classes {
            labels: labels.into_iter().map(u32::from).collect(),
            classes,
            per_step: false,
        },
        lengths: None,
        weights: None,
    })
}

/// Finds the directory `path`: from the current directory, otherwise from the repository that the
/// running executable was built in.
///
/// # Errors
/// [`Error::File`] that lists the directories that were tried.
pub fn locate(path: &Path) -> Result<PathBuf> {
    let executable = std::env::current_exe().unwrap_or_default();
    let repository = executable
        .ancestors()
        .find(|base| base.join("Cargo.toml").is_file());
    let mut candidates = vec![path.to_path_buf()];
    // An absolute path joined to the repository is the same path again.
    if path.is_relative() {
        candidates.extend(repository.map(|base| base.join(path)));
    }
    first_directory(path, &candidates)
}

fn first_directory(path: &Path, candidates: &[PathBuf]) -> Result<PathBuf> {
    if let Some(found) = candidates.iter().find(|candidate| candidate.is_dir()) {
        return Ok(found.clone());
    }
    let others = candidates.iter().skip(1);
    let others: Vec<String> = others.map(|other| shown_path(other)).collect();
    let tried = if others.is_empty() {
        String::new()
    } else {
        format!(" (tried {} too)", others.join(", "))
    };
    Err(Error::file(
        path,
        format!(
            "there is no such directory{tried}; set data.path to the directory of the IDX files"
        ),
    ))
}
