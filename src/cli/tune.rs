//! `gatescan tune`: a search for hyperparameters.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use gatescan::low_level::messages::shown_path;
use gatescan::recipe::TuneSpace;
use gatescan::tune::{
    HyperparameterSearch, SearchEnding, SearchEvent, SearchOptions, SearchPlan, SearchTrial,
};
use gatescan::{Error, Recipe, Result};
use serde_json::json;

use super::console::Console;
use super::train::describe::{program, shell_word};
use super::train::stop_on_signals;
use super::{aligned, check_data_path, choose_device, open, set_fields};

/// Search for hyperparameters of a recipe.
#[derive(Args)]
#[command(after_help = "\
Random trials with successive halving: all are trained for a few epochs, the better third of them \
for three times as many, and so on up to the recipe's epochs. Trials are judged by the lowest loss \
on the validation split; the test split is not used. The ranges are the [tune] table of the \
recipe, or the same lines in a file:

  learning_rate = { from = 1e-4, to = 1e-2, log = true }
  hidden_size = [32, 64, 128]
  layers = [1, 2]
  dropout = { from = 0.0, to = 0.5 }
  batch_size = [16, 32, 64]
  window = [12, 24, 48]

Without any, gatescan takes ranges around the recipe's values and prints them. The directory has \
the state, so that --resume continues after Ctrl-C or a kill with the same result, the best recipe \
(best.toml) and the table of trials (trials.csv).

Examples:
  gatescan tune mine.toml
  gatescan tune mine.toml --trials 60 --minutes 30 --jobs 2
  gatescan tune mine.toml --space ranges.toml --out search
  gatescan tune --resume search --minutes 10")]
pub struct TuneRecipe {
    /// A built-in recipe (see `gatescan recipes`), or a path to a TOML file.
    #[arg(required_unless_present = "resume")]
    recipe: Option<String>,
    /// Continue the search in this directory.
    #[arg(
        long,
        value_name = "DIR",
        conflicts_with_all = ["recipe", "out", "trials", "seed", "space", "set", "data"]
    )]
    resume: Option<PathBuf>,
    /// The number of trials [default: 30].
    #[arg(long, value_name = "N")]
    trials: Option<usize>,
    /// The time of this command; then the best trial so far is the result.
    #[arg(long, value_name = "M", default_value = "10", value_parser = minutes)]
    minutes: f64,
    /// Trials that are trained at the same time and share the device.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = RangedU64ValueParser::<usize>::new().range(1..=64)
    )]
    jobs: usize,
    /// Determines the values of the trials [default: the recipe's seed].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=i64::MAX as u64))]
    seed: Option<u64>,
    /// A TOML file with the ranges [default: the recipe's [tune] table].
    #[arg(long, value_name = "FILE")]
    space: Option<PathBuf>,
    /// Directory of the data set's files [default: the recipe's].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    #[command(flatten)]
    device_settings: super::Tune,
    /// The directory of the search [default: runs/tune-<recipe>-<time>].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Change any field of the recipe first, for example epochs=27.
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// The most trials that are printed.
const MOST_SHOWN: usize = 20;
/// The most bytes of a file of ranges.
const LARGEST_SPACE: u64 = 1 << 20;

fn minutes(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(minutes) if (0.0..=1e6).contains(&minutes) => Ok(minutes),
        _ => Err("it must be a number of minutes from 0 to 1000000".into()),
    }
}

impl TuneRecipe {
    pub fn run(&self, console: &Console) -> Result<()> {
        let plan = self.plan(console)?;
        let recipe = match (&plan, &self.resume) {
            (Some(plan), _) => plan.recipe.clone(),
            (None, Some(path)) => HyperparameterSearch::resume(path.clone())?
                .plan()
                .recipe
                .clone(),
            (None, None) => return Err(Error::usage("name a recipe, or a search with --resume")),
        };
        let data = recipe.load_splits(None)?;
        let (device, line) = choose_device(&self.device)?;
        let opened = open(&device, &self.device_settings)?;
        let mut search = match (plan, &self.resume) {
            (Some(plan), _) => HyperparameterSearch::start(plan, self.out.clone())?,
            (None, path) => HyperparameterSearch::resume(path.clone().unwrap_or_default())?,
        };
        describe(console, &search, &line);
        let stop = Arc::new(AtomicBool::new(false));
        stop_on_signals(console, &stop)?;
        let options = SearchOptions {
            jobs: self.jobs,
            limit: Duration::from_secs_f64(60.0 * self.minutes),
            stop,
        };
        let ending = search.run(&data, &opened, &options, &mut |event| {
            tell(console, &event);
            Ok(())
        })?;
        self.finish(console, &search, ending)
    }

    /// The plan of a new search; `None` for one that is continued.
    fn plan(&self, console: &Console) -> Result<Option<SearchPlan>> {
        if self.resume.is_some() {
            return Ok(None);
        }
        let mut recipe = Recipe::load(self.recipe.as_deref().unwrap_or_default())?;
        if let Some(directory) = &self.data {
            check_data_path(&recipe.data, directory)?;
            recipe.data.set_path(directory.clone());
        }
        set_fields(&mut recipe, &self.set)?;
        if let Some(path) = &self.space {
            recipe.tune = Some(read_space(path)?);
        }
        recipe.validate()?;
        if recipe.tune.is_none() {
            let space = TuneSpace::around(&recipe);
            console.note("note: the recipe has no [tune] table; these ranges are searched:");
            space
                .to_string()
                .lines()
                .for_each(|line| console.note(format!("  {line}")));
            recipe.tune = Some(space);
        }
        Ok(Some(SearchPlan {
            trials: self.trials.unwrap_or(30),
            seed: self.seed.unwrap_or(recipe.seed),
            recipe,
        }))
    }

    fn finish(
        &self,
        console: &Console,
        search: &HyperparameterSearch,
        ending: SearchEnding,
    ) -> Result<()> {
        let best = search.write_results()?;
        let resume = format!("{} tune --resume {}", program(), shell_word(search.path()));
        match ending {
            SearchEnding::Complete => {}
            SearchEnding::TimeOver => console.note(format!(
                "the time is over before every trial is done; continue with: {resume}"
            )),
            _ => console.note(format!("stopped; continue with: {resume}")),
        }
        let Some((_, path)) = best else {
            return Err(Error::Failed(format!(
                "no trial has a result yet; give it more --minutes: {resume}"
            )));
        };
        if self.json {
            let trials = search.ranked();
            let ending = if ending == SearchEnding::Complete {
                "complete"
            } else {
                "interrupted"
            };
            let _ = console.print_json(json!({
                "ending": ending,
                "best": shown_path(&path),
                "trials": trials,
            }))?;
            return Ok(());
        }
        let train = format!("train it with: {} train {}", program(), shell_word(&path));
        let text = format!("{}\n{train}", table(&search.ranked()));
        let _ = console.print(text)?;
        Ok(())
    }
}

fn read_space(path: &Path) -> Result<TuneSpace> {
    let text = gatescan::low_level::io::files::read_text(path, LARGEST_SPACE)
        .map_err(|error| Error::file(path, format!("cannot be read: {error}")))?;
    TuneSpace::parse(&text, &shown_path(path))
}

fn describe(console: &Console, search: &HyperparameterSearch, device: &str) {
    let plan = search.plan();
    let rungs: Vec<String> = search.rungs().iter().map(ToString::to_string).collect();
    console.say(format!(
        "search  {} trials of {}, judged by the validation split after {} epochs",
        plan.trials,
        plan.recipe.name,
        rungs.join(", ")
    ));
    console.say(format!("device  {device}"));
    console.say(format!("out     {}", shown_path(search.path())));
}

/// Says what has happened.
fn tell(console: &Console, event: &SearchEvent) {
    match event {
        SearchEvent::Rung { trials, epochs } => {
            let noun = if *trials == 1 { "trial" } else { "trials" };
            console.say(format!("{trials} {noun} up to epoch {epochs}"));
        }
        SearchEvent::Trial(trial) => {
            let result = match (&trial.failure, trial.loss()) {
                (Some(failure), _) => format!("given up: {failure}"),
                (None, Some(loss)) => format!("validation loss {loss:.4}"),
                (None, None) => String::new(),
            };
            console.say(format!(
                "trial {:3}  {result}  {}",
                trial.number,
                values(trial)
            ));
        }
    }
}

/// The values of a trial in a line.
fn values(trial: &SearchTrial) -> String {
    let value = |(name, value): (&String, &f64)| {
        let rounded: f64 = format!("{value:.3e}").parse().unwrap_or(*value);
        let shown = if value.fract() == 0.0 {
            *value
        } else {
            rounded
        };
        format!("{name} {shown}")
    };
    trial
        .values
        .iter()
        .map(value)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The best trials as a table.
fn table(trials: &[&SearchTrial]) -> String {
    let heading = ["trial", "epochs", "validation loss", "values"].map(String::from);
    let row = |trial: &&SearchTrial| {
        let loss = match (&trial.failure, trial.loss()) {
            (Some(_), _) => "failed".to_string(),
            (None, Some(loss)) => format!("{loss:.4}"),
            (None, None) => "-".into(),
        };
        let numbers = [trial.number, trial.epochs].map(|number| number.to_string());
        let [number, epochs] = numbers;
        [values(trial), number, epochs, loss]
    };
    let [trial, epochs, loss, names] = heading;
    let mut rows = vec![[names, trial, epochs, loss]];
    rows.extend(trials.iter().take(MOST_SHOWN).map(row));
    let mut text = aligned(&rows, 1);
    if trials.len() > MOST_SHOWN {
        text += &format!("\nand {} more in trials.csv", trials.len() - MOST_SHOWN);
    }
    text
}
