//! A run: training with an observer in Python, its model, metrics and report.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use gatescan::report;
use gatescan::run::{ResumePoint, RunEvent, RunOptions, TrainingRun, details};
use gatescan::train::{BaselineComparison, EpochMetrics, FineTuning, Progress};
use gatescan::{Ending, Error, Event, Model, Recipe, Result, Splits, Trainer};
use pyo3::exceptions::PyKeyboardInterrupt;
use pyo3::prelude::*;
use serde_json::json;

use crate::data::Data;
use crate::devices::open;
use crate::errors::{computed, exception};
use crate::model::PyModel;
use crate::pool;

pub fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<Run>()?;
    module.add_function(wrap_pyfunction!(train, module)?)?;
    module.add_function(wrap_pyfunction!(resume, module)?)
}

/// How often signals are looked at while nothing is reported.
const POLL: Duration = Duration::from_millis(50);

/// What a run is asked to do.
struct Request {
    recipe: Recipe,
    splits: Splits,
    device: String,
    /// The run directory; without it nothing is written.
    out: Option<PathBuf>,
    /// The model that the run begins with.
    start: Option<Arc<Model>>,
    /// Whether `out` has a run that is resumed.
    resumes: bool,
    stop: Arc<AtomicBool>,
}

/// What has been trained.
struct Trained {
    model: Model,
    /// The lines of `metrics.jsonl`.
    metrics: String,
    comparison: Option<BaselineComparison>,
    ending: Ending,
    step: usize,
    path: Option<PathBuf>,
}

/// An event for the observer: its kind, and one JSON value.
type Heard = (&'static str, String);

/// A function of this module that reports events, and says whether to go on.
type Report<'a> = dyn FnMut(Heard) -> ControlFlow<()> + 'a;

/// A run that has ended.
#[pyclass(frozen, module = "gatescan._gatescan")]
pub struct Run {
    recipe: Recipe,
    splits: Splits,
    device: String,
    trained: Trained,
}

#[pymethods]
impl Run {
    #[getter]
    fn model(&self) -> PyModel {
        PyModel::new(self.trained.model.clone())
    }

    /// The lines of `metrics.jsonl`.
    #[getter]
    fn metrics(&self) -> &str {
        &self.trained.metrics
    }

    /// `complete`, `stalled` or `interrupted`.
    #[getter]
    fn ending(&self) -> &'static str {
        match self.trained.ending {
            Ending::Complete => "complete",
            Ending::Stalled => "stalled",
            _ => "interrupted",
        }
    }

    #[getter]
    fn step(&self) -> usize {
        self.trained.step
    }

    #[getter]
    fn path(&self) -> Option<&Path> {
        self.trained.path.as_deref()
    }

    /// Conclusions from the comparison with baselines, one sentence each.
    #[getter]
    fn remarks(&self) -> Vec<String> {
        let comparison = self.trained.comparison.as_ref();
        comparison.map_or(vec![], BaselineComparison::remarks)
    }

    /// Returns the report as one HTML page.
    fn report(&self, py: Python<'_>) -> PyResult<String> {
        computed(py, || {
            let device = open(&self.device)?;
            let Trained {
                model,
                metrics,
                comparison,
                ..
            } = &self.trained;
            let label = gatescan::profile::Machine::of(&device).label();
            let recipe = self.recipe.clone();
            let run = report::Run::new(&recipe.name.clone(), recipe, vec![label], metrics);
            let details = details(model, &self.splits, comparison.as_ref(), &device);
            Ok(report::page(&run, &details))
        })
    }
}

/// Trains a recipe, which is one JSON object. `observer` is called with the kind and the JSON of
/// every event; the run stops after the step when it returns true.
#[pyfunction]
#[pyo3(signature = (recipe, data, device, out, observer, start=None))]
fn train(
    py: Python<'_>,
    recipe: &str,
    data: &Data,
    device: String,
    out: Option<PathBuf>,
    observer: &Bound<'_, PyAny>,
    start: Option<&PyModel>,
) -> PyResult<Run> {
    let recipe = Recipe::from_json(recipe, "recipe").map_err(|error| exception(&error))?;
    let request = Request {
        recipe,
        splits: data.splits.clone(),
        device,
        out,
        start: start.map(|start| start.model.clone()),
        resumes: false,
        stop: Arc::default(),
    };
    observed(py, request, observer)
}

/// Continues the run of a directory with the recipe, one JSON object, and its data.
#[pyfunction]
#[pyo3(signature = (recipe, data, device, out, observer))]
fn resume(
    py: Python<'_>,
    recipe: &str,
    data: &Data,
    device: String,
    out: PathBuf,
    observer: &Bound<'_, PyAny>,
) -> PyResult<Run> {
    let recipe = Recipe::from_json(recipe, "recipe").map_err(|error| exception(&error))?;
    let request = Request {
        recipe,
        splits: data.splits.clone(),
        device,
        out: Some(out),
        start: None,
        resumes: true,
        stop: Arc::default(),
    };
    observed(py, request, observer)
}

/// Trains on other threads. This one hears the events and looks at signals, which only Python's
/// main thread can.
fn observed(py: Python<'_>, request: Request, observer: &Bound<'_, PyAny>) -> PyResult<Run> {
    let (events, heard) = channel();
    let (answers, answered) = channel();
    let heard = Mutex::new(heard);
    let threads = pool::new().map_err(|error| exception(&error))?;
    let (trained, failure) = thread::scope(|scope| {
        let request = &request;
        let worker = scope.spawn(move || {
            threads.install(|| pool::guarded(|| request.train(&mut reporter(events, answered))))
        });
        let failure = attend(py, &heard, &answers, &request.stop, observer);
        // Without a listener, the run stops at its next event.
        drop(answers);
        (py.detach(|| worker.join()), failure)
    });
    if let Some(failure) = failure {
        return Err(failure);
    }
    let ended = || Error::Failed("the thread that trained ended without a result".into());
    let trained = trained.unwrap_or_else(|_| Err(ended()));
    let trained = trained.map_err(|error| exception(&error))?;
    Ok(Run {
        recipe: request.recipe,
        splits: request.splits,
        device: request.device,
        trained,
    })
}

/// Returns a function that sends events and waits for the answers.
fn reporter(
    events: Sender<Heard>,
    answers: Receiver<bool>,
) -> impl FnMut(Heard) -> ControlFlow<()> {
    move |event| {
        let stops = events.send(event).is_err() || answers.recv().unwrap_or(true);
        if stops {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }
}

/// Hears events until the run has ended. Returns the exception of the observer or of a signal
/// handler; Ctrl-C stops the run and is no exception.
fn attend(
    py: Python<'_>,
    heard: &Mutex<Receiver<Heard>>,
    answers: &Sender<bool>,
    stop: &AtomicBool,
    observer: &Bound<'_, PyAny>,
) -> Option<PyErr> {
    let mut failure = None;
    let mut note = |error: PyErr| {
        stop.store(true, Ordering::Relaxed);
        if !error.is_instance_of::<PyKeyboardInterrupt>(py) {
            failure.get_or_insert(error);
        }
    };
    loop {
        let event = py.detach(|| {
            let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
            heard.recv_timeout(POLL)
        });
        match event {
            Ok((kind, json)) => {
                let answer = observer.call1((kind, json));
                match answer.and_then(|answer| answer.is_truthy()) {
                    Ok(true) => stop.store(true, Ordering::Relaxed),
                    Ok(false) => {}
                    Err(error) => note(error),
                }
                let _ = answers.send(stop.load(Ordering::Relaxed));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        py.check_signals().unwrap_or_else(&mut note);
    }
    failure
}

impl Request {
    fn train(&self, report: &mut Report) -> Result<Trained> {
        match &self.out {
            Some(out) => self.train_in(out, report),
            None => self.train_in_memory(report),
        }
    }

    /// Trains, and writes nothing.
    fn train_in_memory(&self, report: &mut Report) -> Result<Trained> {
        let mut trainer = Trainer::load(&self.recipe, &self.splits, &open(&self.device)?)?;
        if let Some(start) = &self.start {
            tell_notes(&trainer.start_from(start)?, report);
        }
        let mut metrics = String::new();
        let ending = trainer.run(&mut |trainer, event| {
            add_lines(&mut metrics, event);
            Ok(self.tell(trainer, event, report))
        })?;
        let tested = match ending {
            Ending::Interrupted => None,
            _ => trainer.test(&mut |trainer, event| Ok(self.tell(trainer, event, report)))?,
        };
        if let Some(tested) = &tested {
            metrics += &format!("{}\n", json!(tested));
        }
        let kept = trainer.best().or(trainer.position().last.as_ref());
        let (scores, heads) = match &tested {
            Some(tested) => (Some(tested.scores()), &tested.heads[..]),
            None => (
                kept.and_then(EpochMetrics::test_scores),
                kept.map_or(&[][..], |kept| &kept.heads),
            ),
        };
        let comparison = BaselineComparison::of_run(&self.recipe, &self.splits, scores, heads)?;
        Ok(Trained {
            step: trainer.position().step,
            model: trainer.model()?,
            metrics,
            comparison,
            ending,
            path: None,
        })
    }

    /// Trains in the directory `out`, where the run can be resumed.
    fn train_in(&self, out: &Path, report: &mut Report) -> Result<Trained> {
        let options = RunOptions {
            out: Some(out.to_path_buf()),
            stop: self.stop.clone(),
            ..RunOptions::default()
        };
        let (recipe, splits, device) = (&self.recipe, &self.splits, open(&self.device)?);
        let mut run = if self.resumes {
            let point = ResumePoint::find(out)?;
            recipe.continues(&point.recipe)?;
            let newest = point.newest.as_ref();
            let known = newest.map(|(_, checkpoint)| &checkpoint.preparation);
            let differs = known.is_some_and(|known| *known != splits.preparation);
            // A run that began with a model has the model's preparation.
            let loaded = differs
                .then(|| FineTuning::load_resumed(recipe, known).ok())
                .flatten();
            let splits = loaded.as_ref().unwrap_or(splits);
            TrainingRun::resume(point, recipe, splits, device, options)?
        } else if let Some(start) = &self.start {
            let (run, tuning) = TrainingRun::start_from(start, recipe, splits, device, options)?;
            tell_notes(&tuning, report);
            run
        } else {
            TrainingRun::start(recipe, splits, device, options)?
        };
        let ending = run.train(&mut |event| {
            Ok(match event {
                RunEvent::Training { trainer, event, .. } => self.tell(trainer, event, report),
                RunEvent::Warning(warning) => {
                    report(("warning", json!(warning.to_string()).to_string()))
                }
                _ => ControlFlow::Continue(()),
            })
        })?;
        let comparison = run.compare()?;
        let step = run.position()?.step;
        let path = run.path().to_path_buf();
        run.write_report(comparison.as_ref())?;
        let (model, _) = gatescan::run::load_model(&path, &mut |_| {})?;
        let metrics = std::fs::read_to_string(path.join("metrics.jsonl"))
            .map_err(|error| Error::file(path.join("metrics.jsonl"), error))?;
        Ok(Trained {
            model,
            metrics,
            comparison,
            ending,
            step,
            path: Some(path),
        })
    }

    /// Reports an event of training.
    fn tell(&self, trainer: &Trainer, event: Event, report: &mut Report) -> ControlFlow<()> {
        let step = trainer.position().step;
        let flow = match event {
            Event::Progress(progress) => report(("progress", progress_json(progress, step))),
            Event::Evaluating { sequences, total } => {
                report(("evaluating", json!([sequences, total]).to_string()))
            }
            Event::Epoch(metrics) => report(("epoch", json!(metrics).to_string())),
            _ => ControlFlow::Continue(()),
        };
        if self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        flow
    }
}

/// Reports what comes from the model that a run begins with.
fn tell_notes(tuning: &FineTuning, report: &mut Report) {
    for note in &tuning.notes {
        let _ = report(("warning", json!(note).to_string()));
    }
}

fn progress_json(progress: &Progress, step: usize) -> String {
    json!({
        "step": step,
        "epoch": progress.epoch,
        "epochs": progress.epochs,
        "sequences": progress.sequences,
        "total": progress.total,
        "loss": progress.loss,
        "accuracy": progress.accuracy,
        "sequences_per_second": progress.sequences_per_second,
        "step_losses": progress.step_losses,
    })
    .to_string()
}

/// Adds the lines that a run directory has of an event.
fn add_lines(metrics: &mut String, event: Event) {
    let mut add = |line: serde_json::Value| *metrics += &format!("{line}\n");
    match event {
        Event::Progress(progress) => progress.reports.iter().for_each(|each| add(json!(each))),
        Event::Epoch(epoch) => add(json!(epoch)),
        _ => {}
    }
}
