//! How a network reads columns of categories: as vectors of a learnt table, or one-hot.

use serde::{Deserialize, Serialize};

use super::Recipe;
use crate::data::preparation::Preparation;
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::{did_you_mean, excerpt, named};
use crate::network::{CategoryTable, Network};

/// How a network reads the categories of its data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CategoryEncoding {
    /// Each category is replaced by its row of a table, which is learnt.
    #[default]
    Embedding,
    /// The first layer reads a vector that is 1 at the category and 0 elsewhere.
    OneHot,
}

impl Recipe {
    /// Returns the tables of the network for inputs of `input_size` values that are prepared so.
    ///
    /// # Errors
    /// [`Error::Data`] for categories that are not among the inputs.
    pub(super) fn category_tables(
        &self,
        input_size: usize,
        preparation: &Preparation,
    ) -> Result<Vec<CategoryTable>> {
        if self.network.category_encoding == CategoryEncoding::OneHot {
            return Ok(vec![]);
        }
        let columns = preparation.category_columns(input_size).ok_or_else(|| {
            Error::data(format!(
                "the data have {input_size} inputs, and their categories and differences take more"
            ))
        })?;
        let names = self.data.source().category_names();
        let each = columns.into_iter().enumerate();
        let tables = each.filter(|(_, columns)| !columns.is_empty());
        let tables = tables.map(|(index, columns)| {
            let name = names.get(index).cloned().unwrap_or_default();
            let size = self.network.category_sizes.get(&name).copied();
            CategoryTable {
                first: columns.start,
                count: columns.len(),
                size: size.unwrap_or_else(|| CategoryTable::default_size(columns.len())),
                name,
            }
        });
        Ok(tables.collect())
    }

    /// Checks that what the recipe says of categories belongs to columns of its data.
    pub(super) fn validate_categories(&self) -> Result<()> {
        let names = self.data.source().category_names();
        let is_one_hot = self.network.category_encoding == CategoryEncoding::OneHot;
        let sizes = &self.network.category_sizes;
        if is_one_hot && names.is_empty() {
            return Err(Error::usage(
                "network.category_encoding is \"one-hot\", and the data have no categories; set \
                 data.categories to columns of a table, or leave out network.category_encoding",
            ));
        }
        if is_one_hot && !sizes.is_empty() {
            return Err(Error::usage(
                "network.category_sizes is set, and network.category_encoding is \"one-hot\", \
                 which has no vectors; leave out one of both",
            ));
        }
        for (name, &size) in sizes {
            if !names.contains(name) {
                let known: Vec<&str> = names.iter().map(String::as_str).collect();
                let allowed = if names.is_empty() {
                    "is not set".to_string()
                } else {
                    format!("names {}", named(names))
                };
                return Err(Error::usage(format!(
                    "network.category_sizes has the column `{}`{}, and data.categories {allowed}; \
                     each size belongs to a column of data.categories",
                    excerpt(name),
                    did_you_mean(name, &known)
                )));
            }
            fields::require(
                (1..=CategoryTable::LARGEST).contains(&size),
                &format!("network.category_sizes.{}", excerpt(name)),
                size,
                &format!("at least 1 and at most {}", CategoryTable::LARGEST),
            )?;
        }
        Ok(())
    }

    /// Whether the network has a table for each column of categories of its data.
    pub(crate) fn embeds_categories(&self) -> bool {
        let is_embedded = self.network.category_encoding == CategoryEncoding::Embedding;
        is_embedded && !self.data.source().category_names().is_empty()
    }

    /// Makes the encoding of categories explicit in the recipe of a network that was trained before
    /// there were tables: it reads categories one-hot.
    pub(crate) fn keep_encoding_of(&mut self, network: &Network, preparation: &Preparation) {
        let reads_one_hot = network.categories.is_empty() && !preparation.categories.is_empty();
        if reads_one_hot && self.embeds_categories() {
            self.network.category_encoding = CategoryEncoding::OneHot;
        }
    }
}
