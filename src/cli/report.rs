//! `gatescan report`: the page of a run, or of several runs on the same axes.

use std::path::PathBuf;

use clap::Args;
use gatescan::low_level::messages::shown_path;
use gatescan::report::{self, BaselineScores, Run, RunDetails};
use gatescan::run::{self, REPORT, read_run};
use gatescan::train::BaselineComparison;
use gatescan::{DataRecipe, Error, Loss, OpenDevice, Result, Splits};

use super::console::Console;
use super::output::Overwrite;
use super::{check_data_path, choose_device, load_model};

/// Draw the curves and predictions of a run, or of several runs on the same axes.
#[derive(Args)]
#[command(after_help = "\
The page of a single run has its curves, the model's predictions for the test split, baselines and \
the recipe; `train` writes it when it ends. The page of several runs has their curves on the same \
axes and the differences of their recipes. A page needs no other file.

Examples:
  gatescan report runs/mnist-20260102-030405
  gatescan report runs/mnist-* -o mnist.html
  gatescan report runs/mnist-* --svg curves.svg")]
pub struct Report {
    /// Run directories.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page to write [default: report.html in the run directory; ./report.html for several
    /// runs].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: Overwrite,
    /// Write loss and accuracy as an SVG file for papers; then the page is only written with -o.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The directory of a single run's data [default: the directory it was trained from].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// The device for a single run's predictions: auto, gpu, cpu, an index or part of a name (see
    /// `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

impl Report {
    pub fn run(&self, console: &Console) -> Result<()> {
        if self.data.is_some() && self.runs.len() > 1 {
            return Err(Error::usage(
                "--data: only the page of a single run has predictions for data",
            ));
        }
        let page = self.page_path();
        if let Some(path) = &self.svg {
            self.overwrite.check(path)?;
        }
        if let Some((path, overwrite)) = &page {
            overwrite.check(path)?;
        }
        let runs = self.read_runs()?;
        if let Some(path) = &self.svg {
            let text = report::svg(&runs)?;
            self.overwrite.write_bytes(path, text.as_bytes())?;
            console.say(format!("wrote {}", shown_path(path)));
        }
        let Some((path, overwrite)) = page else {
            return Ok(());
        };
        let page = match &runs[..] {
            [run] => report::page(run, &self.details(console, run)),
            runs => report::comparison(runs, &baselines(console, runs)),
        };
        overwrite.write_bytes(&path, page.as_bytes())?;
        console.say(format!("wrote {}", shown_path(&path)));
        Ok(())
    }

    /// Reads the runs; those with the same name in different directories are named by their paths.
    fn read_runs(&self) -> Result<Vec<Run>> {
        let read = |path: &PathBuf| {
            let mut run = read_run(path)?;
            let same_name = |other: &&PathBuf| other.file_name() == path.file_name();
            if self.runs.iter().filter(same_name).count() > 1 {
                run.name = shown_path(path);
            }
            Ok(run)
        };
        self.runs.iter().map(read).collect()
    }

    /// The path of the page, and whether it may be replaced: that of a run directory is
    /// gatescan's own. `None` if only a plot is to be written.
    fn page_path(&self) -> Option<(PathBuf, Overwrite)> {
        match (&self.output, &self.runs[..]) {
            (Some(path), _) => Some((path.clone(), self.overwrite)),
            (None, _) if self.svg.is_some() => None,
            (None, [run]) => Some((run.join(REPORT), Overwrite::OWN)),
            (None, _) => Some((PathBuf::from(REPORT), self.overwrite)),
        }
    }

    /// The details of a single run; without its model or data they say why there are none.
    fn details(&self, console: &Console, run: &Run) -> RunDetails {
        self.computed_details(console, run).unwrap_or_else(|error| {
            console.note(format!("{error}; the page has no predictions"));
            RunDetails {
                parameters: None,
                predictions: Err(error.to_string()),
                baselines: vec![],
                ahead: vec![],
                remarks: vec![],
                continuation: None,
                heads: vec![],
            }
        })
    }

    fn computed_details(&self, console: &Console, run: &Run) -> Result<RunDetails> {
        let mut model = load_model(console, &self.runs[0])?;
        if let Some(directory) = &self.data {
            check_data_path(&model.recipe.data, directory)?;
            model.recipe.data.set_path(directory.clone());
        }
        let data = model.recipe.load_splits(Some(&model.preparation))?;
        let (device, _) = choose_device(&self.device)?;
        let device = OpenDevice::open(&device)?;
        let comparison = with_baselines(console, run, &data);
        Ok(run::details(&model, &data, comparison.as_ref(), &device))
    }
}

/// The baselines for the data of these runs, each once.
fn baselines(console: &Console, runs: &[Run]) -> Vec<BaselineScores> {
    let mut seen: Vec<(&DataRecipe, Loss)> = vec![];
    let mut all = vec![];
    for run in runs {
        let key = (&run.recipe.data, run.recipe.network.head.loss);
        if seen.contains(&key) || run.test_scores().is_none() {
            continue;
        }
        seen.push(key);
        let data = match run.recipe.load_splits(None) {
            Ok(data) => data,
            Err(error) => {
                console.note(format!(
                    "{error}; the page has no baselines for {}",
                    run.name
                ));
                continue;
            }
        };
        let Some(compared) = with_baselines(console, run, &data) else {
            continue;
        };
        for (name, [loss, rmse, accuracy]) in compared.scores() {
            let name = if seen.len() > 1 {
                format!("{name}, for the data of {}", run.name)
            } else {
                name
            };
            all.push(BaselineScores {
                name,
                loss,
                rmse,
                accuracy,
            });
        }
    }
    all
}

/// The scores of the run's model and of the baselines.
fn with_baselines(console: &Console, run: &Run, data: &Splits) -> Option<BaselineComparison> {
    let (scores, _) = run.test_scores()?;
    let comparison = BaselineComparison::of_run(&run.recipe, data, Some(scores), run.test_heads());
    comparison.inspect_err(|error| console.note(error)).ok()?
}
