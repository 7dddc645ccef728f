//! The cases of a verification as files: programs, inputs, and what each call must write.

use std::collections::HashSet;

use serde::Serialize;

use super::SiteCases;
use super::blob::{Blob, Segment, compressed};
use super::program::{ProgramText, Shaders};
use crate::error::{Error, Result};
use crate::kernels::Kernel;
use crate::program::{Phase, Program};
use crate::verify::recorded::RecordedCase;
use crate::verify::{Case, Effort, sweep};

/// The files of a verification.
pub(super) struct Cases {
    pub(super) count: usize,
    /// JSON as gzip.
    pub(super) description: Vec<u8>,
    /// Inputs and expectations.
    pub(super) values: Vec<u8>,
}

#[derive(Default, Serialize)]
struct CasesText {
    shaders: Shaders,
    cases: Vec<CaseText>,
}

#[derive(Serialize)]
struct CaseText {
    id: String,
    program: ProgramText,
    /// The contents of all buffers; then for each written buffer the expected words, each as its
    /// difference (xor) from what the buffer held before, and for real values the distance below
    /// and the difference (xor) of the one above from it.
    values: Segment,
    checks: Vec<CheckText>,
}

#[derive(Serialize)]
struct CheckText {
    /// Phases and indices of the calls; a run of calls of a phase as its first and its number.
    calls: Vec<(&'static str, usize, usize)>,
    /// Argument, buffer, and whether its values are real.
    written: Vec<(String, usize, bool)>,
}

impl Cases {
    /// Records the cases on the reference.
    ///
    /// # Errors
    /// Those of recording.
    pub(super) fn record(which: SiteCases) -> Result<Cases> {
        let cases = match which {
            SiteCases::None => vec![],
            SiteCases::Covering => covering(sweep(Effort::Quick))?,
            SiteCases::Quick => sweep(Effort::Quick),
        };
        let (mut text, mut values) = (CasesText::default(), Blob::default());
        for case in &cases {
            let recorded = case.record(super::tuning())?;
            let case = CaseText {
                id: case.id.clone(),
                program: text.shaders.program(&recorded.program)?,
                values: values.add(&words(&recorded))?,
                checks: recorded.checks.iter().map(CheckText::new).collect(),
            };
            text.cases.push(case);
        }
        let json = serde_json::to_vec(&text)
            .map_err(|error| Error::usage(format!("the cases are not valid JSON: {error}")))?;
        Ok(Cases {
            count: cases.len(),
            description: compressed(&json)?,
            values: values.into_bytes(),
        })
    }
}

impl CheckText {
    fn new(check: &crate::verify::recorded::RecordedCheck) -> CheckText {
        let runs = check.calls.chunk_by(|a, b| a.0 == b.0 && b.1 == a.1 + 1);
        let calls = runs.map(|run| (run[0].0.name(), run[0].1, run.len()));
        let written = check.written.iter();
        CheckText {
            calls: calls.collect(),
            written: written
                .map(|each| (each.argument.clone(), each.buffer, each.distances.is_some()))
                .collect(),
        }
    }
}

/// The words of a case's values; see [`CaseText::values`].
fn words(recorded: &RecordedCase) -> Vec<u32> {
    let mut before = recorded.contents.clone();
    let mut words = before.concat();
    for written in recorded.checks.iter().flat_map(|check| &check.written) {
        let pairs = written.expected.iter().zip(&before[written.buffer]);
        words.extend(pairs.map(|(expected, before)| expected ^ before));
        if let Some([below, above]) = &written.distances {
            words.extend(below);
            words.extend(above.iter().zip(below).map(|(above, below)| above ^ below));
        }
        before[written.buffer].clone_from(&written.expected);
    }
    words
}

/// Returns the smallest cases that together have every shader of all cases.
fn covering(cases: Vec<Case>) -> Result<Vec<Case>> {
    let mut sized = vec![];
    for case in cases {
        let program = case.program(super::tuning())?;
        sized.push((size(&program), sources(&program), case));
    }
    sized.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| a.2.id.cmp(&b.2.id)));
    let mut seen = HashSet::new();
    let mut kept = vec![];
    for (_, sources, case) in sized {
        let known = seen.len();
        seen.extend(sources);
        if seen.len() > known {
            kept.push(case);
        }
    }
    Ok(kept)
}

fn calls(program: &Program) -> impl Iterator<Item = &dyn Kernel> {
    let calls = Phase::ALL.iter().flat_map(|&phase| program.calls(phase));
    calls.map(|call| call.kernel())
}

/// Words that a case's calls write.
fn size(program: &Program) -> usize {
    let args = calls(program).flat_map(|kernel| kernel.args());
    args.map(|arg| program.buffer_of(&arg.tensor).len).sum()
}

fn sources(program: &Program) -> HashSet<String> {
    calls(program)
        .map(|kernel| kernel.shader().source())
        .collect()
}
