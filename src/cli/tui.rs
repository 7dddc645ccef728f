//! `gatescan train --tui`: a run on the whole of a terminal, as it goes.
//!
//! Training tells the state what happened, and a thread of its own draws that, at most ten times a second, and reads the keys.
//! Lines that would be printed meanwhile are shown, kept, and printed when the terminal is restored.

use std::collections::VecDeque;
use std::fmt::Display;
use std::io::{self, IsTerminal, stdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, Once, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gatescan::data::text::Unit;
use gatescan::error::{Error, Result};
use gatescan::train::{EpochMetrics, Event, Position, Progress};
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::event::{self, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::crossterm::{self, execute};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, LineGauge, Paragraph};
use ratatui::{Frame, Terminal};

use super::train::{interrupt, speed};
use super::{Scores, Stream, loss_text, quiet, write};

/// From one drawing to the next, at least.
const TICK: Duration = Duration::from_millis(100);
/// The losses and the lines that are kept.
const KEPT: usize = 1000;
/// The name of the thread that draws.
const THREAD: &str = "tui";

/// What is shown, as long as the terminal is taken.
static SHOWN: Mutex<Option<State>> = Mutex::new(None);
/// Held by whoever writes to the terminal.
static DRAWING: Mutex<()> = Mutex::new(());

/// A poisoned one too: none of what they guard can be left half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal, taken until this is dropped.
pub struct Screen {
    thread: Option<JoinHandle<()>>,
}

impl Screen {
    /// Whether there can be one.
    ///
    /// # Errors
    /// [`Error::Usage`] where standard output is no terminal, or nothing is to be shown.
    pub fn check() -> Result<()> {
        if quiet() {
            return Err(Error::usage(
                "--tui shows what --quiet leaves out: take one of them",
            ));
        }
        match stdout().is_terminal() {
            true => Ok(()),
            false => Err(Error::usage(
                "--tui draws on a terminal, and standard output is none; without --tui the run prints lines",
            )),
        }
    }

    /// Takes the terminal to show `state`; keys raise `stop`.
    ///
    /// # Errors
    /// [`Error::Failed`] where the terminal refuses; it is as it was then.
    pub fn open(state: State, stop: Arc<AtomicBool>) -> Result<Screen> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let before = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                restore();
                before(panic);
            }));
        });
        let refused =
            |error: io::Error| Error::Failed(format!("--tui: the terminal refuses: {error}"));
        // A terminal that is closed is a reason to save, and whoever sends these finds the terminal as it was.
        #[cfg(unix)]
        for signal in [signal_hook::consts::SIGHUP, signal_hook::consts::SIGQUIT] {
            signal_hook::flag::register(signal, stop.clone()).map_err(refused)?;
        }
        *lock(&SHOWN) = Some(state);
        // Dropped where the rest fails, it undoes what has been done.
        let mut screen = Screen { thread: None };
        enable_raw_mode().map_err(refused)?;
        execute!(stdout(), EnterAlternateScreen).map_err(refused)?;
        let mut terminal = Terminal::new(CrosstermBackend::new(stdout())).map_err(refused)?;
        let thread = thread::Builder::new().name(THREAD.into());
        let drawing = move || {
            while let Some(taken) = turn(&mut terminal, &stop).transpose() {
                if taken.is_err() {
                    // As of a reader that has gone.
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        screen.thread = Some(thread.spawn(drawing).map_err(refused)?);
        Ok(screen)
    }

    /// Takes note of what happened to a run of `last_step` updates that stands at `position`.
    pub fn show(&self, event: Event, position: &Position, last_step: usize) {
        if let Some(state) = lock(&SHOWN).as_mut() {
            state.take(event, position, last_step, Instant::now());
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
        if let Some(thread) = self.thread.take() {
            // Where it has panicked, the hook has said so.
            let _ = thread.join();
        }
    }
}

/// Keeps a line, where the terminal is taken.
pub fn hold(stream: Stream, line: &impl Display) -> bool {
    let mut shown = lock(&SHOWN);
    shown
        .as_mut()
        .map(|state| state.print(stream, line))
        .is_some()
}

/// Gives the terminal back as it was, and prints what was kept. Does nothing the second time.
pub fn restore() {
    // The thread that draws comes here when it panics, and holds it then.
    let _drawing = (thread::current().name() != Some(THREAD)).then(|| lock(&DRAWING));
    let Some(state) = lock(&SHOWN).take() else {
        return;
    };
    // A terminal that has gone takes nothing back.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
    for (stream, line) in state.lines {
        let _ = write(stream, &line);
    }
}

/// Waits for keys until it is time to draw, and draws if there is news; `None` when the terminal has been given back.
fn turn(
    terminal: &mut Terminal<CrosstermBackend<io::Stdout>>,
    stop: &AtomicBool,
) -> io::Result<Option<()>> {
    let until = Instant::now() + TICK;
    let mut resized = false;
    loop {
        if !event::poll(until.saturating_duration_since(Instant::now()))? {
            break;
        }
        match event::read()? {
            crossterm::event::Event::Key(key) if key.kind != KeyEventKind::Release => {
                obey(key, stop);
            }
            crossterm::event::Event::Resize(..) => resized = true,
            _ => {}
        }
    }
    let _drawing = lock(&DRAWING);
    // A copy, so that training never waits for the terminal.
    let state = match lock(&SHOWN).as_mut() {
        None => return Ok(None),
        Some(state) => {
            let stopping = stop.load(Ordering::Relaxed);
            let news = std::mem::take(&mut state.news) || resized || state.stopping != stopping;
            state.stopping = stopping;
            news.then(|| state.clone())
        }
    };
    if let Some(state) = state {
        terminal.draw(|frame| draw(frame, &state))?;
    }
    Ok(Some(()))
}

/// In raw mode Ctrl-C is a key. Only that ends the program when it comes twice: `q` may be held down.
fn obey(key: KeyEvent, stop: &AtomicBool) {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('c') if control => interrupt(stop),
        KeyCode::Char('q' | 'Q') if !stop.load(Ordering::Relaxed) => interrupt(stop),
        _ => {}
    }
}

/// All that a drawing depends on.
#[derive(Clone)]
pub struct State {
    recipe: String,
    device: String,
    directory: String,
    /// Of a text, what its tokens are and how many a sequence has.
    tokens: Option<(Unit, usize)>,
    /// Whether NO_COLOR leaves it.
    color: bool,
    progress: Option<Progress>,
    /// Sequences of the test split that are evaluated, and how many there are.
    evaluating: Option<(usize, usize)>,
    step: usize,
    last_step: usize,
    /// When the first of these events came, and after which update.
    begun: Option<(Instant, usize)>,
    left: Option<Duration>,
    /// Of the latest updates; the last is that of `step`.
    losses: VecDeque<f32>,
    epochs: Vec<EpochMetrics>,
    /// The last ones that would have been printed.
    lines: VecDeque<(Stream, String)>,
    stopping: bool,
    /// Whether anything has changed since it was drawn.
    news: bool,
}

impl State {
    /// `recipe` and `device` are described as a plain run prints them.
    pub fn new(
        recipe: String,
        device: String,
        directory: String,
        tokens: Option<(Unit, usize)>,
    ) -> State {
        State {
            recipe,
            device,
            directory,
            tokens,
            color: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()),
            progress: None,
            evaluating: None,
            step: 0,
            last_step: 0,
            begun: None,
            left: None,
            losses: VecDeque::new(),
            epochs: vec![],
            lines: VecDeque::new(),
            stopping: false,
            news: true,
        }
    }

    fn take(&mut self, event: Event, position: &Position, last_step: usize, now: Instant) {
        self.news = true;
        if position.step < self.step {
            // The run has gone back to a checkpoint.
            self.begun = None;
            self.losses.clear();
        }
        (self.step, self.last_step) = (position.step, last_step);
        // Also those of before a resume.
        self.epochs.clone_from(&position.epochs);
        match event {
            Event::Progress(progress) => {
                self.evaluating = None;
                let over = (self.losses.len() + progress.step_losses.len()).saturating_sub(KEPT);
                self.losses.drain(..over.min(self.losses.len()));
                self.losses.extend(&progress.step_losses);
                self.progress = Some(progress.clone());
                // Evaluations are part of it, and so of what is to come.
                let (begun, before) = *self.begun.get_or_insert((now, self.step));
                let (done, to_come) = (self.step - before, last_step.saturating_sub(self.step));
                self.left = (done > 0)
                    .then(|| now.duration_since(begun).as_secs_f64() / done as f64)
                    .and_then(|each| Duration::try_from_secs_f64(each * to_come as f64).ok());
            }
            Event::Evaluating { sequences, of } => self.evaluating = Some((sequences, of)),
            Event::Epoch(_) => self.evaluating = None,
        }
    }

    fn print(&mut self, stream: Stream, line: &impl Display) {
        self.news = true;
        if self.lines.len() == KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back((stream, line.to_string()));
    }

    /// What the bar says, and how far it is.
    fn bar(&self) -> (String, f64) {
        let Some(progress) = &self.progress else {
            return ("starting".into(), 0.0);
        };
        let epoch = format!("epoch {}/{}", progress.epoch, progress.epochs);
        let (done, of, what) = match self.evaluating {
            Some((done, of)) => (done, of, " evaluated"),
            None => (progress.sequences, progress.of, ""),
        };
        let ratio = (done as f64 / of.max(1) as f64).clamp(0.0, 1.0);
        (format!("{epoch}{what} {:3.0}%", 100.0 * ratio), ratio)
    }

    /// In the order in which they are left out where there is no room, from behind.
    fn figures(&self) -> Vec<String> {
        let mut figures = vec![format!("step {} of {}", self.step, self.last_step)];
        if let Some(progress) = &self.progress {
            let scores = Scores {
                loss: progress.loss,
                accuracy: progress.accuracy,
                last_step_loss: None,
            };
            figures.extend(self.left.map(|left| format!("{} left", time_text(left))));
            figures.push(scores.to_string());
            figures.push(speed(self.tokens, progress.sequences_per_second));
        }
        figures.extend(self.best());
        if let Some(progress) = &self.progress {
            figures.push(format!(
                "{} of {} sequences",
                progress.sequences, progress.of
            ));
        }
        figures
    }

    fn best(&self) -> Option<String> {
        let by_loss = |a: &&EpochMetrics, b: &&EpochMetrics| {
            a.monitored_loss().total_cmp(&b.monitored_loss())
        };
        let best = self.epochs.iter().min_by(by_loss)?;
        let scores = Scores {
            loss: best.monitored_loss(),
            accuracy: best.test_accuracy.or(best.train_accuracy),
            last_step_loss: None,
        };
        Some(format!("best epoch {}: {scores}", best.epoch))
    }

    /// The charts that there is something to draw for.
    fn curves(&self) -> Vec<Curves> {
        let first = (self.step + 1).saturating_sub(self.losses.len());
        let losses = self.losses.iter().enumerate();
        let updates = losses.map(|(n, &loss)| ((first + n) as f64, f64::from(loss)));
        let each = |what: fn(&EpochMetrics) -> Option<f64>| {
            let epochs = self.epochs.iter();
            let points = epochs.filter_map(|epoch| Some((epoch.epoch as f64, what(epoch)?)));
            points.collect::<Vec<_>>()
        };
        let mut curves = vec![
            Curves {
                title: "loss, latest updates",
                train: updates.collect(),
                test: None,
                text: loss_text,
            },
            Curves {
                title: "loss, epochs",
                train: each(|epoch| Some(epoch.train_loss)),
                test: Some(each(|epoch| epoch.test_loss)),
                text: loss_text,
            },
        ];
        let accuracy = each(|epoch| epoch.train_accuracy);
        if !accuracy.is_empty() {
            curves.push(Curves {
                title: "accuracy, epochs",
                train: accuracy,
                test: Some(each(|epoch| epoch.test_accuracy)),
                text: |accuracy| format!("{accuracy:.4}"),
            });
        }
        curves
    }

    fn colored(&self, color: Color) -> Style {
        match self.color {
            true => Style::new().fg(color),
            false => Style::new(),
        }
    }
}

/// Lines (x, y) of one chart; the test split's where there can be one.
struct Curves {
    title: &'static str,
    train: Vec<(f64, f64)>,
    test: Option<Vec<(f64, f64)>>,
    /// How a y is written.
    text: fn(f64) -> String,
}

/// Draws a run; what there is no room for is left out.
pub fn draw(frame: &mut Frame, state: &State) {
    let Rect { width, height, .. } = frame.area();
    let head = match height {
        0..4 => vec![],
        4..11 => vec![state.recipe.clone()],
        11..16 => vec![
            state.recipe.clone(),
            format!("{}  {}", state.directory, state.device),
        ],
        _ => vec![
            format!("recipe  {}", state.recipe),
            format!("device  {}", state.device),
            format!("out     {}", state.directory),
        ],
    };
    let mut figures = flow(&state.figures(), usize::from(width));
    figures.truncate(match height {
        0..12 => 1,
        12..16 => 2,
        _ => 3,
    });
    let keys = u16::from(height >= 8);
    let taken = head.len() + 1 + figures.len() + usize::from(keys);
    let rest = height.saturating_sub(taken as u16);
    // Curves with fewer rows say nothing.
    let log = match rest {
        0..5 => rest,
        _ => (rest / 4).clamp(1, 14),
    };
    let areas = Layout::vertical([
        Constraint::Length(head.len() as u16),
        Constraint::Length(1),
        Constraint::Length(figures.len() as u16),
        Constraint::Fill(1),
        Constraint::Length(log),
        Constraint::Length(keys),
    ]);
    let [at_head, at_bar, at_figures, at_charts, at_log, at_keys] = areas.areas(frame.area());
    let mut head: Vec<Line> = head.into_iter().map(Line::from).collect();
    if let Some(first) = head.first_mut() {
        *first = first.clone().bold();
    }
    frame.render_widget(Paragraph::new(head), at_head);
    let (label, ratio) = state.bar();
    let bar = LineGauge::default()
        .label(label)
        .ratio(ratio)
        .filled_symbol("█")
        .unfilled_symbol("░")
        .filled_style(state.colored(Color::Green));
    frame.render_widget(bar, at_bar);
    let figures: Vec<Line> = figures.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(figures), at_figures);
    if rest > log {
        draw_charts(frame, state, at_charts);
    }
    draw_log(frame, state, at_log);
    let keys = match state.stopping {
        true => Line::from("stopping after this step; Ctrl-C stops at once").bold(),
        false => Line::from("q stops and saves").style(Modifier::DIM),
    };
    frame.render_widget(keys, at_keys);
}

/// As many charts as there is room for, the first the largest.
fn draw_charts(frame: &mut Frame, state: &State, area: Rect) {
    const ROWS: u16 = 6;
    const COLUMNS: u16 = 38;
    let curves = state.curves();
    let count = curves.len() as u16;
    let side_by_side = |area: Rect, count: u16| {
        let areas = Layout::horizontal(vec![Constraint::Fill(1); count.into()]).spacing(2);
        areas.split(area).to_vec()
    };
    let stacked = |area: Rect, count: u16| {
        let fitting = (area.height / ROWS).clamp(1, count);
        Layout::vertical(vec![Constraint::Fill(1); fitting.into()])
            .split(area)
            .to_vec()
    };
    let areas = match area.width / COLUMNS {
        0 | 1 => stacked(area, count),
        columns if columns >= count => side_by_side(area, count),
        _ => {
            let halves = side_by_side(area, 2);
            let mut areas = vec![halves[0]];
            areas.extend(stacked(halves[1], count - 1));
            areas
        }
    };
    for (curves, area) in curves.iter().zip(areas) {
        draw_chart(frame, state, curves, area);
    }
}

fn draw_chart(frame: &mut Frame, state: &State, curves: &Curves, area: Rect) {
    let empty = vec![];
    let test = curves.test.as_ref().unwrap_or(&empty);
    let finite = |points: &[(f64, f64)]| -> Vec<(f64, f64)> {
        let finite = points.iter().filter(|(_, y)| y.is_finite());
        finite.copied().collect()
    };
    let (train, test) = (finite(&curves.train), finite(test));
    let mut title = vec![Span::from(format!("{} ", curves.title)).bold()];
    if !test.is_empty() {
        title.push(Span::from("⠒ train "));
        title.push(Span::from("• test ").style(state.colored(Color::Magenta)));
    }
    let block = Block::new().borders(Borders::TOP).title(Line::from(title));
    let points = || train.iter().chain(&test);
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let values = || points().map(of);
        let least = values().fold(f64::INFINITY, f64::min);
        let most = values().fold(f64::NEG_INFINITY, f64::max);
        [least, most]
    };
    let ([left, right], [low, high]) = (bounds(|point| point.0), bounds(|point| point.1));
    if points().next().is_none() {
        let text = Paragraph::new("nothing yet").style(Modifier::DIM);
        frame.render_widget(text.block(block), area);
        return;
    }
    // A line that is level lies in the middle.
    let margin = match high > low {
        true => 0.0,
        false => low.abs().max(1e-9) / 2.0,
    };
    let test = Dataset::default()
        .data(&test)
        .marker(Marker::Dot)
        .graph_type(GraphType::Line)
        .style(state.colored(Color::Magenta));
    let train = Dataset::default()
        .data(&train)
        .marker(Marker::Braille)
        .graph_type(GraphType::Line);
    let (low, high) = (low - margin, high + margin);
    let mut x = Axis::default().bounds([left, right.max(left + 1.0)]);
    if area.height >= 8 && right > left {
        x = x.labels([format!("{left}"), format!("{right}")]);
    }
    let y = Axis::default()
        .bounds([low, high])
        .labels([(curves.text)(low), (curves.text)(high)]);
    let chart = Chart::new(vec![train, test]).x_axis(x).y_axis(y);
    frame.render_widget(chart.block(block), area);
}

/// The last lines that would have been printed.
fn draw_log(frame: &mut Frame, state: &State, area: Rect) {
    let block = match area.height {
        0..4 => Block::new(),
        _ => Block::new().borders(Borders::TOP).title("printed ".bold()),
    };
    let inner = block.inner(area);
    let mut rows: Vec<String> = vec![];
    for (_, text) in state.lines.iter().rev() {
        if rows.len() >= inner.height.into() {
            break;
        }
        let lines = text.trim_start_matches('\n').lines();
        let wrapped = lines.flat_map(|line| wrap(line, inner.width.into()));
        rows.extend(wrapped.collect::<Vec<_>>().into_iter().rev());
    }
    rows.truncate(inner.height.into());
    let rows: Vec<Line> = rows.into_iter().rev().map(Line::from).collect();
    frame.render_widget(Paragraph::new(rows).block(block), area);
}

/// A line in pieces of at most `width` columns.
fn wrap(line: &str, width: usize) -> Vec<String> {
    let mut rows = vec![String::new()];
    let mut taken = 0;
    for c in line.chars() {
        let columns = Span::from(c.to_string()).width();
        if taken + columns > width && taken > 0 {
            rows.push(String::new());
            taken = 0;
        }
        taken += columns;
        rows.last_mut().expect("there is one").push(c);
    }
    rows
}

/// As many items in each row as it has room for.
fn flow(items: &[String], width: usize) -> Vec<String> {
    let mut rows: Vec<String> = vec![];
    for item in items {
        match rows.last_mut() {
            Some(row) if row.chars().count() + 2 + item.chars().count() <= width => {
                *row += &format!("  {item}");
            }
            _ => rows.push(item.clone()),
        }
    }
    rows
}

/// `2 h 05 min`, `3 min 07 s`, `42 s`.
fn time_text(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

#[cfg(test)]
mod tests {
    use ratatui::backend::TestBackend;
    use ratatui::buffer::Buffer;

    use super::*;

    const SIZES: [(u16, u16); 8] = [
        (1, 1),
        (20, 5),
        (3, 40),
        (200, 3),
        (40, 12),
        (80, 24),
        (40, 40),
        (200, 60),
    ];

    fn state(color: bool) -> State {
        let state = State::new(
            "mnist: lstm 128, batch size 128, 9 epochs, seed 0".into(),
            "CPU with 2 threads, since it was asked for".into(),
            "runs/mnist-20260102-030405".into(),
            None,
        );
        State { color, ..state }
    }

    fn metrics(epoch: usize) -> EpochMetrics {
        EpochMetrics {
            epoch,
            train_loss: 1.0 / epoch as f64,
            train_accuracy: Some(1.0 - 0.5 / epoch as f64),
            train_last_step_loss: None,
            // The third is the best.
            test_loss: Some(0.25 + (epoch as f64 - 3.0).abs()),
            test_accuracy: Some(0.875),
            test_last_step_loss: None,
            test_bits: None,
            sequences_per_second: 1234.4,
            seconds: 3.0,
        }
    }

    fn progress(losses: usize) -> Progress {
        Progress {
            epoch: 5,
            epochs: 9,
            sequences: 300,
            of: 1200,
            loss: 0.4321,
            accuracy: Some(0.8765),
            sequences_per_second: 1234.4,
            step_losses: (0..losses).map(|n| 2.0 / (1 + n) as f32).collect(),
            reports: vec![],
        }
    }

    fn position(step: usize, epochs: usize) -> Position {
        let mut position = Position::default();
        position.step = step;
        position.epochs = (1..=epochs).map(metrics).collect();
        position
    }

    /// In the middle of its fifth epoch of ten updates.
    fn in_the_middle(color: bool) -> State {
        let mut state = state(color);
        let now = Instant::now();
        let mut take = |losses, step, seconds| {
            let now = now + Duration::from_secs(seconds);
            let event = progress(losses);
            state.take(Event::Progress(&event), &position(step, 4), 90, now);
        };
        take(1, 41, 0);
        take(2, 43, 2);
        for epoch in 1..=4 {
            state.print(Stream::Out, &format!("epoch {epoch}/9  train loss"));
        }
        state.print(Stream::Err, &"\na warning");
        state
    }

    fn drawn(state: &State, (width, height): (u16, u16)) -> Buffer {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| draw(frame, state)).unwrap();
        terminal.backend().buffer().clone()
    }

    fn text(state: &State, (width, height): (u16, u16)) -> String {
        let buffer = drawn(state, (width, height));
        let row = |y| -> String { (0..width).map(|x| buffer[(x, y)].symbol()).collect() };
        (0..height).map(|y| row(y) + "\n").collect()
    }

    #[track_caller]
    fn assert_has(text: &str, parts: &[&str]) {
        for part in parts {
            assert!(text.contains(part), "no `{part}` in:\n{text}");
        }
    }

    #[test]
    fn it_is_drawn_at_any_size() {
        let mut over = in_the_middle(true);
        over.stopping = true;
        over.take(
            Event::Epoch(&metrics(5)),
            &position(50, 5),
            90,
            Instant::now(),
        );
        let mut odd = in_the_middle(true);
        odd.losses = [f32::NAN, f32::INFINITY, 0.0, 0.0].into();
        odd.epochs.truncate(1);
        odd.print(
            Stream::Err,
            &"wide: 漢字かな\u{1b}[31m and \t what a terminal would obey",
        );
        for state in [state(true), in_the_middle(true), over, odd] {
            for size in SIZES {
                drawn(&state, size);
            }
            for width in (1..45).step_by(3) {
                for height in 1..20 {
                    drawn(&state, (width, height));
                }
            }
        }
    }

    #[test]
    fn there_is_what_there_is_room_for() {
        let state = in_the_middle(true);
        let whole = [
            "recipe  mnist: lstm 128, batch size 128, 9 epochs, seed 0",
            "device  CPU with 2 threads",
            "out     runs/mnist-20260102-030405",
            "epoch 5/9  25% █",
            "step 43 of 90",
            // Two updates took two seconds.
            "47 s left",
            "loss 0.4321 accuracy 0.8765",
            "1234 sequences/s",
            "best epoch 3: loss 0.2500 accuracy 0.8750",
            "loss, latest updates",
            "loss, epochs ⠒ train • test",
            "accuracy, epochs",
            "0.2500",
            "a warning",
            "q stops",
        ];
        assert_has(&text(&state, (80, 24)), &whole);
        let large = text(&state, (200, 60));
        assert_has(&large, &whole);
        assert_has(&large, &["300 of 1200 sequences", "epoch 1/9  train loss"]);
        let narrow = [
            "mnist: lstm 128",
            "runs/mnist-20260102-030405  CPU",
            "epoch 5/9  25% █",
            "step 43 of 90  47 s left",
            "loss 0.4321 accuracy 0.8765",
            "loss, latest updates",
            "a warning",
            "q stops",
        ];
        assert_has(&text(&state, (40, 12)), &narrow);
        assert_has(
            &text(&state, (20, 5)),
            &["mnist", "epoch 5/9", "step 43 of 90"],
        );
        assert_has(&text(&state, (20, 1)), &["epoch 5/9  25%"]);
    }

    #[test]
    fn it_follows_the_run() {
        let mut state = state(true);
        assert_has(&text(&state, (80, 24)), &["starting", "nothing yet"]);
        let now = Instant::now();
        let event = progress(10);
        state.take(Event::Progress(&event), &position(10, 0), 90, now);
        assert!(!text(&state, (80, 24)).contains("best epoch"));
        let evaluating = Event::Evaluating {
            sequences: 25,
            of: 50,
        };
        state.take(evaluating, &position(10, 0), 90, now);
        assert_has(&text(&state, (80, 24)), &["epoch 5/9 evaluated  50%"]);
        state.take(Event::Epoch(&metrics(1)), &position(10, 1), 90, now);
        assert_has(&text(&state, (80, 24)), &["epoch 5/9  25%", "best epoch 1"]);
        // Only the latest are kept, also where one event has more.
        state.take(
            Event::Progress(&progress(KEPT)),
            &position(1010, 1),
            2000,
            now,
        );
        assert_eq!(state.losses.len(), KEPT);
        assert_eq!(state.curves()[0].train[0], (11.0, 2.0));
        // Back to a checkpoint.
        state.take(Event::Progress(&event), &position(20, 1), 2000, now);
        assert_eq!(state.losses.len(), 10);
        assert_eq!(state.left, None);
        for n in 0..2 * KEPT {
            state.print(Stream::Out, &n);
        }
        assert_eq!(state.lines.len(), KEPT);
        state.stopping = true;
        assert_has(
            &text(&state, (80, 24)),
            &["1999", "stopping after this step"],
        );
        state.tokens = Some((Unit::Char, 50));
        assert_has(&text(&state, (80, 24)), &["61720 characters/s"]);
    }

    #[test]
    fn colour_is_left_out_where_told() {
        let colored = |color| {
            let buffer = drawn(&in_the_middle(color), (80, 24));
            let plain = |color| color == Color::Reset;
            let cells = buffer.content().iter();
            cells
                .filter(|cell| !plain(cell.fg) || !plain(cell.bg))
                .count()
        };
        assert_eq!(colored(false), 0);
        assert!(colored(true) > 0);
    }

    #[test]
    fn long_lines_are_wrapped_and_times_written() {
        assert_eq!(wrap("abcdefg", 3), ["abc", "def", "g"]);
        assert_eq!(wrap("漢字かな", 5), ["漢字", "かな"]);
        assert_eq!(wrap("", 5), [""]);
        let written = |seconds| time_text(Duration::from_secs(seconds));
        assert_eq!(written(42), "42 s");
        assert_eq!(written(187), "3 min 07 s");
        assert_eq!(written(7500), "2 h 05 min");
    }
}
