//! The parts of a report page that need the model.

use crate::backend::OpenDevice;
use crate::data::source::ForecastRequest;
use crate::data::{Split, Splits};
use crate::infer::generate::{Context, diverges_at, generate};
use crate::model::Model;
use crate::report::{Continuation, RunDetails, SplitPredictions};
use crate::train::BaselineComparison;

/// Steps by which a page continues a series.
const CONTINUED: usize = 200;

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
        (
            head.name.clone(),
            predictions.map_err(|error| error.to_string()),
        )
    });
    let heads: Vec<_> = of_heads.collect();
    let predictions = if heads.is_empty() {
        SplitPredictions::new(model, tested, &data.fitted(), split, device).map(Some)
    } else {
        Ok(None)
    };
    let remarks = comparison.map(BaselineComparison::remarks);
    let notes = data.class_notes().into_iter().chain(data.notes.clone());
    RunDetails {
        parameters: Some(model.parameters.iter().map(|each| each.values.len()).sum()),
        predictions: predictions.map_err(|error| error.to_string()),
        heads,
        baselines: comparison.map(BaselineComparison::rows).unwrap_or_default(),
        remarks: remarks.into_iter().flatten().chain(notes).collect(),
        continuation: continuation(model, device),
    }
}

/// The model's own series continued, if the model can continue one.
fn continuation(model: &Model, device: &OpenDevice) -> Option<Continuation> {
    let data = model.recipe.data.source();
    let request = ForecastRequest {
        file: None,
        group: None,
        preparation: &model.preparation,
    };
    let seed = data.forecast_start(&request).ok()?;
    let inputs = model.network.input_size - model.preparation.differences.len();
    let steps = CONTINUED.min(seed.history.len() / inputs * 4);
    let known = seed.known(steps).ok()?;
    let context = Context::CarriedState;
    let values = generate(model, &seed.values, &known, steps, context, device).ok()?;
    let in_units = |rows: &[f32]| {
        let preparation = &model.preparation;
        preparation.restore_inputs(rows, inputs, seed.columns.len())
    };
    Some(Continuation {
        origin: seed.origin.to_string(),
        history: in_units(&seed.history),
        values: in_units(&values),
        diverges_at: diverges_at(&seed.values, &values).map(|value| value / inputs),
        columns: seed.columns,
    })
}
