//! The parts of a report page that need the model.

use crate::backend::OpenDevice;
use crate::data::source::ForecastRequest;
use crate::data::{Split, Splits};
use crate::infer::forecast::forecast;
use crate::infer::generate::Context;
use crate::model::Model;
use crate::report::{Continuation, HeadDetails, RunDetails, SplitPredictions};
use crate::train::BaselineComparison;

/// Steps by which a page continues a series.
const CONTINUED: usize = 200;

/// The most steps ahead in a table.
const MOST_AHEAD: usize = 12;

/// Plays a model on the test split of its data, or on the training split without one, for its
/// report page. A problem is reported on the page.
pub fn details(
    model: &Model,
    data: &Splits,
    comparison: Option<&BaselineComparison>,
    device: &OpenDevice,
) -> RunDetails {
    let (split, tested) = match &data.test {
        Some(test) => (Split::Test, test),
        None => (Split::Train, &data.train),
    };
    let of_heads = model.network.heads.iter().enumerate().map(|(index, head)| {
        let (own, tested) = (model.of_head(index), tested.of_head(index));
        let fitted = data.fitted().of_head(index);
        let predictions = SplitPredictions::new(&own, &tested, &fitted, split, device);
        let mut compared = comparison.iter().flat_map(|comparison| &comparison.heads);
        let compared = compared.find(|(name, _)| *name == head.name);
        let compared = compared.map(|(_, own)| own);
        HeadDetails {
            name: head.name.clone(),
            ahead: ahead_rows(compared, predictions.as_ref().ok()),
            predictions: predictions.map_err(|error| error.to_string()),
            baselines: compared.map(|own| own.rows()).unwrap_or_default(),
            continuation: continuation(&own, device),
        }
    });
    let heads: Vec<_> = of_heads.collect();
    let predictions = if heads.is_empty() {
        SplitPredictions::new(model, tested, &data.fitted(), split, device).map(Some)
    } else {
        Ok(None)
    };
    let remarks = comparison.map(BaselineComparison::remarks);
    let notes = data.class_notes().into_iter().chain(data.notes.clone());
    let found = predictions.as_ref().ok().and_then(Option::as_ref);
    let ahead = ahead_rows(comparison, found);
    RunDetails {
        parameters: Some(model.parameters.iter().map(|each| each.values.len()).sum()),
        predictions: predictions.map_err(|error| error.to_string()),
        heads,
        baselines: comparison.map(BaselineComparison::rows).unwrap_or_default(),
        ahead,
        remarks: (remarks.into_iter().flatten())
            .chain(adjusted_remark(model))
            .chain(notes)
            .collect(),
        continuation: continuation(model, device),
    }
}

/// A table of the errors of the model, or of one of its heads, by the steps ahead.
fn ahead_rows(
    comparison: Option<&BaselineComparison>,
    found: Option<&SplitPredictions>,
) -> Vec<Vec<String>> {
    // Errors over a part of the split have no equal among the baselines.
    let found = found.filter(|found| found.predicted == found.of);
    let metrics = found.and_then(|found| found.metrics.as_ref());
    let rows = comparison.map(|comparison| comparison.ahead_rows(metrics, MOST_AHEAD));
    rows.unwrap_or_default()
}

/// A sentence on intervals that were adjusted.
fn adjusted_remark(model: &Model) -> Option<String> {
    let heads = model
        .preparation
        .heads
        .iter()
        .map(|own| &own.interval_adjustment);
    let mut adjusted = heads.chain([&model.preparation.interval_adjustment]);
    let is_adjusted = adjusted.any(|own| !own.is_empty());
    is_adjusted.then(|| "the intervals are adjusted to the validation split (conformal)".into())
}

/// The model's own series continued, if the model can continue one.
fn continuation(model: &Model, device: &OpenDevice) -> Option<Continuation> {
    model
        .require_one_head("a series is continued by one")
        .ok()?;
    let data = model.recipe.data.source();
    let request = ForecastRequest {
        file: None,
        group: None,
        preparation: &model.preparation,
    };
    let seed = data.forecast_start(&request).ok()?;
    let (inputs, source) = (model.network.input_size, model.recipe.data.source());
    let inputs = inputs - model.preparation.differences.len();
    let most = CONTINUED.min(seed.history.len() / inputs * 4);
    // Several steps ahead are those that the model was trained for.
    let steps = match source.steps_ahead() {
        1 if seed.is_continued => most,
        ahead => ahead,
    };
    let found = forecast(model, &seed, steps, Context::CarriedState, device).ok()?;
    Some(Continuation::new(&seed, found))
}
