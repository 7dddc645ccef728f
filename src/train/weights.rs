//! The weights of the targets of a training split.

use crate::data::preparation::Preparation;
use crate::data::{Dataset, Splits, Targets, class_counts};
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
    /// Returns the weights of the training split for each head; `None` if all are 1.
    ///
    /// # Errors
    /// [`Error::Usage`] for the weight of a class that the data do not have; [`Error::Data`] if no
    /// target of a head has a weight above 0.
    pub(crate) fn of_heads(recipe: &Recipe, data: &Splits) -> Result<Vec<Option<TargetWeights>>> {
        let network = &recipe.network;
        if network.heads.is_empty() {
            let head = TargetsOfHead {
                field: "network.head".into(),
                data: &data.train,
                targets: &data.train.targets,
                preparation: &data.preparation,
            };
            return Ok(vec![head.weights(network.head.class_weights.as_ref())?]);
        }
        let heads = network.heads.iter().zip(data.train.targets.each_head());
        let weights = heads.enumerate().map(|(index, (named, targets))| {
            let head = TargetsOfHead {
                field: format!("network.heads.{index} (head `{}`)", named.name),
                data: &data.train,
                targets,
                preparation: &data.preparation.of_head(index),
            };
            head.weights(named.class_weights.as_ref())
        });
        weights.collect()
    }

    /// Returns the weight of each of `targets`, which are those of a head in `data`, `[N]`, or
    /// `[N, T]` for targets at every step: 0 where there is none.
    pub(crate) fn of_targets(&self, data: &Dataset, targets: &Targets) -> Vec<f32> {
        let labels = data.labels_of(targets);
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

/// The targets of a head in the training split.
struct TargetsOfHead<'a> {
    /// The head's path in the recipe.
    field: String,
    data: &'a Dataset,
    targets: &'a Targets,
    preparation: &'a Preparation,
}

impl TargetsOfHead<'_> {
    fn weights(&self, classes: Option<&ClassWeights>) -> Result<Option<TargetWeights>> {
        let classes = match classes {
            None => vec![],
            Some(ClassWeights::Balanced) => balanced(self.data, self.targets),
            Some(ClassWeights::Given(given)) => {
                let count = self.targets.outputs();
                let names = (0..count).map(|class| self.preparation.class(class));
                let names: Vec<String> = names.collect();
                if let Some(name) = given.keys().find(|name| !names.contains(name)) {
                    return Err(unknown_class(&self.field, name, &names));
                }
                let weight = |name| given.get(name).copied().unwrap_or(1.0);
                names.iter().map(weight).collect()
            }
        };
        if classes.is_empty() && self.data.weights.is_none() {
            return Ok(None);
        }
        let weights = TargetWeights { classes };
        let of_targets = weights.of_targets(self.data, self.targets);
        if !of_targets.iter().any(|&weight| weight > 0.0) {
            return Err(Error::data(format!(
                "every target of {} has the weight 0 in the training split, so there is nothing \
                 to learn; give some a weight above 0",
                self.field
            )));
        }
        Ok(Some(weights))
    }
}

/// `N / (classes * N_c)` for each class that occurs; 1 for the others.
fn balanced(train: &Dataset, targets: &Targets) -> Vec<f32> {
    let counts = class_counts(train, targets).unwrap_or_default();
    let all: u64 = counts.iter().sum();
    let present = counts.iter().filter(|&&count| count > 0).count();
    let weight = |&count: &u64| match count {
        0 => 1.0,
        count => (all as f64 / (present as f64 * count as f64)) as f32,
    };
    counts.iter().map(weight).collect()
}

fn unknown_class(field: &str, name: &str, names: &[String]) -> Error {
    let shown: Vec<String> = names
        .iter()
        .take(MOST_LISTED)
        .map(|name| excerpt(name))
        .collect();
    let shown: Vec<&str> = shown.iter().map(String::as_str).collect();
    Error::usage(format!(
        "{field}.class_weights has a weight for `{}`, which is no class of the data; the classes \
         are {}{}",
        excerpt(name),
        listed(&shown),
        if names.len() > MOST_LISTED {
            ", ..."
        } else {
            ""
        }
    ))
}
