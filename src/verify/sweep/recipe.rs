//! Cases of a recipe's own network.

use super::ValueKind;
use super::plan::{Plan, Rounding};
use super::scene::{Lengths, NetworkCase};
use crate::error::Result;
use crate::recipe::Recipe;
use crate::record::Gradients;
use crate::verify::{Case, CompareAfter};

/// Returns cases of a recipe's network at its own T, B and H. The values are ordinary in one case
/// and saturated in the other; the recipe's data are read only for their sizes.
///
/// # Errors
/// Those of [`Recipe::validate`] and [`Recipe::network`]; those of reading data whose sizes the
/// recipe does not say.
pub fn recipe_cases(recipe: &Recipe) -> Result<Vec<Case>> {
    recipe.validate()?;
    let needs_data = !recipe.network.heads.is_empty() || recipe.embeds_categories();
    let (steps, network) = if !needs_data {
        let sizes = recipe.data.source().sizes(recipe.seed)?;
        (sizes.steps, recipe.network(sizes.inputs, sizes.outputs)?)
    } else {
        let splits = recipe.load_splits(None)?;
        let network = recipe.network_for(&splits.train, &splits.preparation)?;
        (splits.train.steps, network)
    };
    let case = |values| -> Result<Case> {
        let case = NetworkCase {
            network: network.clone(),
            steps: recipe.bptt_steps.unwrap_or(steps).min(steps),
            batch: recipe.batch_size,
            gradients: Gradients::OfLoss,
            optimizer: recipe.optimizer.clone(),
            clip: recipe.clip(),
            plan: Plan {
                // Bounds grow with every step; short chunks keep them close to the real errors.
                chunk_steps: 4,
                rounding: Rounding::OfRecipe(recipe.precision),
                ..Plan::OF_DEVICE
            },
            values,
            lengths: Lengths::Mixed,
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
