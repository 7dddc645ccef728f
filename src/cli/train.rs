//! `gatescan train`: trains a recipe, shows how it goes, and leaves a run directory.

use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use gatescan::cells::Cell;
use gatescan::data::{Dataset, Splits};
use gatescan::error::{Error, Result};
use gatescan::recipe::Recipe;
use gatescan::train::{Ending, EpochMetrics, Event, Progress, Report, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use super::run_directory::RunDirectory;
use super::{Scores, Tune, check_data_path, choose_device, loss_text, note, open, print};

/// Train a recipe and save the model.
#[derive(Args)]
#[command(after_help = "\
The flags change the recipe first, then each --set in turn. \
Ctrl-C stops after the current step and saves the model; a second one stops at once.

Examples:
  gatescan train mnist
  gatescan train mnist --epochs 5 --hidden-size 64 --layers 2 --cell gru
  gatescan train mnist --data data/fashion --device cpu --out runs/fashion
  gatescan train mine.toml --set optimizer.beta2=0.99 --set network.layer.0.init=torch
  gatescan train mnist --json > metrics.jsonl")]
pub struct Train {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    recipe: String,
    /// Directory of the data set's files, in place of the recipe's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Where recipe, metrics and model go [default: runs/<recipe>-<time>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Passes over the training split.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Sequences for each update of the weights.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Hidden units of every layer.
    #[arg(long, value_name = "N")]
    hidden_size: Option<usize>,
    /// Number of layers: the recipe's first ones, or its last one repeated.
    #[arg(long, value_name = "N", value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024))]
    layers: Option<usize>,
    /// Cell of every layer.
    #[arg(long, value_parser = cell_parser())]
    cell: Option<Cell>,
    /// Learning rate.
    #[arg(long, value_name = "RATE")]
    lr: Option<f32>,
    /// Print and record the mean loss of every N updates, too.
    #[arg(long, value_name = "N")]
    report_every: Option<usize>,
    /// Initial weights and the order of the sequences follow from it.
    // TOML has no larger numbers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// Change any field of the recipe, as in optimizer.beta2=0.99 or network.layer.0.bias=double.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print one JSON object for each epoch on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Print only the result; with --json only the epochs.
    #[arg(long)]
    quiet: bool,
}

fn cell_parser() -> impl TypedValueParser<Value = Cell> {
    let names = Cell::ALL.iter().map(|cell| cell.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut cells = Cell::ALL.iter().copied();
        cells.find(|cell| cell.name() == name).ok_or("unknown cell")
    })
}

impl Train {
    /// Trains in a process that began at `start`.
    pub fn run(&self, start: Instant) -> Result<()> {
        let recipe = self.resolve()?;
        // Data are unpacked while a driver wakes up.
        let (chosen, data) = rayon::join(
            || {
                let (device, why) = choose_device(&self.device)?;
                Ok((open(&device, &self.tune)?, why, start.elapsed()))
            },
            || recipe.data.load(recipe.seed),
        );
        let (place, device_why, opened) = chosen?;
        let (data, had_data) = (data?, start.elapsed());
        let mut trainer = Trainer::load(&recipe, &data, &place)?;
        let loaded = start.elapsed();
        let mut directory = RunDirectory::create(self.out.as_deref(), &recipe)?;
        if !self.quiet {
            note(format!("recipe  {}", describe_recipe(&recipe)));
            note(format!("data    {}", describe_data(&data)));
            note(format!("device  {device_why}"));
            note(format!("out     {}", directory.path().display()));
        }

        let stop = stop_on_ctrl_c()?;
        let mut display = Display::new(self.json, self.quiet);
        let mut epoch = 1;
        let mut last: Option<EpochMetrics> = None;
        let mut first_step = !self.quiet;
        let ending = trainer.run(&mut |trainer, event| {
            let mut flow = ControlFlow::Continue(());
            match event {
                Event::Progress(progress) => {
                    epoch = progress.epoch;
                    if std::mem::take(&mut first_step) {
                        note(describe_start([opened, had_data, loaded, start.elapsed()]));
                    }
                    for report in &progress.reports {
                        directory.record(report)?;
                        if display.report(report)?.is_break() {
                            flow = ControlFlow::Break(());
                        }
                    }
                    display.progress(progress);
                }
                Event::Epoch(metrics) => {
                    directory.save(&trainer.model()?)?;
                    directory.record(metrics)?;
                    flow = display.epoch(metrics, recipe.epochs)?;
                    last = Some(metrics.clone());
                }
            }
            Ok(match stop.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => flow,
            })
        })?;
        display.clear();

        match ending {
            Ending::Complete => {}
            Ending::Stalled if self.quiet => {}
            Ending::Stalled => note(format!(
                "stopped after epoch {epoch}, as the loss falls no further"
            )),
            Ending::Interrupted => {
                directory.save(&trainer.model()?)?;
                note(format!(
                    "stopped in epoch {epoch} of {} and saved the model as it is",
                    recipe.epochs
                ));
            }
        }
        let kept = trainer.best().cloned().or(last);
        self.report(kept.as_ref(), &directory)
    }

    /// The recipe with every change that was asked for.
    fn resolve(&self) -> Result<Recipe> {
        let mut recipe = Recipe::load(&self.recipe)?;
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        recipe.batch_size = self.batch_size.unwrap_or(recipe.batch_size);
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.report_every = self.report_every.or(recipe.report_every);
        if let Some(count) = self.layers {
            recipe.network.set_layers(count);
        }
        if let Some(hidden_size) = self.hidden_size {
            recipe.network.set_hidden_size(hidden_size);
        }
        if let Some(cell) = self.cell {
            recipe.network.set_cell(cell);
        }
        if let Some(rate) = self.lr {
            recipe.optimizer.set_learning_rate(rate);
        }
        recipe.set(&self.set)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// What came of it, and what to do with it.
    fn report(&self, last: Option<&EpochMetrics>, directory: &RunDirectory) -> Result<()> {
        let mut lines = Vec::new();
        if let Some((scores, metrics)) = last.and_then(|each| Some((test_scores(each)?, each))) {
            lines.push(format!("test {scores} after epoch {}", metrics.epoch));
        }
        lines.push(format!(
            "model saved as {}",
            directory.model_path().display()
        ));
        let program = std::env::args_os()
            .next()
            .map_or("gatescan".into(), |name| {
                name.to_string_lossy().into_owned()
            });
        lines.push(format!(
            "evaluate it with: {} eval {}",
            shell_word(&program),
            shell_word(&directory.path().display().to_string())
        ));
        let text = lines.join("\n");
        match (self.json, self.quiet) {
            (true, true) => {}
            (true, false) => note(text),
            (false, _) => {
                let _ = print(text)?;
            }
        }
        Ok(())
    }
}

fn test_scores(metrics: &EpochMetrics) -> Option<Scores> {
    Some(Scores {
        loss: metrics.test_loss?,
        accuracy: metrics.test_accuracy,
        last_step_loss: metrics.test_last_step_loss,
    })
}

fn describe_recipe(recipe: &Recipe) -> String {
    let layers = recipe.network.layers.iter();
    let layers: Vec<String> = layers
        .map(|layer| format!("{} {}", layer.cell.name(), layer.hidden_size))
        .collect();
    format!(
        "{}: {}, batch size {}, {} epochs, seed {}",
        recipe.name,
        layers.join(" > "),
        recipe.batch_size,
        recipe.epochs,
        recipe.seed
    )
}

fn describe_data(data: &Splits) -> String {
    let Dataset {
        count,
        steps,
        features,
        ..
    } = &data.train;
    let test = data.test.as_ref().map_or(0, |test| test.count);
    format!("{count} training and {test} test sequences of {steps} steps with {features} features")
}

/// Times since the process began: device open, data there, program loaded, first step done.
fn describe_start(times: [Duration; 4]) -> String {
    let [opened, data, loaded, stepped] = times.map(|time| time.as_secs_f64());
    format!(
        "start   first step after {stepped:.2} s: device and data {:.2} s (device open after {opened:.2} s), \
         program {:.2} s, step {:.2} s",
        data.max(opened),
        loaded - data.max(opened),
        stepped - loaded
    )
}

/// Quoted where a shell would split it.
fn shell_word(word: &str) -> String {
    match word.contains(char::is_whitespace) {
        true => format!("\"{word}\""),
        false => word.to_string(),
    }
}

/// A flag that Ctrl-C raises; the second one ends the program at once.
fn stop_on_ctrl_c() -> Result<&'static AtomicBool> {
    static STOP: AtomicBool = AtomicBool::new(false);
    let handler = || {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(130);
        }
        note("\nstopping after this step; Ctrl-C again stops at once and saves nothing");
    };
    match ctrlc::set_handler(handler) {
        Ok(()) => Ok(&STOP),
        Err(error) => Err(Error::Training(format!("Ctrl-C cannot be caught: {error}"))),
    }
}

/// Shows how training goes: a bar for each epoch on a terminal, else a line now and then; and a line for each epoch.
struct Display {
    json: bool,
    quiet: bool,
    /// Whether standard error is a terminal, which can show a bar.
    terminal: bool,
    bar: Option<ProgressBar>,
    last_line: Instant,
}

impl Display {
    const BETWEEN_LINES: Duration = Duration::from_secs(10);

    fn new(json: bool, quiet: bool) -> Self {
        Display {
            json,
            quiet,
            terminal: stderr().is_terminal(),
            bar: None,
            last_line: Instant::now(),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.quiet {
            return;
        }
        let Progress {
            epoch,
            epochs,
            sequences,
            of,
            ..
        } = *progress;
        let speed = progress.sequences_per_second;
        let left = of.saturating_sub(sequences) as f64 / speed;
        let scores = Scores {
            loss: progress.loss,
            accuracy: progress.accuracy,
            last_step_loss: None,
        };
        let state = format!("{scores} {speed:.0} sequences/s {left:.0}s left");
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                ProgressBar::new(of as u64)
                    .with_style(bar_style())
                    .with_prefix(format!("{epoch}/{epochs}"))
            });
            bar.set_message(state);
            bar.set_position(sequences as u64);
        } else if self.last_line.elapsed() >= Self::BETWEEN_LINES {
            self.last_line = Instant::now();
            note(format!("epoch {epoch}/{epochs} {sequences}/{of} {state}"));
        }
    }

    fn report(&mut self, report: &Report) -> Result<ControlFlow<()>> {
        if self.json || self.quiet {
            return Ok(ControlFlow::Continue(()));
        }
        let line = format!(
            "step {}  mean loss {}, at this step {}",
            report.step,
            loss_text(report.loss),
            loss_text(report.step_loss)
        );
        match &self.bar {
            Some(bar) => bar.suspend(|| print(line)),
            None => print(line),
        }
    }

    fn epoch(&mut self, metrics: &EpochMetrics, epochs: usize) -> Result<ControlFlow<()>> {
        self.clear();
        if self.json {
            return print(serde_json::json!(metrics));
        }
        if self.quiet {
            return Ok(ControlFlow::Continue(()));
        }
        let train = Scores {
            loss: metrics.train_loss,
            accuracy: metrics.train_accuracy,
            last_step_loss: metrics.train_last_step_loss,
        };
        let mut line = format!("epoch {}/{epochs}  train {train}", metrics.epoch);
        if let Some(test) = test_scores(metrics) {
            line += &format!("  test {test}");
        }
        line += &format!(
            "  {:.0} sequences/s  {:.1} s",
            metrics.sequences_per_second, metrics.seconds
        );
        print(line)
    }

    /// Takes the bar off the terminal.
    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn bar_style() -> ProgressStyle {
    let template = "epoch {prefix} [{wide_bar}] {percent}% {msg}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_formed() {
        crate::cli::Cli::command().debug_assert();
    }
}
