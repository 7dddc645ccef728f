//! Curves over common axes as SVG that takes its colours from the page.

use std::fmt::Write;

use crate::html::{escape, tick};

/// Points beyond which curves have no marks.
const MOST_MARKS: usize = 40;

/// One curve.
pub(super) struct Line {
    pub name: String,
    /// Which of the page's colours.
    pub colour: usize,
    pub dashed: bool,
    pub points: Vec<(f64, f64)>,
}

pub(super) struct Chart {
    pub title: String,
    pub x: &'static str,
    pub lines: Vec<Line>,
    /// Whether the vertical axis may be logarithmic; it is where the values span much.
    pub log: bool,
    /// Units, of which text has 12: the page scales a chart to the room that it has.
    pub size: (f64, f64),
    /// Points without a line between them.
    pub scattered: bool,
}

/// A half or a third of a page's width.
pub(super) const SMALL: (f64, f64) = (440.0, 270.0);
/// All of it.
pub(super) const WIDE: (f64, f64) = (1120.0, 300.0);

/// What an axis shows.
struct Axis {
    least: f64,
    most: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64> + Clone, log: bool, most_ticks: f64) -> Axis {
        let least = values.clone().fold(f64::MAX, f64::min);
        let most = values.fold(f64::MIN, f64::max);
        if log && spans(least, most) {
            let decades = least.log10().floor() as i32..=most.log10().ceil() as i32;
            let all = decades.map(|decade| 10_f64.powi(decade));
            let (low, high) = (least / 1.3, most * 1.3);
            return Axis {
                least: low,
                most: high,
                log: true,
                ticks: all.filter(|&tick| low <= tick && tick <= high).collect(),
            };
        }
        // A curve that does not vary is in the middle.
        let range = match most - least {
            range if range > (most.abs().max(least.abs()) * 1e-6).max(1e-30) => range,
            _ => least.abs().max(1e-3),
        };
        let (low, high) = match most > least {
            true => (least - range * 0.04, most + range * 0.04),
            false => (least - range * 0.5, least + range * 0.5),
        };
        let every = tick(high - low, most_ticks);
        let first = (low / every).ceil() as i64;
        let last = (high / every).floor() as i64;
        Axis {
            least: low,
            most: high,
            log: false,
            ticks: (first..=last).map(|number| number as f64 * every).collect(),
        }
    }

    /// From 0 to 1.
    fn part(&self, value: f64) -> f64 {
        match self.log {
            true => (value / self.least).ln() / (self.most / self.least).ln(),
            false => (value - self.least) / (self.most - self.least),
        }
    }
}

/// Whether numbers from `least` to `most` are told apart by their logarithms alone.
pub(super) fn spans(least: f64, most: f64) -> bool {
    least > 1e-30 && most / least > 30.0
}

/// Whether a point has a place on a chart.
pub(super) fn is_drawn(point: &(f64, f64)) -> bool {
    point.0.abs() < 1e30 && point.1.abs() < 1e30
}

/// A number beside a tick.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    if size != 0.0 && !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.1e}");
        return text.replace(".0e", "e");
    }
    let text = format!("{value:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_string()
}

impl Chart {
    /// The chart, below its title; nothing where no point is a number.
    pub fn html(&self) -> String {
        let points = || {
            let all = self.lines.iter().flat_map(|line| &line.points);
            all.filter(|point| is_drawn(point))
        };
        if points().next().is_none() {
            return String::new();
        }
        let (width, height) = self.size;
        let [left, right, top, bottom] = [52.0, 10.0, 8.0, 36.0];
        let across = Axis::new(points().map(|point| point.0), false, width / 70.0);
        let up = Axis::new(points().map(|point| point.1), self.log, height / 45.0);
        let x = |value: f64| left + across.part(value) * (width - left - right);
        let y = |value: f64| height - bottom - up.part(value) * (height - top - bottom);
        let (floor, end) = (height - bottom, width - right);
        let class = if self.size == WIDE {
            "chart-wide"
        } else {
            "chart"
        };
        let title = escape(&self.title);
        let mut svg = format!(
            "<figure><figcaption>{title}</figcaption><div class=\"wide\"><svg class=\"{class}\" \
             viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"{title}\">\n"
        );
        // Epochs and steps are whole.
        for &at in across
            .ticks
            .iter()
            .filter(|at| self.scattered || at.fract() == 0.0)
        {
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{0:.1} {top}V{floor}\"/><text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{2}</text>",
                x(at),
                floor + 16.0,
                number(at)
            );
        }
        for &at in &up.ticks {
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left} {0:.1}H{end}\"/><text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>",
                y(at),
                left - 6.0,
                y(at) + 4.0,
                number(at)
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            (left + end) / 2.0,
            height - 4.0,
            self.x
        );
        if self.scattered {
            // What is predicted right lies on it.
            let (low, high) = (across.least.max(up.least), across.most.min(up.most));
            let _ = writeln!(
                svg,
                "<path class=\"roof\" d=\"M{:.1} {:.1}L{:.1} {:.1}\"/>",
                x(low),
                y(low),
                x(high),
                y(high)
            );
        }
        for line in &self.lines {
            let seen = line.points.iter().filter(|point| is_drawn(point));
            let seen: Vec<(f64, f64)> = seen.copied().collect();
            let (colour, name) = (line.colour % COLOURS, escape(&line.name));
            if !self.scattered {
                let dashed = if line.dashed { " dashed" } else { "" };
                let places: Vec<String> = seen
                    .iter()
                    .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
                    .collect();
                let _ = writeln!(
                    svg,
                    "<polyline class=\"c{colour}{dashed}\" points=\"{}\"><title>{name}</title></polyline>",
                    places.join(" ")
                );
            }
            let most = if self.size == WIDE { 1 } else { MOST_MARKS };
            if self.scattered || seen.len() <= most {
                for &(at, value) in &seen {
                    let _ = writeln!(
                        svg,
                        "<circle class=\"c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.6\"><title>{name}: {} at {} {}</title></circle>",
                        x(at),
                        y(value),
                        number(value),
                        self.x,
                        number(at)
                    );
                }
            }
        }
        svg + "</svg></div></figure>\n"
    }
}

/// Colours that a page has for curves; further ones begin anew.
pub(super) const COLOURS: usize = 8;

/// What the curves' colours and strokes mean.
pub(super) fn legend<'a>(lines: impl Iterator<Item = &'a Line>) -> String {
    let mut keys = String::new();
    for line in lines {
        let dashed = if line.dashed { " dashed" } else { "" };
        let _ = write!(
            keys,
            "<span class=\"key\"><i class=\"c{}{dashed}\"></i>{}</span>",
            line.colour % COLOURS,
            escape(&line.name)
        );
    }
    format!("<p class=\"legend\">{keys}</p>\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "loss <&>".into(),
            x: "epoch",
            lines: vec![Line {
                name: "test".into(),
                colour: 1,
                dashed: false,
                points,
            }],
            log: true,
            size: SMALL,
            scattered: false,
        }
    }

    #[test]
    fn a_chart_of_nothing_is_nothing() {
        assert_eq!(chart(vec![]).html(), "");
        assert_eq!(chart(vec![(1.0, f64::NAN)]).html(), "");
    }

    #[test]
    fn numbers_too_close_for_ticks_are_drawn() {
        let html = chart(vec![(1.0, 0.0), (2.0, 5e-324)]).html();
        assert_eq!(html.matches("<circle").count(), 2);
    }

    #[test]
    fn one_point_is_seen() {
        for value in [0.0, 0.5, -3.0, 1e-12] {
            let html = chart(vec![(1.0, value)]).html();
            assert_eq!(html.matches("<polyline").count(), 1);
            assert_eq!(html.matches("<circle").count(), 1);
            assert!(!html.contains("NaN") && !html.contains("inf"), "{html}");
            assert!(html.contains("loss &lt;&amp;&gt;"));
        }
    }

    #[test]
    fn a_span_of_decades_is_logarithmic() {
        let axis = Axis::new([1.0, 0.001].into_iter(), true, 6.0);
        assert!(axis.log);
        assert!(axis.ticks.len() == 4 && (axis.ticks[1] / 0.01 - 1.0).abs() < 1e-9);
        assert!((axis.part(0.0316) - 0.5).abs() < 0.01);
        assert!(!Axis::new([1.0, 0.0].into_iter(), true, 6.0).log);
        assert!(!Axis::new([1.0, 0.001].into_iter(), false, 6.0).log);
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.25, "0.25"),
            (3.0, "3"),
            (1e-5, "1e-5"),
            (2.5e7, "2.5e7"),
            (0.0, "0"),
        ] {
            assert_eq!(number(value), text);
        }
    }
}
