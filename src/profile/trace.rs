//! The profiled steps in Chrome's trace event format
//! (<https://perfetto.dev/docs/getting-started/other-formats>).

use serde_json::{Value, json};

use super::Profile;
use super::timing::{ProfiledStep, StepCall, step_calls};
use crate::backend::executor::Span;
use crate::kernels::Scalar;
use crate::program::{Phase, Program};
use crate::tensor::Shape;

/// The tracks of the trace.
const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// An event on a track of the trace.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct TraceEvent {
    /// The index of the profiled step.
    pub step: usize,
    /// The index of the call in the step; `None` for work of the host.
    pub call: Option<usize>,
    pub name: String,
    /// Seconds from the beginning of the first step.
    pub span: Span,
}

/// The properties of a call that the trace shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct CallDescription {
    pub phase: Phase,
    grid: [u32; 3],
    /// Names and shapes of the arguments.
    shapes: Vec<(&'static str, Shape)>,
    scalars: Vec<(&'static str, Scalar)>,
}

impl Profile {
    /// Returns every profiled step as a trace for Perfetto and chrome://tracing: a track with the
    /// work of the host, and one with the device's calls and their shapes. A profile that was read
    /// from JSON has no events.
    pub fn trace(&self) -> Value {
        let metadata = |kind: &str, track: u32, name: &str| {
            json!({
                "ph": "M", "name": kind, "pid": 1, "tid": track, "args": { "name": name },
            })
        };
        let mut events = vec![
            metadata("process_name", HOST, &format!("gatescan {}", self.recipe)),
            metadata("thread_name", HOST, "host"),
            metadata("thread_name", DEVICE, self.machine.name()),
        ];
        events.extend(self.events.iter().map(|event| self.event_json(event)));
        let clocks = "the device's track is shifted so that each step ends when the host \
                      receives its result";
        json!({
            "traceEvents": events,
            "displayTimeUnit": "ns",
            "otherData": {
                "version": format!("gatescan {}", self.version),
                "clocks": clocks,
            },
        })
    }

    fn event_json(&self, event: &TraceEvent) -> Value {
        let call = event.call.map(|call| &self.calls[call]);
        let mut args = json!({ "step": event.step });
        if let Some(call) = call {
            call.add_to(&mut args);
        }
        // Microseconds, rounded to nanoseconds, so that adjacent events do not overlap by a
        // rounding.
        let nanoseconds = |seconds: f64| (seconds * 1e9).round();
        let (begin, end) = (nanoseconds(event.span.begin), nanoseconds(event.span.end));
        json!({
            "ph": "X",
            "name": event.name,
            "cat": call.map_or("host", |call| call.phase.name()),
            "ts": begin / 1e3,
            "dur": (end - begin) / 1e3,
            "pid": 1,
            "tid": if call.is_some() { DEVICE } else { HOST },
            "args": args,
        })
    }
}

impl CallDescription {
    fn new(StepCall { phase, call, .. }: StepCall) -> CallDescription {
        let kernel = call.kernel();
        let args = kernel.args().into_iter();
        CallDescription {
            phase,
            grid: kernel.grid(),
            shapes: args.map(|arg| (arg.name, arg.tensor.shape)).collect(),
            scalars: kernel.uniform(),
        }
    }

    /// Adds the properties to the arguments of a trace event.
    fn add_to(&self, args: &mut Value) {
        args["phase"] = self.phase.name().into();
        // As text: a viewer would show one line for each element of a list.
        args["workgroups"] = format!("{:?}", self.grid).into();
        for (name, shape) in &self.shapes {
            args["shapes"][*name] = format!("{shape:?}").into();
        }
        for (name, scalar) in &self.scalars {
            args["uniform"][*name] = match *scalar {
                Scalar::U32(value) => value.into(),
                Scalar::F32(value) => value.into(),
            };
        }
    }
}

/// Describes the calls of a step, in order.
pub(super) fn call_descriptions(program: &Program) -> Vec<CallDescription> {
    step_calls(program).map(CallDescription::new).collect()
}

/// Returns the work of host and device in all profiled steps.
pub(super) fn events(program: &Program, steps: &[ProfiledStep]) -> Vec<TraceEvent> {
    let label = |call: StepCall| {
        let (kernel, site) = (call.call.kernel().name(), program.site(call.call));
        format!("{kernel} {site}")
    };
    let labels: Vec<String> = step_calls(program).map(label).collect();
    let mut events = vec![];
    for (step, ProfiledStep { begin, timing }) in steps.iter().enumerate() {
        let shift = |span: Span| Span {
            begin: begin + span.begin,
            end: begin + span.end,
        };
        events.extend(timing.host.iter().map(|&(name, span)| TraceEvent {
            step,
            call: None,
            name: name.into(),
            span: shift(span),
        }));
        let calls = timing.calls.iter().enumerate();
        events.extend(calls.filter_map(|(call, span)| {
            Some(TraceEvent {
                step,
                call: Some(call),
                name: labels[call].clone(),
                span: shift((*span)?),
            })
        }));
    }
    events
}
