//! The profiled steps as a trace in Chrome's trace event format (<https://perfetto.dev/docs/getting-started/other-formats>).

use serde_json::{Value, json};

use super::Profile;
use crate::kernels::Scalar;

/// Tracks of the trace.
const HOST: u32 = 1;
const DEVICE: u32 = 2;

impl Profile {
    /// Every profiled step as a trace that Perfetto and chrome://tracing open: a track of what the host did and one of the
    /// device's calls, with their shapes. Only of a profile that was measured, not of one read from JSON.
    pub fn trace(&self) -> Value {
        let name = |kind: &str, track: u32, name: &str| {
            json!({
                "ph": "M", "name": kind, "pid": 1, "tid": track, "args": { "name": name },
            })
        };
        let mut events = vec![
            name("process_name", HOST, &format!("gatescan {}", self.recipe)),
            name("thread_name", HOST, "host"),
            name("thread_name", DEVICE, self.machine.name()),
        ];
        events.extend(self.events.iter().map(|event| {
            let mut args = json!({ "step": event.step });
            let facts = event.call.map(|call| &self.calls[call]);
            if let Some(facts) = facts {
                args["phase"] = facts.phase.name().into();
                // As text, since a viewer would spread a list over lines.
                args["workgroups"] = format!("{:?}", facts.grid).into();
                for (name, shape) in &facts.shapes {
                    args["shapes"][*name] = format!("{shape:?}").into();
                }
                for (name, scalar) in &facts.scalars {
                    args["uniform"][*name] = match *scalar {
                        Scalar::U32(value) => value.into(),
                        Scalar::F32(value) => value.into(),
                    };
                }
            }
            // Microseconds, to the nanosecond, so that what touches does not overlap by a rounding.
            let (begin, end) = (nanoseconds(event.span.begin), nanoseconds(event.span.end));
            json!({
                "ph": "X",
                "name": event.name,
                "cat": facts.map_or("host", |facts| facts.phase.name()),
                "ts": begin / 1e3,
                "dur": (end - begin) / 1e3,
                "pid": 1,
                "tid": if facts.is_some() { DEVICE } else { HOST },
                "args": args,
            })
        }));
        json!({
            "traceEvents": events,
            "displayTimeUnit": "ns",
            "otherData": {
                "version": format!("gatescan {}", self.version),
                "clocks": "the device's track is shifted so that each step ends when the host hears of it",
            },
        })
    }
}

fn nanoseconds(seconds: f64) -> f64 {
    (seconds * 1e9).round()
}
