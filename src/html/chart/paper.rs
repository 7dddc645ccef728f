//! Charts as one SVG file for papers: black on white, with a legend above them.

use super::{COLOURS, Chart, ChartBand, ChartSeries, ChartSize, PlotArea};
use crate::html::escape;

/// Height of a panel with the labels and the name of its horizontal axis.
const PANEL_HEIGHT: f64 = 330.0;
/// The largest number of points of a line that get a mark each.
const MOST_MARKS: usize = 12;
/// Height of a row of the legend.
const ROW: f64 = 20.0;
/// Width of a legend's line and of the gaps around it.
const KEY: f64 = 46.0;
/// Mean width of a letter.
const LETTER: f64 = 6.6;

/// Returns the SVG file, or `None` if no chart has a finite point. The charts have the same size:
/// small ones are side by side, wide ones below each other. The title of a chart names its vertical
/// axis.
pub(crate) fn paper(charts: &[Chart]) -> Option<String> {
    paper_with_bands(charts, &[])
}

/// [`paper`] with areas below the lines: those of each chart, or none for the charts beyond them.
pub(crate) fn paper_with_bands(charts: &[Chart], bands: &[Vec<ChartBand>]) -> Option<String> {
    let of_chart = |n: usize| bands.get(n).map_or(&[][..], |bands| &bands[..]);
    let drawn = charts.iter().enumerate();
    let drawn = drawn.filter(|(_, chart)| has_points(chart));
    let (drawn, bands): (Vec<&Chart>, Vec<&[ChartBand]>) =
        drawn.map(|(n, chart)| (chart, of_chart(n))).unzip();
    let count = drawn.len() as f64;
    let (width, rows) = match drawn.first()?.size {
        ChartSize::Small => (480.0 * count, 1.0),
        ChartSize::Wide | ChartSize::Large => (900.0, count),
    };
    let (legend, top) = legend(&drawn, &bands, width);
    let height = top + PANEL_HEIGHT * rows;
    let panel_width = width * rows / count;
    let panels = drawn.iter().enumerate().filter_map(|(n, chart)| {
        let (bands, n) = (bands[n], n as f64);
        match chart.size {
            ChartSize::Small => panel((chart, bands), panel_width * n, top, panel_width),
            ChartSize::Wide | ChartSize::Large => {
                panel((chart, bands), 0.0, top + PANEL_HEIGHT * n, panel_width)
            }
        }
    });
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\">\n<style>\n{}</style>\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n{legend}{}</svg>\n",
        include_str!("paper.css"),
        panels.collect::<String>()
    ))
}

fn has_points(chart: &Chart) -> bool {
    let mut points = chart.series.iter().flat_map(ChartSeries::drawable);
    points.next().is_some()
}

/// A chart with its axes drawn and the vertical one named.
fn panel(
    (chart, bands): (&Chart, &[ChartBand]),
    left: f64,
    top: f64,
    width: f64,
) -> Option<String> {
    let area = PlotArea {
        left: left + 72.0,
        right: left + width - 16.0,
        top: top + 10.0,
        bottom: top + PANEL_HEIGHT - 44.0,
    };
    let drawing = chart.draw(area, MOST_MARKS, bands)?;
    Some(format!(
        "{drawing}<path class=\"axes\" d=\"M{0} {1}V{2}H{3}\"/>\n\
         <text transform=\"translate({4} {5}) rotate(-90)\" text-anchor=\"middle\">{6}</text>\n",
        area.left,
        area.top,
        area.bottom,
        area.right,
        left + 18.0,
        (area.top + area.bottom) / 2.0,
        escape(&chart.title)
    ))
}

/// The names of all series, each once, in as many rows as they need; and the height of these.
fn legend(charts: &[&Chart], bands: &[&[ChartBand]], width: f64) -> (String, f64) {
    let mut svg = String::new();
    let mut names: Vec<&str> = vec![];
    let (mut x, mut y) = (16.0, 8.0);
    let lines = charts.iter().flat_map(|chart| &chart.series);
    let lines = lines.map(|series| (&series.name[..], series.class()));
    let areas = bands.iter().flat_map(|bands| bands.iter());
    let areas = areas.map(|band| (&band.name[..], format!("band c{}", band.colour % COLOURS)));
    for (name, class) in lines.chain(areas) {
        if names.contains(&name) {
            continue;
        }
        names.push(name);
        let space = KEY + LETTER * name.chars().count() as f64;
        if x > 16.0 && x + space > width {
            (x, y) = (16.0, y + ROW);
        }
        svg += &format!(
            "<polyline class=\"{}\" points=\"{x:.1},{1:.1} {2:.1},{1:.1}\"/>\
             <text x=\"{3:.1}\" y=\"{4:.1}\">{5}</text>\n",
            class,
            y + 8.0,
            x + 24.0,
            x + 30.0,
            y + 12.0,
            escape(name)
        );
        x += space;
    }
    (svg, y + ROW)
}

#[cfg(test)]
mod tests {
    use super::super::ChartKind;
    use super::*;

    fn chart(title: &str, names: &[&str], points: &[(f64, f64)]) -> Chart {
        let series = |(colour, name): (usize, &&str)| ChartSeries {
            name: (*name).into(),
            colour,
            dashed: colour % 2 == 1,
            points: points.to_vec(),
        };
        Chart {
            title: title.into(),
            x: "epoch",
            kind: ChartKind::LogLines,
            size: ChartSize::Small,
            series: names.iter().enumerate().map(series).collect(),
        }
    }

    #[test]
    fn a_paper_has_a_panel_for_each_chart_with_points() {
        let names = ["<a>, test", "<a>, train"];
        let points = [(1.0, 2.5), (2.0, 0.001)];
        let charts = [
            chart("loss", &names, &points),
            chart("accuracy", &names, &points[..1]),
            chart("nothing", &names, &[]),
        ];
        let svg = paper(&charts).expect("it has points");
        for part in [
            "<svg",
            "loss",
            "accuracy",
            "epoch",
            "&lt;a&gt;, test",
            ">0.01<",
        ] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(!svg.contains("nothing") && !svg.contains("<a>"));
        assert_eq!(svg.matches("class=\"axes\"").count(), 2);
        assert!(svg.contains("viewBox=\"0 0 960 358\""), "{svg}");
        assert!(paper(&charts[2..]).is_none());
    }

    #[test]
    fn wide_charts_are_below_each_other() {
        let wide = |title| Chart {
            size: ChartSize::Wide,
            ..chart(title, &["series"], &[(1.0, 1.0)])
        };
        let svg = paper(&[wide("a"), wide("b")]).expect("it has points");
        assert!(svg.contains("viewBox=\"0 0 900 688\""), "{svg}");
    }

    #[test]
    fn a_long_legend_takes_several_rows() {
        let long = "a name that is as long as names of runs may be";
        let names = [long, &long.to_uppercase(), &long.repeat(2)];
        let charts = [chart("loss", &names, &[(1.0, 1.0)])];
        let (_, height) = legend(&[&charts[0]], &[&[]], 480.0);
        assert_eq!(height, 8.0 + 3.0 * ROW);
    }
}
