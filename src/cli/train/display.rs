//! The display of a run in progress.

use std::io::{IsTerminal, stderr};
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use gatescan::data::text::Unit;
use gatescan::infer::sample::sample_text;
use gatescan::run::RunEvent;
use gatescan::train::{
    EpochMetrics, HeadMetrics, LossReport, Progress, SplitMetrics, heads_text, loss_text,
};
use gatescan::{Event, OpenDevice, Recipe, Result, Splits, Trainer};
use indicatif::{ProgressBar, ProgressStyle};

use super::describe::{StartTimes, speed, tokens_of};
use crate::cli::console::Console;
use crate::cli::tui::Screen;

/// Characters, bytes or words of the sample after each epoch on a text.
const SAMPLE: usize = 200;

/// Shows a run: a bar for each epoch on a terminal, else a line every few seconds; and a line for
/// each epoch.
pub struct TrainDisplay {
    console: Console,
    json: bool,
    /// Whether standard error is a terminal, which can show a bar.
    terminal: bool,
    seed: u64,
    epochs: usize,
    /// Of a text: the unit of its tokens, and tokens in a sequence.
    tokens: Option<(Unit, usize)>,
    bar: Option<ProgressBar>,
    /// The screen of `--tui`, in place of the bar.
    screen: Option<Screen>,
    last_line: Instant,
    /// When the process began, and its start-up; until the first step is done.
    start: Option<(Instant, StartTimes)>,
    /// The epoch in progress, from 1.
    epoch: usize,
}

impl TrainDisplay {
    const BETWEEN_LINES: Duration = Duration::from_secs(10);

    pub fn new(console: &Console, json: bool, recipe: &Recipe, data: &Splits) -> Self {
        TrainDisplay {
            console: console.clone(),
            json,
            terminal: stderr().is_terminal(),
            seed: recipe.seed,
            epochs: recipe.epochs,
            tokens: tokens_of(data),
            bar: None,
            screen: None,
            last_line: Instant::now(),
            start: None,
            epoch: 1,
        }
    }

    /// Also describes the start-up of a process that began at `start`, once the first step is done.
    pub fn with_start(mut self, start: Instant, times: StartTimes) -> Self {
        self.start = Some((start, times));
        self
    }

    /// Shows the run on a screen in place of lines.
    pub fn with_screen(mut self, screen: Screen) -> Self {
        self.screen = Some(screen);
        self
    }

    /// The epoch in progress, from 1; at least `finished`, the number of finished epochs.
    pub fn epoch(&self, finished: usize) -> usize {
        self.epoch.max(finished)
    }

    /// Shows an event. Breaks where the reader of standard output is gone.
    pub fn show(&mut self, event: RunEvent) -> Result<ControlFlow<()>> {
        match event {
            RunEvent::Training {
                trainer,
                event,
                device,
            } => self.show_training(trainer, event, device),
            RunEvent::Tested(metrics) if self.json => {
                self.clear();
                self.console.print(serde_json::json!(metrics))
            }
            RunEvent::Tested(_) => Ok(ControlFlow::Continue(())),
            RunEvent::Warning(warning) => {
                self.suspended(|console| console.note(warning));
                Ok(ControlFlow::Continue(()))
            }
        }
    }

    fn show_training(
        &mut self,
        trainer: &mut Trainer,
        event: Event,
        device: &OpenDevice,
    ) -> Result<ControlFlow<()>> {
        if let Some(screen) = &self.screen {
            screen.show(event, trainer.position(), trainer.last_step());
        }
        match event {
            Event::Progress(progress) => self.show_progress(progress),
            Event::Evaluating { sequences, total } => {
                if let Some(bar) = &self.bar {
                    bar.set_message(format!("evaluated {sequences} of {total}"));
                }
                Ok(ControlFlow::Continue(()))
            }
            Event::Epoch(metrics) => {
                let flow = self.print_epoch(metrics)?;
                if self.tokens.is_some() && !self.console.is_quiet() {
                    let seed = self.seed.wrapping_add(metrics.epoch as u64);
                    let text = sample_text(&trainer.model()?, SAMPLE, seed, device)?;
                    self.console.say(quoted(&text));
                }
                Ok(flow)
            }
        }
    }

    fn show_progress(&mut self, progress: &Progress) -> Result<ControlFlow<()>> {
        self.epoch = progress.epoch;
        if let Some((start, times)) = self.start.take() {
            self.console.say(times.line(start.elapsed()));
        }
        let mut flow = ControlFlow::Continue(());
        for report in &progress.reports {
            if self.print_report(report)?.is_break() {
                flow = ControlFlow::Break(());
            }
        }
        if !self.console.is_quiet() && self.screen.is_none() {
            self.draw_progress(progress);
        }
        Ok(flow)
    }

    /// Moves the bar, or prints a line now and then.
    fn draw_progress(&mut self, progress: &Progress) {
        let Progress {
            epoch,
            epochs,
            sequences,
            total,
            ..
        } = *progress;
        let per_second = progress.sequences_per_second;
        // With chunks, no sequence may be done yet.
        let left = if per_second > 0.0 {
            let seconds = total.saturating_sub(sequences) as f64 / per_second;
            format!(" {seconds:.0}s left")
        } else {
            String::new()
        };
        let speed = speed(self.tokens, per_second);
        let heads = heads_text(progress.heads.clone());
        let state = format!("{}{heads} {speed}{left}", progress.scores());
        if self.terminal {
            let bar = self.bar.get_or_insert_with(|| {
                ProgressBar::new(total as u64)
                    .with_style(bar_style())
                    .with_prefix(format!("{epoch}/{epochs}"))
            });
            bar.set_message(state);
            bar.set_position(sequences as u64);
        } else if self.last_line.elapsed() >= Self::BETWEEN_LINES {
            self.last_line = Instant::now();
            let line = format!("epoch {epoch}/{epochs} {sequences}/{total} {state}");
            self.console.note(line);
        }
    }

    fn print_report(&mut self, report: &LossReport) -> Result<ControlFlow<()>> {
        if self.json || self.console.is_quiet() {
            return Ok(ControlFlow::Continue(()));
        }
        let line = format!(
            "step {}  mean loss {}, at this step {}",
            report.step,
            loss_text(report.loss),
            loss_text(report.step_loss)
        );
        self.suspended(|console| console.print(line))
    }

    fn print_epoch(&mut self, metrics: &EpochMetrics) -> Result<ControlFlow<()>> {
        self.clear();
        if self.json {
            return self.console.print(serde_json::json!(metrics));
        }
        if self.console.is_quiet() {
            return Ok(ControlFlow::Continue(()));
        }
        let (epoch, epochs) = (metrics.epoch, self.epochs);
        let heads = metrics.heads.iter();
        let trained = heads_text(heads.clone().filter_map(HeadMetrics::train_scores));
        let mut line = format!(
            "epoch {epoch}/{epochs}  train {}{trained}",
            metrics.train_scores()
        );
        if let Some(validation) = metrics.validation_scores() {
            let of_heads = heads_text(heads.clone().filter_map(HeadMetrics::validation_scores));
            let lists = list_text(metrics.validation_metrics);
            line += &format!("  validation {validation}{lists}{of_heads}");
        }
        if let Some(test) = metrics.test_scores() {
            let of_heads = heads_text(heads.filter_map(HeadMetrics::test_scores));
            line += &format!("  test {test}{}{of_heads}", list_text(metrics.test_metrics));
        }
        let validated = metrics.validation_metrics.and_then(|metrics| metrics.bits);
        if let (Some(bits), Some((unit, _))) = (validated.or(metrics.test_bits), self.tokens) {
            line += &format!(" bits/{} {bits:.4}", unit.name());
        }
        let speed = speed(self.tokens, metrics.sequences_per_second);
        line += &format!("  {speed}  {:.1} s", metrics.seconds);
        self.console.print(line)
    }

    /// Writes to the console while the bar is hidden.
    fn suspended<T>(&self, write: impl FnOnce(&Console) -> T) -> T {
        match &self.bar {
            Some(bar) => bar.suspend(|| write(&self.console)),
            None => write(&self.console),
        }
    }

    /// Removes the bar from the terminal.
    pub fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The label error rate of lists of labels, after a space.
pub fn list_text(metrics: Option<SplitMetrics>) -> String {
    let rate = metrics.and_then(|metrics| metrics.label_error_rate);
    rate.map_or(String::new(), |rate| format!(" label error rate {rate:.4}"))
}

/// A text in lines of its own. Control characters are replaced, since a terminal would execute
/// them.
fn quoted(text: &str) -> String {
    let plain = |line: &str| line.replace(|c: char| c.is_control() && c != '\t', "\u{fffd}");
    let lines = text.lines().map(|line| format!("  | {}", plain(line)));
    lines.collect::<Vec<_>>().join("\n")
}

fn bar_style() -> ProgressStyle {
    let template = "epoch {prefix} [{wide_bar}] {percent}% {msg}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
}
