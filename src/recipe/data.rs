//! The kinds of data that a recipe can name.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::data::arrays::Arrays;
use crate::data::csv::Csv;
use crate::data::idx::Idx;
use crate::data::npy::Npy;
use crate::data::series::Series;
use crate::data::text::Text;
use crate::data::{DataSource, Splits};
use crate::error::Result;

/// Declares [`DataRecipe`] from the list of kinds, and how each is reached as a [`DataSource`].
macro_rules! kinds_of_data {
    ($($(#[$attribute:meta])* $kind:ident($source:ty),)+) => {
        /// The data of a recipe: its `[data]` table, where `kind` is the name of the variant.
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
        #[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
        #[non_exhaustive]
        pub enum DataRecipe {
            $($(#[$attribute])* $kind($source),)+
        }

        impl DataRecipe {
            /// Returns the kind of data with its configuration.
            pub fn source(&self) -> &dyn DataSource {
                match self {
                    $(DataRecipe::$kind(source) => source,)+
                }
            }

            /// Returns the kind of data with its configuration, to change it.
            pub fn source_mut(&mut self) -> &mut dyn DataSource {
                match self {
                    $(DataRecipe::$kind(source) => source,)+
                }
            }
        }
    };
}

kinds_of_data! {
    /// Images of a directory of IDX files; see [`idx`](crate::data::idx).
    Idx(Idx),
    /// Windows of a series; see [`series`](crate::data::series).
    Series(Series),
    /// Rows of a table; see [`csv`](crate::data::csv).
    Csv(Csv),
    /// NumPy's arrays; see [`npy`](crate::data::npy).
    Npy(Npy),
    /// A text; see [`text`](crate::data::text).
    Text(Text),
    /// Data sets of the caller; see [`arrays`](crate::data::arrays).
    Arrays(Arrays),
}

impl DataRecipe {
    /// Reads or generates both splits; see [`DataSource::load`].
    ///
    /// # Errors
    /// Those of [`DataSource::load`].
    pub fn load(&self, seed: u64) -> Result<Splits> {
        self.source().load(seed, None)
    }

    /// Reads the data from another path; see [`DataSource::set_path`].
    pub fn set_path(&mut self, path: PathBuf) {
        self.source_mut().set_path(path);
    }
}
