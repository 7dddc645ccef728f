//! Models whose layers `config.json` describes.

use super::super::hints::{ImportHints, Imported, ImportedNetwork, layer_notes};
use super::config::{
    self, CompiledLoss, DescribedDirection, DescribedHead, DescribedLayer, DescribedModel,
    HeadActivation, StoredName, StoredStatistics,
};
use super::hdf5::{self, FoundLayer};
use super::layer_reader::{ArrayGroup, LayerReader, group};
use crate::data::preparation::{Normal, Preparation};
use crate::error::{Error, Result};
use crate::model::Model;
use crate::network::{Bias, Head, Layer, Loss, Network, Reads};

/// Makes the model of a description and of its file of weights.
///
/// # Errors
/// [`Error::Usage`] for weights that are not the described ones, and for hints that the
/// description contradicts.
pub(super) fn import(
    described: DescribedModel,
    weights: &[u8],
    name: &str,
    hints: &ImportHints,
) -> Result<Imported> {
    let found = hdf5::read_layers(weights).map_err(Error::Usage)?;
    let mut stored = StoredArrays { found };
    let statistics = stored.statistics(&described.stored);
    let mut differences = described.notes.clone();
    let decided = decided_hints(&described, hints, &mut differences)?;
    let network = read_network(&described, &mut stored, &decided)?;
    stored.finish()?;
    let mut model = decided.model(name, network)?;
    let statistics = |layer: usize| statistics.get(layer).cloned().flatten();
    prepare(&mut model, &described, &statistics)?;
    let sources: Vec<String> = described
        .layers
        .iter()
        .map(|layer| layer.label.clone())
        .collect();
    let mut notes = layer_notes(&model.network, &sources, &described.head.label);
    notes.extend(differences);
    Ok(Imported { model, notes })
}

/// The arrays of a file that belong to no layer yet.
struct StoredArrays {
    found: Vec<FoundLayer>,
}

impl StoredArrays {
    /// Takes the groups of arrays of a layer.
    fn take(&mut self, layer: &StoredName, label: &str) -> Result<FoundLayer> {
        hdf5::take(&mut self.found, layer)
            .ok_or_else(|| Error::usage(format!("{label}: model.weights.h5 has no weights of it")))
    }

    /// Takes the means and variances of every `Normalization`, by the layers' indices.
    fn statistics(&mut self, layers: &[StoredName]) -> Vec<Option<StoredStatistics>> {
        let mut taken = |layer: &StoredName| {
            let is_normalization = layer.class == "normalization";
            let layer = is_normalization.then(|| hdf5::take(&mut self.found, layer))??;
            let mut arrays = layer.arrays.into_iter().map(|array| array.values);
            Some(StoredStatistics {
                means: arrays.next()?,
                variances: arrays.next()?,
            })
        };
        layers.iter().map(&mut taken).collect()
    }

    /// Refuses arrays that are left.
    fn finish(self) -> Result<()> {
        let mut arrays = self.found.iter().flat_map(|layer| &layer.arrays);
        match arrays.next() {
            None => Ok(()),
            Some(array) => Err(Error::usage(format!(
                "array {} belongs to no layer of config.json",
                array.name
            ))),
        }
    }
}

fn read_network(
    described: &DescribedModel,
    stored: &mut StoredArrays,
    hints: &ImportHints,
) -> Result<ImportedNetwork> {
    let embedding = match &described.embedding {
        None => None,
        Some(layer) => {
            let found = stored.take(layer, &format!("layer `{}` (Embedding)", layer.name))?;
            found.arrays.into_iter().next()
        }
    };
    let mut reader = LayerReader::new(hints);
    for layer in &described.layers {
        read_layer(&mut reader, layer, stored)?;
    }
    let head = &described.head;
    let [dense] = &mut groups_of(stored.take(&head.stored, &head.label)?)?[..] else {
        return Err(unlike(&head.label, "a kernel and a bias"));
    };
    check_head(head, dense)?;
    reader.read(std::mem::take(dense), None)?;
    let network = reader.finish(embedding)?;
    let tokens = described.tokens.or(described.one_hot);
    if tokens.is_some_and(|tokens| tokens != network.input_size) {
        return Err(Error::usage(format!(
            "config.json describes {} tokens, and the weights are those of {}",
            tokens.unwrap_or_default(),
            network.input_size
        )));
    }
    Ok(network)
}

fn groups_of(layer: FoundLayer) -> Result<Vec<ArrayGroup>> {
    Ok(group(layer.arrays)?.1)
}

/// Reads the directions of a layer, and checks them against its description.
fn read_layer(
    reader: &mut LayerReader,
    layer: &DescribedLayer,
    stored: &mut StoredArrays,
) -> Result<()> {
    let groups = groups_of(stored.take(&layer.stored, &layer.label)?)?;
    let directions: Vec<&DescribedDirection> = std::iter::once(&layer.forward)
        .chain(&layer.backward)
        .collect();
    if groups.len() != directions.len() || groups.iter().any(|group| !group.is_recurrent()) {
        return Err(unlike(
            &layer.label,
            &format!("{} directions", directions.len()),
        ));
    }
    let level = reader.layers.len();
    for (group, direction) in groups.into_iter().zip(&directions) {
        reader.read(group, Some(direction.cell))?;
    }
    let [read] = &mut reader.layers[level..] else {
        return Err(unlike(&layer.label, "one layer"));
    };
    check_layer(layer, read)?;
    read.residual = layer.residual;
    read.recurrent_dropout = layer.forward.recurrent_dropout;
    read.activation = layer.forward.activation;
    read.recurrent_activation = layer.forward.recurrent_activation;
    Ok(())
}

/// Checks sizes and biases of a layer.
fn check_layer(layer: &DescribedLayer, read: &Layer) -> Result<()> {
    let backward = layer.backward.as_ref();
    let backward_units = backward.map_or(layer.forward.units, |backward| backward.units);
    let sizes = [layer.forward.units, backward_units];
    let read_sizes = [
        read.hidden_size,
        read.backward_hidden_size.unwrap_or(read.hidden_size),
    ];
    if sizes != read_sizes {
        return Err(unlike(&layer.label, &format!("units = {}", sizes[0])));
    }
    let mut directions = std::iter::once(&layer.forward).chain(backward);
    let has_bias = read.bias != Bias::None;
    match directions.find(|direction| direction.has_bias != has_bias) {
        None => Ok(()),
        Some(direction) => {
            let expected = format!("use_bias = {}", direction.has_bias);
            Err(unlike(&layer.label, &expected))
        }
    }
}

fn check_head(head: &DescribedHead, dense: &ArrayGroup) -> Result<()> {
    let (units, has_bias) = dense.outputs();
    if units != Some(head.units) {
        return Err(unlike(&head.label, &format!("units = {}", head.units)));
    }
    if has_bias != head.has_bias {
        return Err(unlike(
            &head.label,
            &format!("use_bias = {}", head.has_bias),
        ));
    }
    Ok(())
}

fn unlike(label: &str, expected: &str) -> Error {
    Error::usage(format!(
        "{label}: its weights in model.weights.h5 are not those of {expected}, as config.json has it"
    ))
}

/// Returns the hints with what the description decides.
///
/// # Errors
/// [`Error::Usage`] for hints that the description contradicts.
fn decided_hints(
    described: &DescribedModel,
    hints: &ImportHints,
    notes: &mut Vec<String>,
) -> Result<ImportHints> {
    let recipe = hints.recipe.as_ref().map(|recipe| &recipe.network.head);
    let reads = described.head.reads;
    let asked = hints.reads.or(recipe.map(|head| head.reads));
    if let Some(asked) = asked.filter(|asked| *asked != reads) {
        let (has, name) = (reads_name(reads), reads_name(asked));
        return Err(Error::usage(format!(
            "{}: the head reads {has} by config.json, and the hints or the recipe say {name}; \
             leave it out, or change the recipe",
            described.head.label
        )));
    }
    let loss = hints.loss.or(recipe.map(|head| head.loss));
    let mut decided = hints.clone();
    decided.reads = Some(reads);
    decided.loss = Some(decided_loss(described, loss, notes)?);
    let is_values = described.embedding.is_none() && described.one_hot.is_none();
    if hints.one_hot && is_values && !described.input_scaling.is_empty() {
        return Err(Error::usage(format!(
            "{}: the inputs are scaled, so they are values and not one-hot tokens (one_hot)",
            described.input_scaling[0].label
        )));
    }
    decided.one_hot |= described.one_hot.is_some();
    Ok(decided)
}

fn reads_name(reads: Reads) -> &'static str {
    match reads {
        Reads::Every => "every step",
        Reads::Last => "the last step",
        Reads::Mean => "the mean over the steps",
        Reads::Max => "the maximum over the steps",
        Reads::Attention => "the steps by attention",
    }
}

/// The loss: the one that was asked for, or the one that the model was compiled with.
fn decided_loss(
    described: &DescribedModel,
    asked: Option<Loss>,
    notes: &mut Vec<String>,
) -> Result<Loss> {
    let label = &described.head.label;
    let is_softmax = described.head.activation == HeadActivation::Softmax;
    if is_softmax && asked.is_some_and(|loss| loss != Loss::CrossEntropy) {
        return Err(Error::usage(format!(
            "{label}: activation is `softmax`, so the outputs are probabilities of classes; the \
             loss must be cross-entropy"
        )));
    }
    let loss = match (is_softmax, asked, &described.loss) {
        (true, ..) => Loss::CrossEntropy,
        (false, Some(loss), _) => loss,
        (
            false,
            None,
            CompiledLoss::CrossEntropy {
                from_logits: true, ..
            },
        ) => Loss::CrossEntropy,
        (false, None, _) => Loss::MeanSquaredError,
    };
    if loss == Loss::CrossEntropy && !described.target_scaling.is_empty() {
        return Err(Error::usage(format!(
            "{}: it scales the outputs of a head of classes, and gatescan scales values only; \
             change the model in Keras",
            described.target_scaling[0].label
        )));
    }
    if loss == Loss::CrossEntropy && !is_softmax {
        notes.push(format!(
            "{label}: its outputs are logits; gatescan predicts probabilities, which are the \
             softmax of Keras's outputs"
        ));
    }
    notes.extend(loss_note(&described.loss, is_softmax, loss, asked));
    Ok(loss)
}

/// What differs between the loss that a model was compiled with and the one that it gets.
fn loss_note(
    compiled: &CompiledLoss,
    is_softmax: bool,
    loss: Loss,
    asked: Option<Loss>,
) -> Option<String> {
    let trains = match loss {
        Loss::CrossEntropy => "the cross-entropy",
        Loss::Ctc { .. } => "the loss ctc",
        _ => "the mean squared error",
    };
    let was = match compiled {
        CompiledLoss::Absent if is_softmax || asked.is_some() => return None,
        CompiledLoss::Absent => {
            return Some(format!(
                "the model was saved without a loss; its loss here is {trains}, so that \
                 predictions are Keras's outputs (for logits of classes, choose cross-entropy)"
            ));
        }
        CompiledLoss::MeanSquaredError if loss == Loss::MeanSquaredError => return None,
        CompiledLoss::MeanSquaredError => "mean_squared_error".to_string(),
        CompiledLoss::CrossEntropy { from_logits, extra } => {
            let fits = loss == Loss::CrossEntropy && *from_logits != is_softmax;
            let mut parts = extra.clone();
            if !fits {
                parts.insert(0, format!("from_logits = {from_logits}"));
            }
            if parts.is_empty() {
                return None;
            }
            format!("cross-entropy with {}", parts.join(", "))
        }
        CompiledLoss::Other(name) => name.clone(),
    };
    Some(format!(
        "the model was compiled with the loss {was}; further training here uses {trains}, and \
         predictions do not depend on it"
    ))
}

/// Sets the normalisation of inputs and targets.
fn prepare(
    model: &mut Model,
    described: &DescribedModel,
    statistics: &dyn Fn(usize) -> Option<StoredStatistics>,
) -> Result<()> {
    let Network {
        input_size, head, ..
    } = &model.network;
    let inputs = config::of_inputs(&described.input_scaling, *input_size, statistics)?;
    let targets = config::of_targets(&described.target_scaling, head.size, statistics)?;
    model.preparation.inputs = inputs;
    (
        model.preparation.targets,
        model.preparation.interval_adjustment,
    ) = of_head(targets, head)?;
    let fits = model.preparation.check(*input_size, head.targets());
    fits.map_err(|problem| Error::usage(format!("config.json: {problem}")))
}

/// Returns the normalisation of the targets `[K]` that explains that of the outputs `[J * K]`, and
/// the amounts added to outputs to adjust intervals, if there are any.
///
/// # Errors
/// [`Error::Usage`] if none does: the outputs are then not those of the loss.
fn of_head(outputs: Vec<Normal>, head: &Head) -> Result<(Vec<Normal>, Vec<f64>)> {
    let width = head.targets();
    if outputs.is_empty() || width == head.size {
        return Ok((outputs, vec![]));
    }
    // Point forecasts are not adjusted.
    let point = head.loss.point_output() * width;
    let preparation = Preparation {
        targets: outputs[point..point + width].to_vec(),
        ..Preparation::default()
    };
    // The file has them in f32.
    let is_close = |a: f64, b: f64| (a - b).abs() <= 1e-5 * a.abs().max(1.0);
    let expected = preparation.of_outputs(head).targets;
    let mut pairs = outputs.iter().zip(&expected);
    if pairs.all(|(a, b)| is_close(a.deviation, b.deviation)) {
        let pairs = outputs.iter().zip(&expected);
        let is_adjusted = pairs.clone().any(|(a, b)| !is_close(a.mean, b.mean));
        let added = pairs.map(|(a, b)| a.mean - b.mean).filter(|_| is_adjusted);
        return Ok((preparation.targets, added.collect()));
    }
    Err(Error::usage(format!(
        "config.json: the outputs are not scaled as those of the loss {} are, so they are something \
         else; import the model with the loss that it was trained with",
        head.loss.name()
    )))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::export;
    use super::*;
    use crate::cells::Cell;
    use crate::network::Input;
    use crate::recipe::optimizer::Optimizer;
    use crate::recipe::{HeadRecipe, Recipe};

    /// A model of one bidirectional GRU of two units over three values, and two outputs.
    fn model() -> Model {
        let layer = Layer {
            bidirectional: true,
            bias: Bias::Double,
            ..Layer::new(Cell::Gru, 2)
        };
        let head = HeadRecipe::new(Reads::Last, Loss::MeanSquaredError);
        let recipe = Recipe::new("gru", vec![layer], head, Optimizer::sgd(0.1));
        let network = recipe.network(3, 2).expect("it is valid");
        assert_eq!(network.input, Input::Values);
        let mut parameters = network.to_parameters(&network.initial(1));
        parameters.sort_by(|a, b| a.name.cmp(&b.name));
        Model {
            network,
            recipe,
            preparation: Default::default(),
            parameters,
        }
    }

    /// Its description; the changes are made to the options of the GRU and of the head.
    fn description(gru: &Value, head: &Value, compiled: &Value) -> Value {
        let changed = |mut options: Value, changes: &Value| {
            for (option, value) in changes.as_object().expect("an object") {
                options[option] = value.clone();
            }
            options
        };
        let gru = changed(json!({"name": "forward_gru", "units": 2}), gru);
        let head = changed(json!({"name": "head", "units": 2}), head);
        let gru = json!({"class_name": "GRU", "config": gru});
        json!({"class_name": "Sequential", "compile_config": compiled, "config": {"layers": [
            {"class_name": "Rescaling", "config": {"name": "scale", "scale": 0.5}},
            {"class_name": "Bidirectional", "config": {"name": "bidirectional0", "layer": gru}},
            {"class_name": "Dense", "config": head},
        ]}})
    }

    fn imported(description: &Value, hints: &ImportHints) -> Result<Imported> {
        let weights = export(&model(), "w").expect("Keras has it").weights;
        let described = config::read(description)?.expect("it has layers");
        import(described, &weights, "gru", hints)
    }

    fn none() -> Value {
        json!({})
    }

    #[test]
    fn weights_and_options_become_a_model() {
        let description = description(&none(), &none(), &json!({"loss": "mse"}));
        let back = imported(&description, &ImportHints::default()).unwrap();
        assert_eq!(back.model.parameters, model().parameters);
        let normal = back.model.preparation.inputs[2];
        assert_eq!((normal.mean, normal.deviation), (0.0, 2.0));
        assert_eq!(back.model.network.head.loss, Loss::MeanSquaredError);
        assert!(
            back.notes[0].contains("from layer `bidirectional0`"),
            "{:?}",
            back.notes
        );
        assert_eq!(back.notes.len(), 2);
    }

    #[test]
    fn the_head_and_the_loss_of_the_model_decide_the_loss() {
        let logits = json!({"loss": {"class_name": "CategoricalCrossentropy",
            "config": {"from_logits": true}}});
        let softmax = json!({"activation": "softmax"});
        let classes = Loss::CrossEntropy;
        for (head, compiled, loss, note) in [
            (&none(), &none(), Loss::MeanSquaredError, "without a loss"),
            (&none(), &logits, classes, "its outputs are logits"),
            (&softmax, &none(), classes, ""),
            (
                &softmax,
                &logits,
                classes,
                "cross-entropy with from_logits = true",
            ),
            (
                &none(),
                &json!({"loss": "mae"}),
                Loss::MeanSquaredError,
                "the loss mae",
            ),
        ] {
            let description = description(&none(), head, compiled);
            let back = imported(&description, &ImportHints::default()).unwrap();
            assert_eq!(back.model.network.head.loss, loss);
            assert!(
                back.notes.concat().contains(note),
                "{note}: {:?}",
                back.notes
            );
            assert!(back.notes.len() <= 3, "{:?}", back.notes);
        }
    }

    #[test]
    fn hints_and_weights_that_contradict_the_description_are_refused() {
        let plain = description(&none(), &none(), &none());
        let reads = ImportHints {
            reads: Some(Reads::Every),
            ..ImportHints::default()
        };
        let cell = ImportHints {
            cell: Some(Cell::GruResetBefore),
            ..ImportHints::default()
        };
        let one_hot = ImportHints {
            one_hot: true,
            ..ImportHints::default()
        };
        let loss = ImportHints {
            loss: Some(Loss::MeanSquaredError),
            ..ImportHints::default()
        };
        let hints = ImportHints::default();
        let gru = |options: Value| description(&options, &none(), &none());
        let head = |options: Value| description(&none(), &options, &none());
        for (description, hints, expected) in [
            (
                &plain,
                &reads,
                "the head reads the last step by config.json",
            ),
            (&plain, &cell, "no layer can be gru-reset-before"),
            (
                &plain,
                &one_hot,
                "layer `scale` (Rescaling): the inputs are scaled",
            ),
            (
                &head(json!({"activation": "softmax"})),
                &loss,
                "must be cross-entropy",
            ),
            (&gru(json!({"units": 3})), &hints, "not those of units = 3"),
            (
                &gru(json!({"use_bias": false})),
                &hints,
                "not those of use_bias = false",
            ),
            (
                &gru(json!({"reset_after": false})),
                &hints,
                "the cell `gru-reset-before` that",
            ),
            (&head(json!({"units": 3})), &hints, "not those of units = 3"),
            (
                &head(json!({"name": "other"})),
                &hints,
                "has no weights of it",
            ),
        ] {
            let error = imported(description, hints)
                .map(drop)
                .unwrap_err()
                .to_string();
            assert!(error.contains(expected), "{expected}: {error}");
        }
    }

    #[test]
    fn the_scaling_of_several_outputs_is_that_of_their_targets() {
        let head = |loss| Head {
            size: 4,
            reads: Reads::Last,
            loss,
            init: Default::default(),
        };
        let normal = |mean, deviation| Normal { mean, deviation };
        let targets = vec![normal(3.0, 2.0), normal(-1.0, 0.5)];
        let preparation = Preparation {
            targets: targets.clone(),
            ..Preparation::default()
        };
        let quantiles = Loss::quantiles(&[0.1, 0.9]).expect("they ascend");
        for loss in [Loss::GaussianNll, quantiles] {
            let head = head(loss);
            let outputs = preparation.of_outputs(&head).targets;
            let found = of_head(outputs, &head).expect("it fits");
            assert_eq!(found, (targets.clone(), vec![]));
        }
        let error = of_head(
            [targets.clone(), targets].concat(),
            &head(Loss::GaussianNll),
        );
        let error = error
            .expect_err("variances are scaled otherwise")
            .to_string();
        assert!(error.contains("loss gaussian-nll"), "{error}");
    }
}
