//! Reading models that Keras trained.

use super::super::hints::{ImportHints, Imported, layer_notes};
use super::archive::{self, ArchiveContents};
use super::config;
use super::described;
use super::hdf5::{self, StoredWeights};
use super::layer_reader::{LayerReader, group};
use crate::cells::Cell;
use crate::error::{Error, Result};
use crate::messages::excerpt;
use crate::model::Model;
use crate::network::{Bias, Layer, Loss, Reads};

/// Returns the model of a `.keras`, a `.weights.h5`, or an `.npz` of weights under Keras's paths in
/// the order of the model.
///
/// A `.keras` describes its layers. What gatescan has is taken: `SimpleRNN`, `LSTM` and `GRU`, each
/// with or without `Bidirectional`, a `Dense` with or without softmax, an `Embedding`,
/// `Normalization` and `Rescaling`, residual sums. Whatever else changes outputs is refused.
///
/// The other files hold weights alone; the notes of the result say what is assumed of the rest. An
/// embedding and a head with the same weights are tied.
///
/// # Errors
/// [`Error::Usage`] for layers and options that gatescan does not have, and for arrays that are not
/// those of such a network, by their names.
pub fn import(bytes: &[u8], name: &str, hints: &ImportHints) -> Result<Imported> {
    if bytes.starts_with(hdf5::SIGNATURE) {
        let weights = hdf5::read(bytes).map_err(Error::Usage)?;
        return import_weights(weights, name, hints);
    }
    match archive::read(bytes).map_err(Error::Usage)? {
        ArchiveContents::Arrays(arrays) => import_weights(arrays.into(), name, hints),
        ArchiveContents::Model {
            description,
            version,
            weights,
        } => match config::read(&description)? {
            Some(mut described) => {
                if version.starts_with("2.") {
                    described.use_keras2_functions();
                }
                described::import(described, &weights, name, hints)
            }
            None => {
                let weights = hdf5::read(&weights).map_err(Error::Usage)?;
                let mut imported = import_weights(weights, name, hints)?;
                let class = description["class_name"].as_str().unwrap_or_default();
                imported.notes.push(format!(
                    "config.json has no layers, since the model is of the class {}, whose code \
                     gatescan does not read; its weights are read alone",
                    excerpt(class)
                ));
                Ok(imported)
            }
        },
    }
}

/// Makes a model of weights alone.
fn import_weights(weights: StoredWeights, name: &str, hints: &ImportHints) -> Result<Imported> {
    let (embedding, groups) = group(weights.arrays)?;
    let mut reader = LayerReader::new(hints);
    let (mut sources, mut head_source) = (vec![], String::new());
    for group in groups {
        let (path, is_recurrent) = (group.path().to_string(), group.is_recurrent());
        reader.read(group, None)?;
        if !is_recurrent {
            head_source = path;
        } else if reader.layers.len() > sources.len() {
            sources.push(path);
        }
    }
    let is_told = hints.reads.is_some() || hints.recipe.is_some();
    let listed = only_pooling(&weights.others).filter(|_| !is_told);
    let hints = &ImportHints {
        reads: hints.reads.or(listed),
        ..hints.clone()
    };
    let model = hints.model(name, reader.finish(embedding)?)?;
    let mut others = weights.others;
    others.retain(|other| pooling(other) != Some(model.network.head.reads));
    let mut notes = layer_notes(&model.network, &sources, &head_source);
    notes.extend(assumptions(&model, hints, &others));
    Ok(Imported { model, notes })
}

/// The steps that the layer of this path reduces to one, if it is a pooling over all steps.
fn pooling(path: &str) -> Option<Reads> {
    match path.rsplit('/').next().unwrap_or_default() {
        class if class.starts_with("global_average_pooling1d") => Some(Reads::Mean),
        class if class.starts_with("global_max_pooling1d") => Some(Reads::Max),
        _ => None,
    }
}

/// The steps that the head reads, where the file lists one layer of pooling.
fn only_pooling(others: &[String]) -> Option<Reads> {
    let mut listed = others.iter().filter_map(|path| pooling(path));
    let only = listed.next();
    only.filter(|_| listed.next().is_none())
}

/// What weights alone do not say, and what is assumed instead. `others` are layers of the file
/// without weights.
fn assumptions(model: &Model, hints: &ImportHints, others: &[String]) -> Vec<String> {
    let has = |cells: &[Cell]| {
        let mut layers = model.network.layers.iter();
        layers.any(|layer| cells.contains(&layer.cell))
    };
    let mut notes = vec![
        "the file has weights alone; the rest is assumed as follows, and read from a .keras that \
         `model.save(\"model.keras\")` writes"
            .to_string(),
    ];
    if has(&[Cell::RnnTanh, Cell::RnnRelu]) {
        let activation = if has(&[Cell::RnnRelu]) {
            "relu"
        } else {
            "tanh"
        };
        notes.push(format!("assumed: activation = {activation} in SimpleRNN"));
    }
    let is_open = |layer: &Layer| layer.cell == Cell::Gru && layer.bias == Bias::None;
    if hints.cell.is_none() && model.network.layers.iter().any(is_open) {
        notes.push("assumed: reset_after = True in a GRU without biases".into());
    }
    if has(&[Cell::Lstm, Cell::Gru, Cell::GruResetBefore]) {
        notes.push(
            "assumed: activation = tanh and recurrent_activation = sigmoid in LSTM and GRU".into(),
        );
    }
    notes.push(
        "assumed: go_backwards = False, no masks (Masking, mask_zero), merge_mode = concat in \
         Bidirectional"
            .into(),
    );
    let head = match model.network.head.loss {
        Loss::CrossEntropy => "softmax, or none and a loss of logits",
        _ => "none",
    };
    notes.push(format!("assumed: the activation of the head is {head}"));
    let reads_last = model.network.head.reads == Reads::Last;
    if hints.reads.is_none() && hints.recipe.is_none() && reads_last {
        notes.push(
            "assumed: the head reads the last step (return_sequences = False in the last layer)"
                .into(),
        );
    }
    let is_both = model
        .network
        .layers
        .last()
        .is_some_and(|layer| layer.bidirectional);
    if reads_last && is_both {
        notes.push(
            "assumed: the head reads the last state of both directions (return_sequences = \
             False), and not the last of every step (x[:, -1])"
                .into(),
        );
    }
    notes.push(match others {
        [] => "assumed: no layers without weights that change outputs (pooling, sums, Rescaling, \
               Lambda)"
            .into(),
        others => format!(
            "not computed: the layers without weights {}, which the file lists",
            others.join(", ")
        ),
    });
    notes
}
