//! The axes of a chart: range of values, ticks, and the coordinates of values in the drawing.

use super::dates::DateStep;

/// The ratio of the largest to the smallest value from which a logarithmic scale is used.
const LOG_RATIO: f64 = 30.0;
/// The factor between the outermost values and the ends of a logarithmic axis.
const LOG_MARGIN: f64 = 1.3;
/// The largest magnitude that is drawn; the range of larger values may overflow.
const LARGEST_MAGNITUDE: f64 = 1e30;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scale {
    Linear,
    Log,
}

/// An axis from `low` to `high`, which have the coordinates `start` and `end` in the drawing.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    low: f64,
    high: f64,
    scale: Scale,
    ticks: Vec<f64>,
    /// The distance between ticks, if the axis has dates.
    dates: Option<DateStep>,
    start: f64,
    end: f64,
}

impl Axis {
    /// A linear axis with exactly these ends and at most `most_ticks` ticks.
    pub fn exact(low: f64, high: f64, most_ticks: f64) -> Axis {
        Axis::with_step(low, high, tick_step(high - low, most_ticks))
    }

    /// A linear axis with a margin around the values.
    pub fn linear(bounds: (f64, f64), most_ticks: f64) -> Axis {
        let (low, high) = with_margin(bounds);
        Axis::exact(low, high, most_ticks)
    }

    /// A linear axis of whole values, such as epochs: no tick has a fraction.
    pub fn whole(bounds: (f64, f64), most_ticks: f64) -> Axis {
        let (low, high) = with_margin(bounds);
        Axis::with_step(low, high, tick_step(high - low, most_ticks).max(1.0))
    }

    /// An axis of dates, in seconds since 1970, with round dates as ticks.
    pub fn dates(bounds: (f64, f64), most_ticks: f64) -> Axis {
        let (low, high) = with_margin(bounds);
        let step = DateStep::fitting(low, high, most_ticks);
        Axis {
            dates: Some(step),
            ..Axis::new(low, high, Scale::Linear, step.ticks(low, high))
        }
    }

    /// A logarithmic axis where the values span a ratio of at least 30, else a linear one.
    pub fn log_or_linear(bounds: (f64, f64), most_ticks: f64) -> Axis {
        let (least, most) = bounds;
        if least <= 1.0 / LARGEST_MAGNITUDE || most / least <= LOG_RATIO {
            return Axis::linear(bounds, most_ticks);
        }
        let (low, high) = (least / LOG_MARGIN, most * LOG_MARGIN);
        Axis::new(low, high, Scale::Log, log_ticks(low, high))
    }

    /// A logarithmic axis that begins and ends at powers of ten; all values must be positive.
    pub fn decades((least, most): (f64, f64)) -> Axis {
        let first = least.log10().floor() as i32;
        let last = (most.log10().ceil() as i32).max(first + 1);
        let ticks: Vec<f64> = (first..=last).map(power_of_ten).collect();
        Axis::new(power_of_ten(first), power_of_ten(last), Scale::Log, ticks)
    }

    fn with_step(low: f64, high: f64, step: f64) -> Axis {
        let first = (low / step).ceil() as i64;
        let last = (high / step).floor() as i64;
        let ticks = (first..=last).map(|n| n as f64 * step).collect();
        Axis::new(low, high, Scale::Linear, ticks)
    }

    fn new(low: f64, high: f64, scale: Scale, ticks: Vec<f64>) -> Axis {
        Axis {
            low,
            high,
            scale,
            ticks,
            dates: None,
            start: 0.0,
            end: 1.0,
        }
    }

    /// The same axis with the coordinates of its two ends.
    pub fn between(self, start: f64, end: f64) -> Axis {
        Axis { start, end, ..self }
    }

    /// The coordinate of a value.
    pub fn at(&self, value: f64) -> f64 {
        let fraction = match self.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).ln() / (self.high / self.low).ln(),
        };
        self.start + fraction * (self.end - self.start)
    }

    /// The text beside a tick: as many digits as tell the ticks apart.
    pub fn tick_text(&self, tick: f64) -> String {
        if let Some(step) = self.dates {
            return step.text(tick);
        }
        if self.scale == Scale::Log && self.ticks.iter().any(|tick| !PLAIN.contains(tick)) {
            return scientific(tick);
        }
        let (Scale::Linear, [first, second, ..]) = (self.scale, &self.ticks[..]) else {
            return value_label(tick);
        };
        let step = second - first;
        let decimals = (-step.log10().floor() as i32).max(0);
        let largest = self.low.abs().max(self.high.abs());
        if decimals > MOST_DECIMALS || largest >= PLAIN.end {
            return if tick == 0.0 {
                "0".into()
            } else {
                scientific_by(tick, step)
            };
        }
        let text = format!("{tick:.*}", decimals as usize);
        match without_zeros(text) {
            text if text == "-0" => "0".into(),
            text => text,
        }
    }

    /// A value of this axis as text; of dates, the date.
    pub fn value_text(&self, value: f64) -> String {
        match self.dates {
            Some(step) => step.text(value),
            None => value_label(value),
        }
    }

    /// The least value.
    pub fn low(&self) -> f64 {
        self.low
    }

    /// The greatest value.
    pub fn high(&self) -> f64 {
        self.high
    }

    /// Draws a horizontal axis: a grid line at each tick from `top` to `bottom`, its label below.
    pub fn x_grid(&self, top: f64, bottom: f64, label: impl Fn(f64) -> String) -> String {
        let line = |&tick: &f64| {
            format!(
                "<path class=\"grid\" d=\"M{0:.1} {top}V{bottom}\"/>\
                 <text x=\"{0:.1}\" y=\"{1:.1}\" text-anchor=\"middle\">{2}</text>\n",
                self.at(tick),
                bottom + 16.0,
                label(tick)
            )
        };
        self.ticks.iter().map(line).collect()
    }

    /// Draws a vertical axis: a grid line at each tick from `left` to `right`, its label before it.
    pub fn y_grid(&self, left: f64, right: f64, label: impl Fn(f64) -> String) -> String {
        let line = |&tick: &f64| {
            format!(
                "<path class=\"grid\" d=\"M{left} {0:.1}H{right}\"/>\
                 <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"end\">{3}</text>\n",
                self.at(tick),
                left - 6.0,
                self.at(tick) + 4.0,
                label(tick)
            )
        };
        self.ticks.iter().map(line).collect()
    }
}

/// The least and the greatest of the values.
pub(crate) fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::MAX, f64::MIN), |(least, most), value| {
        (least.min(value), most.max(value))
    })
}

/// Whether a value is finite and not too large for an axis.
pub(crate) fn is_drawable(value: f64) -> bool {
    value.abs() < LARGEST_MAGNITUDE
}

/// A value as text: four significant digits without trailing zeros; a very small or large one times
/// a power of ten.
pub(crate) fn value_label(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        return "0".into();
    }
    if !PLAIN.contains(&size) {
        return scientific(value);
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    without_zeros(format!("{value:.decimals$}"))
}

/// The sizes of values that are written without a power of ten.
const PLAIN: std::ops::Range<f64> = 1e-4..1e7;
/// The digits after the point of a tick from which on ticks are written with a power of ten.
const MOST_DECIMALS: i32 = 5;

/// A tick times a power of ten, with as many digits as tell ticks at this distance apart.
fn scientific_by(tick: f64, step: f64) -> String {
    let digits = (tick.abs().log10().floor() - step.log10().floor()).clamp(1.0, 9.0) as usize;
    let text = format!("{tick:.digits$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power = scientific(format!("1e{exponent}").parse().unwrap_or(1.0));
    match without_zeros(mantissa.to_string()).as_str() {
        "1" => power,
        "-1" => format!("-{power}"),
        mantissa => format!("{mantissa}·{power}"),
    }
}

/// A value with two digits, times a power of ten.
fn scientific(value: f64) -> String {
    let text = format!("{value:.1e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let raised: String = (exponent.chars())
        .map(|digit| match digit.to_digit(10) {
            Some(digit) => SUPERSCRIPTS[digit as usize],
            None => '⁻',
        })
        .collect();
    match digits.trim_end_matches(".0") {
        "1" => format!("10{raised}"),
        "-1" => format!("-10{raised}"),
        digits => format!("{digits}·10{raised}"),
    }
}

const SUPERSCRIPTS: [char; 10] = ['⁰', '¹', '²', '³', '⁴', '⁵', '⁶', '⁷', '⁸', '⁹'];

/// A number without the zeros at the end of its fraction.
fn without_zeros(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_string()
    } else {
        text
    }
}

/// The step of 1, 2 or 5 times a power of ten that divides `range` into at most `most` parts.
pub(crate) fn tick_step(range: f64, most: f64) -> f64 {
    let decade = 10_f64.powf((range / most).log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    let factor = factors
        .into_iter()
        .find(|factor| factor * decade * most >= range);
    decade * factor.unwrap_or(10.0)
}

/// The ends of a linear axis; a constant is drawn in the middle.
fn with_margin((least, most): (f64, f64)) -> (f64, f64) {
    let resolution = (least.abs().max(most.abs()) * 1e-6).max(1.0 / LARGEST_MAGNITUDE);
    let range = if most - least > resolution {
        most - least
    } else {
        least.abs().max(1e-3)
    };
    let margin = range * if most > least { 0.04 } else { 0.5 };
    (least - margin, most + margin)
}

/// The powers of ten from `low` to `high`, and twice and five times them where these are fewer
/// than three.
fn log_ticks(low: f64, high: f64) -> Vec<f64> {
    let decades = low.log10().floor() as i32..=high.log10().ceil() as i32;
    let multiples = |factors: &[f64]| -> Vec<f64> {
        let all = decades.clone().flat_map(|decade| {
            let multiple = move |&factor: &f64| factor * power_of_ten(decade);
            factors.iter().map(multiple)
        });
        all.filter(|tick| (low..=high).contains(tick)).collect()
    };
    let powers = multiples(&[1.0]);
    if powers.len() < 3 {
        multiples(&[1.0, 2.0, 5.0])
    } else {
        powers
    }
}

fn power_of_ten(exponent: i32) -> f64 {
    10_f64.powi(exponent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tick_steps_are_round() {
        for (range, most, expected) in [
            (0.0229, 10.0, 0.005),
            (0.58, 10.0, 0.1),
            (1.0, 10.0, 0.1),
            (0.012, 10.0, 0.002),
            (7.0, 5.0, 2.0),
        ] {
            let step = tick_step(range, most);
            assert!((step / expected - 1.0).abs() < 1e-9, "{range}: {step}");
        }
    }

    #[test]
    fn values_that_span_decades_get_a_log_axis() {
        let axis = Axis::log_or_linear((0.001, 1.0), 6.0);
        assert_eq!(axis.scale, Scale::Log);
        assert!(axis.ticks.len() == 4 && (axis.ticks[1] / 0.01 - 1.0).abs() < 1e-9);
        assert!((axis.at(0.0316) - 0.5).abs() < 0.01);
        assert_eq!(Axis::log_or_linear((0.0, 1.0), 6.0).scale, Scale::Linear);
        assert_eq!(Axis::linear((0.001, 1.0), 6.0).scale, Scale::Linear);
    }

    #[test]
    fn a_log_axis_of_few_decades_has_ticks_between_them() {
        let axis = Axis::log_or_linear((0.0135, 0.45), 6.0);
        let expected = [0.02, 0.05, 0.1, 0.2, 0.5];
        assert_eq!(axis.ticks.len(), expected.len(), "{:?}", axis.ticks);
        for (tick, expected) in axis.ticks.iter().zip(expected) {
            assert!((tick / expected - 1.0).abs() < 1e-9, "{:?}", axis.ticks);
        }
    }

    #[test]
    fn decades_are_whole_and_at_least_one() {
        let ends = |bounds| {
            let axis = Axis::decades(bounds);
            (axis.low().log10().round(), axis.high().log10().round())
        };
        assert_eq!(ends((0.02, 300.0)), (-2.0, 3.0));
        assert_eq!(ends((5.0, 5.0)), (0.0, 1.0));
    }

    #[test]
    fn epochs_have_whole_ticks() {
        assert_eq!(Axis::whole((1.0, 2.0), 6.0).ticks, [1.0, 2.0]);
        assert_eq!(Axis::whole((1.0, 1.0), 6.0).ticks, [1.0]);
    }

    #[test]
    fn coordinates_run_from_start_to_end() {
        let axis = Axis::exact(10.0, 20.0, 5.0).between(300.0, 100.0);
        assert_eq!(
            [10.0, 15.0, 20.0].map(|value| axis.at(value)),
            [300.0, 200.0, 100.0]
        );
    }

    #[test]
    fn values_are_written_plainly() {
        for (value, text) in [
            (0.25, "0.25"),
            (3.0, "3"),
            (0.063, "0.063"),
            (0.00025, "0.00025"),
            (123_456.0, "123456"),
            (-0.5, "-0.5"),
            (1e-5, "10⁻⁵"),
            (-1e-5, "-10⁻⁵"),
            (2.5e7, "2.5·10⁷"),
            (0.0, "0"),
        ] {
            assert_eq!(value_label(value), text);
        }
    }

    #[test]
    fn ticks_are_told_apart() {
        let texts = |low: f64, high: f64| -> Vec<String> {
            let axis = Axis::exact(low, high, 4.0);
            axis.ticks
                .iter()
                .map(|&tick| axis.tick_text(tick))
                .collect()
        };
        assert_eq!(texts(0.0, 0.001), ["0", "0.0005", "0.001"]);
        assert_eq!(
            texts(1000.001, 1000.004),
            ["1000.001", "1000.002", "1000.003", "1000.004"]
        );
        assert_eq!(texts(-1.0, 1.0), ["-1", "-0.5", "0", "0.5", "1"]);
        assert_eq!(texts(0.0, 2e7), ["0", "5·10⁶", "10⁷", "1.5·10⁷", "2·10⁷"]);
        assert_eq!(
            texts(0.0, 2e-7),
            ["0", "5·10⁻⁸", "10⁻⁷", "1.5·10⁻⁷", "2·10⁻⁷"]
        );
    }
}
