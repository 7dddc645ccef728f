//! The choices of a recipe for a forecast: inputs and the validation split. They are made on the
//! training split; the test split decides nothing.

use super::{DataPart, Role, differences};
use crate::data::csv::{CalendarCycle, Csv, TableTask};
use crate::data::{DataSource, baselines};
use crate::messages::{excerpt, named};
use crate::recipe::{DataRecipe, Recipe};

/// The part of the training split of a forecast that is the validation split.
const VALIDATION: f64 = 0.2;
/// The most rows of a window, and the most windows, of the regressions by which inputs are
/// compared.
const COMPARED_STEPS: usize = 12;
const COMPARED_WINDOWS: usize = 2000;
/// Inputs are added if the error falls below this share.
const CLEARLY_LOWER: f64 = 0.98;

/// Completes the recipe of a forecast; other recipes stay as they are. Returns sentences on what
/// was chosen.
pub(super) fn choose(recipe: &mut Recipe, parts: &mut [DataPart]) -> Vec<String> {
    let seed = recipe.seed;
    match &mut recipe.data {
        DataRecipe::Series(series) if series.path.is_some() => {
            series.residual_on_last = true;
            series.validation_fraction = fitting_validation(|fraction| {
                series.validation_fraction = fraction;
                series.load(seed, None).is_ok()
            });
            differences::choose(series, seed)
        }
        DataRecipe::Csv(csv) if is_forecast(csv) => {
            csv.residual_on_last = true;
            csv.validation_fraction = fitting_validation(|fraction| {
                csv.validation_fraction = fraction;
                csv.load(seed, None).is_ok()
            });
            let mut sentences = choose_inputs(csv, seed, parts);
            sentences.extend(differences::choose(csv, seed));
            sentences
        }
        _ => vec![],
    }
}

/// Returns the part of the training split that is the validation split: 0 if it would be too short
/// for a window.
fn fitting_validation(mut fits: impl FnMut(f64) -> bool) -> f64 {
    if fits(VALIDATION) { VALIDATION } else { 0.0 }
}

/// Whether the targets are later values of inputs.
fn is_forecast(csv: &Csv) -> bool {
    let mut targets = csv.targets.iter();
    csv.task == TableTask::Regression
        && csv.horizon.first() > 0
        && targets.all(|target| csv.inputs.contains(target))
}

/// Inputs that a model may read besides the targets' own columns.
struct Candidate {
    csv: Csv,
    /// What it adds, in a phrase.
    adds: String,
}

/// Leaves out inputs and calendars that do not help: those without which a linear regression is as
/// good on the validation split.
fn choose_inputs(csv: &mut Csv, seed: u64, parts: &mut [DataPart]) -> Vec<String> {
    let others: Vec<String> = (csv.inputs.iter())
        .filter(|input| !csv.targets.contains(input))
        .cloned()
        .collect();
    let cycles = csv.calendar_cycles().unwrap_or_default();
    let alone = Csv {
        inputs: csv.targets.clone(),
        calendar: vec![],
        ..csv.clone()
    };
    let mut best = alone.clone();
    let Some(without) = error(&alone, seed) else {
        // Too few rows to compare by.
        return vec![];
    };
    let mut lowest = without;
    let mut sentences = vec![];
    for Candidate { csv: tried, adds } in candidates(csv, &alone, &cycles) {
        let Some(error) = error(&tried, seed) else {
            continue;
        };
        if error < lowest * CLEARLY_LOWER {
            (best, lowest) = (tried, error);
            sentences = vec![format!(
                "{adds}: a linear regression on the validation split has the error {:.4} with and \
                 {:.4} without (in deviations)",
                error.sqrt(),
                without.sqrt()
            )];
        }
    }
    if best.inputs.len() < csv.inputs.len() {
        for part in parts.iter_mut().filter(|part| part.role == Role::Input) {
            part.role = Role::LeftOut("the forecast is no better with it");
        }
        let names = others.iter().map(|name| format!("`{}`", excerpt(name)));
        let names: Vec<String> = names.collect();
        let them = if others.len() == 1 { "it" } else { "them" };
        sentences.push(format!(
            "left out: {}: a linear regression on the validation split is no better with \
             {them}; add {them} to data.inputs to use {them}",
            named(&names)
        ));
    }
    *csv = best;
    sentences
}

/// The columns and the calendar, alone and together.
fn candidates(csv: &Csv, alone: &Csv, cycles: &[CalendarCycle]) -> Vec<Candidate> {
    let mut candidates = vec![];
    let has_others = csv.inputs.len() > alone.inputs.len();
    let with_calendar = |csv: &Csv| Csv {
        calendar: cycles.to_vec(),
        ..csv.clone()
    };
    if !cycles.is_empty() {
        candidates.push(Candidate {
            csv: with_calendar(alone),
            adds: "the calendar is an input".into(),
        });
    }
    if has_others {
        candidates.push(Candidate {
            csv: csv.clone(),
            adds: "the other columns are inputs".into(),
        });
    }
    if has_others && !cycles.is_empty() {
        candidates.push(Candidate {
            csv: with_calendar(csv),
            adds: "the calendar and the other columns are inputs".into(),
        });
    }
    candidates
}

/// Returns the mean squared error of a linear regression on the validation split, in deviations of
/// the targets; `None` if there are too few rows for one.
fn error(csv: &Csv, seed: u64) -> Option<f64> {
    let steps = csv.steps?.min(COMPARED_STEPS);
    let mut compared = Csv {
        steps: Some(steps),
        every_step: false,
        residual_on_last: false,
        differences: vec![],
        ..csv.clone()
    };
    let mut splits = compared.load(seed, None).ok()?;
    let stride = splits.train.count.div_ceil(COMPARED_WINDOWS);
    if stride > 1 {
        compared.stride = stride;
        splits = compared.load(seed, None).ok()?;
    }
    let validation = splits.validation.as_deref()?;
    let (forecast, preparation) = (compared.forecast(), &splits.preparation);
    let found =
        baselines::of_values(&splits.train, validation, forecast.as_ref(), preparation).ok()?;
    let regression = found
        .into_iter()
        .find(|each| each.name.starts_with("linear"));
    regression?.loss
}
