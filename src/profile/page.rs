//! A profile as one page of HTML that needs nothing beside it: roofline, timeline of a step, table.

use std::fmt::Write;

use super::{Clock, Event, Machine, Profile, Site};
use crate::html::chart::tick_step;
use crate::html::{self, escape, trimmed};
use crate::numeric::statistics::{Estimate, figure};

impl Profile {
    /// The page. The timeline is there only of a profile that was measured, not of one read from JSON.
    pub fn page(&self) -> String {
        let device = match &self.machine {
            Machine::Cpu { name, threads } => format!("{name}, {threads} threads"),
            Machine::Gpu(adapter) => format!(
                "{} on {}, {}, subgroups of {}",
                adapter.name,
                adapter.backend,
                adapter.driver,
                adapter.subgroups_text()
            ),
        };
        let title = format!("{} on {}", self.recipe, self.machine.name());
        let [steps, batch] = self.batch;
        let body = format!(
            "<h1>A training step of {}</h1>\n<p>{}. {steps} time steps, batch of {batch}, {} steps profiled by gatescan {}.</p>\n\
             {}<h2>Roofline</h2>\n\
             <p>Each circle is a call site, numbered as in the table, its area its share of the time. \
             The lines are what this device was measured to do at most: bytes copied, and multiply-adds. \
             What only moves data has no place here.</p>\n{}{}\
             <h2>One step</h2>\n<p>The one whose time is the median of all. Point at a call for its time.</p>\n{}\
             <h2>Call sites</h2>\n{}",
            escape(&self.recipe),
            escape(&device),
            self.steps,
            self.version,
            self.figures(),
            legend(),
            self.roofline(),
            self.timeline(),
            self.table(),
        );
        html::page(&title, &body)
    }

    /// What the header and the footer of the printed table say.
    fn figures(&self) -> String {
        let (step, ceilings) = (&self.step, &self.ceilings);
        let mut list = String::from("<dl>\n");
        let mut add = |name: &str, value: f64, unit: &str, note: &str| {
            let value = figure(value);
            let _ = writeln!(
                list,
                "<div><dt>{name}</dt><dd>{value} {unit} <small>{note}</small></dd></div>"
            );
        };
        let spread = |estimate: &Estimate| format!("±{:.0}%", estimate.spread() * 50.0);
        let slower = (step.profiled_ms.median / step.plain_ms.median - 1.0) * 100.0;
        let plain = &step.plain_ms;
        add("step", plain.median, "ms", &spread(plain));
        let note = format!("{slower:+.0}%");
        add("step, profiled", step.profiled_ms.median, "ms", &note);
        let covered = self
            .covered()
            .map(|part| format!("{:.1}% of device", part * 100.0));
        let note = covered.unwrap_or_default();
        add("kernels together", step.kernels_ms.median, "ms", &note);
        if let Some(idle) = step.idle_ms {
            add("idle between calls", idle.median, "ms", "");
        }
        add("sequences", step.sequences_per_s, "/s", "");
        add("tokens", step.tokens_per_s, "/s", "");
        let costs = [
            ("copy", "GB/s", Some(ceilings.copy_gbytes_per_s)),
            (
                "multiply-add",
                "GFLOP/s",
                Some(ceilings.multiply_add_gflops),
            ),
            ("empty dispatch", "µs", Some(ceilings.empty_dispatch_us)),
            ("submission", "µs", ceilings.submission_us),
            ("submission and wait", "µs", ceilings.round_trip_us),
        ];
        for (name, unit, cost) in costs {
            if let Some(cost) = cost {
                add(
                    name,
                    cost.best,
                    unit,
                    &format!("median {}", figure(cost.median)),
                );
            }
        }
        let mebibytes = |bytes: u64| bytes as f64 / (1 << 20) as f64;
        add("memory planned", mebibytes(self.held.planned), "MiB", "");
        if let Some(taken) = self.held.measured {
            add("memory taken", mebibytes(taken), "MiB", "");
        }
        for (kind, bytes) in &self.held.by_kind {
            add(kind.name(), mebibytes(*bytes), "MiB", "");
        }
        list + "</dl>\n"
    }

    fn roofline(&self) -> String {
        let (width, height) = (760.0, 440.0);
        let [left, right, top, bottom] = [58.0, 16.0, 14.0, 44.0];
        let peak = self.ceilings.multiply_add_gflops.best;
        let bandwidth = self.ceilings.copy_gbytes_per_s.best;
        let ridge = peak / bandwidth;
        let points = self.sites.iter().enumerate();
        let points: Vec<_> = points.filter(|(_, site)| site.gflops() > 0.0).collect();
        let of = |value: fn(&Site) -> f64| points.iter().map(move |point| value(point.1));
        // Whole decades around the points and the ridge.
        let (least, most) = bounds(of(Site::intensity).chain([ridge, ridge * 4.0]));
        let (lowest, highest) = bounds(of(Site::gflops).chain([peak * 1.1]));
        let part = |value: f64, from: f64, to: f64| (value.log10() - from) / (to - from);
        let x = |value: f64| left + part(value, least, most) * (width - left - right);
        let y =
            |value: f64| height - bottom - part(value, lowest, highest) * (height - top - bottom);

        let mut svg = format!(
            "<div class=\"wide\"><svg class=\"roofline\" viewBox=\"0 0 {width} {height}\" role=\"img\" aria-label=\"Roofline\">\n"
        );
        let (floor, end) = (height - bottom, width - right);
        for decade in least as i32..=most as i32 {
            let (at, name) = (x(10_f64.powi(decade)), power(decade));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} {top}V{floor}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{name}</text>",
                floor + 17.0
            );
        }
        for decade in lowest as i32..=highest as i32 {
            let (at, name) = (y(10_f64.powi(decade)), power(decade));
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{left} {at:.1}H{end}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{name}</text>",
                left - 7.0,
                at + 4.0
            );
        }
        // The slope begins where it comes into the picture.
        let start = 10_f64.powf(least).max(10_f64.powf(lowest) / bandwidth);
        let _ = writeln!(
            svg,
            "<path class=\"roof\" d=\"M{:.1} {:.1}L{:.1} {:.1}H{end}\"/>\
             <text x=\"{end}\" y=\"{:.1}\" text-anchor=\"end\">{} GFLOP/s</text>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{} GB/s</text>",
            x(start),
            y(start * bandwidth),
            x(ridge),
            y(peak),
            y(peak) - 6.0,
            figure(peak),
            // Above the middle of the slope.
            x((start * ridge).sqrt()) - 8.0,
            y((start * ridge).sqrt() * bandwidth) - 6.0,
            figure(bandwidth),
        );
        for (number, site) in points {
            let (x, y) = (x(site.intensity()), y(site.gflops()));
            let radius = 3.5 + 22.0 * site.share.sqrt();
            let _ = writeln!(
                svg,
                "<circle class=\"{}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{} {}: {} GFLOP/s, {:.0}% of its roofline</title></circle>\
                 <text class=\"number\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                site.phase.name(),
                number + 1,
                escape(&site.label()),
                figure(site.gflops()),
                site.roofline * 100.0,
                x + radius + 2.0,
                y + 4.0,
                number + 1,
            );
        }
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">floating-point operations for each byte</text>\
             <text transform=\"translate(13 {:.1}) rotate(-90)\" text-anchor=\"middle\">GFLOP/s</text>\n</svg></div>",
            (left + end) / 2.0,
            height - 8.0,
            (top + floor) / 2.0,
        );
        svg
    }

    fn timeline(&self) -> String {
        let (width, left, row) = (1100.0, 54.0, 30.0);
        let events = self.middle_step();
        let begin = events
            .iter()
            .map(|event| event.span.begin)
            .fold(f64::MAX, f64::min);
        let end = events
            .iter()
            .map(|event| event.span.end)
            .fold(0.0, f64::max);
        if events.is_empty() {
            return String::new();
        }
        let x = |seconds: f64| left + (seconds - begin) / (end - begin) * (width - left - 12.0);
        let mut svg = format!(
            "<div class=\"wide\"><svg class=\"timeline\" viewBox=\"0 0 {width} 104\" role=\"img\" aria-label=\"Timeline\">\n\
             <text x=\"0\" y=\"28\">host</text><text x=\"0\" y=\"62\">device</text>\n"
        );
        let every = tick_step(end - begin, 10.0);
        for number in 0..=((end - begin) / every) as usize {
            let seconds = number as f64 * every;
            let at = x(begin + seconds);
            let _ = writeln!(
                svg,
                "<path class=\"grid\" d=\"M{at:.1} 6V80\"/><text x=\"{at:.1}\" y=\"96\" text-anchor=\"middle\">{} ms</text>",
                trimmed(seconds * 1e3)
            );
        }
        for event in events {
            let (at, until) = (x(event.span.begin), x(event.span.end));
            let (class, y) = match event.call {
                None => ("host", 8.0),
                Some(call) => (self.calls[call].phase.name(), 42.0),
            };
            // A gap to the next one, but for those too thin to be seen without.
            let wide = match until - at {
                wide if wide > 3.0 => wide - 0.8,
                wide => wide.max(0.6),
            };
            let name = escape(&event.name);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{at:.2}\" y=\"{y}\" width=\"{wide:.2}\" height=\"{row}\"><title>{name}: {} µs</title></rect>",
                figure(event.span.seconds() * 1e6)
            );
            // Where it fits, at six and a half units a letter.
            if 6.5 * event.name.chars().count() as f64 + 8.0 < wide {
                let _ = writeln!(
                    svg,
                    "<text class=\"inside\" x=\"{:.1}\" y=\"{:.1}\">{name}</text>",
                    at + 5.0,
                    y + 19.0
                );
            }
        }
        svg + "</svg></div>\n"
    }

    /// The events of the step that took the median time.
    fn middle_step(&self) -> Vec<&Event> {
        let host = |step: usize| {
            let events = self.events.iter();
            let of_step = events.filter(move |event| event.step == step && event.call.is_none());
            of_step.map(|event| event.span.seconds()).sum::<f64>()
        };
        let steps = self.events.last().map_or(0, |event| event.step + 1);
        let mut order: Vec<usize> = (0..steps).collect();
        order.sort_by(|&a, &b| host(a).total_cmp(&host(b)));
        let middle = order.get(steps / 2).copied();
        let events = self.events.iter();
        events.filter(|event| Some(event.step) == middle).collect()
    }

    fn table(&self) -> String {
        let mut table = String::from("<div class=\"wide\"><table>\n<tr><th>#</th>");
        for name in ["phase", "kernel", "site", "bound by"] {
            let _ = write!(table, "<th class=\"text\">{name}</th>");
        }
        for name in [
            "calls",
            "ms a step",
            "share",
            "median µs",
            "p95 µs",
            "GFLOP/s",
            "GB/s",
            "FLOP/B",
            "of roofline",
            "µs a time step",
        ] {
            let _ = write!(table, "<th>{name}</th>");
        }
        table += "</tr>\n";
        for (number, site) in self.sites.iter().enumerate() {
            let mark = match site.clock {
                Clock::Device => "",
                Clock::Host => "*",
            };
            let _ = write!(table, "<tr><td>{}</td>", number + 1);
            let site_name = format!("{}{mark}", site.site);
            for text in [
                site.phase.name(),
                &site.kernel,
                &site_name,
                site.bound.name(),
            ] {
                let _ = write!(table, "<td class=\"text\">{}</td>", escape(text));
            }
            let share = site.share * 100.0;
            let _ = writeln!(
                table,
                "<td>{}</td><td>{:.3}</td><td class=\"share\" style=\"--share:{share:.1}%\">{share:.1}%</td>\
                 <td>{:.1}</td><td>{:.1}</td><td>{}</td><td>{}</td><td>{}</td><td>{:.0}%</td><td>{}</td></tr>",
                site.calls,
                site.step_us.median / 1e3,
                site.call_us.median,
                site.p95_us,
                figure(site.gflops()),
                figure(site.gbytes_per_s()),
                figure(site.intensity()),
                site.roofline * 100.0,
                site.time_step_us.map(figure).unwrap_or_default(),
            );
        }
        table += "</table></div>\n";
        if self.sites.iter().any(|site| site.clock == Clock::Host) {
            table += "<p>* timed on the host, alone, less what an empty submission costs</p>\n";
        }
        table
    }
}

fn legend() -> String {
    let names = ["forward", "backward", "update", "host"];
    let keys =
        names.map(|name| format!("<span class=\"key\"><i class=\"{name}\"></i>{name}</span>"));
    format!("<p>{}</p>\n", keys.concat())
}

/// The decades, as powers of ten, that hold all `values`.
fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (mut least, mut most) = (f64::MAX, f64::MIN_POSITIVE);
    for value in values {
        (least, most) = (least.min(value), most.max(value));
    }
    let floor = least.log10().floor();
    (floor, most.log10().ceil().max(floor + 1.0))
}

fn power(decade: i32) -> String {
    trimmed(10_f64.powi(decade))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_are_whole_decades() {
        assert_eq!(bounds([0.02, 300.0].into_iter()), (-2.0, 3.0));
        assert_eq!(bounds([5.0, 5.0].into_iter()), (0.0, 1.0));
    }
}
