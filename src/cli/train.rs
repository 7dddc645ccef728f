//! `gatescan train`: trains a recipe, shows how it goes, and leaves a run directory.

use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use gatescan::cells::Cell;
use gatescan::data::text::Unit;
use gatescan::data::{Dataset, Splits};
use gatescan::error::{Error, Result};
use gatescan::infer::sample::{Sampler, Sampling};
use gatescan::low_level::backend::Fault;
use gatescan::low_level::backend::OpenDevice;
use gatescan::low_level::backend::device::Device;
use gatescan::profile::Machine;
use gatescan::recipe::{CheckpointRecipe, Recipe};
use gatescan::report;
use gatescan::train::checkpoint::Checkpoint;
use gatescan::train::checkpoints::Checkpoints;
use gatescan::train::{Ending, EpochMetrics, Event, Position, Progress, Report, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use super::comparison::Comparison;
use super::report::details;
use super::run_directory::{CHECKPOINTS, RunDirectory, read_run};
use super::tui::{self, Screen};
use super::{
    Scores, Tune, check_data_path, choose_device, loss_text, note, open, print, quiet, say,
};

/// Train a recipe and save the model.
#[derive(Args)]
#[command(after_help = "\
The flags change the recipe first, then each --set in turn. \
Ctrl-C or SIGTERM stops after the current step and saves the run; a second Ctrl-C stops at once. \
A run that was stopped, killed or cut off goes on with --resume, and ends as if nothing had happened; \
epochs, steps, patience, the learning rate and its schedule may be changed then.

Examples:
  gatescan train mnist
  gatescan train mnist --epochs 5 --hidden-size 64 --layers 2 --cell gru
  gatescan train mnist --data data/fashion --device cpu --out runs/fashion
  gatescan train mine.toml --set optimizer.beta2=0.99 --set network.layer.0.init=torch
  gatescan train mnist --json > metrics.jsonl
  gatescan train --resume runs/mnist-20260102-030405
  gatescan train --resume runs/mnist-20260102-030405 --epochs 40")]
pub struct Train {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    /// Go on with the run in this directory, from its newest checkpoint that is whole.
    #[arg(long, value_name = "RUN", conflicts_with_all = ["recipe", "out"])]
    resume: Option<PathBuf>,
    /// Directory of the data set's files, in place of the recipe's.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Where recipe, metrics, checkpoints and model go [default: runs/<recipe>-<time>].
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
    /// Write a checkpoint after every N updates, beside every few minutes and the end of each epoch.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<usize>,
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
    /// Show the run on the whole terminal, with curves; q stops and saves it (built with the feature `tui`).
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    tui: bool,
    /// Also write what TensorBoard reads into the run directory: `tensorboard --logdir runs`.
    #[arg(long)]
    tensorboard: bool,
    /// Whether to stop where the device is lost, or to open it anew and go on from the newest checkpoint.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnDeviceLost::Stop)]
    on_device_lost: OnDeviceLost,
    /// Where a loss or gradient is not finite, play the step again and name the call that was first to leave such a number.
    #[arg(long)]
    diagnose: bool,
    /// What the driver is to do wrong, for tests.
    #[arg(long, value_name = "FAULT", hide = true)]
    inject_fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnDeviceLost {
    Stop,
    Retry,
}

/// How often in a row a run goes back to the same checkpoint before it gives up.
const SETBACKS: usize = 3;

pub(super) fn cell_parser() -> impl TypedValueParser<Value = Cell> {
    let names = Cell::ALL.iter().map(|cell| cell.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut cells = Cell::ALL.iter().copied();
        cells.find(|cell| cell.name() == name).ok_or("unknown cell")
    })
}

impl Train {
    /// Trains in a process that began at `start`.
    pub fn run(&self, start: Instant) -> Result<()> {
        if self.tui {
            Screen::check()?;
        }
        let (recipe, resumed) = match (&self.resume, &self.recipe) {
            (Some(run), _) => self.take_up(run).map(|(recipe, run)| (recipe, Some(run)))?,
            (None, name) => {
                let name = name.as_deref().unwrap_or_default();
                (self.resolve(Recipe::load(name)?)?, None)
            }
        };
        // Data are unpacked while a driver wakes up.
        let (chosen, data) = rayon::join(
            || {
                let (device, why) = choose_device(&self.device)?;
                let mut place = open(&device, &self.tune)?;
                if let Some(fault) = &self.inject_fault {
                    place = place.with_fault(fault.clone());
                }
                Ok((device, place, why, start.elapsed()))
            },
            || recipe.data.load(recipe.seed),
        );
        let (device, mut place, device_why, opened) = chosen?;
        let (data, had_data) = (data?, start.elapsed());
        let mut trainer = Trainer::load(&recipe, &data, &place)?;
        let loaded = start.elapsed();
        let resumes = resumed.is_some();
        let (mut directory, from) = match resumed {
            None => (RunDirectory::create(self.out.as_deref(), &recipe)?, None),
            Some((mut directory, from)) => {
                from.iter().try_for_each(|from| trainer.restore(from))?;
                directory.go_back(&recipe, from.as_ref())?;
                (directory, from)
            }
        };
        say(format!("recipe  {}", describe_recipe(&recipe)));
        let streamed = match trainer.streams() {
            true => ", streamed to the device",
            false => "",
        };
        say(format!("data    {}{streamed}", describe_data(&data)));
        say(format!("device  {device_why}"));
        say(format!("out     {}", directory.path().display()));

        if let Err(error) = directory.add_device(&Machine::of(&place).label()) {
            note(error);
        }
        if self.tensorboard {
            directory.write_events(trainer.position().step)?;
        }
        let stop = stop_on_signals()?;
        let mut saver = Saver::new(directory, &recipe.checkpoint, from.as_ref());
        saver.model_due = resumes;
        let mut display = Display::new(self.json, quiet(), &data);
        if self.tui {
            let directory = saver.directory.path().display().to_string();
            let state = tui::State::new(
                describe_recipe(&recipe),
                device_why,
                directory,
                display.tokens,
            );
            display.screen = Some(Screen::open(state, stop.clone())?);
        }
        let mut first_step = true;
        let mut epoch = trainer.position().epochs.len().max(1);
        let mut train = |trainer: &mut Trainer, saver: &mut Saver, place: &OpenDevice| {
            let mut observe = |trainer: &mut Trainer, event: Event| {
                let mut flow = ControlFlow::Continue(());
                if let Some(screen) = &display.screen {
                    screen.show(event, trainer.position(), trainer.last_step());
                }
                match event {
                    Event::Progress(progress) => {
                        epoch = progress.epoch;
                        if std::mem::take(&mut first_step) {
                            say(describe_start([opened, had_data, loaded, start.elapsed()]));
                        }
                        for report in &progress.reports {
                            saver.directory.record(report);
                            let loss = [("loss/report", Some(report.loss))];
                            saver.directory.record_events(report.step, &loss);
                            if display.report(report)?.is_break() {
                                flow = ControlFlow::Break(());
                            }
                        }
                        display.progress(progress);
                        saver.save_if_due(trainer)?;
                    }
                    Event::Evaluating { sequences, of } => display.evaluating(sequences, of),
                    Event::Epoch(metrics) => {
                        saver.directory.record(metrics);
                        let step = trainer.position().step;
                        saver.directory.record_events(step, &scalars(metrics));
                        saver.model_due = true;
                        saver.save(trainer)?;
                        flow = display.epoch(metrics, recipe.epochs)?;
                        if !quiet() && data.preparation.vocabulary.is_some() {
                            let seed = recipe.seed.wrapping_add(metrics.epoch as u64);
                            say(sample(trainer, seed, place)?);
                        }
                    }
                }
                Ok(match stop.load(Ordering::Relaxed) {
                    true => ControlFlow::Break(()),
                    false => flow,
                })
            };
            let ending = trainer.run(&mut observe);
            display.clear();
            let ending = ending?;
            saver.model_due |= ending == Ending::Interrupted;
            saver.finish(trainer, &stop)?;
            Ok(ending)
        };
        let directory = saver.directory.path().to_path_buf();
        let go_on = || format!("{} train --resume {}", program(), shown(&directory));
        let say_saved = |saver: &Saver| {
            note(match saver.saved {
                Some(step) => format!(
                    "saved up to step {step}; go on from there with: {}",
                    go_on()
                ),
                None => format!("nothing is saved yet; begin again with: {}", go_on()),
            });
        };
        let mut setbacks = 0;
        let ended = loop {
            let before = saver.saved;
            let error = match train(&mut trainer, &mut saver, &place) {
                Ok(ending) => break Ok(ending),
                Err(error) => error,
            };
            setbacks = match saver.saved == before {
                true => setbacks + 1,
                false => 1,
            };
            if !self.survives(&error) || setbacks > SETBACKS {
                break Err(error);
            }
            // What the old one holds is free before the new one takes it.
            drop(trainer);
            let regained = self.regain(place, &device, &error).and_then(|place| {
                let mut trainer = Trainer::load(&recipe, &data, &place)?;
                saver.go_back(&recipe, &mut trainer)?;
                Ok((place, trainer))
            });
            (place, trainer) = regained.inspect_err(|_| say_saved(&saver))?;
            let from = saver.saved.map_or("the beginning".into(), |step| {
                format!("the checkpoint of step {step}")
            });
            note(format!("{error}; the run goes on from {from}"));
        };
        // The terminal is as it was from here on.
        drop(display);
        let ending = match ended {
            Ok(ending) => ending,
            Err(error) => {
                say_saved(&saver);
                match error {
                    Error::NotFinite { step, .. } if self.diagnose => {
                        drop(trainer);
                        let mut trainer = Trainer::load(&recipe, &data, &place)?;
                        saver.go_back(&recipe, &mut trainer)?;
                        note(format!("diagnosis: {}", trainer.diagnose(step)?));
                    }
                    Error::NotFinite { .. } => {
                        note("with --diagnose it also names the first call that went wrong");
                    }
                    _ => {}
                }
                return Err(error);
            }
        };
        let Position { step, epochs, .. } = trainer.position();
        match ending {
            Ending::Complete => {}
            Ending::Stalled => say(format!(
                "stopped after epoch {}, as the loss falls no further",
                epochs.len()
            )),
            Ending::Interrupted => note(format!(
                "stopped in epoch {epoch} of {} at step {step} and saved the model as it is; go on with: {}",
                recipe.epochs,
                go_on()
            )),
        }
        let kept = trainer.best().or(epochs.last());
        let compared = self.report(kept, &recipe, &data, &saver.directory)?;
        let model = trainer.model();
        // What it holds on the device is free before the answers for the page take some.
        drop(trainer);
        let page = model.and_then(|model| {
            let run = read_run(saver.directory.path())?;
            let details = details(&model, &data, compared.as_ref(), &place);
            saver.directory.write_report(&report::page(&run, &details))
        });
        match page {
            Ok(path) => say(format!("report  {}", path.display())),
            Err(error) => note(format!("{error}; the run is saved, but without its report")),
        }
        Ok(())
    }

    /// Whether a run goes back to its newest checkpoint after `error`, and on from there.
    fn survives(&self, error: &Error) -> bool {
        match error {
            Error::WorkLost { .. } => true,
            Error::DeviceLost { .. } => self.on_device_lost == OnDeviceLost::Retry,
            _ => false,
        }
    }

    /// The place to go on in after `error`.
    fn regain(&self, place: OpenDevice, device: &Device, error: &Error) -> Result<OpenDevice> {
        match error {
            Error::DeviceLost { .. } => {
                // A driver that has been reset takes a moment.
                std::thread::sleep(Duration::from_secs(1));
                open(device, &self.tune)
            }
            _ => Ok(place),
        }
    }

    /// The directory of the run to go on with, the checkpoint to go on from, and the recipe with every change that was asked
    /// for.
    fn take_up(&self, run: &Path) -> Result<(Recipe, (RunDirectory, Option<Checkpoint>))> {
        let (directory, found) = RunDirectory::resume(run)?;
        for problem in &found.damaged {
            note(format!("{problem}"));
        }
        let begun = directory.recipe()?;
        let recipe = self.resolve(begun.clone())?;
        recipe.continues(&begun)?;
        let from = match found.newest {
            Some((path, checkpoint)) => {
                if !quiet() || !found.damaged.is_empty() {
                    let step = checkpoint.position.step;
                    note(format!("resume  from step {step}, {}", path.display()));
                }
                Some(checkpoint)
            }
            None if !found.damaged.is_empty() => {
                let problem = format!(
                    "none of the checkpoints in it can be read; to begin again, train {} with another --out",
                    shown(&run.join("recipe.toml"))
                );
                return Err(Error::file(run, problem));
            }
            None => {
                say("resume  from the beginning, as there is no checkpoint yet");
                None
            }
        };
        Ok((recipe, (directory, from)))
    }

    /// The recipe with every change that was asked for.
    fn resolve(&self, mut recipe: Recipe) -> Result<Recipe> {
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        recipe.epochs = self.epochs.unwrap_or(recipe.epochs);
        if let Some(batch_size) = self.batch_size {
            recipe.set_batch_size(batch_size);
        }
        recipe.seed = self.seed.unwrap_or(recipe.seed);
        recipe.report_every = self.report_every.or(recipe.report_every);
        let every_steps = &mut recipe.checkpoint.every_steps;
        *every_steps = self.checkpoint_every.or(*every_steps);
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

    /// Prints what came of it, and what to do with it.
    fn report(
        &self,
        last: Option<&EpochMetrics>,
        recipe: &Recipe,
        data: &Splits,
        directory: &RunDirectory,
    ) -> Result<Option<Comparison>> {
        let mut lines = Vec::new();
        let mut compared = None;
        let tested = last.and_then(|each| Some((test_scores(each)?, each, data.test.as_ref()?)));
        if let Some((scores, metrics, test)) = tested {
            let comparison = Comparison::new(
                &recipe.data,
                &data.preparation,
                Some(&data.train),
                test,
                &scores,
            )?;
            lines.push(format!(
                "test {scores} after epoch {}{}",
                metrics.epoch,
                comparison.lines()
            ));
            compared = Some(comparison);
        }
        lines.push(format!(
            "model saved as {}",
            directory.model_path().display()
        ));
        lines.push(format!(
            "evaluate it with: {} eval {}",
            program(),
            shown(directory.path())
        ));
        let text = lines.join("\n");
        match (self.json, quiet()) {
            (true, true) => {}
            (true, false) => note(text),
            (false, _) => {
                let _ = print(text)?;
            }
        }
        Ok(compared)
    }
}

/// What the model writes, a few lines.
fn sample(trainer: &mut Trainer, seed: u64, place: &OpenDevice) -> Result<String> {
    const LENGTH: usize = 200;
    let mut sampler = Sampler::new(&trainer.model()?, 1, place)?;
    let vocabulary = sampler.vocabulary().clone();
    let mut text = vec![];
    let mut each = |tokens: &[u32]| {
        text.extend(vocabulary.bytes(tokens[0]));
        Ok(ControlFlow::Continue(()))
    };
    sampler.sample(&[], LENGTH, &Sampling::default(), seed, &mut each)?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().map(|line| format!("  | {}", plain(line)));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

/// Without what a terminal would obey.
fn plain(line: &str) -> String {
    line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}")
}

pub(super) fn test_scores(metrics: &EpochMetrics) -> Option<Scores> {
    Some(Scores {
        loss: metrics.test_loss?,
        accuracy: metrics.test_accuracy,
        last_step_loss: metrics.test_last_step_loss,
    })
}

/// What TensorBoard shows of an epoch.
fn scalars(metrics: &EpochMetrics) -> [(&'static str, Option<f64>); 8] {
    [
        ("loss/train", Some(metrics.train_loss)),
        ("loss/test", metrics.test_loss),
        ("accuracy/train", metrics.train_accuracy),
        ("accuracy/test", metrics.test_accuracy),
        ("last_step_loss/train", metrics.train_last_step_loss),
        ("last_step_loss/test", metrics.test_last_step_loss),
        ("bits/test", metrics.test_bits),
        ("sequences_per_second", Some(metrics.sequences_per_second)),
    ]
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
    } = &*data.train;
    let test = data.test.as_ref().map_or(0, |test| test.count);
    if let Some(vocabulary) = &data.preparation.vocabulary {
        let unit = vocabulary.unit.name();
        let tested = data.test.as_ref().map_or(0, |test| test.count * test.steps);
        return format!(
            "{} {unit}s to train on in {count} streams of {steps}, {tested} to test on in {test}, a vocabulary of {}",
            count * steps,
            vocabulary.size()
        );
    }
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

/// How this program was called.
fn program() -> String {
    let name = std::env::args_os().next();
    name.map_or("gatescan".into(), |name| shown(Path::new(&name)))
}

/// Quoted where a shell would split it.
fn shown(path: &Path) -> String {
    let word = path.display().to_string();
    match word.contains(char::is_whitespace) {
        true => format!("\"{word}\""),
        false => word,
    }
}

/// A flag that Ctrl-C and SIGTERM raise; a second Ctrl-C ends the program at once.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let raised = stop.clone();
    ctrlc::set_handler(move || interrupt(&raised))
        .map_err(|error| Error::Failed(format!("Ctrl-C cannot be caught: {error}")))?;
    // Not by ctrlc, which would take SIGHUP too, and so from nohup what it promises.
    signal_hook::flag::register(signal_hook::consts::SIGTERM, stop.clone())
        .map_err(|error| Error::Failed(format!("SIGTERM cannot be caught: {error}")))?;
    Ok(stop)
}

/// What Ctrl-C does.
pub(super) fn interrupt(stop: &AtomicBool) {
    if stop.swap(true, Ordering::Relaxed) {
        tui::restore();
        std::process::exit(130);
    }
    note("\nstopping after this step; Ctrl-C again stops at once and saves nothing");
}

/// Writes what a run is to its directory, when it is due. Where the disk takes nothing, the run goes on from memory.
struct Saver {
    directory: RunDirectory,
    checkpoints: Checkpoints,
    when: CheckpointRecipe,
    /// Whether the model's file is not the run's newest.
    model_due: bool,
    /// The step of the last checkpoint.
    saved: Option<usize>,
    /// Whether the last try has failed.
    failing: bool,
    last_try: Instant,
}

impl Saver {
    /// From one try to the next where writing fails.
    const RETRY: Duration = Duration::from_secs(10);
    /// How long a run that is over tries.
    const PATIENCE: Duration = Duration::from_mins(10);

    fn new(directory: RunDirectory, when: &CheckpointRecipe, from: Option<&Checkpoint>) -> Self {
        let place = directory.path().join(CHECKPOINTS);
        Saver {
            checkpoints: Checkpoints::new(&place, when.keep, from),
            directory,
            when: when.clone(),
            model_due: false,
            saved: from.map(|from| from.position.step),
            failing: false,
            last_try: Instant::now(),
        }
    }

    /// Takes a trainer that stands at the beginning, and all that is written, to the newest checkpoint, where there is one.
    fn go_back(&mut self, recipe: &Recipe, trainer: &mut Trainer) -> Result<()> {
        let place = self.directory.path().join(CHECKPOINTS);
        let found = Checkpoints::find(&place)?;
        found.damaged.iter().for_each(note);
        let from = found.newest.map(|(_, checkpoint)| checkpoint);
        from.iter().try_for_each(|from| trainer.restore(from))?;
        self.directory.go_back(recipe, from.as_ref())?;
        self.checkpoints = Checkpoints::new(&place, self.when.keep, from.as_ref());
        self.saved = from.as_ref().map(|from| from.position.step);
        self.model_due = from.is_some();
        Ok(())
    }

    fn save_if_due(&mut self, trainer: &mut Trainer) -> Result<()> {
        let step = trainer.position().step;
        let wait = match self.failing {
            true => Self::RETRY,
            false => Duration::from_secs_f64(60.0 * self.when.every_minutes),
        };
        let by_steps = (self.when.every_steps).is_some_and(|every| step.is_multiple_of(every));
        if by_steps || self.last_try.elapsed() >= wait {
            return self.save(trainer);
        }
        match self.failing {
            true => Ok(()),
            false => self
                .directory
                .flush()
                .or_else(|error| self.go_on_after(error)),
        }
    }

    fn save(&mut self, trainer: &mut Trainer) -> Result<()> {
        let written = self.write(trainer);
        self.last_try = Instant::now();
        match written {
            Ok(()) if self.failing => {
                self.failing = false;
                let step = trainer.position().step;
                note(format!(
                    "the disk takes it again: all is saved up to step {step}"
                ));
                Ok(())
            }
            Ok(()) => Ok(()),
            Err(error) => self.go_on_after(error),
        }
    }

    /// Forgives what the disk does, and says so once.
    fn go_on_after(&mut self, error: Error) -> Result<()> {
        let Error::File { .. } = error else {
            return Err(error);
        };
        if !self.failing {
            let last = self.saved.map_or("nothing is saved yet".into(), |step| {
                format!("the last checkpoint is of step {step}")
            });
            note(format!(
                "{error}; the run goes on from memory and tries again; {last}"
            ));
        }
        self.failing = true;
        Ok(())
    }

    fn write(&mut self, trainer: &mut Trainer) -> Result<()> {
        // A checkpoint says that the metrics up to it are there.
        self.directory.sync()?;
        // Of numbers that are not finite nothing is saved.
        let checkpoint = trainer.checkpoint()?;
        if self.model_due {
            self.directory.save(&trainer.model()?)?;
            self.model_due = false;
        }
        self.checkpoints.write(&checkpoint)?;
        self.saved = Some(checkpoint.position.step);
        Ok(())
    }

    /// Writes what is not written yet, at the end of a run. A disk that takes nothing is waited for, unless the run was told
    /// to stop.
    fn finish(&mut self, trainer: &mut Trainer, stop: &AtomicBool) -> Result<()> {
        let start = Instant::now();
        while self.model_due || self.failing {
            match self.write(trainer) {
                Ok(()) => self.failing = false,
                Err(error) if stop.load(Ordering::Relaxed) || start.elapsed() > Self::PATIENCE => {
                    return Err(error);
                }
                Err(error) => {
                    self.go_on_after(error)?;
                    std::thread::sleep(Duration::from_secs(1));
                }
            }
        }
        Ok(())
    }
}

/// Shows how training goes: a bar for each epoch on a terminal, else a line now and then; and a line for each epoch.
struct Display {
    json: bool,
    quiet: bool,
    /// Whether standard error is a terminal, which can show a bar.
    terminal: bool,
    /// Of a text, what its tokens are and how many a sequence has.
    tokens: Option<(Unit, usize)>,
    bar: Option<ProgressBar>,
    /// In place of the bar, with `--tui`.
    screen: Option<Screen>,
    last_line: Instant,
}

impl Display {
    const BETWEEN_LINES: Duration = Duration::from_secs(10);

    fn new(json: bool, quiet: bool, data: &Splits) -> Self {
        let vocabulary = data.preparation.vocabulary.as_ref();
        Display {
            tokens: vocabulary.map(|vocabulary| (vocabulary.unit, data.train.steps)),
            json,
            quiet,
            terminal: stderr().is_terminal(),
            bar: None,
            screen: None,
            last_line: Instant::now(),
        }
    }

    fn progress(&mut self, progress: &Progress) {
        if self.quiet || self.screen.is_some() {
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
        // Of long sequences none may be through yet.
        let left = match speed > 0.0 {
            true => format!(" {:.0}s left", of.saturating_sub(sequences) as f64 / speed),
            false => String::new(),
        };
        let scores = Scores {
            loss: progress.loss,
            accuracy: progress.accuracy,
            last_step_loss: None,
        };
        let state = format!("{scores} {}{left}", self.speed(speed));
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

    fn speed(&self, sequences: f64) -> String {
        speed(self.tokens, sequences)
    }

    fn evaluating(&self, sequences: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_message(format!("evaluated {sequences} of {of}"));
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
        if let (Some(bits), Some((unit, _))) = (metrics.test_bits, self.tokens) {
            line += &format!(" bits/{} {bits:.4}", unit.name());
        }
        line += &format!(
            "  {}  {:.1} s",
            self.speed(metrics.sequences_per_second),
            metrics.seconds
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

/// Of so many sequences a second; `tokens` are those of [`Display`].
pub(super) fn speed(tokens: Option<(Unit, usize)>, sequences: f64) -> String {
    match tokens {
        Some((unit, steps)) => format!("{:.0} {}s/s", sequences * steps as f64, unit.name()),
        None => format!("{sequences:.0} sequences/s"),
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
