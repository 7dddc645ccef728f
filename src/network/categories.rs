//! Tables that embed categories: some columns of the inputs, a one-hot vector, are replaced by a
//! learnt vector.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::{Input, Network};
use crate::error::{Error, Result};
use crate::fields;
use crate::messages::excerpt;

/// The table of a column of categories: their one-hot vector, which is some columns of the inputs,
/// is multiplied by the parameter `embeddings.N.weight` `[count, size]`. So a category is replaced
/// by its row of the table, as in PyTorch's `nn.Embedding`, and zeros by zeros.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CategoryTable {
    /// The name of the column of categories.
    pub name: String,
    /// The index of its first column of the inputs.
    pub first: usize,
    /// Categories, each of which is a column of the inputs.
    pub count: usize,
    /// Elements of the vector of a category.
    pub size: usize,
}

/// Columns of the inputs, and the features of the first layer that follow from them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InputPart {
    pub columns: Range<usize>,
    pub features: Range<usize>,
    /// The index of the table that the columns are multiplied by; the features are the columns
    /// where there is none.
    pub table: Option<usize>,
}

impl CategoryTable {
    /// The largest vector of a category.
    pub const LARGEST: usize = 1024;

    /// Returns the elements of a category's vector that `count` categories have by default:
    /// 1.6 `count`^0.56, rounded, at most 100, and 1 for two categories or one. It is the rule of
    /// PyTorch Forecasting and of the TFT of darts, whose formula is that of fastai.
    pub fn default_size(count: usize) -> usize {
        if count <= 2 {
            return 1;
        }
        let size = (1.6 * (count as f64).powf(0.56)).round();
        (size as usize).min(100)
    }

    /// Returns the columns of the inputs.
    pub(crate) fn columns(&self) -> Range<usize> {
        self.first..self.first + self.count
    }
}

impl Network {
    /// Checks the tables of categories.
    pub(super) fn validate_categories(&self) -> Result<()> {
        if !self.categories.is_empty() && self.input != Input::Values {
            return Err(Error::usage(
                "network.categories has tables of categories, and network.input is tokens; tables \
                 belong to inputs that are values: leave out one of both",
            ));
        }
        let mut taken = 0;
        for (index, table) in self.categories.iter().enumerate() {
            let path = format!("network.categories.{index}");
            fields::count(&format!("{path}.count"), table.count)?;
            let is_allowed = (1..=CategoryTable::LARGEST).contains(&table.size);
            let range = format!("at least 1 and at most {}", CategoryTable::LARGEST);
            fields::require(is_allowed, &format!("{path}.size"), table.size, &range)?;
            let end = table.first.checked_add(table.count);
            let end = end.filter(|&end| table.first >= taken && end <= self.input_size);
            taken = end.ok_or_else(|| {
                Error::usage(format!(
                    "{path} (`{}`) has {} columns from column {} on, and the columns {taken} to {} \
                     of the inputs are left for it; tables must be in the order of their columns",
                    excerpt(&table.name),
                    table.count,
                    table.first,
                    self.input_size
                ))
            })?;
        }
        Ok(())
    }

    /// Returns the parts of the inputs in order: tables, and the columns between them.
    pub(crate) fn input_parts(&self) -> Vec<InputPart> {
        let (mut column, mut feature) = (0, 0);
        let mut parts = vec![];
        let mut push = |end: usize, size: usize, table: Option<usize>| {
            if end > column {
                parts.push(InputPart {
                    columns: column..end,
                    features: feature..feature + size,
                    table,
                });
                (column, feature) = (end, feature + size);
            }
            column
        };
        let mut before = 0;
        for (index, table) in self.categories.iter().enumerate() {
            push(table.first, table.first - before, None);
            before = push(table.columns().end, table.size, Some(index));
        }
        push(self.input_size, self.input_size - before, None);
        parts
    }

    /// Whether the first layer reads vectors of a learnt table: of tokens, or of categories.
    pub(crate) fn has_tables(&self) -> bool {
        matches!(self.input, Input::Embedding { .. }) || !self.categories.is_empty()
    }

    /// Returns the features of inputs whose categories are embedded.
    pub(super) fn embedded_features(&self) -> usize {
        let columns: usize = self.categories.iter().map(|table| table.count).sum();
        let sizes: usize = self.categories.iter().map(|table| table.size).sum();
        self.input_size - columns + sizes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cells::Cell;
    use crate::network::{Head, Init, Layer, Loss, Reads};

    fn network(tables: &[(usize, usize, usize)]) -> Network {
        let table = |&(first, count, size): &(usize, usize, usize)| CategoryTable {
            name: format!("column{first}"),
            first,
            count,
            size,
        };
        Network {
            input_size: 9,
            input: Input::Values,
            layers: vec![Layer::new(Cell::Lstm, 2)],
            head: Head {
                size: 2,
                reads: Reads::Last,
                loss: Loss::CrossEntropy,
                init: Init::Glorot,
            },
            heads: vec![],
            categories: tables.iter().map(table).collect(),
        }
    }

    #[test]
    fn parts_cover_the_inputs_in_order() {
        let found = network(&[(2, 3, 2), (5, 2, 4)]).input_parts();
        let found = found
            .into_iter()
            .map(|part| (part.columns, part.features, part.table));
        let expected = [
            (0..2, 0..2, None),
            (2..5, 2..4, Some(0)),
            (5..7, 4..8, Some(1)),
            (7..9, 8..10, None),
        ];
        assert_eq!(found.collect::<Vec<_>>(), expected);
        assert_eq!(network(&[(2, 3, 2), (5, 2, 4)]).features(), 10);
        let whole = network(&[(0, 9, 3)]).input_parts();
        assert_eq!(whole.len(), 1);
        assert_eq!((&whole[0].features, whole[0].table), (&(0..3), Some(0)));
        assert_eq!(network(&[]).features(), 9);
    }

    #[test]
    fn the_default_size_is_the_rule_of_pytorch_forecasting() {
        // pytorch_forecasting.utils.get_embedding_size
        for (count, size) in [
            (1, 1),
            (2, 1),
            (3, 3),
            (4, 3),
            (7, 5),
            (12, 6),
            (31, 11),
            (100, 21),
            (1024, 78),
        ] {
            assert_eq!(CategoryTable::default_size(count), size, "{count}");
        }
        assert_eq!(CategoryTable::default_size(5000), 100);
    }

    #[test]
    fn tables_that_do_not_fit_the_inputs_are_refused() {
        for (tables, expected) in [
            (&[(0, 0, 1)][..], "network.categories.0.count"),
            (&[(0, 2, 0)], "network.categories.0.size"),
            (&[(0, 2, 1025)], "network.categories.0.size"),
            (&[(8, 2, 1)], "has 2 columns from column 8 on"),
            (
                &[(0, usize::MAX, 1)],
                "columns from column 0 on, and the columns 0 to 9",
            ),
            (&[(usize::MAX, 2, 1)], "network.categories.0"),
            (
                &[(2, 3, 1), (4, 2, 1)],
                "network.categories.1 (`column4`) has 2 columns from column 4 on, and the columns 5 to 9",
            ),
        ] {
            let error = network(tables).validate().expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
        let mut tokens = network(&[(0, 2, 1)]);
        tokens.input = Input::OneHot;
        let error = tokens.validate().expect_err("it reads tokens");
        assert!(
            error.to_string().contains("network.input is tokens"),
            "{error}"
        );
    }
}
