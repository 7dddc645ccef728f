//! The validation split of a proposal. It decides early stopping and the best epoch, so that the
//! test split decides nothing.

use super::DataFinding;
use crate::data::{Dataset, Splits, Targets};
use crate::kernels::IGNORE;
use crate::recipe::{DataRecipe, Recipe};

/// The part of the training split that is the validation split; of many sequences, a smaller one.
const PART: f64 = 0.2;
const PART_OF_MANY: f64 = 0.1;
const MANY: usize = 20_000;
/// The fewest sequences by which epochs are compared.
const FEWEST: usize = 20;

/// Sets a validation split where the data have none and are enough for one. Returns the splits of
/// the recipe.
pub(super) fn choose(
    recipe: &mut Recipe,
    splits: Splits,
    findings: &mut Vec<DataFinding>,
) -> Splits {
    if splits.validation.is_some() {
        return splits;
    }
    let mut data = recipe.data.clone();
    let Some(field) = validation_fraction(&mut data) else {
        return splits;
    };
    *field = if splits.train.count < MANY {
        PART
    } else {
        PART_OF_MANY
    };
    if let Ok(divided) = data.load(recipe.seed)
        && is_enough(&splits, &divided)
    {
        recipe.data = data;
        return divided;
    }
    findings.push(DataFinding::new(format!(
        "there is no validation split: one of the {} training sequences would have fewer than \
         {FEWEST}, or would take a whole class; all epochs are trained and the last one is kept",
        splits.train.count
    )));
    splits
}

/// The field of these data that says which part is the validation split.
fn validation_fraction(data: &mut DataRecipe) -> Option<&mut f64> {
    match data {
        DataRecipe::Csv(csv) => Some(&mut csv.validation_fraction),
        DataRecipe::Npy(npy) => Some(&mut npy.validation_fraction),
        DataRecipe::Idx(idx) => Some(&mut idx.validation_fraction),
        DataRecipe::Series(series) => Some(&mut series.validation_fraction),
        DataRecipe::Text(text) => Some(&mut text.validation_fraction),
        DataRecipe::Arrays(_) => None,
    }
}

/// Whether the validation split has enough sequences, and the training split still all its classes.
fn is_enough(before: &Splits, divided: &Splits) -> bool {
    let validation = divided.validation.as_deref();
    let classes = |data: &Dataset| match &data.targets {
        Targets::Classes { classes, .. } => {
            let mut present = vec![false; *classes];
            let labels = data.labels().into_iter().filter(|&label| label != IGNORE);
            labels.for_each(|label| present[label as usize] = true);
            present
        }
        Targets::Values { .. } | Targets::Lists { .. } | Targets::Heads(_) => vec![],
    };
    validation.is_some_and(|data| data.count >= FEWEST)
        && classes(&before.train) == classes(&divided.train)
}
