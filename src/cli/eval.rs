//! `gatescan eval`: evaluates a saved model on a split of its data, or on another file.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gatescan::data::MISSING;
use gatescan::infer::intervals::Calibration;
use gatescan::low_level::kernels::Tally;
use gatescan::low_level::messages::shown_path;
use gatescan::train::{BaselineComparison, EvaluationData, evaluate_beside};
use gatescan::{Error, Evaluation, Head, Model, OpenDevice, Result, Split, Targets};
use serde_json::{Map, Value, json};

use super::console::Console;
use super::{
    Tune, calibration, check_data_path, choose_device, comparison, confusion, load_model, metrics,
    open,
};

/// The splits that a model can be evaluated on.
const SPLITS: [Split; 3] = [Split::Test, Split::Train, Split::Validation];

/// Evaluate a saved model.
#[derive(Args)]
#[command(after_help = "\
With --data, all of the named file is evaluated, prepared as the model's training data: no part of \
it is taken as a test split, and a test file that the recipe names is not read. A directory of IDX \
files, and arrays with names in _train and _test, hold splits, of which --split selects one. \
Baselines are fitted to the data that the model was trained on.

Examples:
  gatescan eval runs/mnist-20260102-030405
  gatescan eval runs/machines --data newer.csv
  gatescan eval runs/mnist-20260102-030405 --top-k 2,3 --confusion
  gatescan eval runs/mnist-20260102-030405 --split train --range 0..1000
  gatescan eval model.safetensors --data data/mnist --device cpu --json")]
pub struct Eval {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Evaluate this file, all of it, or this directory [default: the data that the model was
    /// trained on].
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// Split to evaluate, of the model's own data or of a directory with splits [default: test].
    #[arg(long, value_parser = split_parser(SPLITS))]
    split: Option<Split>,
    /// Evaluate only sequences A to B, counted from 0 and without B [default: all].
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    range: Option<Range<usize>>,
    /// Also print the top-K accuracy, for each K.
    #[arg(long, value_name = "K", value_delimiter = ',')]
    top_k: Vec<usize>,
    /// Also print the confusion matrix and the recall of each class.
    #[arg(long)]
    confusion: bool,
    /// Also print precision, recall, F1, ROC AUC and average precision of each class.
    #[arg(long)]
    per_class: bool,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Sequences per batch [default: as in training].
    #[arg(long, value_name = "N")]
    batch_size: Option<NonZeroUsize>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// A parser of the names of these splits.
pub fn split_parser<const N: usize>(splits: [Split; N]) -> impl TypedValueParser<Value = Split> {
    PossibleValuesParser::new(splits.map(Split::name)).try_map(move |name| {
        let mut splits = splits.into_iter();
        splits
            .find(|split| split.name() == name)
            .ok_or("unknown split")
    })
}

fn parse_range(text: &str) -> Result<Range<usize>, String> {
    let range = text
        .split_once("..")
        .and_then(|(start, end)| Some(start.parse().ok()?..end.parse().ok()?));
    range.ok_or_else(|| "expected two whole numbers, as in 0..1000".to_string())
}

/// The evaluated data and the result.
struct Evaluated<'a> {
    model: &'a Model,
    data: &'a EvaluationData,
    evaluation: Evaluation,
    calibration: Calibration,
}

impl Eval {
    pub fn run(&self, console: &Console) -> Result<()> {
        let model = load_model(console, &self.model)?;
        let heads = model.network.each_head();
        let checked = (0..heads.len()).map(|index| self.check_classes(&heads[index]));
        let (fits, problems): (Vec<_>, Vec<_>) = checked.partition(Result::is_ok);
        if let (true, Some(problem)) = (fits.is_empty(), problems.into_iter().next()) {
            return problem;
        }
        let (device, _) = choose_device(&self.device)?;
        let mut data = self.load(&model)?;
        if let Some(range) = &self.range {
            data.data = data.data.slice(range.clone())?.into();
        }
        for note in &data.notes {
            console.note(format!("warning: {note}"));
        }
        let batch_size = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);

        let device = open(&device, &self.tune)?;
        let train = data.train.as_deref();
        let evaluation = evaluate_beside(&model, &data.data, train, batch_size, &device)?;
        if !evaluation.heads.is_empty() {
            return self.print_heads(console, (&model, &data), &evaluation, &device);
        }
        let compared = BaselineComparison::new(
            &model.recipe.data,
            model.network.head.loss,
            &model.preparation,
            data.train.as_deref(),
            &data.data,
            &evaluation.scores(),
        )?;
        let calibration = Calibration::of(&model, &data.data, batch_size, &device)?;
        let evaluated = Evaluated {
            model: &model,
            data: &data,
            evaluation,
            calibration,
        };
        let _ = if self.json {
            let mut object = self.object(&evaluated);
            comparison::add_to(&compared, &mut object);
            console.print_json(object)?
        } else {
            let metrics = evaluated.evaluation.metrics.as_ref();
            console.print(self.lines(&evaluated, &comparison::lines(&compared, metrics)))?
        };
        Ok(())
    }

    /// Prints the sum of the losses of several heads, and the evaluation of each of them.
    fn print_heads(
        &self,
        console: &Console,
        (model, data): (&Model, &EvaluationData),
        evaluation: &Evaluation,
        device: &OpenDevice,
    ) -> Result<()> {
        let split = split_name(data.split);
        let batch_size = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);
        let (mut text, mut objects) = (String::new(), Map::new());
        for (index, head) in evaluation.heads.iter().enumerate() {
            let model = model.of_head(index);
            let data = EvaluationData {
                data: data.data.of_head(index).into(),
                train: (data.train.as_ref()).map(|train| train.of_head(index).into()),
                ..data.clone()
            };
            let own = &head.evaluation;
            let compared = BaselineComparison::new(
                &model.recipe.data,
                model.network.head.loss,
                &model.preparation,
                data.train.as_deref(),
                &data.data,
                &own.scores(),
            )?;
            let evaluated = Evaluated {
                calibration: Calibration::of(&model, &data.data, batch_size, device)?,
                model: &model,
                data: &data,
                evaluation: own.clone(),
            };
            let mut object = self.object(&evaluated);
            comparison::add_to(&compared, &mut object);
            object["weight"] = head.weight.into();
            objects.insert(head.name.clone(), object);
            let metrics = own.metrics.as_ref();
            let lines = self.lines(&evaluated, &comparison::lines(&compared, metrics));
            text += &format!("\n\nhead {}, weight {}\n{lines}", head.name, head.weight);
        }
        let _ = if self.json {
            console.print_json(json!({
                (format!("{split}_loss")): evaluation.loss,
                "sequences": evaluation.sequences,
                "sequences_per_second": evaluation.sequences_per_second,
                "seconds": evaluation.seconds,
                "split": data.split.map_or(Value::Null, |split| split.name().into()),
                "heads": objects,
            }))?
        } else {
            let of_all = evaluation.scores();
            console.print(format!(
                "{split} {of_all}, the weighted sum of the heads{text}"
            ))?
        };
        Ok(())
    }

    /// Loads the data to evaluate: all of a file of `--data`, or a split.
    fn load(&self, model: &Model) -> Result<EvaluationData> {
        let Some(path) = &self.data else {
            return EvaluationData::load(model, self.split.unwrap_or(Split::Test));
        };
        check_data_path(&model.recipe.data, path)?;
        EvaluationData::of_file(model, path, self.split).map_err(|error| match error {
            Error::Usage(problem) => Error::Usage(format!("--split with --data: {problem}")),
            other => other,
        })
    }

    /// The name of the evaluated data in messages.
    fn evaluated_name(&self, data: &EvaluationData) -> String {
        match (&self.data, data.split) {
            (None, split) => format!("the {} split", split_name(split)),
            (Some(path), None) => shown_path(path),
            (Some(path), split) => {
                format!("the {} split of {}", split_name(split), shown_path(path))
            }
        }
    }

    /// Returns an error for counts of classes that the model does not have.
    fn check_classes(&self, head: &Head) -> Result<()> {
        let classes = head.size;
        let flags = [
            (self.confusion, "--confusion"),
            (self.per_class, "--per-class"),
            (!self.top_k.is_empty(), "--top-k"),
        ];
        if let Some((_, flag)) = flags.iter().find(|(is_set, _)| *is_set)
            && !head.loss.takes_classes()
        {
            return Err(Error::usage(format!(
                "{flag}: the model predicts values; only a model that classifies has this"
            )));
        }
        if let Some(k) = self.top_k.iter().find(|k| !(1..=classes).contains(k)) {
            return Err(Error::usage(format!(
                "--top-k {k}: the model has {classes} classes, so K must be 1 to {classes}"
            )));
        }
        if (self.confusion || self.per_class) && classes > Tally::LARGEST_CONFUSION {
            let flag = if self.confusion {
                "--confusion"
            } else {
                "--per-class"
            };
            return Err(Error::usage(format!(
                "{flag}: the model has {classes} classes; they are counted for at most {}",
                Tally::LARGEST_CONFUSION
            )));
        }
        Ok(())
    }

    /// The shares for each K that was asked for.
    fn top_k<'a>(
        &self,
        evaluation: &'a Evaluation,
    ) -> impl Iterator<Item = (usize, f64)> + use<'a, '_> {
        let top_k = self.top_k.iter();
        top_k.filter_map(|&k| Some((k, evaluation.top_k(k)?)))
    }

    fn object(&self, evaluated: &Evaluated) -> Value {
        let Evaluated {
            model,
            data,
            evaluation,
            calibration,
        } = evaluated;
        // All of a file takes the place of a test split.
        let split = split_name(data.split);
        let mut object = json!({
            (format!("{split}_loss")): evaluation.loss,
            (format!("{split}_accuracy")): evaluation.accuracy,
            (format!("{split}_last_step_loss")): evaluation.last_step_loss,
            "sequences": evaluation.sequences,
            "sequences_per_second": evaluation.sequences_per_second,
            "seconds": evaluation.seconds,
        });
        if let Some(path) = &self.data {
            object["data"] = path.display().to_string().into();
        }
        if let Some(extent) = &data.extent {
            object[extent.unit] = extent.count.into();
        }
        if let Some(missing) = missing_targets(data) {
            object["missing_targets"] = missing.into();
        }
        object["split"] = data.split.map_or(Value::Null, |split| split.name().into());
        if let Some(found) = &evaluation.metrics {
            object["metrics"] = metrics::object(found, model);
        }
        if !self.top_k.is_empty() {
            let shares = self.top_k(evaluation);
            let shares: Map<_, _> = shares
                .map(|(k, share)| (k.to_string(), share.into()))
                .collect();
            object["top_k"] = shares.into();
        }
        if let (Some(confusion), true) = (&evaluation.confusion, self.confusion) {
            let rows = confusion.rows().into_iter();
            object["classes"] = class_names(model).into();
            object["confusion"] = rows.map(|row| row.to_vec()).collect();
            object["recall"] = json!(evaluation.recalls());
        }
        calibration::add_to(calibration, split, &mut object);
        if !model.preparation.interval_adjustment.is_empty() {
            object["intervals_adjusted"] = true.into();
        }
        object
    }

    /// The scores and, after `compared`, the metrics and the confusion matrix.
    fn lines(&self, evaluated: &Evaluated, compared: &str) -> String {
        let Evaluated {
            model,
            data,
            evaluation,
            calibration,
        } = evaluated;
        let Evaluation {
            sequences,
            sequences_per_second,
            seconds,
            ..
        } = evaluation;
        let name = match (&self.data, data.split) {
            (Some(path), None) => shown_path(path),
            (_, split) => split_name(split).to_string(),
        };
        let mut text = format!("{name} {}", evaluation.scores());
        for (k, share) in self.top_k(evaluation) {
            text += &format!(" top-{k} {share:.4}");
        }
        text += &format!(
            "  {sequences} sequences in {seconds:.1} s, {sequences_per_second:.0} sequences/s"
        );
        if self.data.is_some() {
            text += &format!("\n{}", self.contents(data, *sequences));
        }
        text += compared;
        if let Some(found) = &evaluation.metrics {
            text += &metrics::lines(found, model, self.per_class);
        }
        if self.confusion
            && let Some(table) = confusion::table(evaluation, &class_names(model))
        {
            text += &format!("\n\n{table}");
        }
        text += &calibration::lines(calibration, model);
        text
    }

    /// A sentence on the contents of a file of `--data`.
    fn contents(&self, data: &EvaluationData, sequences: usize) -> String {
        let name = self.evaluated_name(data);
        let steps = data.data.steps;
        if let Some(Range { start, end }) = &self.range {
            return format!("evaluated sequences {start} to {} of {name}", end - 1);
        }
        let all = if data.split.is_none() { "all of " } else { "" };
        let extent = data.extent.map(|extent| format!("{extent} in "));
        let extent = extent.unwrap_or_default();
        format!("evaluated {all}{name}: {extent}{sequences} sequences of {steps} steps")
    }
}

/// The name of a split; of a file without splits, that of the test split.
fn split_name(split: Option<Split>) -> &'static str {
    split.unwrap_or(Split::Test).name()
}

/// `[K]`: the names of the model's classes.
fn class_names(model: &Model) -> Vec<String> {
    let classes = 0..model.network.head.size;
    classes
        .map(|class| model.preparation.class(class))
        .collect()
}

/// The number of target values that are missing, if any are.
fn missing_targets(data: &EvaluationData) -> Option<usize> {
    let Targets::Values { values, .. } = &data.data.targets else {
        return None;
    };
    let missing = values.iter().filter(|&&value| value == MISSING);
    Some(missing.count()).filter(|&missing| missing > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        assert_eq!(parse_range("3..10"), Ok(3..10));
        for text in ["3", "3..", "..3", "-1..3", "3..=4", "a..b", "3...4"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
