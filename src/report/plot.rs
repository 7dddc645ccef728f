//! Curves of runs as an SVG file, for papers: black on white, drawn by plotters.

use plotters::coord::Shift;
use plotters::prelude::*;

use super::Run;
use super::chart::{is_drawn, number, spans};
use crate::error::{Error, Result};
use crate::train::EpochMetrics;

type Outcome<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Okabe and Ito's colours, which the colour-blind tell apart too.
const COLOURS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];

/// A curve: its name, its colour, whether it is of training, its points.
type Curve = (String, RGBColor, bool, Vec<(f64, f64)>);

/// Loss over the epochs, and beside it accuracy where there is one; test splits as lines, training dashed.
///
/// # Errors
/// [`Error::Failed`] where no run has an epoch.
pub fn svg(runs: &[Run]) -> Result<String> {
    let curves = |of: [fn(&EpochMetrics) -> Option<f64>; 2]| {
        let mut curves: Vec<Curve> = vec![];
        for (n, run) in runs.iter().enumerate() {
            for (split, value) in ["train", "test"].into_iter().zip(of) {
                let points = run.epochs.iter();
                let points = points.filter_map(|each| Some((each.epoch as f64, value(each)?)));
                let points: Vec<_> = points.filter(is_drawn).collect();
                if !points.is_empty() {
                    let name = match runs.len() {
                        1 => split.to_string(),
                        _ => format!("{}, {split}", run.name),
                    };
                    let colour = COLOURS[n % COLOURS.len()];
                    curves.push((name, colour, split == "train", points));
                }
            }
        }
        curves
    };
    let panels = [
        (
            "loss",
            curves([|each| Some(each.train_loss), |each| each.test_loss]),
        ),
        (
            "accuracy",
            curves([|each| each.train_accuracy, |each| each.test_accuracy]),
        ),
    ];
    let panels: Vec<_> = panels
        .into_iter()
        .filter(|(_, curves)| !curves.is_empty())
        .collect();
    if panels.is_empty() {
        return Err(Error::Failed(
            "there is nothing to plot: no epoch of these runs is over yet".into(),
        ));
    }
    draw(&panels).map_err(|error| Error::Failed(format!("the plot cannot be drawn: {error}")))
}

fn draw(panels: &[(&str, Vec<Curve>)]) -> Outcome<String> {
    let mut text = String::new();
    {
        let size = (480 * panels.len() as u32, 340);
        let area = SVGBackend::with_string(&mut text, size).into_drawing_area();
        area.fill(&WHITE)?;
        let parts = area.split_evenly((1, panels.len()));
        for (part, (name, curves)) in parts.iter().zip(panels) {
            panel(part, name, curves)?;
        }
        area.present()?;
    }
    Ok(text)
}

fn panel(area: &DrawingArea<SVGBackend, Shift>, name: &str, curves: &[Curve]) -> Outcome<()> {
    let points = || curves.iter().flat_map(|curve| &curve.3);
    let last = points().fold(1.0, |last: f64, point| last.max(point.0));
    let low = points().fold(f64::MAX, |low, point| low.min(point.1));
    let high = points().fold(f64::MIN, |high, point| high.max(point.1));
    let margin = ((high - low) * 0.05).max(high.abs() * 1e-3).max(1e-6);
    // Where the values span much, their logarithms are drawn.
    let log = spans(low, high);
    let (low, high) = match log {
        true => (low.log10() - 0.1, high.log10() + 0.1),
        false => (low - margin, high + margin),
    };
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .x_label_area_size(34)
        .y_label_area_size(60)
        .build_cartesian_2d(1.0..last.max(2.0), low..high)?;
    chart
        .configure_mesh()
        .x_desc("epoch")
        .y_desc(name)
        .x_labels(last.min(8.0) as usize + 1)
        .x_label_formatter(&|epoch| match epoch.fract() {
            0.0 => number(*epoch),
            _ => String::new(),
        })
        .y_label_formatter(&|value| match log {
            true => format!("{:.1e}", 10_f64.powf(*value)),
            false => number(*value),
        })
        .light_line_style(TRANSPARENT)
        .draw()?;
    for (name, colour, dashed, points) in curves {
        let (stroke, dashed) = (colour.stroke_width(2), *dashed);
        let drawn = |point: &(f64, f64)| (point.0, if log { point.1.log10() } else { point.1 });
        let points = points.iter().map(drawn);
        let series = match dashed {
            true => chart.draw_series(DashedLineSeries::new(points, 5, 4, stroke))?,
            false => chart.draw_series(LineSeries::new(points, stroke))?,
        };
        series.label(name).legend(move |(x, y)| {
            let end = if dashed { x + 8 } else { x + 18 };
            PathElement::new([(x, y), (end, y)], stroke)
        });
    }
    chart
        .configure_series_labels()
        .position(match name {
            "loss" => SeriesLabelPosition::UpperRight,
            _ => SeriesLabelPosition::LowerRight,
        })
        .background_style(WHITE.mix(0.8))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recipe::Recipe;

    #[test]
    fn a_plot_has_a_panel_for_loss_and_one_for_accuracy() {
        let line = "{\"epoch\":1,\"train_loss\":2.5,\"train_accuracy\":0.5,\"train_last_step_loss\":null,\
                    \"test_loss\":0.001,\"test_accuracy\":null,\"test_last_step_loss\":null,\
                    \"sequences_per_second\":10.0,\"seconds\":1.0}";
        let recipe = Recipe::load("mnist").unwrap();
        let run = |name: &str, metrics: &str| Run::new(name, recipe.clone(), vec![], metrics);
        let text = svg(&[run("<a>", line), run("b", "")]).unwrap();
        for part in ["<svg", "loss", "accuracy", "&lt;a&gt;, test", "1.0e-3"] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let message = svg(&[run("b", "")]).unwrap_err().to_string();
        assert!(message.contains("no epoch of these runs"), "{message}");
    }
}
