//! Sizes, updates and regularization of a proposed recipe, by the size of its data.
//!
//! They were chosen on validation splits and on tables that are not in the documentation's table of
//! public tables.

use crate::data::Splits;
use crate::network::Dropout;
use crate::recipe::Recipe;
use crate::recipe::optimizer::Optimizer;

/// Updates after which a loss on the validation split that does not fall ends the training.
const PATIENT_UPDATES: usize = 300;
/// The fewest epochs of that.
const LEAST_PATIENCE: usize = 8;
/// Learning rate and weight decay of a network that predicts what a linear regression leaves.
const LINEAR_LEARNING_RATE: f32 = 0.001;
const LINEAR_WEIGHT_DECAY: f64 = 1.0;
/// Sequences that need no dropout.
const MANY: usize = 2000;

/// What a training run may take.
struct Budget {
    batch_size: usize,
    hidden_size: usize,
    updates: usize,
    learning_rate: f32,
}

impl Budget {
    /// Returns the budget for so many training sequences.
    fn of(count: usize) -> Budget {
        let (batch_size, hidden_size, updates, learning_rate) = match count {
            ..MANY => (16, 32, 2000, 0.005),
            MANY..20_000 => (64, 64, 4000, 0.003),
            _ => (128, 128, 4000, 0.003),
        };
        Budget {
            batch_size,
            hidden_size,
            updates,
            learning_rate,
        }
    }
}

/// Sets batch size, units, learning rate and epochs for these data; with a validation split, early
/// stopping too, and dropout for few sequences without a season.
pub(super) fn set(recipe: &mut Recipe, splits: &Splits) {
    let count = splits.train.count;
    let is_linear = !splits.preparation.linear.is_empty();
    let is_seasonal = splits.preparation.differences.len() > splits.train.targets.outputs();
    let budget = Budget::of(count);
    recipe.batch_size = budget.batch_size;
    recipe.network.set_hidden_size(budget.hidden_size);
    recipe.optimizer = if is_linear {
        linear_optimizer()
    } else {
        Optimizer::adam(budget.learning_rate)
    };
    let updates = count.div_ceil(budget.batch_size).max(1);
    recipe.epochs = budget.updates.div_ceil(updates).max(3);
    if splits.validation.is_none() {
        return;
    }
    recipe.keep_best = true;
    recipe.patience = Some(PATIENT_UPDATES.div_ceil(updates).max(LEAST_PATIENCE));
    let is_forecast = recipe.data.source().forecast().is_some();
    if count >= MANY || is_seasonal || is_linear || !is_forecast {
        return;
    }
    for layer in &mut recipe.network.layers {
        layer.dropout = Dropout {
            input_keep_prob: 0.9,
            output_keep_prob: 0.8,
            ..Dropout::default()
        };
    }
}

fn linear_optimizer() -> Optimizer {
    let mut optimizer = Optimizer::adamw(LINEAR_LEARNING_RATE);
    if let Optimizer::AdamW { weight_decay, .. } = &mut optimizer {
        *weight_decay = LINEAR_WEIGHT_DECAY;
    }
    optimizer
}
