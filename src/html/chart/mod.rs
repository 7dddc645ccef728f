//! Charts as SVG: lines over steps or epochs, and scatter plots. A drawing has classes only; the
//! style sheet of the page, or of the SVG file, gives them colours.

mod axis;
mod dates;
mod paper;

pub(crate) use axis::{Axis, bounds, is_drawable, value_label};
pub(crate) use paper::{paper, paper_with_bands};

use super::escape;

/// The number of colours for series that the style sheets have; further series repeat them.
const COLOURS: usize = 8;

/// A chart of one or several series over common axes.
#[derive(Clone)]
pub(crate) struct Chart {
    pub title: String,
    /// The name of the horizontal axis.
    pub x: &'static str,
    pub kind: ChartKind,
    pub size: ChartSize,
    pub series: Vec<ChartSeries>,
}

/// What a chart draws and over which axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChartKind {
    /// Lines over whole steps or epochs, on a linear axis.
    Lines,
    /// Lines over numbers that are times.
    TimeLines,
    /// Lines over seconds since 1970, whose axis has dates.
    DateLines,
    /// Lines over whole steps or epochs, on a logarithmic axis where the values span a wide ratio.
    LogLines,
    /// Lines over positive values on a logarithmic axis.
    OverDecades,
    /// Points, and the diagonal on which both coordinates are equal.
    Scatter,
}

/// The part of a page that a chart takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChartSize {
    /// A half or a third of the page's width.
    Small,
    /// The whole width. On a narrow page it is drawn as a small chart.
    Wide,
    /// The whole width, and higher, for many curves. On a narrow page it is drawn as a small chart.
    Large,
}

impl ChartSize {
    /// Width and height in units of the drawing, of which text has 12; the page scales the drawing.
    fn extents(self) -> (f64, f64) {
        match self {
            ChartSize::Small => (440.0, 270.0),
            ChartSize::Wide => (1120.0, 300.0),
            ChartSize::Large => (1120.0, 460.0),
        }
    }

    /// The largest number of points of a line that get a mark each.
    fn most_marks(self) -> usize {
        match self {
            ChartSize::Small => 40,
            ChartSize::Wide => 1,
            ChartSize::Large => 60,
        }
    }

    fn class(self) -> &'static str {
        match self {
            ChartSize::Small => "chart",
            ChartSize::Wide | ChartSize::Large => "chart-wide",
        }
    }
}

/// Width of a date below an axis and of the gap to the next.
const DATE_WIDTH: f64 = 100.0;

/// One curve, or one set of points.
#[derive(Debug, Clone)]
pub(crate) struct ChartSeries {
    pub name: String,
    /// Index of the colour.
    pub colour: usize,
    pub dashed: bool,
    /// Horizontal and vertical values. Points that are not finite are left out; a line has a gap
    /// there.
    pub points: Vec<(f64, f64)>,
}

/// An area between two curves, below the lines of a chart.
#[derive(Debug, Clone)]
pub(crate) struct ChartBand {
    pub name: String,
    /// Index of the colour.
    pub colour: usize,
    /// Horizontal value, lower and upper end. There is a gap where one of them is not finite.
    pub points: Vec<(f64, f64, f64)>,
}

impl ChartBand {
    fn parts(&self) -> impl Iterator<Item = &[(f64, f64, f64)]> {
        let is_gap = |&(x, low, high): &(f64, f64, f64)| {
            !(is_drawable(x) && is_drawable(low) && is_drawable(high))
        };
        let parts = self.points.split(is_gap);
        parts.filter(|part| !part.is_empty())
    }

    /// The area as SVG elements.
    fn area(&self, x: &Axis, y: &Axis) -> String {
        let polygon = |part: &[(f64, f64, f64)]| {
            let lower = part.iter().map(|&(at, low, _)| (at, low));
            let upper = part.iter().rev().map(|&(at, _, high)| (at, high));
            let points = lower.chain(upper);
            let points = points.map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)));
            format!(
                "<polygon class=\"band c{}\" points=\"{}\"><title>{}</title></polygon>\n",
                self.colour % COLOURS,
                points.collect::<Vec<_>>().join(" "),
                escape(&self.name)
            )
        };
        self.parts().map(polygon).collect()
    }
}

impl ChartSeries {
    fn drawable(&self) -> impl Iterator<Item = (f64, f64)> + Clone {
        let points = self.points.iter().copied();
        points.filter(|point| is_drawable(point.0) && is_drawable(point.1))
    }

    /// The classes of the line.
    fn class(&self) -> String {
        let dashed = if self.dashed { " dashed" } else { "" };
        format!("c{}{dashed}", self.colour % COLOURS)
    }
}

/// The rectangle within a drawing that the axes span.
#[derive(Debug, Clone, Copy)]
struct PlotArea {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
}

impl Chart {
    /// The chart below its title as HTML; empty if no point is finite. A wide chart is drawn twice:
    /// the style sheet shows the small drawing on a narrow page.
    pub fn figure(&self) -> String {
        self.figure_with(&[])
    }

    /// [`Chart::figure`] with areas below the lines.
    pub fn figure_with(&self, bands: &[ChartBand]) -> String {
        let Some(drawing) = self.drawing(self.size, self.size.class(), bands) else {
            return String::new();
        };
        let narrow = match self.size {
            ChartSize::Small => None,
            ChartSize::Wide | ChartSize::Large => {
                self.drawing(ChartSize::Small, "chart-narrow", bands)
            }
        };
        format!(
            "<figure><figcaption>{}</figcaption><div class=\"wide\">{drawing}{}</div></figure>\n",
            escape(&self.title),
            narrow.unwrap_or_default()
        )
    }

    /// The drawing of this size as an SVG element of this class.
    fn drawing(&self, size: ChartSize, class: &str, bands: &[ChartBand]) -> Option<String> {
        let (width, height) = size.extents();
        let area = PlotArea {
            left: 64.0,
            right: width - 14.0,
            top: 8.0,
            bottom: height - 36.0,
        };
        let drawing = self.draw(area, size.most_marks(), bands)?;
        let title = escape(&self.title);
        Some(format!(
            "<svg class=\"{class}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
             aria-label=\"{title}\">\n{drawing}</svg>"
        ))
    }

    /// The elements of the drawing; `None` if no point is finite. Lines of at most `most_marks`
    /// points have a mark at each: without, a single point would be invisible.
    fn draw(&self, area: PlotArea, most_marks: usize, bands: &[ChartBand]) -> Option<String> {
        let (x, y) = self.axes(area, bands)?;
        let PlotArea {
            left,
            right,
            top,
            bottom,
        } = area;
        let mut svg = x.x_grid(top, bottom, |tick| x.tick_text(tick))
            + &y.y_grid(left, right, |tick| y.tick_text(tick));
        svg += &format!(
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n",
            (left + right) / 2.0,
            bottom + 32.0,
            self.x
        );
        svg.extend(bands.iter().map(|band| band.area(&x, &y)));
        if self.kind == ChartKind::Scatter {
            svg += &diagonal(&x, &y);
        }
        for series in &self.series {
            if self.kind != ChartKind::Scatter {
                svg += &line(series, &x, &y);
            }
            if self.kind == ChartKind::Scatter || series.drawable().count() <= most_marks {
                svg += &self.marks(series, &x, &y);
            }
        }
        Some(svg)
    }

    fn axes(&self, area: PlotArea, bands: &[ChartBand]) -> Option<(Axis, Axis)> {
        let ends = |&(x, low, high): &(f64, f64, f64)| [(x, low), (x, high)];
        let of_bands = || {
            bands
                .iter()
                .flat_map(ChartBand::parts)
                .flatten()
                .flat_map(ends)
        };
        let points = || {
            let lines = self.series.iter().flat_map(ChartSeries::drawable);
            lines.chain(of_bands())
        };
        points().next()?;
        let x_bounds = bounds(points().map(|point| point.0));
        let y_bounds = bounds(points().map(|point| point.1));
        let most_x = (area.right - area.left) / 60.0;
        let most_y = (area.bottom - area.top) / 38.0;
        let (x, y) = match self.kind {
            ChartKind::Lines => (
                Axis::whole(x_bounds, most_x),
                Axis::linear(y_bounds, most_y),
            ),
            ChartKind::TimeLines => (
                Axis::linear(x_bounds, most_x),
                Axis::linear(y_bounds, most_y),
            ),
            ChartKind::DateLines => (
                Axis::dates(x_bounds, (area.right - area.left) / DATE_WIDTH),
                Axis::linear(y_bounds, most_y),
            ),
            ChartKind::LogLines => (
                Axis::whole(x_bounds, most_x),
                Axis::log_or_linear(y_bounds, most_y),
            ),
            ChartKind::OverDecades => (
                Axis::log_or_linear(x_bounds, most_x),
                Axis::linear(y_bounds, most_y),
            ),
            ChartKind::Scatter => (
                Axis::linear(x_bounds, most_x),
                Axis::linear(y_bounds, most_y),
            ),
        };
        Some((
            x.between(area.left, area.right),
            y.between(area.bottom, area.top),
        ))
    }

    fn marks(&self, series: &ChartSeries, x: &Axis, y: &Axis) -> String {
        let (colour, name) = (series.colour % COLOURS, escape(&series.name));
        let mark = |point: (f64, f64)| {
            format!(
                "<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\">\
                 <title>{name}: {} at {} {}</title></circle>\n",
                x.at(point.0),
                y.at(point.1),
                value_label(point.1),
                self.x,
                x.value_text(point.0)
            )
        };
        series.drawable().map(mark).collect()
    }
}

/// The line on which both coordinates are equal.
fn diagonal(x: &Axis, y: &Axis) -> String {
    let (low, high) = (x.low().max(y.low()), x.high().min(y.high()));
    if low >= high {
        return String::new();
    }
    format!(
        "<path class=\"diagonal\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>\n",
        x.at(low),
        y.at(low),
        x.at(high),
        y.at(high)
    )
}

/// The line of a series, with gaps where points cannot be drawn.
fn line(series: &ChartSeries, x: &Axis, y: &Axis) -> String {
    let is_gap = |point: &(f64, f64)| !(is_drawable(point.0) && is_drawable(point.1));
    let parts = series.points.split(is_gap).filter(|part| !part.is_empty());
    let polyline = |part: &[(f64, f64)]| {
        let coordinates = part.iter();
        let coordinates =
            coordinates.map(|point| format!("{:.1},{:.1}", x.at(point.0), y.at(point.1)));
        let mut coordinates: Vec<String> = coordinates.collect();
        if let [alone] = &coordinates[..] {
            // A line of one point is invisible; of the same point twice it is a dot.
            coordinates.push(alone.clone());
        }
        format!(
            "<polyline class=\"{}\" points=\"{}\"><title>{}</title></polyline>\n",
            series.class(),
            coordinates.join(" "),
            escape(&series.name)
        )
    };
    parts.map(polyline).collect()
}

/// The legend of the series as HTML.
pub(crate) fn legend<'a>(series: impl IntoIterator<Item = &'a ChartSeries>) -> String {
    let key = |series: &ChartSeries| {
        format!(
            "<span class=\"key\"><i class=\"{}\"></i>{}</span>",
            series.class(),
            escape(&series.name)
        )
    };
    let keys: String = series.into_iter().map(key).collect();
    format!("<p class=\"legend\">{keys}</p>\n")
}

/// The legend of the series and the areas as HTML.
pub(crate) fn legend_with(series: &[ChartSeries], bands: &[ChartBand]) -> String {
    let band = |band: &ChartBand| ChartSeries {
        name: band.name.clone(),
        colour: band.colour,
        dashed: false,
        points: vec![],
    };
    let areas: Vec<ChartSeries> = bands.iter().map(band).collect();
    let lines = legend(series.iter().chain(&areas));
    areas.iter().fold(lines, |html, area| {
        let line = format!("<i class=\"{}\"></i>{}", area.class(), escape(&area.name));
        html.replace(&line, &line.replacen("class=\"", "class=\"band ", 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "loss <&>".into(),
            x: "epoch",
            kind: ChartKind::LogLines,
            size: ChartSize::Small,
            series: vec![ChartSeries {
                name: "test".into(),
                colour: 1,
                dashed: false,
                points,
            }],
        }
    }

    #[test]
    fn a_chart_without_finite_points_is_empty() {
        assert_eq!(chart(vec![]).figure(), "");
        assert_eq!(chart(vec![(1.0, f64::NAN)]).figure(), "");
    }

    #[test]
    fn a_band_is_below_the_lines_and_widens_the_axis() {
        let chart = chart(vec![(1.0, 1.0), (2.0, 2.0)]);
        let band = ChartBand {
            name: "80 % <interval>".into(),
            colour: 1,
            points: vec![(1.0, 0.5, 20.0), (2.0, f64::NAN, 3.0), (3.0, 1.0, 2.0)],
        };
        let html = chart.figure_with(std::slice::from_ref(&band));
        assert_eq!(html.matches("<polygon class=\"band c1\"").count(), 2);
        assert!(html.find("<polygon") < html.find("<polyline"));
        assert!(
            html.contains(">20<") && html.contains("80 % &lt;interval&gt;"),
            "{html}"
        );
        let legend = legend_with(&chart.series, &[band]);
        assert!(legend.contains("<i class=\"c1\"></i>test"), "{legend}");
        assert!(legend.contains("<i class=\"band c1\"></i>80 %"), "{legend}");
    }

    #[test]
    fn a_line_has_gaps_where_points_are_not_finite() {
        let nothing = f64::NAN;
        let values = [
            1.0, 2.0, nothing, nothing, 3.0, nothing, 4.0, 5.0, 6.0, nothing,
        ];
        let points = (0..10).map(f64::from).zip(values).collect();
        let html = chart(points).figure();
        assert_eq!(html.matches("<polyline").count(), 3);
        assert_eq!(html.matches("<circle").count(), 6);
        assert!(!html.contains("NaN"), "{html}");
    }

    #[test]
    fn values_too_close_for_ticks_are_drawn() {
        let html = chart(vec![(1.0, 0.0), (2.0, 5e-324)]).figure();
        assert_eq!(html.matches("<circle").count(), 2);
    }

    #[test]
    fn a_single_point_has_a_mark() {
        for value in [0.0, 0.5, -3.0, 1e-12] {
            let html = chart(vec![(1.0, value)]).figure();
            assert_eq!(html.matches("<polyline").count(), 1);
            assert_eq!(html.matches("<circle").count(), 1);
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            assert!(html.contains("loss &lt;&amp;&gt;"));
        }
    }

    #[test]
    fn a_scatter_plot_has_points_and_a_diagonal() {
        let scatter = Chart {
            kind: ChartKind::Scatter,
            ..chart(
                (0..50)
                    .map(|n| (f64::from(n), f64::from(n) + 1.0))
                    .collect(),
            )
        };
        let html = scatter.figure();
        assert_eq!(html.matches("<circle").count(), 50);
        assert_eq!(html.matches("class=\"diagonal\"").count(), 1);
        assert_eq!(html.matches("<polyline").count(), 0);
    }
}
