//! `gatescan backtest`: a forecast judged on consecutive parts of the test split.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::RangedU64ValueParser;
use gatescan::backtest::{BacktestEvent, BacktestOptions, FoldScores, backtest, pooled_rmse};
use gatescan::low_level::messages::printable;
use gatescan::{Model, Recipe, Result};
use serde_json::{Map, Value, json};

use super::console::Console;
use super::{Tune, aligned, choose_device, load_model, open, set_fields};

/// Judge a forecast on consecutive parts of its test split
#[derive(Args)]
#[command(after_help = "\
The test split is cut into consecutive folds. Each is judged with what was known before it: the \
windows of a fold read rows before it, and predict rows in it. Without --refit, one model, trained \
on the rows before the first fold, is judged on all folds; with it, the model is trained again for \
each fold, on all rows before it. Baselines are fitted to the rows that the model was trained on. \
Errors are those at the last step of each window.

Examples:
  gatescan backtest runs/sunspots-20260102-030405
  gatescan backtest runs/sunspots-20260102-030405 --folds 8 --refit
  gatescan backtest sunspots.toml --folds 5 --refit --set epochs=20 --json")]
pub struct Backtest {
    /// A run directory, a model.safetensors, or a recipe.
    run: PathBuf,
    /// Parts of the test split.
    #[arg(
        long,
        value_name = "N",
        default_value_t = 5,
        value_parser = RangedU64ValueParser::<usize>::new().range(2..=1000)
    )]
    folds: usize,
    /// Train again for each fold, on all rows before it.
    #[arg(long)]
    refit: bool,
    /// Change a field of the recipe for models that are trained, such as epochs=20.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

impl Backtest {
    pub fn run(&self, console: &Console) -> Result<()> {
        let (mut recipe, model) = self.load(console)?;
        set_fields(&mut recipe, &self.set)?;
        let model = model.filter(|_| self.set.is_empty());
        let (device, _) = choose_device(&self.device)?;
        let device = open(&device, &self.tune)?;
        let options = BacktestOptions {
            folds: self.folds,
            refit: self.refit,
        };
        let shown = Cell::new(Instant::now());
        let folds = backtest(&recipe, model, options, &device, &mut |event| {
            self.show(console, event, &shown);
            Ok(ControlFlow::Continue(()))
        })?;
        let _ = if self.json {
            console.print_json(self.object(&folds))?
        } else {
            console.print(lines(&folds))?
        };
        Ok(())
    }

    /// The recipe, and the model of a run.
    fn load(&self, console: &Console) -> Result<(Recipe, Option<Model>)> {
        let path: &Path = &self.run;
        let is_model = path
            .extension()
            .is_some_and(|ending| ending == "safetensors");
        if path.is_dir() || is_model {
            let model = load_model(console, path)?;
            return Ok((model.recipe.clone(), Some(model)));
        }
        Ok((Recipe::load(&path.to_string_lossy())?, None))
    }

    /// Says what is done.
    fn show(&self, console: &Console, event: BacktestEvent, shown: &Cell<Instant>) {
        match event {
            BacktestEvent::Training(n, progress) => {
                if shown.get().elapsed() > Duration::from_secs(10) {
                    shown.set(Instant::now());
                    console.say(format!(
                        "fold {} of {}: epoch {} of {}, loss {:.4}",
                        n + 1,
                        self.folds,
                        progress.epoch,
                        progress.epochs,
                        progress.loss
                    ));
                }
            }
            BacktestEvent::Judged(n, scores) => {
                let trained = scores
                    .epochs
                    .map(|epochs| format!("trained for {epochs} epochs, "));
                console.say(format!(
                    "fold {} of {}: {}judged on {} windows",
                    n + 1,
                    self.folds,
                    trained.unwrap_or_default(),
                    scores.windows
                ));
            }
            BacktestEvent::Note(n, note) => {
                // The notes of one fold are about those of the others.
                if n == 0 {
                    console.note(format!("warning: {note}"));
                }
            }
        }
    }

    fn object(&self, folds: &[FoldScores]) -> Value {
        let mut object = folds_object(folds);
        object["refit"] = self.refit.into();
        let heads = head_folds(folds).into_iter();
        let heads: Map<String, Value> = heads
            .map(|(name, own)| (name, folds_object(&own)))
            .collect();
        if !heads.is_empty() {
            object["heads"] = heads.into();
        }
        object
    }
}

/// The folds of each of several heads, after its name.
fn head_folds(folds: &[FoldScores]) -> Vec<(String, Vec<FoldScores>)> {
    let first = folds.first().map_or(&[][..], |fold| &fold.heads);
    let of_head = |n: usize| {
        folds
            .iter()
            .filter_map(move |fold| Some(fold.heads.get(n)?.1.clone()))
    };
    let heads = first.iter().enumerate();
    heads
        .map(|(n, (name, _))| (name.clone(), of_head(n).collect()))
        .collect()
}

/// The folds of a model, or of one of several heads, and their errors together.
fn folds_object(folds: &[FoldScores]) -> Value {
    let targets = folds.iter().map(|fold| fold.targets.len()).max();
    let all = |k: usize| {
        let pooled = pooled(folds, k).into_iter();
        let pooled = pooled.map(|(name, rmse)| (name, json!(rmse)));
        json!({ "rmse": pooled.collect::<Map<_, _>>() })
    };
    json!({
        "folds": folds.iter().map(fold_object).collect::<Value>(),
        "all": (0..targets.unwrap_or(0)).map(all).collect::<Value>(),
    })
}

fn fold_object(fold: &FoldScores) -> Value {
    let errors = |k: usize| -> Value {
        let errors = fold.rmse(k).into_iter();
        errors
            .map(|(name, rmse)| (name, json!(rmse)))
            .collect::<Map<_, _>>()
            .into()
    };
    let of_target = |k: usize| {
        let metrics = fold.targets[k].judged();
        json!({
            "target": fold.targets[k].name,
            "rmse": errors(k),
            "mae": metrics.mae,
            "mase": metrics.mase,
            "smape": metrics.smape,
            "r2": metrics.r2,
        })
    };
    let coverage = fold
        .coverage
        .iter()
        .map(|each| json!({ "name": each.name, "nominal": each.nominal, "coverage": each.share }));
    json!({
        "from": fold.from,
        "to": fold.to,
        "windows": fold.windows,
        "epochs": fold.epochs,
        "loss": fold.comparison.loss,
        "targets": (0..fold.targets.len()).map(of_target).collect::<Value>(),
        "coverage": coverage.collect::<Value>(),
    })
}

/// The errors of model and baselines for target k over all folds. The name of a season that is
/// found may differ from fold to fold; that of the first counts.
fn pooled(folds: &[FoldScores], k: usize) -> Vec<(String, Option<f64>)> {
    let first = folds.first().map(|fold| fold.rmse(k)).unwrap_or_default();
    let of_column = |(n, (name, _)): (usize, (String, Option<f64>))| {
        let errors = folds.iter().map(|fold| {
            let rmse = fold.rmse(k);
            (fold.windows, rmse.get(n).and_then(|each| each.1))
        });
        (name, pooled_rmse(&errors.collect::<Vec<_>>()))
    };
    first.into_iter().enumerate().map(of_column).collect()
}

/// The tables of a model, or of each of several heads.
fn lines(folds: &[FoldScores]) -> String {
    let heads = head_folds(folds);
    if heads.is_empty() {
        return head_lines(folds);
    }
    let each = heads.iter().map(|(name, own)| {
        let lines = head_lines(own);
        format!("head {}\n{lines}", printable(name))
    });
    each.collect::<Vec<_>>().join("\n\n")
}

/// A table for each target, with the folds and all of them together; one of losses where no values
/// are predicted.
fn head_lines(folds: &[FoldScores]) -> String {
    let Some(first) = folds.first() else {
        return String::new();
    };
    if first.targets.is_empty() {
        return aligned(&loss_table(folds), 3);
    }
    let mut text = String::new();
    for k in 0..first.targets.len() {
        if k > 0 {
            text += "\n\n";
        }
        if first.targets.len() > 1 {
            text += &format!("{}\n", first.targets[k].name);
        }
        text += &aligned(&table(folds, k), 3);
    }
    text + &verdict(folds)
}

fn loss_table(folds: &[FoldScores]) -> Vec<Vec<String>> {
    let heads = ["FOLD", "FROM", "TO", "WINDOWS", "LOSS"].map(String::from);
    let row = |(n, fold): (usize, &FoldScores)| {
        let number = (n + 1).to_string();
        let loss = format!("{:.4}", fold.comparison.loss);
        vec![
            number,
            fold.from.clone(),
            fold.to.clone(),
            fold.windows.to_string(),
            loss,
        ]
    };
    let rows = folds.iter().enumerate().map(row);
    std::iter::once(heads.to_vec()).chain(rows).collect()
}

fn table(folds: &[FoldScores], k: usize) -> Vec<Vec<String>> {
    let number = |value: Option<f64>| value.map_or("-".to_string(), |value| format!("{value:.4}"));
    let pooled = pooled(folds, k);
    let interval = folds.first().and_then(FoldScores::interval);
    let mut heads = vec![
        "FOLD".to_string(),
        "FROM".into(),
        "TO".into(),
        "WINDOWS".into(),
    ];
    heads.extend(pooled.iter().enumerate().map(|(n, (name, _))| {
        let name = name.split(" (").next().unwrap_or(name).to_uppercase();
        if n == 0 {
            format!("RMSE OF {name}")
        } else {
            name
        }
    }));
    heads.push("MASE".into());
    heads.extend(interval.map(|each| format!("COVERAGE OF {:.0} %", 100.0 * each.nominal)));
    let mut rows = vec![heads];
    for (n, fold) in folds.iter().enumerate() {
        let mut row = vec![
            (n + 1).to_string(),
            fold.from.clone(),
            fold.to.clone(),
            fold.windows.to_string(),
        ];
        row.extend(fold.rmse(k).into_iter().map(|(_, rmse)| number(rmse)));
        row.push(number(
            fold.targets.get(k).and_then(|target| target.judged().mase),
        ));
        row.extend(fold.interval().map(|each| format!("{:.3}", each.share)));
        rows.push(row);
    }
    let windows: usize = folds.iter().map(|fold| fold.windows).sum();
    let mut all = vec![
        "all".into(),
        String::new(),
        String::new(),
        windows.to_string(),
    ];
    all.extend(pooled.into_iter().map(|(_, rmse)| number(rmse)));
    all.push(String::new());
    let covered = folds
        .iter()
        .filter_map(|fold| Some(fold.interval()?.share * fold.windows as f64));
    all.extend(interval.map(|_| format!("{:.3}", covered.sum::<f64>() / windows.max(1) as f64)));
    rows.push(all);
    rows
}

/// A sentence on the baselines that have a lower error than the model over all folds.
fn verdict(folds: &[FoldScores]) -> String {
    let columns = pooled(folds, 0);
    let Some((_, Some(own))) = columns.first() else {
        return String::new();
    };
    let lower = columns
        .iter()
        .skip(1)
        .filter(|(_, rmse)| rmse.is_some_and(|rmse| rmse <= *own));
    let lower: Vec<&str> = lower.map(|(name, _)| name.as_str()).collect();
    if lower.is_empty() {
        return String::new();
    }
    format!(
        "\nover all folds, the model does not beat {}",
        lower.join(", nor ")
    )
}
