//! Drawing the state of the screen.

use std::time::Duration;

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Borders, Chart, Dataset, GraphType, LineGauge, Paragraph};

use super::state::{Curves, ScreenState};

/// Draws a run, as much as there is room for.
pub(super) fn draw(frame: &mut Frame, state: &ScreenState) {
    let Rect { width, height, .. } = frame.area();
    let head = head(state, height);
    let mut figures = flow(&state.figures(), usize::from(width));
    figures.truncate(match height {
        0..12 => 1,
        12..16 => 2,
        _ => 3,
    });
    let keys = u16::from(height >= 8);
    let fixed = head.len() + 1 + figures.len() + usize::from(keys);
    let rest = height.saturating_sub(fixed as u16);
    // Charts with fewer rows show nothing.
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
    draw_bar(frame, state, at_bar);
    let figures: Vec<Line> = figures.into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(figures), at_figures);
    if rest > log {
        draw_charts(frame, state, at_charts);
    }
    draw_log(frame, state, at_log);
    let keys = if state.stopping {
        Line::from("stopping after this step; Ctrl-C stops at once").bold()
    } else {
        Line::from("q stops and saves").style(Modifier::DIM)
    };
    frame.render_widget(keys, at_keys);
}

/// The lines above the bar.
fn head(state: &ScreenState, height: u16) -> Vec<String> {
    let run = &state.run;
    match height {
        0..4 => vec![],
        4..11 => vec![run.recipe.clone()],
        11..16 => vec![
            run.recipe.clone(),
            format!("{}  {}", run.directory, run.device),
        ],
        _ => vec![
            format!("recipe  {}", run.recipe),
            format!("device  {}", run.device),
            format!("out     {}", run.directory),
        ],
    }
}

fn draw_bar(frame: &mut Frame, state: &ScreenState, area: Rect) {
    let (label, ratio) = state.bar();
    let bar = LineGauge::default()
        .label(label)
        .ratio(ratio)
        .filled_symbol("█")
        .unfilled_symbol("░")
        .filled_style(colored(state, Color::Green));
    frame.render_widget(bar, area);
}

/// A style with this color, if colors are allowed.
fn colored(state: &ScreenState, color: Color) -> Style {
    if state.color {
        Style::new().fg(color)
    } else {
        Style::new()
    }
}

/// Draws as many charts as there is room for, the first the largest.
fn draw_charts(frame: &mut Frame, state: &ScreenState, area: Rect) {
    const ROWS: u16 = 6;
    const COLUMNS: u16 = 38;
    let curves = state.progress.curves();
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

fn draw_chart(frame: &mut Frame, state: &ScreenState, curves: &Curves, area: Rect) {
    let train = finite(&curves.train);
    let evaluated = curves.evaluated.as_ref();
    let test = evaluated.map_or(vec![], |(_, points)| finite(points));
    let mut title = vec![Span::from(format!("{} ", curves.title)).bold()];
    if let (Some((split, _)), false) = (evaluated, test.is_empty()) {
        title.push(Span::from("⠒ train "));
        let name = format!("• {} ", split.name());
        title.push(Span::from(name).style(colored(state, Color::Magenta)));
    }
    let block = Block::new().borders(Borders::TOP).title(Line::from(title));
    if train.is_empty() && test.is_empty() {
        let text = Paragraph::new("nothing yet").style(Modifier::DIM);
        frame.render_widget(text.block(block), area);
        return;
    }
    let [left, right] = bounds(train.iter().chain(&test).map(|point| point.0));
    let [low, high] = bounds(train.iter().chain(&test).map(|point| point.1));
    // A level line is drawn in the middle.
    let margin = if high > low {
        0.0
    } else {
        low.abs().max(1e-9) / 2.0
    };
    let (low, high) = (low - margin, high + margin);
    let mut x = Axis::default().bounds([left, right.max(left + 1.0)]);
    if area.height >= 8 && right > left {
        x = x.labels([format!("{left}"), format!("{right}")]);
    }
    let y = Axis::default()
        .bounds([low, high])
        .labels([(curves.text)(low), (curves.text)(high)]);
    let line = |points, marker| {
        Dataset::default()
            .data(points)
            .marker(marker)
            .graph_type(GraphType::Line)
    };
    let lines = vec![
        line(&train, Marker::Braille),
        line(&test, Marker::Dot).style(colored(state, Color::Magenta)),
    ];
    let chart = Chart::new(lines).x_axis(x).y_axis(y);
    frame.render_widget(chart.block(block), area);
}

/// The points whose y is finite.
fn finite(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let finite = points.iter().filter(|(_, y)| y.is_finite());
    finite.copied().collect()
}

/// The least and the largest value.
fn bounds(values: impl Iterator<Item = f64>) -> [f64; 2] {
    values.fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], value| {
        [low.min(value), high.max(value)]
    })
}

/// Draws the last lines that were printed.
fn draw_log(frame: &mut Frame, state: &ScreenState, area: Rect) {
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

/// Wraps a line into rows of at most `width` columns.
pub(super) fn wrap(line: &str, width: usize) -> Vec<String> {
    let (mut rows, mut row, mut taken) = (vec![], String::new(), 0);
    for c in line.chars() {
        let columns = Span::from(c.to_string()).width();
        if taken + columns > width && taken > 0 {
            rows.push(std::mem::take(&mut row));
            taken = 0;
        }
        taken += columns;
        row.push(c);
    }
    rows.push(row);
    rows
}

/// Joins as many items in each row as there is room for.
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
pub(super) fn time_text(time: Duration) -> String {
    let seconds = time.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}
