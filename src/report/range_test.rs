//! The page and the plot of a learning-rate range test.

use super::page::table;
use crate::error::{Error, Result};
use crate::html::chart::{self, Chart, ChartKind, ChartSeries, ChartSize, value_label};
use crate::html::{self, escape};
use crate::recipe::Recipe;
use crate::train::{RangeFinding, RangePoint};

/// The page of a range test of a recipe.
pub fn range_page(recipe: &Recipe, finding: &RangeFinding) -> String {
    let chart = chart_of(finding);
    let rate = |rate: Option<f64>| rate.map_or("-".into(), value_label);
    let rows = [
        ["suggested learning rate".into(), rate(finding.suggestion)],
        [
            "learning rate of the recipe".into(),
            value_label(f64::from(recipe.optimizer.learning_rate())),
        ],
        ["the loss diverges at".into(), rate(finding.diverges_at)],
        ["updates".into(), finding.points.len().to_string()],
    ];
    let heads = ["".to_string(), "".to_string()];
    let body = format!(
        "<h1>Learning rate of {}</h1>\n<p class=\"remark\">{}</p>\n{}{}{}\
         <p>A range test (Smith 2017): the rate grows by the same factor at each update. Written \
         by gatescan {}.</p>\n",
        escape(&recipe.name),
        escape(&sentence(finding)),
        chart::legend(&chart.series),
        chart.figure(),
        table(&heads, &rows),
        env!("CARGO_PKG_VERSION")
    );
    html::page(&format!("learning rate of {}", recipe.name), &body)
}

/// The plot of a range test as an SVG file.
///
/// # Errors
/// [`Error::Failed`] where no loss was finite.
pub fn range_svg(finding: &RangeFinding) -> Result<String> {
    let problem = || Error::Failed("nothing to plot: the first loss is not finite".into());
    chart::paper(&[chart_of(finding)]).ok_or_else(problem)
}

/// The suggestion and its reason.
fn sentence(finding: &RangeFinding) -> String {
    match finding.suggestion {
        Some(rate) => format!("Suggested: {}; {}.", value_label(rate), finding.reason),
        None => format!("No suggestion: {}.", finding.reason),
    }
}

fn chart_of(finding: &RangeFinding) -> Chart {
    let points = |value: fn(&RangePoint) -> f64| {
        let points = finding.points.iter();
        points.map(|point| (point.rate, value(point))).collect()
    };
    let line = |name: &str, colour, dashed, points| ChartSeries {
        name: name.into(),
        colour,
        dashed,
        points,
    };
    let mut series = vec![
        line("loss of each update", 2, true, points(|point| point.loss)),
        line("smoothed", 0, false, points(|point| point.smoothed)),
    ];
    if let Some(rate) = finding.suggestion {
        let losses = finding.points.iter().map(|point| point.smoothed);
        let (least, most) = chart::bounds(losses);
        let name = format!("suggested: {}", value_label(rate));
        series.push(line(&name, 1, false, vec![(rate, least), (rate, most)]));
    }
    Chart {
        title: "loss".into(),
        x: "learning rate",
        kind: ChartKind::OverDecades,
        size: ChartSize::Wide,
        series,
    }
}
