//! Backtests: a forecast judged on several consecutive parts of the test split, each after all that
//! the model was trained on (rolling origin; Tashman 2000).

use std::ops::ControlFlow;

use crate::backend::OpenDevice;
use crate::data::{Dataset, Fold, Splits};
use crate::error::{Error, Result};
use crate::infer::dataset::PredictedSteps;
use crate::infer::intervals::{Calibration, Coverage};
use crate::metrics::{OutputMetrics, TargetMetrics};
use crate::model::Model;
use crate::numeric::civil::CivilTime;
use crate::recipe::Recipe;
use crate::train::{
    BaselineComparison, Ending, Evaluation, Event, Progress, Scores, Trainer, evaluate_beside,
};

/// How a backtest is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BacktestOptions {
    /// The parts of the test split, at least 2.
    pub folds: usize,
    /// Whether the model is trained again for each fold, on all rows before it; otherwise one model
    /// is judged on all folds, which was trained on the rows before the first.
    pub refit: bool,
}

/// The scores of a model and of baselines on one fold, at the last step of each window.
#[derive(Debug, Clone, PartialEq)]
pub struct FoldScores {
    /// The times of the first and the last target; empty where rows have no times.
    pub from: String,
    pub to: String,
    /// Windows whose last target is in the fold.
    pub windows: usize,
    /// Epochs that the model was trained for, where it was trained for this fold.
    pub epochs: Option<usize>,
    /// The metrics of each target.
    pub targets: Vec<TargetMetrics>,
    /// The model's loss and the baselines, fitted to the rows that the model was trained on.
    pub comparison: BaselineComparison,
    /// For a model of quantiles or normal distributions.
    pub coverage: Vec<Coverage>,
    /// The scores of each of several heads, after its name; `targets` and `coverage` are empty
    /// then, and the loss is the sum of theirs, each times its weight.
    pub heads: Vec<(String, FoldScores)>,
}

/// An event of a backtest, for fold n, from 0.
#[derive(Debug)]
pub enum BacktestEvent<'a> {
    /// Training goes on.
    Training(usize, &'a Progress),
    /// The fold is judged.
    Judged(usize, &'a FoldScores),
    /// A sentence on the data of the fold.
    Note(usize, &'a str),
}

/// A function that receives every event. A break ends the backtest with an error.
pub type BacktestObserver<'a> = dyn FnMut(BacktestEvent) -> Result<ControlFlow<()>> + 'a;

/// Judges a recipe's forecast on each fold of its test split. `model` is the model of a run of the
/// recipe, which is judged unless the options say that it is trained again; without it, it is
/// trained.
///
/// # Errors
/// [`Error::Usage`] for fewer than 2 folds, and for data that are not in time order or have no test
/// split; [`Error::Data`] for a fold without a window; those of training and evaluation.
pub fn backtest(
    recipe: &Recipe,
    model: Option<Model>,
    options: BacktestOptions,
    device: &OpenDevice,
    observe: &mut BacktestObserver,
) -> Result<Vec<FoldScores>> {
    if options.folds < 2 {
        return Err(Error::usage(format!(
            "a backtest has {} folds; it must have at least 2",
            options.folds
        )));
    }
    let mut model = model.filter(|_| !options.refit);
    let mut scores = vec![];
    for index in 0..options.folds {
        let mut recipe = recipe.clone();
        recipe.data.source_mut().set_fold(Fold {
            index,
            count: options.folds,
            refit: options.refit,
        })?;
        recipe.validate()?;
        let judged = judge(&recipe, model.as_ref(), index, device, observe)?;
        let flow = observe(BacktestEvent::Judged(index, &judged.scores))?;
        scores.push(judged.scores);
        model = judged.model.filter(|_| !options.refit);
        if flow.is_break() {
            return Err(interrupted());
        }
    }
    Ok(scores)
}

fn interrupted() -> Error {
    Error::Failed("the backtest was interrupted".into())
}

/// A fold's scores, and the model that has them.
struct Judged {
    scores: FoldScores,
    model: Option<Model>,
}

/// Judges a model on the fold of the recipe's data; without one, it is trained.
fn judge(
    recipe: &Recipe,
    model: Option<&Model>,
    index: usize,
    device: &OpenDevice,
    observe: &mut BacktestObserver,
) -> Result<Judged> {
    let known = model.map(|model| &model.preparation);
    let splits = recipe.load_splits(known)?;
    let Some(test) = splits.test.clone() else {
        return Err(Error::usage(
            "data.test_fraction is 0, so there is no test split whose parts are folds; set it above \
             0",
        ));
    };
    let fitted = splits.fitted();
    let mut epochs = None;
    let model = match model {
        Some(model) => model.clone(),
        None => {
            for note in &splits.notes {
                if observe(BacktestEvent::Note(index, note))?.is_break() {
                    return Err(interrupted());
                }
            }
            // Nothing may be chosen by the fold.
            let own = Splits {
                test: None,
                ..splits
            };
            let mut trainer = Trainer::load(recipe, &own, device)?;
            let ending = trainer.run(&mut |_, event| match event {
                Event::Progress(progress) => observe(BacktestEvent::Training(index, progress)),
                _ => Ok(ControlFlow::Continue(())),
            })?;
            if ending == Ending::Interrupted {
                return Err(interrupted());
            }
            epochs = Some(trainer.position().epochs);
            trainer.model()?
        }
    };
    let evaluation = evaluate_beside(&model, &test, Some(&fitted), recipe.batch_size, device)?;
    let fold = JudgedFold {
        span: span(recipe, &model),
        epochs,
        device,
    };
    let mut scores = fold.scores(&model, &evaluation, [&fitted, &test])?;
    for (index, own) in evaluation.heads.iter().enumerate() {
        let [fitted, test] = [&fitted, &test].map(|data| data.of_head(index));
        let of_head = fold.scores(&model.of_head(index), &own.evaluation, [&fitted, &test])?;
        scores.heads.push((own.name.clone(), of_head));
    }
    Ok(Judged {
        scores,
        model: Some(model),
    })
}

/// A fold that is judged.
struct JudgedFold<'a> {
    /// The times of the first and the last target.
    span: (String, String),
    epochs: Option<usize>,
    device: &'a OpenDevice,
}

impl JudgedFold<'_> {
    /// The scores of a model, or of one of its heads as a model of its own, that was evaluated on
    /// `test`.
    fn scores(
        &self,
        model: &Model,
        evaluation: &Evaluation,
        [fitted, test]: [&Dataset; 2],
    ) -> Result<FoldScores> {
        let (recipe, loss) = (&model.recipe, model.network.head.loss);
        let (data, preparation) = (&recipe.data, &model.preparation);
        let scores: Scores = evaluation.scores();
        let comparison =
            BaselineComparison::new(data, loss, preparation, Some(fitted), test, &scores)?;
        let calibration = if model.network.heads.is_empty() {
            let (steps, batch) = (PredictedSteps::Last, recipe.batch_size);
            Calibration::of_steps(model, test, steps, batch, self.device)?
        } else {
            Calibration::default()
        };
        let targets = match &evaluation.metrics {
            Some(OutputMetrics::Values(targets)) => targets.clone(),
            _ => vec![],
        };
        let (from, to) = self.span.clone();
        Ok(FoldScores {
            from,
            to,
            windows: test.count,
            epochs: self.epochs,
            targets,
            comparison,
            coverage: calibration.coverage,
            heads: vec![],
        })
    }
}

/// The times of the first and the last target of the fold; empty where rows have no times.
fn span(recipe: &Recipe, model: &Model) -> (String, String) {
    // All heads have the same windows.
    let (recipe, preparation) = match recipe.network.heads.len() {
        0 => (recipe.clone(), model.preparation.clone()),
        _ => (recipe.of_head(0), model.preparation.of_head(0)),
    };
    let source = recipe.data.source();
    let Some(times) = source.test_times(recipe.seed, Some(&preparation)) else {
        return Default::default();
    };
    let all = || times.ahead.iter().copied();
    let ends = [
        all().fold(f64::INFINITY, f64::min),
        all().fold(f64::NEG_INFINITY, f64::max),
    ];
    let has_time = all().any(|time| time.rem_euclid(86_400.0) != 0.0);
    let [from, to] = ends.map(|time| {
        if times.are_dates {
            CivilTime::of(time).text(has_time)
        } else {
            time.to_string()
        }
    });
    (from, to)
}

impl FoldScores {
    /// The root mean squared error of the model for target k, over all steps ahead, and those of
    /// the baselines with their names; in the units of the data.
    pub fn rmse(&self, k: usize) -> Vec<(String, Option<f64>)> {
        let own = self.targets.get(k).map(|target| target.judged().rmse);
        let mut all = vec![("this model".to_string(), own)];
        let columns = self.targets.len().max(1);
        all.extend(self.comparison.baselines.iter().map(|baseline| {
            let of_target = baseline.errors.iter().skip(k).step_by(columns);
            let squares = of_target.map(|errors| Some(errors.as_ref()?.rmse.powi(2)));
            let squares: Option<Vec<f64>> = squares.collect();
            let mean = squares.filter(|squares| !squares.is_empty());
            let mean = mean.map(|squares| squares.iter().sum::<f64>() / squares.len() as f64);
            (baseline.name.clone(), mean.map(f64::sqrt))
        }));
        all
    }

    /// The coverage of the interval that is nearest to 80 per cent.
    pub fn interval(&self) -> Option<&Coverage> {
        let intervals = self.coverage.iter().filter(|each| each.is_interval());
        let distance = |each: &&Coverage| (each.nominal - 0.8).abs();
        intervals.min_by(|a, b| distance(a).total_cmp(&distance(b)))
    }
}

/// The root of the mean of squared errors, weighted by the windows of each fold.
pub fn pooled_rmse(folds: &[(usize, Option<f64>)]) -> Option<f64> {
    let squares = folds
        .iter()
        .map(|&(windows, rmse)| Some(rmse?.powi(2) * windows as f64));
    let sum: Option<f64> = squares.sum();
    let windows: usize = folds.iter().map(|(windows, _)| windows).sum();
    sum.filter(|_| windows > 0)
        .map(|sum| (sum / windows as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_pooled_by_windows() {
        assert_eq!(
            pooled_rmse(&[(1, Some(3.0)), (3, Some(1.0))]),
            Some(3f64.sqrt())
        );
        assert_eq!(pooled_rmse(&[(1, Some(3.0)), (3, None)]), None);
        assert_eq!(pooled_rmse(&[]), None);
    }
}
