//! Fine-tuning: a run that begins with the parameters of a model.

use std::collections::HashMap;

use crate::data::Splits;
use crate::data::preparation::{Normal, Preparation};
use crate::error::{Error, Result};
use crate::messages::{counted, excerpt, named};
use crate::model::Model;
use crate::network::{Entry, Init, Layer, Loss, Network, ParameterRole};
use crate::recipe::Recipe;

/// How a run begins with a model, in sentences for its user.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FineTuning {
    /// What comes from the model, and what is new.
    pub notes: Vec<String>,
}

/// The parameters that a run begins with, and what is to be said of them.
pub(crate) struct StartParameters {
    /// `[P]`, in the layout of [`Network::table`].
    pub(crate) flat: Vec<f32>,
    pub(crate) tuning: FineTuning,
}

impl FineTuning {
    /// Loads the data of a recipe that is to begin with `model`. Inputs are prepared as the model's
    /// were: with its means and deviations or its vocabulary, as its layers have learnt them.
    /// Targets are too where they are the model's, and otherwise as the new training split
    /// determines.
    ///
    /// # Errors
    /// Those of data that cannot be read; [`Error::Usage`] for input columns of other names than
    /// the model's.
    pub fn load_data(recipe: &Recipe, model: &Model) -> Result<(Splits, FineTuning)> {
        check_inputs(recipe, model)?;
        let own = recipe.load_splits(None)?;
        let (known, note) = merged(recipe, model, &own.preparation);
        let notes = note.into_iter().map(Into::into).collect();
        let tuning = FineTuning { notes };
        if known == own.preparation {
            return Ok((own, tuning));
        }
        Ok((recipe.load_splits(Some(&known))?, tuning))
    }

    /// Loads the data of a recipe, prepared as those of a run that is resumed.
    ///
    /// # Errors
    /// Those of data that cannot be read.
    pub fn load_resumed(recipe: &Recipe, known: Option<&Preparation>) -> Result<Splits> {
        let own = recipe.load_splits(None)?;
        match known {
            // A run that began with a model has the model's means, deviations or vocabulary.
            Some(known) if *known != own.preparation => recipe.load_splits(Some(known)).or(Ok(own)),
            _ => Ok(own),
        }
    }
}

/// Refuses input columns of other names than the model's: each weight belongs to a column.
fn check_inputs(recipe: &Recipe, model: &Model) -> Result<()> {
    let categories = |recipe: &Recipe| recipe.data.source().category_names().to_vec();
    let (new, old) = (categories(recipe), categories(&model.recipe));
    if new != old {
        return Err(Error::usage(format!(
            "data.categories of the recipe {}, and of the model {}; the layers have learnt the \
             model's columns of categories in their order: name the same columns",
            names_or_nothing(&new),
            names_or_nothing(&old)
        )));
    }
    let names = |recipe: &Recipe| recipe.data.source().line_format().inputs.to_vec();
    let (new, old) = (names(recipe), names(&model.recipe));
    if new.is_empty() || old.is_empty() || new == old {
        return Ok(());
    }
    let at = (0..).find(|&at| new.get(at) != old.get(at)).unwrap_or(0);
    let name = |names: &[String]| names.get(at).map_or("no more".into(), |name| excerpt(name));
    Err(Error::usage(format!(
        "input {at} of the recipe is {}, and of the model it is {}; the layers have learnt the \
         model's inputs in their order: name the same columns in data.inputs",
        name(&new),
        name(&old)
    )))
}

fn names_or_nothing(names: &[String]) -> String {
    if names.is_empty() {
        "names no column".into()
    } else {
        format!("names {}", named(names))
    }
}

/// The model's preparation for inputs whose categories are those of the new data: rows of a table
/// are found by the names of the categories.
fn with_new_categories(recipe: &Recipe, model: &Model, own: &Preparation) -> Preparation {
    let mut old = model.preparation.clone();
    let count = |preparation: &Preparation| preparation.categories.iter().map(Vec::len).sum();
    let (before, now): (usize, usize) = (count(&old), count(own));
    let has_tables = !model.network.categories.is_empty() && recipe.embeds_categories();
    // A regression on the inputs has weights for the model's categories alone.
    if !has_tables || !old.linear.is_empty() || old.known_ahead < before {
        return old;
    }
    old.known_ahead = old.known_ahead - before + now;
    if !old.inputs.is_empty() {
        let kept = old.inputs.len().saturating_sub(before);
        old.inputs.truncate(kept);
        old.inputs.resize(kept + now, Normal::IDENTITY);
    }
    if !old.means.is_empty() {
        let kept = old.means.len().saturating_sub(before);
        old.means.truncate(kept);
        old.means.resize(kept + now, Normal::IDENTITY.mean);
    }
    old.categories.clone_from(&own.categories);
    old
}

/// The preparation of the new data, and what is to be said of it.
fn merged(
    recipe: &Recipe,
    model: &Model,
    own: &Preparation,
) -> (Preparation, Option<&'static str>) {
    let old = &with_new_categories(recipe, model, own);
    let counts = |preparation: &Preparation| {
        let Preparation {
            inputs,
            means,
            differences,
            categories,
            known_ahead,
            vocabulary,
            ..
        } = preparation;
        let sizes = [
            inputs.len(),
            means.len(),
            differences.len(),
            categories.len(),
            *known_ahead,
        ];
        (sizes, vocabulary.as_ref().map(|words| words.unit))
    };
    if counts(old) != counts(own) {
        return (
            own.clone(),
            Some("inputs are prepared as the new data determine, since the model's were not"),
        );
    }
    let mut known = own.clone();
    known.inputs.clone_from(&old.inputs);
    known.means.clone_from(&old.means);
    known.differences.clone_from(&old.differences);
    known.categories.clone_from(&old.categories);
    known.vocabulary.clone_from(&old.vocabulary);
    let is_head = has_same_targets(recipe, own, model);
    let has_linear = |of: &Preparation| {
        let heads = of.heads.iter().map(|head| &head.linear);
        heads.chain([&of.linear]).any(|weights| !weights.is_empty())
    };
    let is_fitted = has_linear(own) || has_linear(old);
    if is_head {
        known.targets.clone_from(&old.targets);
        known.residuals.clone_from(&old.residuals);
        known.linear.clone_from(&old.linear);
        known.heads.clone_from(&old.heads);
    } else if is_fitted {
        return (
            own.clone(),
            Some(
                "inputs are prepared as the new data determine, as a linear regression on them is \
                 part of the targets",
            ),
        );
    }
    let note = match (&old.vocabulary, old.inputs.is_empty()) {
        (Some(_), _) => Some("the vocabulary is the model's"),
        (None, true) => None,
        (None, false) if is_head && !old.targets.is_empty() => {
            Some("inputs and targets are normalized by the model's means and deviations")
        }
        (None, false) => Some("inputs are normalized by the model's means and deviations"),
    };
    (known, note)
}

/// Whether the head of the recipe predicts what that of the model does.
fn has_same_targets(recipe: &Recipe, preparation: &Preparation, model: &Model) -> bool {
    let (new, old) = (&recipe.network.head, &model.network.head);
    let names = |recipe: &Recipe| recipe.data.source().target_names().to_vec();
    let heads = |recipe: &Recipe| -> Vec<(String, Vec<String>, Loss)> {
        let heads = recipe.network.heads.iter();
        heads
            .map(|head| (head.name.clone(), head.targets.clone(), head.loss))
            .collect()
    };
    let classes = |of: &Preparation| -> Vec<Vec<String>> {
        of.heads.iter().map(|head| head.classes.clone()).collect()
    };
    (new.loss, new.reads) == (old.loss, old.reads)
        && heads(recipe) == heads(&model.recipe)
        && classes(preparation) == classes(&model.preparation)
        && preparation.classes == model.preparation.classes
        && names(recipe) == names(&model.recipe)
}

impl StartParameters {
    /// Returns `initial` with the model's parameters in their places: those of embedding and
    /// recurrent layers, and those of the head where it has the model's shape and targets.
    ///
    /// # Errors
    /// [`Error::Usage`] where embedding or recurrent layers differ, with the tensor that does.
    pub(crate) fn new(
        network: &Network,
        recipe: &Recipe,
        preparation: &Preparation,
        model: &Model,
        initial: Vec<f32>,
    ) -> Result<StartParameters> {
        check_input_kinds(network, &model.network)?;
        check_tables(network, &model.network)?;
        check_tensors(network, &model.network)?;
        check_layers(network, &model.network)?;
        let (entries, old_entries) = (network.table().0, model.network.table().0);
        let values = model.network.from_parameters(&model.parameters)?;
        let head_shapes = |entries: &[Entry]| {
            let heads = entries.iter().filter(|entry| is_of_head(entry));
            heads.map(|entry| entry.shape).collect::<Vec<_>>()
        };
        let has_shape = head_shapes(&entries) == head_shapes(&old_entries);
        let keeps_head = has_shape && has_same_targets(recipe, preparation, model);
        let mut flat = initial;
        for entry in entries
            .iter()
            .filter(|entry| keeps_head || !is_of_head(entry))
            .filter(|entry| !is_of_categories(entry))
        {
            let mut old = old_entries.iter();
            if let Some(old) = old.find(|old| old.name == entry.name) {
                flat[entry.range()].copy_from_slice(&values[old.range()]);
            }
        }
        let layers = counted(network.layers.len(), "layer");
        let head = if keeps_head {
            "its head too".to_string()
        } else if has_shape {
            "a new head, as its targets are not the model's".to_string()
        } else {
            format!(
                "a new head of {}, where the model has {}",
                counted(network.head.size, "output"),
                model.network.head.size
            )
        };
        let mut notes = vec![format!("{layers} of the model, {head}")];
        let new = CategoryRows::of(network, preparation);
        let old = CategoryRows::of(&model.network, &model.preparation);
        for (new, old) in new.iter().zip(&old) {
            notes.push(new.copy(&mut flat, old, &values));
        }
        Ok(StartParameters {
            flat,
            tuning: FineTuning { notes },
        })
    }
}

/// The rows of a column's table, by the names of the categories.
struct CategoryRows<'a> {
    column: &'a str,
    entry: Entry,
    names: &'a [String],
}

impl CategoryRows<'_> {
    /// Returns those of every table.
    fn of<'a>(network: &'a Network, preparation: &'a Preparation) -> Vec<CategoryRows<'a>> {
        let columns = preparation.category_columns(network.input_size);
        let columns = columns.unwrap_or_default();
        let entries = network.table().0.into_iter().filter(is_of_categories);
        let tables = network.categories.iter().zip(entries);
        let rows = tables.map(|(table, entry)| {
            let at = columns.iter().position(|own| *own == table.columns());
            CategoryRows {
                column: &table.name,
                entry,
                names: at.map_or(&[], |at| &preparation.categories[at][..]),
            }
        });
        rows.collect()
    }

    /// Copies the rows of categories that `old` has too. Returns a sentence on the others.
    fn copy(&self, flat: &mut [f32], old: &CategoryRows, values: &[f32]) -> String {
        let size = self.entry.shape.extents()[1];
        let (own, values) = (&mut flat[self.entry.range()], &values[old.entry.range()]);
        let rows: HashMap<&String, &[f32]> = old.names.iter().zip(values.chunks(size)).collect();
        let mut unknown = vec![];
        for (name, vector) in self.names.iter().zip(own.chunks_mut(size)) {
            match rows.get(name) {
                Some(row) => vector.copy_from_slice(row),
                None => unknown.push(name.clone()),
            }
        }
        let known = self.names.len() - unknown.len();
        let known = format!(
            "{known} of the {} categories of `{}` have the model's vectors",
            self.names.len(),
            excerpt(self.column)
        );
        if unknown.is_empty() {
            return known;
        }
        format!("{known}; those of the others are new: {}", named(&unknown))
    }
}

fn is_of_categories(entry: &Entry) -> bool {
    matches!(entry.role, ParameterRole::CategoryTable(_))
}

/// Refuses tables of other columns or sizes than the model's.
fn check_tables(network: &Network, old: &Network) -> Result<()> {
    let sizes = |network: &Network| -> Vec<String> {
        let tables = network.categories.iter();
        let sizes = tables.map(|table| format!("{} {}", table.name, table.size));
        sizes.collect()
    };
    let (new, old) = (sizes(network), sizes(old));
    if new == old {
        return Ok(());
    }
    let named_or_none = |sizes: &[String]| match sizes {
        [] => "has no vectors".to_string(),
        sizes => format!("has vectors of these sizes: {}", named(sizes)),
    };
    Err(Error::usage(format!(
        "for its categories the network of the recipe {}, and the model's {}; set \
         network.category_encoding and network.category_sizes as the model has them",
        named_or_none(&new),
        named_or_none(&old)
    )))
}

fn is_of_head(entry: &Entry) -> bool {
    entry.direction.is_none() && !entry.role.is_table()
}

fn check_input_kinds(network: &Network, old: &Network) -> Result<()> {
    let kind = |network: &Network| match network.input {
        crate::network::Input::Values => "values",
        crate::network::Input::OneHot => "one-hot tokens",
        crate::network::Input::Embedding { .. } => "embedded tokens",
    };
    if kind(network) == kind(old) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "the network of the recipe reads {}, and the model's reads {}; set network.input as in the \
         model's recipe",
        kind(network),
        kind(old)
    )))
}

/// Compares the tensors of embedding and recurrent layers.
fn check_tensors(network: &Network, old: &Network) -> Result<()> {
    let body = |network: &Network| -> Vec<Entry> {
        let entries = network.table().0.into_iter();
        let own = entries.filter(|entry| !is_of_head(entry) && !is_of_categories(entry));
        own.collect()
    };
    let (new, old) = (body(network), body(old));
    let advice = "recurrent layers must match: set [[network.layer]] and network.input as in the \
                  model's recipe";
    for entry in &new {
        let name = &entry.name;
        match old.iter().find(|old| old.name == *name) {
            None => {
                return Err(Error::usage(format!(
                    "the network of the recipe has {name} {:?}, and the model has no such tensor; \
                     {advice}",
                    entry.shape
                )));
            }
            Some(old) if old.shape != entry.shape => {
                return Err(Error::usage(format!(
                    "{name} is {:?} in the model, and {:?} in the network of the recipe; {advice}",
                    old.shape, entry.shape
                )));
            }
            Some(_) => {}
        }
    }
    match old
        .iter()
        .find(|old| new.iter().all(|new| new.name != old.name))
    {
        None => Ok(()),
        Some(old) => Err(Error::usage(format!(
            "the model has {} {:?}, and the network of the recipe has no such tensor; {advice}",
            old.name, old.shape
        ))),
    }
}

/// Compares what layers of the same tensors compute.
fn check_layers(network: &Network, old: &Network) -> Result<()> {
    let computed = |layer: &Layer| Layer {
        dropout: crate::network::Dropout::default(),
        init: Init::default(),
        forget_bias: 0.0,
        recurrent_dropout: 0.0,
        ..layer.clone()
    };
    let pairs = network.layers.iter().zip(&old.layers);
    for (index, (new, old)) in pairs.enumerate() {
        if computed(new) != computed(old) {
            return Err(Error::usage(format!(
                "network.layer.{index} is {} in the model, and {} in the recipe, or they differ in \
                 another option that changes what the layer computes; take over the model's \
                 [[network.layer]]",
                old.cell.name(),
                new.cell.name()
            )));
        }
    }
    Ok(())
}
