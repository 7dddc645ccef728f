//! Checksums of the splits of a run, by which a resumed run finds that its data have changed.

use flate2::Crc;
use serde::{Deserialize, Serialize};

use crate::data::{Dataset, Inputs, Splits, Targets};
use crate::error::Result;

/// CRC-32 of each split of a run's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SplitChecksums {
    /// Of inputs, targets and lengths, as in files of version 1.
    pub train: u32,
    /// The sizes of the training split are part of it.
    pub train_with_sizes: u32,
    /// `None` without a validation split.
    pub validation: Option<u32>,
    /// `None` without a test split.
    pub test: Option<u32>,
}

/// The checksums that a checkpoint has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataChecksums {
    /// Those of all splits.
    Splits(SplitChecksums),
    /// That of the training split alone, in files of version 1.
    Train(u32),
}

impl DataChecksums {
    /// Returns the checksums of these data.
    ///
    /// # Errors
    /// [`Error::File`](crate::Error::File) for data that are read from disk and cannot be read.
    pub fn of(data: &Splits) -> Result<DataChecksums> {
        let [train, train_with_sizes] = checksums(&data.train)?;
        let with_sizes = |split: &Dataset| Ok(checksums(split)?[1]);
        let validation = data.validation.as_deref().map(with_sizes).transpose()?;
        let test = data.test.as_deref().map(with_sizes).transpose()?;
        Ok(DataChecksums::Splits(SplitChecksums {
            train,
            train_with_sizes,
            validation,
            test,
        }))
    }

    /// Returns the checksum of the training split, without its sizes.
    fn train(&self) -> u32 {
        match self {
            DataChecksums::Splits(splits) => splits.train,
            DataChecksums::Train(train) => *train,
        }
    }

    /// Returns the names of the splits that differ, as far as both have a checksum.
    pub(super) fn differing(&self, now: &DataChecksums) -> Vec<&'static str> {
        let (DataChecksums::Splits(before), DataChecksums::Splits(after)) = (self, now) else {
            let is_same = self.train() == now.train();
            return if is_same { vec![] } else { vec!["training"] };
        };
        let train =
            (before.train, before.train_with_sizes) == (after.train, after.train_with_sizes);
        let splits = [
            ("training", train),
            ("validation", before.validation == after.validation),
            ("test", before.test == after.test),
        ];
        let differing = splits.into_iter().filter(|(_, is_same)| !is_same);
        differing.map(|(name, _)| name).collect()
    }
}

/// The CRC-32 of inputs, targets and lengths; and that of these and of the sizes.
fn checksums(data: &Dataset) -> Result<[u32; 2]> {
    let bytes = |targets: &Targets| -> Vec<u8> {
        match targets {
            Targets::Classes { labels, .. } | Targets::Lists { labels, .. } => {
                bytemuck::cast_slice(labels).to_vec()
            }
            Targets::Values { values, .. } => bytemuck::cast_slice(values).to_vec(),
            Targets::Heads(_) => vec![],
        }
    };
    let joined: Vec<u8>;
    let targets: &[u8] = match &data.targets {
        Targets::Classes { labels, .. } | Targets::Lists { labels, .. } => {
            bytemuck::cast_slice(labels)
        }
        Targets::Values { values, .. } => bytemuck::cast_slice(values),
        Targets::Heads(heads) => {
            joined = heads.iter().flat_map(bytes).collect();
            &joined
        }
    };
    let lengths = data.lengths.as_deref().unwrap_or_default();
    let mut sum = Crc::new();
    match &data.inputs {
        Inputs::Bytes { values, .. } => sum.update(values),
        Inputs::Floats(values) => sum.update(bytemuck::cast_slice(values)),
        Inputs::Stored(stored) => stored.each(|values| sum.update(bytemuck::cast_slice(values)))?,
        Inputs::Tokens { values, .. } => sum.update(bytemuck::cast_slice(values)),
    }
    sum.update(targets);
    sum.update(bytemuck::cast_slice(lengths));
    // Nothing without weights, as in earlier files.
    sum.update(bytemuck::cast_slice(
        data.weights.as_deref().unwrap_or_default(),
    ));
    let contents = sum.sum();
    for size in [
        data.count,
        data.steps,
        data.features,
        targets.len(),
        lengths.len(),
    ] {
        sum.update(&(size as u64).to_le_bytes());
    }
    Ok([contents, sum.sum()])
}
