//! Cases of a recipe's own network.

use super::ValueKind;
use super::scene::NetworkCase;
use crate::data::{Dataset, Split};
use crate::error::{Error, Result};
use crate::recipe::{DataRecipe, Recipe};
use crate::record::Gradients;
use crate::verify::{Case, CompareAfter};

/// MNIST's sizes.
const IDX_SIZES: Sizes = Sizes {
    steps: 28,
    inputs: 28,
    outputs: 10,
};

/// A chunk of 50 characters, and the number of different characters in an English text.
const TEXT_SIZES: Sizes = Sizes {
    steps: 50,
    inputs: 66,
    outputs: 66,
};

/// The sizes of a network that follow from its data.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    /// T.
    steps: usize,
    /// I.
    inputs: usize,
    /// K.
    outputs: usize,
}

/// Returns cases of a recipe's network at its own T, B and H. The values are ordinary in one case
/// and saturated in the other; the recipe's data are read only for their sizes.
///
/// # Errors
/// Those of [`Recipe::validate`] and [`Recipe::network`]; [`Error::Usage`] for data whose sizes are
/// not known.
pub fn recipe_cases(recipe: &Recipe) -> Result<Vec<Case>> {
    recipe.validate()?;
    let Sizes {
        steps,
        inputs,
        outputs,
    } = Sizes::of(recipe)?;
    let case = |values| -> Result<Case> {
        let case = NetworkCase {
            network: recipe.network(inputs, outputs)?,
            steps: recipe.bptt_steps.unwrap_or(steps).min(steps),
            batch: recipe.batch_size,
            gradients: Gradients::OfLoss,
            optimizer: recipe.optimizer.clone(),
            clip: recipe.clip(),
            route: None,
            // Bounds grow with every step; short chunks keep them close to the real errors.
            chunk_steps: 4,
            values,
            compare_after: CompareAfter::EachCall,
            name: recipe.name.clone(),
        };
        Ok(case.into_case())
    };
    Ok(vec![
        case(ValueKind::Ordinary)?,
        case(ValueKind::Saturated)?,
    ])
}

impl Sizes {
    /// Reads the sizes from the recipe's data. Images and texts that are missing have default
    /// sizes.
    fn of(recipe: &Recipe) -> Result<Sizes> {
        let data = &recipe.data;
        match data {
            DataRecipe::Series { steps, .. } => Ok(Sizes {
                steps: *steps,
                inputs: 1,
                outputs: 1,
            }),
            DataRecipe::Idx { classes, .. } => {
                let outputs = *classes;
                let loaded = data.load_split(Split::Test, recipe.seed);
                Ok(loaded.map_or(
                    Sizes {
                        outputs,
                        ..IDX_SIZES
                    },
                    |data| Sizes::of_dataset(&data, outputs),
                ))
            }
            DataRecipe::Text(_) => {
                let loaded = data.load(recipe.seed);
                Ok(loaded.map_or(TEXT_SIZES, |data| {
                    Sizes::of_dataset(&data.train, data.train.input_size())
                }))
            }
            DataRecipe::Csv(_) | DataRecipe::Npy(_) => {
                let data = data.load(recipe.seed)?.train;
                Ok(Sizes::of_dataset(&data, data.targets.outputs()))
            }
            DataRecipe::Arrays {} => Err(Error::usage(
                "the recipe's data are arrays of a program that uses the library, so their sizes \
                 are not known; verify needs a recipe whose data are files or a series",
            )),
        }
    }

    fn of_dataset(data: &Dataset, outputs: usize) -> Sizes {
        Sizes {
            steps: data.steps,
            inputs: data.input_size(),
            outputs,
        }
    }
}
