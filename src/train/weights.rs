//! The weights of the targets of a training split.

use crate::data::{Dataset, Splits, class_counts};
use crate::error::{Error, Result};
use crate::kernels::IGNORE;
use crate::messages::{excerpt, listed};
use crate::recipe::{ClassWeights, Recipe};

/// The most classes that a message lists.
const MOST_LISTED: usize = 20;

/// The weights of the targets of a training split, by which its losses and gradients are
/// multiplied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct TargetWeights {
    /// `[K]`: the weight of each class; empty if they have none.
    classes: Vec<f32>,
}

impl TargetWeights {
    /// Returns the weights of the training split; `None` if all are 1.
    ///
    /// # Errors
    /// [`Error::Usage`] for the weight of a class that the data do not have; [`Error::Data`] if no
    /// target has a weight above 0.
    pub(crate) fn of(recipe: &Recipe, data: &Splits) -> Result<Option<TargetWeights>> {
        let train = &data.train;
        let classes = match &recipe.network.head.class_weights {
            None => vec![],
            Some(ClassWeights::Balanced) => balanced(train),
            Some(ClassWeights::Given(given)) => {
                let count = train.targets.outputs();
                let names = (0..count).map(|class| data.preparation.class(class));
                let names: Vec<String> = names.collect();
                if let Some(name) = given.keys().find(|name| !names.contains(name)) {
                    return Err(unknown_class(name, &names));
                }
                let weight = |name| given.get(name).copied().unwrap_or(1.0);
                names.iter().map(weight).collect()
            }
        };
        if classes.is_empty() && train.weights.is_none() {
            return Ok(None);
        }
        let weights = TargetWeights { classes };
        if !weights.of_targets(train).iter().any(|&weight| weight > 0.0) {
            return Err(Error::data(
                "every target of the training split has the weight 0, so there is nothing to \
                 learn; give some a weight above 0",
            ));
        }
        Ok(Some(weights))
    }

    /// Returns the weight of each target of `data`, `[N]`, or `[N, T]` for targets at every step: 0
    /// where there is none.
    pub(crate) fn of_targets(&self, data: &Dataset) -> Vec<f32> {
        let labels = data.labels();
        let own = data.weights.as_ref();
        let weight = |(at, &label): (usize, &u32)| {
            if label == IGNORE {
                return 0.0;
            }
            let of_class = self.classes.get(label as usize).copied().unwrap_or(1.0);
            of_class * own.map_or(1.0, |weights| weights[at])
        };
        labels.iter().enumerate().map(weight).collect()
    }
}

/// `N / (classes * N_c)` for each class that occurs; 1 for the others.
fn balanced(train: &Dataset) -> Vec<f32> {
    let counts = class_counts(train).unwrap_or_default();
    let all: u64 = counts.iter().sum();
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&count: &u64| match count {
        0 => 1.0,
        count => (all as f64 / (present as f64 * count as f64)) as f32,
    };
    counts.iter().map(weight).collect()
}

fn unknown_class(name: &str, names: &[String]) -> Error {
    let shown: Vec<String> = names
        .iter()
        .take(MOST_LISTED)
        .map(|name| excerpt(name))
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    Error::usage(format!(
        "network.head.class_weights has a weight for `{}`, which is no class of the data; the \
         classes are {}{}",
        excerpt(name),
        listed(&shown),
        if names.len() > MOST_LISTED {
            ", ..."
        } else {
            ""
        }
    ))
}
