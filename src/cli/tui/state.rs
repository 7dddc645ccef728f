//! What the screen shows.

use std::collections::VecDeque;
use std::fmt::Display;
use std::time::{Duration, Instant};

use gatescan::train::{EpochMetrics, Position, Progress, Scores, loss_text};
use gatescan::{Event, Split};

use super::drawing::time_text;
use crate::cli::console::OutputStream;
use crate::cli::train::describe::{RunDescription, speed};

/// The losses and the lines that are kept.
pub(super) const KEPT: usize = 1000;

/// All that a drawing depends on.
#[derive(Clone)]
pub struct ScreenState {
    pub(super) run: RunDescription,
    pub(super) progress: RunProgress,
    /// The last lines that were printed.
    pub(super) lines: VecDeque<(OutputStream, String)>,
    /// Whether NO_COLOR allows colors.
    pub(super) color: bool,
    pub(super) stopping: bool,
    /// Whether anything has changed since the last drawing.
    changed: bool,
}

/// The progress of the run.
#[derive(Clone, Default)]
pub(super) struct RunProgress {
    epoch: Option<Progress>,
    /// Sequences of a split that are evaluated, and all of them.
    evaluating: Option<(usize, usize)>,
    step: usize,
    last_step: usize,
    /// When the first event came, and after which update.
    start: Option<(Instant, usize)>,
    /// The estimated time to the end.
    pub(super) left: Option<Duration>,
    /// Of the latest updates; the last is that of `step`.
    pub(super) losses: VecDeque<f32>,
    pub(super) epochs: Vec<EpochMetrics>,
}

/// Lines (x, y) of one chart.
pub(super) struct Curves {
    pub(super) title: &'static str,
    pub(super) train: Vec<(f64, f64)>,
    /// Of the validation or, without one, the test split, with its name, in a chart that has it.
    pub(super) evaluated: Option<(Split, Vec<(f64, f64)>)>,
    /// Formats a y.
    pub(super) text: fn(f64) -> String,
}

impl ScreenState {
    /// The state of a run that begins, or that resumes after these epochs.
    pub fn new(run: RunDescription, epochs: Vec<EpochMetrics>) -> ScreenState {
        ScreenState {
            run,
            progress: RunProgress {
                epochs,
                ..RunProgress::default()
            },
            lines: VecDeque::new(),
            color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            stopping: false,
            changed: true,
        }
    }

    /// Updates the state by an event of a run of `last_step` updates at `position`.
    pub(super) fn update(
        &mut self,
        event: Event,
        position: &Position,
        last_step: usize,
        now: Instant,
    ) {
        self.changed = true;
        self.progress.update(event, position, last_step, now);
    }

    /// Keeps a printed line.
    pub(super) fn print(&mut self, stream: OutputStream, line: &impl Display) {
        self.changed = true;
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((stream, line.to_string()));
    }

    pub(super) fn into_lines(self) -> VecDeque<(OutputStream, String)> {
        self.lines
    }

    /// A copy to draw, if anything has changed since the last one.
    pub(super) fn take_changes(&mut self, is_resized: bool, stopping: bool) -> Option<ScreenState> {
        let changed = std::mem::take(&mut self.changed) || is_resized || self.stopping != stopping;
        self.stopping = stopping;
        changed.then(|| self.clone())
    }

    /// Label and ratio of the bar.
    pub(super) fn bar(&self) -> (String, f64) {
        let Some(epoch) = &self.progress.epoch else {
            return ("starting".into(), 0.0);
        };
        let (done, total, what) = match self.progress.evaluating {
            Some((done, total)) => (done, total, " evaluated"),
            None => (epoch.sequences, epoch.total, ""),
        };
        let ratio = (done as f64 / total.max(1) as f64).clamp(0.0, 1.0);
        let label = format!(
            "epoch {}/{}{what} {:3.0}%",
            epoch.epoch,
            epoch.epochs,
            100.0 * ratio
        );
        (label, ratio)
    }

    /// The numbers below the bar, the most important first.
    pub(super) fn figures(&self) -> Vec<String> {
        let progress = &self.progress;
        let mut figures = vec![format!("step {} of {}", progress.step, progress.last_step)];
        if let Some(epoch) = &progress.epoch {
            let left = progress.left;
            figures.extend(left.map(|left| format!("{} left", time_text(left))));
            figures.push(epoch.scores().to_string());
            figures.push(speed(self.run.tokens, epoch.sequences_per_second));
        }
        figures.extend(progress.best());
        if let Some(epoch) = &progress.epoch {
            figures.push(format!("{} of {} sequences", epoch.sequences, epoch.total));
        }
        figures
    }
}

impl RunProgress {
    fn update(&mut self, event: Event, position: &Position, last_step: usize, now: Instant) {
        if position.step < self.step {
            // The run has restarted from a checkpoint.
            self.start = None;
            self.losses.clear();
        }
        (self.step, self.last_step) = (position.step, last_step);
        if let Event::Epoch(metrics) = event {
            self.epochs.retain(|epoch| epoch.epoch < metrics.epoch);
            self.epochs.push(metrics.clone());
        }
        self.epochs.retain(|epoch| epoch.epoch <= position.epochs);
        match event {
            Event::Progress(epoch) => self.update_epoch(epoch, now),
            Event::Evaluating { sequences, total } => self.evaluating = Some((sequences, total)),
            _ => self.evaluating = None,
        }
    }

    fn update_epoch(&mut self, epoch: &Progress, now: Instant) {
        self.evaluating = None;
        let over = (self.losses.len() + epoch.step_losses.len()).saturating_sub(KEPT);
        self.losses.drain(..over.min(self.losses.len()));
        self.losses.extend(&epoch.step_losses);
        self.epoch = Some(epoch.clone());
        // The time of evaluations is included.
        let (start, before) = *self.start.get_or_insert((now, self.step));
        let done = self.step - before;
        let to_do = self.last_step.saturating_sub(self.step);
        self.left = (done > 0)
            .then(|| now.duration_since(start).as_secs_f64() / done as f64)
            .and_then(|step| Duration::try_from_secs_f64(step * to_do as f64).ok());
    }

    fn best(&self) -> Option<String> {
        let by_loss = |a: &&EpochMetrics, b: &&EpochMetrics| {
            a.monitored_loss().total_cmp(&b.monitored_loss())
        };
        let best = self.epochs.iter().min_by(by_loss)?;
        let scores = Scores {
            last_step_loss: None,
            ..best.monitored_scores()
        };
        let split = best.monitored_split().name();
        Some(format!("best epoch {}: {split} {scores}", best.epoch))
    }

    /// The charts that there are data for.
    pub(super) fn curves(&self) -> Vec<Curves> {
        let first = (self.step + 1).saturating_sub(self.losses.len());
        let losses = self.losses.iter().enumerate();
        let updates = losses.map(|(n, &loss)| ((first + n) as f64, f64::from(loss)));
        let each = |value: fn(&EpochMetrics) -> Option<f64>| {
            let epochs = self.epochs.iter();
            let points = epochs.filter_map(|epoch| Some((epoch.epoch as f64, value(epoch)?)));
            points.collect::<Vec<_>>()
        };
        let is_validated = self
            .epochs
            .iter()
            .any(|epoch| epoch.validation_loss.is_some());
        let split = if is_validated {
            Split::Validation
        } else {
            Split::Test
        };
        let mut curves = vec![
            Curves {
                title: "loss, latest updates",
                train: updates.collect(),
                evaluated: None,
                text: loss_text,
            },
            Curves {
                title: "loss, epochs",
                train: each(|epoch| Some(epoch.train_loss)),
                evaluated: Some((
                    split,
                    each(|epoch| epoch.validation_loss.or(epoch.test_loss)),
                )),
                text: loss_text,
            },
        ];
        let accuracy = each(|epoch| epoch.train_accuracy);
        if !accuracy.is_empty() {
            curves.push(Curves {
                title: "accuracy, epochs",
                train: accuracy,
                evaluated: Some((
                    split,
                    each(|epoch| epoch.validation_accuracy.or(epoch.test_accuracy)),
                )),
                text: |accuracy| format!("{accuracy:.4}"),
            });
        }
        curves
    }
}
