//! `gatescan eval`: evaluates a saved model on a split of its data.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use gatescan::low_level::kernels::Tally;
use gatescan::train::{BaselineComparison, EvaluationData, evaluate_on};
use gatescan::{Error, Evaluation, Loss, Network, Result, Split};
use serde_json::{Map, Value, json};

use super::console::Console;
use super::{Tune, check_data_path, choose_device, comparison, load_model, open};

/// Evaluate a saved model.
#[derive(Args)]
#[command(after_help = "\
Examples:
  gatescan eval runs/mnist-20260102-030405
  gatescan eval runs/mnist-20260102-030405 --top-k 2,3 --confusion
  gatescan eval runs/mnist-20260102-030405 --split train --range 0..1000
  gatescan eval model.safetensors --data data/mnist --device cpu --json")]
pub struct Eval {
    /// A model.safetensors, or the run directory that holds one.
    model: PathBuf,
    /// Directory of the data set's files [default: the one that the model was trained on].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Split to evaluate.
    #[arg(long, default_value = "test", value_parser = split_parser())]
    split: Split,
    /// Evaluate only sequences A to B of the split, counted from 0 and without B [default: all].
    #[arg(long, value_name = "A..B", value_parser = parse_range)]
    range: Option<Range<usize>>,
    /// Also print the top-K accuracy, for each K.
    #[arg(long, value_name = "K", value_delimiter = ',')]
    top_k: Vec<usize>,
    /// Also print the confusion matrix and the recall of each class.
    #[arg(long)]
    confusion: bool,
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

pub fn split_parser() -> impl TypedValueParser<Value = Split> {
    let splits = [Split::Test, Split::Train];
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

impl Eval {
    pub fn run(&self, console: &Console) -> Result<()> {
        let model = load_model(console, &self.model)?;
        self.check_classes(&model.network)?;
        let (device, _) = choose_device(&self.device)?;
        let mut recipe = model.recipe.data.clone();
        if let Some(directory) = &self.data {
            check_data_path(&recipe, directory)?;
            recipe.set_path(directory.clone());
        }
        let EvaluationData { mut data, train } = EvaluationData::load(&model, &recipe, self.split)?;
        if let Some(range) = &self.range {
            data = data.slice(range.clone())?.into();
        }
        let batch_size = self
            .batch_size
            .map_or(model.recipe.batch_size, NonZeroUsize::get);

        let evaluation = evaluate_on(&model, &data, batch_size, &open(&device, &self.tune)?)?;
        let compared = BaselineComparison::new(
            &model.recipe.data,
            &model.preparation,
            train.as_deref(),
            &data,
            &evaluation.scores(),
        )?;
        let text = if self.json {
            let mut object = self.object(&evaluation);
            comparison::add_to(&compared, &mut object);
            object.to_string()
        } else {
            self.lines(&evaluation) + &comparison::lines(&compared)
        };
        let _ = console.print(text)?;
        Ok(())
    }

    /// Returns an error for counts of classes that the model does not have.
    fn check_classes(&self, network: &Network) -> Result<()> {
        let classes = network.head.size;
        let flag = if self.confusion {
            "--confusion"
        } else {
            "--top-k"
        };
        if network.head.loss != Loss::CrossEntropy && (self.confusion || !self.top_k.is_empty()) {
            return Err(Error::usage(format!(
                "{flag}: the model predicts values; only a model that classifies has this"
            )));
        }
        if let Some(k) = self.top_k.iter().find(|k| !(1..=classes).contains(k)) {
            return Err(Error::usage(format!(
                "--top-k {k}: the model has {classes} classes, so K must be 1 to {classes}"
            )));
        }
        if self.confusion && classes > Tally::LARGEST_CONFUSION {
            return Err(Error::usage(format!(
                "--confusion: the model has {classes} classes; the confusion matrix is counted for \
                 at most {}",
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

    fn object(&self, evaluation: &Evaluation) -> Value {
        let split = self.split.name();
        let mut object = json!({
            (format!("{split}_loss")): evaluation.loss,
            (format!("{split}_accuracy")): evaluation.accuracy,
            (format!("{split}_last_step_loss")): evaluation.last_step_loss,
            "sequences": evaluation.sequences,
            "sequences_per_second": evaluation.sequences_per_second,
            "seconds": evaluation.seconds,
        });
        if !self.top_k.is_empty() {
            let shares = self.top_k(evaluation);
            let shares: Map<_, _> = shares
                .map(|(k, share)| (k.to_string(), share.into()))
                .collect();
            object["top_k"] = shares.into();
        }
        if let (Some(confusion), true) = (&evaluation.confusion, self.confusion) {
            let rows = confusion.rows().into_iter();
            object["confusion"] = rows.map(|row| row.to_vec()).collect();
            object["recall"] = json!(evaluation.recalls());
        }
        object
    }

    fn lines(&self, evaluation: &Evaluation) -> String {
        let Evaluation {
            sequences,
            sequences_per_second,
            seconds,
            ..
        } = evaluation;
        let mut text = format!("{} {}", self.split.name(), evaluation.scores());
        for (k, share) in self.top_k(evaluation) {
            text += &format!(" top-{k} {share:.4}");
        }
        text += &format!(
            "  {sequences} sequences in {seconds:.1} s, {sequences_per_second:.0} sequences/s"
        );
        if let (Some(table), true) = (confusion_table(evaluation), self.confusion) {
            text += &format!("\n\n{table}");
        }
        text
    }
}

/// The confusion matrix, with a row for each true class, a column for each predicted one, and a
/// column of recalls.
fn confusion_table(evaluation: &Evaluation) -> Option<String> {
    let (confusion, recalls) = (evaluation.confusion.as_ref()?, evaluation.recalls()?);
    let classes = confusion.nrows();
    let largest = confusion.iter().max().copied().unwrap_or_default();
    let width = largest.to_string().len().max(classes.to_string().len());
    let header: String = (0..classes).map(|k| format!("  {k:width$}")).collect();
    let mut lines = vec![
        "classes: a row for each true one, a column for each predicted one".to_string(),
        format!("{:width$}{header}  recall", ""),
    ];
    for ((class, row), recall) in confusion.rows().into_iter().enumerate().zip(recalls) {
        let counts: String = row
            .iter()
            .map(|count| format!("  {count:width$}"))
            .collect();
        let recall = recall.map_or("-".into(), |recall| format!("{recall:.4}"));
        lines.push(format!("{class:width$}{counts}  {recall:>6}"));
    }
    Some(lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_aligned() {
        let evaluation = Evaluation {
            loss: 0.0,
            accuracy: None,
            last_step_loss: None,
            ranks: None,
            confusion: Some(ndarray::arr2(&[[5, 0, 120], [0, 0, 0], [1, 2, 30]])),
            sequences: 158,
            sequences_per_second: 1.0,
            seconds: 158.0,
        };
        let lines = [
            "classes: a row for each true one, a column for each predicted one",
            "       0    1    2  recall",
            "  0    5    0  120  0.0400",
            "  1    0    0    0       -",
            "  2    1    2   30  0.9091",
        ];
        assert_eq!(confusion_table(&evaluation), Some(lines.join("\n")));
    }

    #[test]
    fn ranges() {
        assert_eq!(parse_range("3..10"), Ok(3..10));
        for text in ["3", "3..", "..3", "-1..3", "3..=4", "a..b", "3...4"] {
            assert!(parse_range(text).is_err(), "{text}");
        }
    }
}
