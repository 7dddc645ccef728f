//! Data sets: all sequences of a split, as they are copied to the device; and the kinds of data
//! that recipes read them from, one file or folder each.

pub mod arrays;
pub mod baselines;
mod class_counts;
pub mod csv;
mod dataset;
mod horizon;
pub mod idx;
pub mod labelled;
mod least_squares;
pub mod npy;
pub mod preparation;
mod restore;
pub mod series;
pub mod source;
mod splits;
pub mod stored;
pub mod text;
pub mod vocabulary;

pub(crate) use class_counts::class_counts;
pub use class_counts::{absent_classes, short_sequences};
pub use dataset::{Dataset, Inputs, Targets};
pub(crate) use dataset::{check_lengths, check_tokens};
pub use horizon::Horizon;
pub use source::DataSource;
pub use splits::{Fold, Split, SplitBy, Splits};

/// A target value that is missing, in [`Targets::Values`]: it is neither learnt nor scored.
pub use crate::kernels::MISSING;

/// The most values of the sequences of a split: 4 GiB in f32, the most that WebGPU binds.
pub(crate) const MAX_VALUES: u64 = 1 << 30;

/// The problem of a build without the feature `tables`.
#[cfg(not(feature = "tables"))]
const NO_TABLES: &str = "this build cannot read tables and arrays; build with the feature `tables`";

/// The error for a file that needs the feature `tables`.
#[cfg(not(feature = "tables"))]
pub(crate) fn no_tables(path: &std::path::Path) -> crate::error::Error {
    crate::error::Error::file(path, NO_TABLES)
}
