//! A profile as an HTML page that needs no other file: roofline, timeline of a step, and table.

mod roofline;
mod table;
mod timeline;

use super::{Machine, Profile};
use crate::html::{self, escape};
use crate::numeric::statistics::{Estimate, figure};

impl Profile {
    /// Returns the page. A profile that was read from JSON has no timeline.
    pub fn page(&self) -> String {
        let title = format!("{} on {}", self.recipe, self.machine.name());
        let [steps, batch] = self.batch;
        let body = format!(
            "<h1>A training step of {}</h1>\n\
             <p>{}. {steps} time steps, batch size {batch}, {} steps profiled by gatescan {}.</p>\n\
             {}\
             <h2>Roofline</h2>\n\
             <p>Each circle is a call site with its number in the table; its area is the site's \
             share of the time. The lines are the measured ceilings of this device: memory \
             bandwidth and multiply-adds per second. Call sites without floating-point operations \
             are not shown.</p>\n{}{}\
             <h2>One step</h2>\n\
             <p>The step with the median time. Point at a call to see its time.</p>\n{}\
             <h2>Call sites</h2>\n{}",
            escape(&self.recipe),
            escape(&self.device_text()),
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

    fn device_text(&self) -> String {
        match &self.machine {
            Machine::Cpu { .. } => self.machine.label(),
            Machine::Gpu(adapter) => format!(
                "{}, {}, subgroups of {}",
                self.machine.label(),
                adapter.driver,
                adapter.subgroups_text()
            ),
        }
    }

    /// Returns times of the step, ceilings of the device and memory as a list.
    fn figures(&self) -> String {
        let figures = [
            self.step_figures(),
            self.ceiling_figures(),
            self.memory_figures(),
        ];
        let figures: String = figures.iter().flatten().map(Figure::html).collect();
        format!("<dl>\n{figures}</dl>\n")
    }

    fn step_figures(&self) -> Vec<Figure> {
        let step = &self.step;
        let spread = |estimate: &Estimate| format!("±{:.0}%", estimate.spread() * 50.0);
        let (plain, profiled) = (&step.plain_ms, step.profiled_ms.median);
        let slower = (profiled / plain.median - 1.0) * 100.0;
        let mut figures = vec![
            Figure::new("step", plain.median, "ms").note(spread(plain)),
            Figure::new("step, profiled", profiled, "ms").note(format!("{slower:+.0}%")),
        ];
        let kernels = Figure::new("kernels together", step.kernels_ms.median, "ms");
        figures.push(match self.covered() {
            Some(covered) => kernels.note(format!("{:.1}% of device", covered * 100.0)),
            None => kernels,
        });
        if let Some(idle) = step.idle_ms {
            figures.push(Figure::new("idle between calls", idle.median, "ms"));
        }
        figures.push(Figure::new("sequences", step.sequences_per_s, "/s"));
        figures.push(Figure::new("tokens", step.tokens_per_s, "/s"));
        figures
    }

    fn ceiling_figures(&self) -> Vec<Figure> {
        let ceilings = &self.ceilings;
        let all = [
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
        let known = all.into_iter().filter_map(|(name, unit, ceiling)| {
            let ceiling = ceiling?;
            let median = format!("median {}", figure(ceiling.median));
            Some(Figure::new(name, ceiling.best, unit).note(median))
        });
        known.collect()
    }

    fn memory_figures(&self) -> Vec<Figure> {
        let memory = |name, bytes: u64| Figure::new(name, bytes as f64 / (1 << 20) as f64, "MiB");
        let mut figures = vec![memory("memory planned", self.memory.planned)];
        figures.extend(
            self.memory
                .measured
                .map(|bytes| memory("memory allocated", bytes)),
        );
        let kinds = self.memory.by_kind.iter();
        figures.extend(kinds.map(|(kind, bytes)| memory(kind.name(), *bytes)));
        figures
    }
}

/// A value with its name, unit and a note.
struct Figure {
    name: &'static str,
    value: f64,
    unit: &'static str,
    note: String,
}

impl Figure {
    fn new(name: &'static str, value: f64, unit: &'static str) -> Figure {
        let note = String::new();
        Figure {
            name,
            value,
            unit,
            note,
        }
    }

    fn note(self, note: String) -> Figure {
        Figure { note, ..self }
    }

    fn html(&self) -> String {
        let (name, value, unit) = (self.name, figure(self.value), self.unit);
        format!(
            "<div><dt>{name}</dt><dd>{value} {unit} <small>{}</small></dd></div>\n",
            self.note
        )
    }
}

/// The colours of phases and host.
fn legend() -> String {
    let names = ["forward", "backward", "update", "host"];
    let keys =
        names.map(|name| format!("<span class=\"key\"><i class=\"{name}\"></i>{name}</span>"));
    format!("<p>{}</p>\n", keys.concat())
}
