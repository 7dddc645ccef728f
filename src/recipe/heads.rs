//! Several heads of one network in a recipe, and the recipe of each of them alone.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ClassWeights, DataRecipe, HeadRecipe, Recipe};
use crate::data::csv::TableTask;
use crate::data::preparation::Preparation;
use crate::data::source::DataUse;
use crate::data::{Dataset, Split, Splits, Targets};
use crate::error::{Error, Result};
use crate::fields;
use crate::network::{Loss, NamedHead, check_names, reads_by};

/// One of several heads: a [`NamedHead`] without its size, and its targets in the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NamedHeadRecipe {
    /// The name of its outputs and metrics.
    pub name: String,
    /// Its columns of a table, or its array; none for data of the caller.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<String>,
    /// The loss to minimise.
    pub loss: Loss,
    /// The factor of its loss in the sum of the losses.
    #[serde(default = "default_weight")]
    pub weight: f32,
    /// As [`HeadRecipe::label_smoothing`].
    #[serde(default, skip_serializing_if = "fields::is_default")]
    pub label_smoothing: f32,
    /// As [`HeadRecipe::class_weights`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<ClassWeights>,
}

fn default_weight() -> f32 {
    1.0
}

impl NamedHeadRecipe {
    /// Returns a head of weight 1 for these columns or this array.
    pub fn new(name: &str, targets: &[&str], loss: Loss) -> NamedHeadRecipe {
        NamedHeadRecipe {
            name: name.into(),
            targets: targets.iter().map(|target| target.to_string()).collect(),
            loss,
            weight: default_weight(),
            label_smoothing: 0.0,
            class_weights: None,
        }
    }

    /// Returns the head with outputs for so many classes or target values.
    pub(super) fn head(&self, targets: usize) -> NamedHead {
        NamedHead {
            name: self.name.clone(),
            size: targets * self.loss.outputs_per_target(),
            loss: self.loss,
            weight: self.weight,
        }
    }
}

impl Recipe {
    /// Returns the number of heads: 1, or that of `network.heads`.
    pub fn head_count(&self) -> usize {
        self.network.heads.len().max(1)
    }

    /// Returns the recipe with head `index` of several as its only one, and the data with its
    /// targets.
    pub fn of_head(&self, index: usize) -> Recipe {
        let named = &self.network.heads[index];
        let mut recipe = self.clone();
        recipe.network.heads = vec![];
        recipe.network.head = HeadRecipe {
            loss: named.loss,
            reads: reads_by(&named.loss, self.network.head.reads),
            label_smoothing: named.label_smoothing,
            class_weights: named.class_weights.clone(),
            ..self.network.head.clone()
        };
        let lists = named.loss.takes_lists();
        let (classes, labels) = (named.loss.takes_classes(), named.loss.takes_labels());
        match &mut recipe.data {
            DataRecipe::Csv(csv) => {
                csv.targets.clone_from(&named.targets);
                csv.keeps_windows = true;
                csv.difference_columns = self.value_columns();
                // Classes and labels have no differences.
                let has_values = named.loss.takes_quantities();
                csv.residual_on_last &= has_values;
                csv.residual_on_linear &= has_values;
                csv.task = match (classes, labels) {
                    (true, _) => TableTask::Classification,
                    (_, true) => TableTask::MultiLabel,
                    _ => TableTask::Regression,
                };
            }
            DataRecipe::Npy(npy) => {
                let array = named.targets.first().cloned();
                (npy.multi_label, npy.label_lists) = (labels, lists);
                if !lists
                    && self
                        .network
                        .heads
                        .iter()
                        .any(|head| head.loss.takes_lists())
                {
                    npy.label_lengths = None;
                }
                (npy.labels, npy.targets) = if classes || lists {
                    (array, None)
                } else {
                    (None, array)
                };
            }
            _ => {}
        }
        recipe
    }

    /// Returns the columns of the heads of values, each once.
    fn value_columns(&self) -> Vec<String> {
        let heads = self.network.heads.iter();
        let heads = heads.filter(|head| head.loss.takes_quantities());
        let mut columns: Vec<String> = vec![];
        for column in heads.flat_map(|head| &head.targets) {
            if !columns.contains(column) {
                columns.push(column.clone());
            }
        }
        columns
    }

    /// Reads or generates the splits, with the targets of every head. Values are prepared as in
    /// `known`, the preparation of a model; otherwise as the training split determines.
    ///
    /// # Errors
    /// Those of [`DataSource::load`](crate::data::DataSource::load).
    pub fn load_splits(&self, known: Option<&Preparation>) -> Result<Splits> {
        if self.network.heads.is_empty() {
            return self.data.source().load(self.seed, known);
        }
        let load = |index: usize| {
            let own = known.map(|known| known.of_head(index));
            let recipe = self.of_head(index);
            recipe.data.source().load(self.seed, own.as_ref())
        };
        let splits = (0..self.head_count()).map(load).collect::<Result<_>>()?;
        self.joined(splits)
    }

    /// Reads one split, as [`Recipe::load_splits`].
    ///
    /// # Errors
    /// Those of [`Recipe::load_splits`]; [`Error::Data`] if there is no such split.
    pub fn load_split(&self, split: Split, known: Option<&Preparation>) -> Result<Arc<Dataset>> {
        if self.network.heads.is_empty() {
            return self.data.source().load_split(split, self.seed, known);
        }
        self.load_splits(known)?.take(split)
    }

    /// Returns the splits of several heads as one, with the targets of all of them.
    fn joined(&self, splits: Vec<Splits>) -> Result<Splits> {
        let datasets = |of: fn(&Splits) -> Option<&Arc<Dataset>>| {
            let own: Vec<&Arc<Dataset>> = splits.iter().filter_map(of).collect();
            self.joined_split(&own)
        };
        let preparations = splits.iter().map(|each| each.preparation.clone());
        let preparation = Preparation::of_heads(preparations.collect());
        let mut notes: Vec<String> = vec![];
        for (head, each) in self.network.heads.iter().zip(&splits) {
            for note in &each.notes {
                let own = format!("head {}: {note}", head.name);
                let is_shared = splits.iter().all(|other| other.notes.contains(note));
                let note = if is_shared { note.clone() } else { own };
                if !notes.contains(&note) {
                    notes.push(note);
                }
            }
        }
        Ok(Splits {
            train: datasets(|each| Some(&each.train))?
                .ok_or_else(|| Error::data("the data have no training split"))?,
            validation: datasets(|each| each.validation.as_ref())?,
            test: datasets(|each| each.test.as_ref())?,
            preparation,
            notes,
        })
    }

    /// Returns the data sets of one split of all heads as one; `None` where there is no such split.
    fn joined_split(&self, own: &[&Arc<Dataset>]) -> Result<Option<Arc<Dataset>>> {
        if own.is_empty() {
            return Ok(None);
        }
        let own: Vec<&Dataset> = own.iter().map(|data| &***data).collect();
        Ok(Some(self.joined_datasets(&own)?.into()))
    }

    /// Returns the data sets of the heads, one for each, as one with all of their targets.
    ///
    /// # Errors
    /// [`Error::Data`] where their sequences differ.
    pub(crate) fn joined_datasets(&self, own: &[&Dataset]) -> Result<Dataset> {
        let is_same = |data: &&Dataset| data.has_inputs_of(own[0]);
        if own.len() < self.head_count() || !own.iter().all(is_same) {
            return Err(Error::data(
                "the targets of the heads leave different sequences in the splits; name targets of \
                 the same rows, or train a model for each head",
            ));
        }
        let targets = own.iter().map(|data| data.targets.clone());
        Ok(Dataset {
            targets: Targets::Heads(targets.collect()),
            ..own[0].clone()
        })
    }

    /// Checks the heads, and that the data have targets of that kind for each of them.
    pub(super) fn validate_heads(&self) -> Result<()> {
        let heads = &self.network.heads;
        check_names(heads.iter().map(|head| &head.name[..]))?;
        self.validate_head_options()?;
        let mut outputs = vec![];
        for (index, head) in heads.iter().enumerate() {
            self.validate_head_targets(index, head)?;
            let recipe = self.of_head(index);
            let path = format!("network.heads.{index}");
            recipe.network.head.validate_training(&path)?;
            let data = recipe.data.source();
            let usage = DataUse {
                input: self.network.input,
                loss: head.loss,
                reads: recipe.network.head.reads,
                batch_size: self.batch_size,
                bptt_steps: self.bptt_steps,
            };
            data.validate(&usage).map_err(|error| match error {
                Error::Usage(problem) => Error::Usage(format!("head `{}`: {problem}", head.name)),
                other => other,
            })?;
            outputs.push(data.outputs());
        }
        self.network.validate_several(&outputs)
    }

    /// Refuses what is not defined for several heads.
    fn validate_head_options(&self) -> Result<()> {
        let head = &self.network.head;
        let mut set = vec![
            (head.loss != Loss::Heads, "network.head.loss"),
            (head.label_smoothing > 0.0, "network.head.label_smoothing"),
            (head.class_weights.is_some(), "network.head.class_weights"),
        ];
        match &self.data {
            DataRecipe::Csv(csv) => set.extend([
                (!csv.targets.is_empty(), "data.targets"),
                (csv.task != TableTask::default(), "data.task"),
                (
                    csv.split_by == crate::data::SplitBy::Class,
                    "data.split_by = \"class\"",
                ),
            ]),
            DataRecipe::Npy(npy) => set.extend([
                (npy.labels.is_some(), "data.labels"),
                (npy.targets.is_some(), "data.targets"),
                (npy.multi_label, "data.multi_label"),
                (npy.label_lists, "data.label_lists"),
                (npy.classes.is_some(), "data.classes"),
                (
                    npy.split_by == crate::data::SplitBy::Class,
                    "data.split_by = \"class\"",
                ),
            ]),
            DataRecipe::Arrays(_) => {}
            _ => {
                return Err(Error::usage(
                    "there are [[network.heads]], and data of this kind have one target; data of \
                     the kinds csv and npy, and data sets of a program, have several",
                ));
            }
        }
        if let DataRecipe::Csv(csv) = &self.data
            && (csv.residual_on_last || csv.residual_on_linear)
            && self.value_columns().is_empty()
        {
            return Err(Error::usage(
                "data.residual_on_last or data.residual_on_linear is set, and no head predicts \
                 values; leave it out",
            ));
        }
        match set.into_iter().find(|(is_set, _)| *is_set) {
            Some((_, field)) => Err(Error::usage(format!(
                "{field} is set, and there are [[network.heads]], each with a loss and targets of \
                 its own; leave out {field}"
            ))),
            None => Ok(()),
        }
    }

    fn validate_head_targets(&self, index: usize, head: &NamedHeadRecipe) -> Result<()> {
        if head.loss.takes_lists() && matches!(self.data, DataRecipe::Csv(_)) {
            return Err(Error::usage(format!(
                "network.heads.{index}.loss (head `{}`) is \"ctc\", and a table has no lists of \
                 labels; use data of kind npy",
                head.name
            )));
        }
        let (allowed, must) = match self.data {
            DataRecipe::Csv(_) => (!head.targets.is_empty(), "name at least one column"),
            DataRecipe::Npy(_) => (head.targets.len() == 1, "name one array"),
            _ => (
                head.targets.is_empty(),
                "be left out, since the program gives the targets",
            ),
        };
        if allowed {
            return Ok(());
        }
        Err(Error::usage(format!(
            "network.heads.{index}.targets (head `{}`) has {} names; it must {must}",
            head.name,
            head.targets.len()
        )))
    }
}
