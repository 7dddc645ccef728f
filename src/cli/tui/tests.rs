//! Drawings of a run at several sizes.

use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;

use std::time::{Duration, Instant};

use gatescan::Event;
use gatescan::data::text::Unit;
use gatescan::train::{EpochMetrics, Position, Progress};
use ratatui::Terminal;
use ratatui::style::Color;

use super::drawing::{draw, time_text, wrap};
use super::state::{KEPT, ScreenState};
use crate::cli::console::OutputStream;
use crate::cli::train::describe::RunDescription;

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

fn state(color: bool) -> ScreenState {
    let mut state = ScreenState::new(
        RunDescription {
            recipe: "mnist: lstm 128, batch size 128, 9 epochs, seed 0".into(),
            device: "CPU with 2 threads, since it was asked for".into(),
            directory: "runs/mnist-20260102-030405".into(),
            tokens: None,
        },
        vec![],
    );
    state.color = color;
    state
}

fn metrics(epoch: usize) -> EpochMetrics {
    EpochMetrics {
        heads: vec![],
        epoch,
        train_loss: 1.0 / epoch as f64,
        train_accuracy: Some(1.0 - 0.5 / epoch as f64),
        train_last_step_loss: None,
        // The third epoch is the best.
        test_loss: Some(0.25 + (epoch as f64 - 3.0).abs()),
        test_accuracy: Some(0.875),
        test_last_step_loss: None,
        validation_loss: None,
        validation_accuracy: None,
        validation_last_step_loss: None,
        test_bits: None,
        validation_metrics: None,
        test_metrics: None,
        sequences_per_second: 1234.4,
        seconds: 3.0,
    }
}

fn progress(losses: usize) -> Progress {
    Progress {
        heads: vec![],
        epoch: 5,
        epochs: 9,
        sequences: 300,
        total: 1200,
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
    position.epochs = epochs;
    position
}

/// A run in the middle of its fifth epoch of ten updates.
fn in_the_middle(color: bool) -> ScreenState {
    let mut state = state(color);
    let now = Instant::now();
    let mut take = |losses, step, seconds| {
        let now = now + Duration::from_secs(seconds);
        let event = progress(losses);
        state.update(Event::Progress(&event), &position(step, 4), 90, now);
    };
    take(1, 41, 0);
    take(2, 43, 2);
    for epoch in 1..=4 {
        state.print(OutputStream::Out, &format!("epoch {epoch}/9  train loss"));
    }
    state.progress.epochs = (1..=4).map(metrics).collect();
    state.print(OutputStream::Err, &"\na warning");
    state
}

fn drawn(state: &ScreenState, (width, height): (u16, u16)) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, state)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(state: &ScreenState, (width, height): (u16, u16)) -> String {
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
fn a_run_is_drawn_at_any_size() {
    let mut over = in_the_middle(true);
    over.stopping = true;
    over.update(
        Event::Epoch(&metrics(5)),
        &position(50, 5),
        90,
        Instant::now(),
    );
    let mut odd = in_the_middle(true);
    odd.progress.losses = [f32::NAN, f32::INFINITY, 0.0, 0.0].into();
    odd.progress.epochs.truncate(1);
    odd.print(
        OutputStream::Err,
        &"wide: 漢字かな\u{1b}[31m and \t control characters",
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
fn small_terminals_show_less() {
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
        "best epoch 3: test loss 0.2500 accuracy 0.8750",
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
fn the_screen_follows_the_run() {
    let mut state = state(true);
    assert_has(&text(&state, (80, 24)), &["starting", "nothing yet"]);
    let now = Instant::now();
    let event = progress(10);
    state.update(Event::Progress(&event), &position(10, 0), 90, now);
    assert!(!text(&state, (80, 24)).contains("best epoch"));
    let evaluating = Event::Evaluating {
        sequences: 25,
        total: 50,
    };
    state.update(evaluating, &position(10, 0), 90, now);
    assert_has(&text(&state, (80, 24)), &["epoch 5/9 evaluated  50%"]);
    state.update(Event::Epoch(&metrics(1)), &position(10, 1), 90, now);
    assert_has(&text(&state, (80, 24)), &["epoch 5/9  25%", "best epoch 1"]);
    // Only the latest losses are kept, also of an event that has more.
    state.update(
        Event::Progress(&progress(KEPT)),
        &position(1010, 1),
        2000,
        now,
    );
    assert_eq!(state.progress.losses.len(), KEPT);
    assert_eq!(state.progress.curves()[0].train[0], (11.0, 2.0));
    // The run restarts from a checkpoint.
    state.update(Event::Progress(&event), &position(20, 1), 2000, now);
    assert_eq!(state.progress.losses.len(), 10);
    assert_eq!(state.progress.left, None);
    for n in 0..2 * KEPT {
        state.print(OutputStream::Out, &n);
    }
    assert_eq!(state.lines.len(), KEPT);
    state.stopping = true;
    assert_has(
        &text(&state, (80, 24)),
        &["1999", "stopping after this step"],
    );
    state.run.tokens = Some((Unit::Char, 50));
    assert_has(&text(&state, (80, 24)), &["61720 characters/s"]);
}

#[test]
fn no_color_leaves_out_colors() {
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
