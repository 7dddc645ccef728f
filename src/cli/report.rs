//! `gatescan report`: a page of what a run came to, or of several on the same axes.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use gatescan::data::preparation::Normal;
use gatescan::data::{Split, SplitBy, Splits};
use gatescan::error::{Error, Result};
use gatescan::infer::generate::{Memory, generate, runs_away};
use gatescan::low_level::backend::OpenDevice;
use gatescan::model::Model;
use gatescan::recipe::DataRecipe;
use gatescan::report::{self, Continuation, Details, Findings, Run};

use super::comparison::Comparison;
use super::generate::Seed;
use super::run_directory::{REPORT, read_run};
use super::train::test_scores;
use super::{check_data_path, choose_device, load_model, note, say};

/// Steps that a series is continued by on a page.
const CONTINUED: usize = 200;

/// Draw what a run came to, or several on the same axes.
#[derive(Args)]
#[command(after_help = "\
Of one run the page has curves, what the model answers to the test split, baselines and recipe; `train` writes it at its end. Of \
several it has curves on the same axes, and what differs in their recipes. It needs nothing beside it.

Examples:
  gatescan report runs/mnist-20260102-030405
  gatescan report runs/mnist-* -o mnist.html
  gatescan report runs/mnist-* --svg curves.svg")]
pub struct Report {
    /// Run directories.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,
    /// The page [default: report.html in the run directory; of several runs, report.html here].
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Write the curves as a plot for papers; the page then only where -o names it.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Where the data of a single run lie [default: where they were].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What computes the answers of a single run: auto, gpu, cpu, an index or a part of a name (see `gatescan devices`).
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
}

impl Report {
    pub fn run(&self) -> Result<()> {
        if self.data.is_some() && self.runs.len() > 1 {
            return Err(Error::usage(
                "--data: only the page of a single run has answers to data",
            ));
        }
        let mut runs = self
            .runs
            .iter()
            .map(|path| read_run(path))
            .collect::<Result<Vec<_>>>()?;
        // Runs of the same name in different places are told apart by these.
        for n in 0..runs.len() {
            let same =
                |other: usize| other != n && name_of(&self.runs[other]) == name_of(&self.runs[n]);
            if (0..runs.len()).any(same) {
                runs[n].name = self.runs[n].display().to_string();
            }
        }
        if let Some(path) = &self.svg {
            write(path, &report::svg(&runs)?)?;
        }
        let path = match (&self.output, &self.runs[..]) {
            (Some(path), _) => path.clone(),
            (None, _) if self.svg.is_some() => return Ok(()),
            (None, [run]) => run.join(REPORT),
            (None, _) => PathBuf::from(REPORT),
        };
        let page = match &runs[..] {
            [run] => report::page(run, &self.details(run)),
            runs => report::comparison(runs),
        };
        write(&path, &page)
    }

    /// What the model of a run answers, as far as that can still be found out.
    fn details(&self, run: &Run) -> Details {
        let known = || {
            let model = load_model(&self.runs[0])?;
            let mut data = model.recipe.data.clone();
            if let Some(directory) = &self.data {
                check_data_path(&data, directory)?;
                data.set_path(directory.clone());
            }
            let data = data.load_prepared(model.recipe.seed, Some(&model.preparation))?;
            let (device, _) = choose_device(&self.device)?;
            Ok((model, data, OpenDevice::open(&device)?))
        };
        match known() {
            Ok((model, data, place)) => {
                let compared = compare(run, &data);
                details(&model, &data, compared.as_ref(), &place)
            }
            Err(error) => {
                let error: Error = error;
                note(format!(
                    "{error}; the page goes without the model's answers"
                ));
                Details {
                    parameters: None,
                    findings: Err(error.to_string()),
                    baselines: vec![],
                    remarks: vec![],
                    continuation: None,
                }
            }
        }
    }
}

fn name_of(path: &Path) -> Option<&std::ffi::OsStr> {
    path.file_name()
}

/// The run's last scores beside the baselines.
fn compare(run: &Run, data: &Splits) -> Option<Comparison> {
    let scores = test_scores(run.kept()?)?;
    let test = data.test.as_ref()?;
    let (recipe, known) = (&run.recipe.data, &data.preparation);
    let compared = Comparison::new(recipe, known, Some(&data.train), test, &scores);
    compared.inspect_err(|error| note(error)).ok()
}

/// What a model answers to its data. What cannot be found out is told on the page.
pub fn details(
    model: &Model,
    data: &Splits,
    compared: Option<&Comparison>,
    place: &OpenDevice,
) -> Details {
    let (split, tested) = match &data.test {
        Some(test) => (Split::Test, test),
        None => (Split::Train, &data.train),
    };
    let in_time = match &model.recipe.data {
        DataRecipe::Series { path, .. } => path.is_some(),
        DataRecipe::Csv(csv) => csv.steps.is_some() && csv.split_by == SplitBy::Order,
        _ => false,
    };
    let findings = Findings::new(model, tested, split, in_time, place);
    Details {
        parameters: Some(model.parameters.iter().map(|each| each.values.len()).sum()),
        findings: findings.map(Some).map_err(|error| error.to_string()),
        baselines: compared.map(Comparison::rows).unwrap_or_default(),
        remarks: compared.map(Comparison::remarks).unwrap_or_default(),
        continuation: continuation(model, place),
    }
}

/// The series continued, where the model can.
fn continuation(model: &Model, place: &OpenDevice) -> Option<Continuation> {
    let seed = Seed::new(model, None).ok()?;
    let width = seed.columns.len();
    let (mut history, columns) = (seed.history, seed.columns);
    let steps = CONTINUED.min(history.len() / width * 4);
    let mut values = generate(model, &seed.values, steps, Memory::CarriedState, place).ok()?;
    let away = runs_away(&seed.values, &values).map(|at| at / width);
    for numbers in [&mut history, &mut values] {
        Normal::undo_all(&model.preparation.targets, numbers);
    }
    Some(Continuation {
        history,
        values,
        columns,
        diverges_at: away,
    })
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text)
        .map_err(|error| Error::file(path, format!("cannot be written: {error}")))?;
    say(format!("wrote {}", path.display()));
    Ok(())
}
