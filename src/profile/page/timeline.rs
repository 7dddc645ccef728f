//! The timeline of one profiled step as SVG: a row for the host and one for the device.

use crate::html::chart::{Axis, bounds};
use crate::html::{escape, trimmed};
use crate::numeric::statistics::figure;
use crate::profile::Profile;
use crate::profile::trace::TraceEvent;

const WIDTH: f64 = 1100.0;
const HEIGHT: f64 = 104.0;
/// The left and right edge of the rows.
const LEFT: f64 = 54.0;
const RIGHT: f64 = WIDTH - 12.0;
/// The upper edges of the rows, and their height.
const HOST_ROW: f64 = 8.0;
const DEVICE_ROW: f64 = 42.0;
const ROW_HEIGHT: f64 = 30.0;
/// The lower edge of the grid.
const BOTTOM: f64 = 80.0;
/// The width of a character of text.
const CHARACTER: f64 = 6.5;

impl Profile {
    /// Draws the timeline of the step that took the median time; nothing without events.
    pub(super) fn timeline(&self) -> String {
        let events = self.median_step();
        if events.is_empty() {
            return String::new();
        }
        let ends = events
            .iter()
            .flat_map(|event| [event.span.begin, event.span.end]);
        let (begin, end) = bounds(ends);
        let axis = Axis::exact(0.0, end - begin, 10.0).between(LEFT, RIGHT);
        let grid = axis.x_grid(6.0, BOTTOM, |seconds| {
            format!("{} ms", trimmed(seconds * 1e3))
        });
        let bars: String = events
            .iter()
            .map(|event| {
                let [from, to] = [event.span.begin, event.span.end].map(|at| axis.at(at - begin));
                self.bar(event, from, to)
            })
            .collect();
        format!(
            "<div class=\"wide\"><svg class=\"timeline\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
             role=\"img\" aria-label=\"Timeline\">\n\
             <text x=\"0\" y=\"28\">host</text><text x=\"0\" y=\"62\">device</text>\n\
             {grid}{bars}</svg></div>\n"
        )
    }

    /// The bar of an event, with the event's name where there is room for it.
    fn bar(&self, event: &TraceEvent, from: f64, to: f64) -> String {
        let (class, top) = match event.call {
            None => ("host", HOST_ROW),
            Some(call) => (self.calls[call].phase.name(), DEVICE_ROW),
        };
        // A gap separates adjacent bars, except those too narrow for one.
        let width = if to - from > 3.0 {
            to - from - 0.8
        } else {
            (to - from).max(0.6)
        };
        let name = escape(&event.name);
        let time = figure(event.span.seconds() * 1e6);
        let bar = format!(
            "<rect class=\"{class}\" x=\"{from:.2}\" y=\"{top}\" width=\"{width:.2}\" \
             height=\"{ROW_HEIGHT}\"><title>{name}: {time} µs</title></rect>\n"
        );
        if CHARACTER * event.name.chars().count() as f64 + 8.0 >= width {
            return bar;
        }
        let (x, y) = (from + 5.0, top + 19.0);
        bar + &format!("<text class=\"inside\" x=\"{x:.1}\" y=\"{y:.1}\">{name}</text>\n")
    }

    /// Returns the events of the step with the median time on the host.
    fn median_step(&self) -> Vec<&TraceEvent> {
        let steps = self.events.last().map_or(0, |event| event.step + 1);
        let mut host_seconds = vec![0.0; steps];
        for event in self.events.iter().filter(|event| event.call.is_none()) {
            host_seconds[event.step] += event.span.seconds();
        }
        let mut order: Vec<usize> = (0..steps).collect();
        order.sort_by(|&a, &b| host_seconds[a].total_cmp(&host_seconds[b]));
        let median = order.get(steps / 2).copied();
        let events = self.events.iter();
        events.filter(|event| Some(event.step) == median).collect()
    }
}
