//! `gatescan train`: trains a recipe, shows the progress, and leaves a run directory.

pub(super) mod describe;
mod display;
mod distributed;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::builder::{PossibleValuesParser, RangedU64ValueParser, TypedValueParser};
use clap::{Args, ValueEnum};
use gatescan::low_level::backend::Fault;
use gatescan::low_level::messages::shown_path;
#[cfg(feature = "mpi")]
use gatescan::run::FollowingRun;
use gatescan::run::{
    self, MODEL, ResumePoint, RunDirectory, RunEvent, RunOptions, TrainingRun, read_run,
};
use gatescan::train::{BaselineComparison, FineTuning, PageState};
use gatescan::{
    Cell, Checkpoint, Device, Ending, Error, Model, OpenDevice, Recipe, Result, Split, Splits,
};

use super::console::Console;
use super::ranks::wait_for_first_rank;
use super::tui::{Screen, ScreenState};
use super::{Tune, check_data_path, choose_device_of, comparison, load_model, open, set_fields};
use describe::{
    RunDescription, StartTimes, categories_line, data_line, program, recipe_line, shell_word,
    tokens_of,
};
use display::TrainDisplay;
use distributed::RunRanks;

/// Train a recipe and save the model.
#[derive(Args)]
#[command(after_help = "\
The flags change the recipe first, then each --set in turn. \
Ctrl-C or SIGTERM stops after the current step and saves the run; a second Ctrl-C stops at once. \
--resume continues a run that was stopped or killed, with results identical to those of an \
uninterrupted run; epochs, steps, patience, the learning rate and its schedule may be changed.

Examples:
  gatescan train mnist
  gatescan train mnist --epochs 5 --hidden-size 64 --layers 2 --cell gru
  gatescan train mnist --data data/fashion --device cpu --out runs/fashion
  gatescan train mine.toml --set optimizer.beta2=0.99 --set network.layer.0.init=torch
  gatescan train mnist --json > metrics.jsonl
  gatescan train --resume runs/mnist-20260102-030405
  gatescan train --resume runs/mnist-20260102-030405 --epochs 40
  gatescan train --resume state.safetensors --data weather.csv
  gatescan train new.toml --from runs/mnist-20260102-030405 --set 'freeze=[\"layer0\"]'")]
pub struct Train {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    /// Continue the run in this directory from its newest readable checkpoint; or the state that a
    /// page of `gatescan web` has saved, in a new directory.
    #[arg(long, value_name = "RUN", conflicts_with = "recipe")]
    resume: Option<PathBuf>,
    /// Begin with the parameters of this model or run: the recipe's layers must be the model's, and
    /// a head of other targets is new.
    #[arg(long, value_name = "MODEL", conflicts_with = "resume")]
    from: Option<PathBuf>,
    /// Directory of the data set's files [default: the recipe's].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    tune: Tune,
    /// Directory for recipe, metrics, checkpoints and model [default: runs/<recipe>-<time>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Passes over the training split.
    #[arg(long, value_name = "N")]
    epochs: Option<usize>,
    /// Sequences per update of the parameters.
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Hidden units of every layer.
    #[arg(long, value_name = "N")]
    hidden_size: Option<usize>,
    /// Number of layers: the recipe's first layers, or its last layer repeated.
    #[arg(
        long,
        value_name = "N",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=1024)
    )]
    layers: Option<usize>,
    /// Cell of every layer.
    #[arg(long, value_parser = cell_parser())]
    cell: Option<Cell>,
    /// Learning rate.
    #[arg(long, value_name = "RATE")]
    lr: Option<f32>,
    /// Also print and record the mean loss of every N updates.
    #[arg(long, value_name = "N")]
    report_every: Option<usize>,
    /// Also write a checkpoint after every N updates, not only every few minutes and after each
    /// epoch.
    #[arg(long, value_name = "N")]
    checkpoint_every: Option<usize>,
    /// Seed of the initial parameters, the order of the sequences and dropout.
    // TOML has no larger integers.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64)
    )]
    seed: Option<u64>,
    /// Change any field of the recipe, for example optimizer.beta2=0.99 or
    /// network.layer.0.bias=double.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print one JSON object for each epoch on standard output, and nothing else there.
    #[arg(long)]
    json: bool,
    /// Show the run on the whole terminal, with curves; q stops and saves it (needs the feature
    /// `tui`).
    #[arg(long, conflicts_with_all = ["json", "quiet"])]
    tui: bool,
    /// Also write an event file for TensorBoard into the run directory: `tensorboard --logdir
    /// runs`.
    #[arg(long)]
    tensorboard: bool,
    /// If the device is lost, stop, or open it again and continue from the newest checkpoint.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = OnDeviceLost::Stop)]
    on_device_lost: OnDeviceLost,
    /// If a loss or gradient is not finite, repeat the step and name the kernel call that first
    /// wrote such a value.
    #[arg(long)]
    diagnose: bool,
    /// Train as one of the processes that mpirun or srun has started; each takes its share of every
    /// batch (needs the feature `mpi`).
    #[arg(long, conflicts_with_all = ["tui", "diagnose"])]
    distributed: bool,
    /// How the gradients of the processes are added: in a fixed tree, with the same bits whatever
    /// their number, or by MPI's own Allreduce.
    #[arg(
        long,
        value_name = "HOW",
        value_enum,
        default_value_t = Reduce::Tree,
        requires = "distributed"
    )]
    reduce: Reduce,
    /// The longest that a process waits for the others before it ends the run with an error.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 300,
        requires = "distributed",
        value_parser = clap::value_parser!(u64).range(1..=86_400)
    )]
    rank_patience: u64,
    /// A fault of the driver to simulate, for tests.
    #[arg(long, value_name = "FAULT", hide = true)]
    inject_fault: Option<Fault>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnDeviceLost {
    Stop,
    Retry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Reduce {
    Tree,
    Mpi,
}

/// The state from which a run is resumed.
enum Continued {
    /// In its directory.
    Run(Box<ResumePoint>),
    /// In a new directory, from the state of a page.
    Page(Box<PageState>),
}

/// An opened device, and the line that describes it.
struct ChosenDevice {
    device: Device,
    open: OpenDevice,
    line: String,
    /// Since the process began.
    opened: Duration,
}

pub(super) fn cell_parser() -> impl TypedValueParser<Value = Cell> {
    let names = Cell::ALL.iter().map(|cell| cell.name());
    PossibleValuesParser::new(names).try_map(|name| {
        let mut cells = Cell::ALL.iter().copied();
        cells.find(|cell| cell.name() == name).ok_or("unknown cell")
    })
}

impl Train {
    /// Whether the run is one of several processes.
    pub(super) fn is_distributed(&self) -> bool {
        self.distributed
    }

    /// Trains in a process that began at `start`.
    pub fn run(&self, console: &Console, start: Instant) -> Result<()> {
        if self.tui {
            Screen::check(console)?;
        }
        if self.distributed {
            let trained = distributed::run(self, console, start);
            if trained.is_err() {
                wait_for_first_rank();
            }
            return trained;
        }
        self.train(console, start, &RunRanks::default(), &RefCell::new(None))
    }

    /// Trains in the only process of the run, or in rank 0. Writes the path of the run to
    /// `directory` once it trains.
    fn train(
        &self,
        console: &Console,
        start: Instant,
        ranks: &RunRanks,
        directory: &RefCell<Option<String>>,
    ) -> Result<()> {
        let (recipe, continued) = ranks.agreed(self.recipe(console, ranks))?;
        let newest = match &continued {
            Some(Continued::Run(point)) => point.newest.as_ref(),
            _ => None,
        };
        let newest = newest.map(|(_, checkpoint)| checkpoint);
        if let Some(ranks) = &ranks.all {
            run::send_start(ranks.as_ref(), &recipe, newest)?;
        }
        let model = ranks.agreed(self.model(console))?;
        let (chosen, (data, mut tuning), data_loaded) =
            ranks.agreed(self.prepare(start, ranks, (&recipe, model.as_ref(), newest)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let options = self.options(&chosen, stop.clone(), ranks);
        let started = match (continued, &model) {
            (Some(Continued::Run(point)), _) => {
                TrainingRun::resume(*point, &recipe, &data, chosen.open, options)
            }
            (Some(Continued::Page(state)), _) => {
                TrainingRun::start_from_page(&state, &recipe, &data, chosen.open, options)
            }
            (None, Some(model)) => {
                TrainingRun::start_from(model, &recipe, &data, chosen.open, options).map(
                    |(run, of_parameters)| {
                        tuning.notes.extend(of_parameters.notes);
                        run
                    },
                )
            }
            (None, None) => TrainingRun::start(&recipe, &data, chosen.open, options),
        };
        let mut run = ranks.agreed(started)?;
        directory.replace(Some(ranks.share_path(shown_path(run.path()))?));
        let times = StartTimes {
            device_opened: chosen.opened,
            data_loaded,
            program_loaded: start.elapsed(),
        };
        describe(console, &recipe, &data, &chosen.line, &run)?;
        let notes = tuning.notes.iter();
        notes.for_each(|note| console.say(format!("from    {note}")));
        note_problems(console, &data);
        note_choice(console, &recipe, &data);
        stop_on_signals(console, &stop)?;
        let mut display =
            TrainDisplay::new(console, self.json, &recipe, &data).with_start(start, times);
        if self.tui {
            let description = RunDescription {
                recipe: recipe_line(&recipe),
                device: chosen.line,
                directory: shown_path(run.path()),
                tokens: tokens_of(&data),
            };
            let before = read_run(run.path())?.epochs;
            let state = ScreenState::new(description, before);
            display = display.with_screen(Screen::open(console, state, stop)?);
        }
        let ended = run.train(&mut |event| display.show(event));
        display.clear();
        let epoch = run
            .position()
            .map(|position| display.epoch(position.epochs));
        // Restores the terminal.
        drop(display);
        match ended {
            Ok(ending) => {
                say_ending(console, &run, ending, epoch?, recipe.epochs)?;
                self.finish(console, run)
            }
            Err(error) => self.explain(console, &mut run, &error).and(Err(error)),
        }
    }

    /// Trains in a process of the run that is not rank 0.
    #[cfg(feature = "mpi")]
    fn follow(
        &self,
        console: &Console,
        start: Instant,
        ranks: &RunRanks,
        directory: &RefCell<Option<String>>,
    ) -> Result<()> {
        ranks.agreed(Ok(()))?;
        let (recipe, checkpoint) = match &ranks.all {
            Some(ranks) => run::receive_start(ranks.as_ref())?,
            None => return Ok(()),
        };
        let model = ranks.agreed(self.model(console))?;
        let from = (checkpoint.as_ref(), model.as_ref());
        let (chosen, (data, _), _) =
            ranks.agreed(self.prepare(start, ranks, (&recipe, from.1, from.0)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let options = self.options(&chosen, stop.clone(), ranks);
        let loaded = FollowingRun::new(&recipe, &data, chosen.open, options, from);
        let mut run = ranks.agreed(loaded)?;
        directory.replace(Some(ranks.share_path(String::new())?));
        stop_on_signals(console, &stop)?;
        run.train().map(|_| ())
    }

    /// The model that the run begins with.
    fn model(&self, console: &Console) -> Result<Option<Model>> {
        let model = (self.from.as_deref()).map(|path| load_model(console, path));
        model.transpose()
    }

    /// Opens the device, and loads the data while the driver starts. Returns also when the data
    /// were loaded.
    fn prepare(
        &self,
        start: Instant,
        ranks: &RunRanks,
        (recipe, model, newest): (&Recipe, Option<&Model>, Option<&Checkpoint>),
    ) -> Result<(ChosenDevice, (Splits, FineTuning), Duration)> {
        let (chosen, data) = rayon::join(
            || self.open_device(start, ranks.local_rank),
            || {
                let loaded = load_data(recipe, model, newest);
                loaded.map(|loaded| (loaded, start.elapsed()))
            },
        );
        let (data, loaded) = data?;
        Ok((chosen?, data, loaded))
    }

    /// The recipe with every change that was requested, and where the run goes on.
    fn recipe(&self, console: &Console, ranks: &RunRanks) -> Result<(Recipe, Option<Continued>)> {
        match &self.resume {
            Some(state) if state.is_file() => {
                self.check_out()?;
                let (recipe, state) = self.page_recipe(console, state)?;
                return Ok((recipe, Some(Continued::Page(Box::new(state)))));
            }
            Some(run) => {
                if let Some(out) = &self.out {
                    return Err(Error::usage(format!(
                        "--out {}: a run is resumed in its own directory; leave out --out",
                        shown_path(out)
                    )));
                }
                let point = ResumePoint::find(run)?;
                let recipe = self.resume_recipe(console, run, &point)?;
                return Ok((recipe, Some(Continued::Run(Box::new(point)))));
            }
            None => {}
        }
        let name = self.recipe.as_deref().unwrap_or_default();
        let mut recipe = self.changed(Recipe::load(name)?)?;
        ranks.divide(console, &mut recipe)?;
        self.check_out()?;
        Ok((recipe, None))
    }

    /// The recipe of a page's state with every change that was requested, and the state.
    fn page_recipe(&self, console: &Console, path: &Path) -> Result<(Recipe, PageState)> {
        if self.distributed {
            return Err(Error::usage(
                "--distributed: the state of a page is continued by one process; leave out \
                 --distributed",
            ));
        }
        let state = PageState::load(path)?;
        let recipe = self.changed(state.recipe.clone())?;
        recipe.continues(&state.recipe)?;
        let (step, path) = (state.step(), shown_path(path));
        console.say(format!("resume  from step {step} of a page, {path}"));
        Ok((recipe, state))
    }

    /// Refuses a directory of `--out` that holds an earlier run.
    fn check_out(&self) -> Result<()> {
        if let Some(out) = &self.out
            && let Some(name) = RunDirectory::earlier_run(out)
        {
            let (out, word) = (shown_path(out), shell_word(out));
            return Err(Error::usage(format!(
                "--out {out}: the directory holds the {name} of an earlier run, which is not \
                 overwritten; use another directory, or continue that run: --resume {word}"
            )));
        }
        Ok(())
    }

    /// The recipe of a run to resume, with every change that was requested. Says where the run
    /// resumes.
    fn resume_recipe(&self, console: &Console, run: &Path, point: &ResumePoint) -> Result<Recipe> {
        for problem in &point.damaged {
            console.note(problem);
        }
        let recipe = self.changed(point.recipe.clone())?;
        recipe.continues(&point.recipe)?;
        let is_damaged = !point.damaged.is_empty();
        match &point.newest {
            Some((path, checkpoint)) => {
                let step = checkpoint.position.step;
                let line = format!("resume  from step {step}, {}", shown_path(path));
                if is_damaged {
                    console.note(line);
                } else {
                    console.say(line);
                }
            }
            None if is_damaged => {
                let problem = format!(
                    "none of the checkpoints in it can be read; to begin again, train {} with \
                     another --out",
                    shell_word(&run.join("recipe.toml"))
                );
                return Err(Error::file(run, problem));
            }
            None => console.say("resume  from the beginning, as there is no checkpoint yet"),
        }
        Ok(recipe)
    }

    /// The recipe with the changes of the arguments.
    fn changed(&self, mut recipe: Recipe) -> Result<Recipe> {
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
        set_fields(&mut recipe, &self.set)?;
        recipe.validate()?;
        Ok(recipe)
    }

    /// Opens the requested device in a process that began at `start`.
    fn open_device(&self, start: Instant, local_rank: usize) -> Result<ChosenDevice> {
        let (device, line) = choose_device_of(&self.device, local_rank)?;
        let mut open = open(&device, &self.tune)?;
        // A run is resumed with the settings that it began with, so with the same bits.
        let recorded = self.resume.as_ref();
        if let Some(settings) = recorded.and_then(|run| run::recorded_settings(run, &open)) {
            open = (open.tuned(&settings)).and_then(|open| self.tune.apply(open))?;
        }
        if let Some(fault) = &self.inject_fault {
            open = open.with_fault(fault.clone());
        }
        Ok(ChosenDevice {
            device,
            open,
            line,
            opened: start.elapsed(),
        })
    }

    fn options(
        &self,
        chosen: &ChosenDevice,
        stop: Arc<AtomicBool>,
        ranks: &RunRanks,
    ) -> RunOptions {
        let mut options = RunOptions {
            out: self.out.clone(),
            tensorboard: self.tensorboard,
            reopen_device: None,
            stop,
            ranks: ranks.all.clone(),
        };
        if self.on_device_lost == OnDeviceLost::Retry {
            let (device, settings) = (chosen.device, chosen.open.tuning().settings());
            let reopen = move || OpenDevice::open(&device)?.tuned(&settings);
            options.reopen_device = Some(Box::new(reopen));
        }
        options
    }

    /// Says what is saved of a run that ended with an error, and where its values were not finite
    /// first.
    fn explain(&self, console: &Console, run: &mut TrainingRun, error: &Error) -> Result<()> {
        let resume = resume_command(run);
        console.note(match run.saved_step() {
            _ if !run.is_there() => format!(
                "the run directory {} was removed or replaced while the run was at work: nothing \
                 of it is saved",
                shown_path(run.path())
            ),
            Some(step) => format!("saved up to step {step}; continue from there with: {resume}"),
            None => format!("nothing is saved yet; begin again with: {resume}"),
        });
        if let Error::NotFinite { step, .. } = error {
            if self.diagnose {
                let diagnosis = run.diagnose(*step, &mut |event| {
                    if let RunEvent::Warning(warning) = event {
                        console.note(warning);
                    }
                    Ok(ControlFlow::Continue(()))
                })?;
                console.note(format!("diagnosis: {diagnosis}"));
            } else if self.distributed {
                console.note("in one process, --diagnose names the first call that went wrong");
            } else {
                console.note("with --diagnose it also names the first call that went wrong");
            }
        }
        Ok(())
    }

    /// Prints the results and writes the report.
    fn finish(&self, console: &Console, run: TrainingRun) -> Result<()> {
        let compared = run.compare()?;
        let lines = self.result_lines(&run, compared.as_ref());
        if !self.json {
            let _ = console.print(lines)?;
        } else {
            console.say_lines(&lines);
        }
        match run.write_report(compared.as_ref()) {
            Ok(path) => console.say(format!("report  {}", shown_path(&path))),
            Err(error) => {
                console.note(format!("{error}; the run is saved, but without its report"));
            }
        }
        Ok(())
    }

    /// The results, and what to do with them.
    fn result_lines(&self, run: &TrainingRun, compared: Option<&BaselineComparison>) -> String {
        let mut lines = vec![];
        if let Some(compared) = compared
            && let Some(metrics) = run.kept_epoch()
            && let Some(scores) = run.test_scores()
        {
            let compared = comparison::lines(compared, None);
            let chooses = !run.recipe().choosing_fields().is_empty();
            let chosen = match metrics.monitored_split() {
                Split::Validation if chooses => ", chosen by the validation split",
                Split::Test if chooses => {
                    ", chosen by the test split itself: better than on new data"
                }
                _ => "",
            };
            lines.push(format!(
                "test {scores}{} after epoch {}{chosen}{compared}",
                display::list_text(run.test_metrics()),
                metrics.epoch
            ));
        }
        let adjusted = run.interval_adjustments().iter();
        lines.extend(adjusted.map(|adjustment| adjustment.note()));
        let model = run.path().join(MODEL);
        lines.push(format!("model saved as {}", shown_path(&model)));
        let path = shell_word(run.path());
        lines.push(format!("evaluate it with: {} eval {path}", program()));
        lines.join("\n")
    }
}

/// Loads the data: prepared as those of the model that the run begins with, or as those of the run
/// that is resumed.
fn load_data(
    recipe: &Recipe,
    model: Option<&Model>,
    newest: Option<&Checkpoint>,
) -> Result<(Splits, FineTuning)> {
    if let Some(model) = model {
        return FineTuning::load_data(recipe, model);
    }
    let known = newest.map(|checkpoint| &checkpoint.preparation);
    let data = FineTuning::load_resumed(recipe, known)?;
    Ok((data, FineTuning::default()))
}

/// Says what is trained on what, and where the results go.
fn describe(
    console: &Console,
    recipe: &Recipe,
    data: &Splits,
    device: &str,
    run: &TrainingRun,
) -> Result<()> {
    let streamed = if run.streams() {
        ", streamed to the device"
    } else {
        ""
    };
    console.say(format!("recipe  {}", recipe_line(recipe)));
    console.say(format!("data    {}{streamed}", data_line(data)));
    if let Some(line) = categories_line(recipe, data)? {
        console.say(format!("names   {line}"));
    }
    console.say(format!("device  {device}"));
    if let Some(steps) = run.chunk_steps() {
        console.say(format!(
            "memory  keeps the states before every {steps} steps and computes the rest again in \
             the backward pass (turn it off with --set recompute=off)"
        ));
    }
    console.say(format!("out     {}", shown_path(run.path())));
    Ok(())
}

/// Warns of what is in no split, and of classes that one split lacks.
fn note_problems(console: &Console, data: &Splits) {
    for note in data.notes.iter().chain(&data.class_notes()) {
        console.note(format!("warning: {note}"));
    }
}

/// Warns of a run whose test data choose among its epochs.
fn note_choice(console: &Console, recipe: &Recipe, data: &Splits) {
    let fields = recipe.choosing_fields();
    if fields.is_empty() || data.validation.is_some() || data.test.is_none() {
        return;
    }
    console.note(format!(
        "warning: {} would choose by the test split, as there is no validation split: the test \
         scores are then better than on new data; set data.validation_fraction, as in 0.1",
        fields.join(" and ")
    ));
}

/// Says why a run ended before its last update.
fn say_ending(
    console: &Console,
    run: &TrainingRun,
    ending: Ending,
    epoch: usize,
    epochs: usize,
) -> Result<()> {
    let position = run.position()?;
    match ending {
        Ending::Stalled => console.say(format!(
            "stopped after epoch {}, as the loss falls no further",
            position.epochs
        )),
        Ending::Interrupted => console.note(format!(
            "stopped in epoch {epoch} of {epochs} at step {} and saved the model as it is; \
             continue with: {}",
            position.step,
            resume_command(run)
        )),
        _ => {}
    }
    Ok(())
}

/// The command that resumes a run.
fn resume_command(run: &TrainingRun) -> String {
    format!("{} train --resume {}", program(), shell_word(run.path()))
}

/// Sets `stop` on Ctrl-C and SIGTERM; a second Ctrl-C ends the program at once. A command that is
/// to stop does not wait for a reader of its lines.
pub(super) fn stop_on_signals(console: &Console, stop: &Arc<AtomicBool>) -> Result<()> {
    console.wait_for_no_reader(stop)?;
    let (console, raised) = (console.clone(), stop.clone());
    ctrlc::set_handler(move || interrupt(&console, &raised))
        .map_err(|error| Error::Failed(format!("Ctrl-C cannot be caught: {error}")))?;
    // Not by ctrlc: it would catch SIGHUP too, and a run under nohup would stop.
    signal_hook::flag::register(signal_hook::consts::SIGTERM, stop.clone())
        .map_err(|error| Error::Failed(format!("SIGTERM cannot be caught: {error}")))?;
    Ok(())
}

/// Handles Ctrl-C.
pub(super) fn interrupt(console: &Console, stop: &AtomicBool) {
    if stop.swap(true, Ordering::Relaxed) {
        console.screen().restore();
        std::process::exit(130);
    }
    console.note("");
    console.note("stopping after this step; Ctrl-C again stops at once and saves nothing");
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn arguments_are_well_formed() {
        crate::cli::Cli::command().debug_assert();
    }
}
