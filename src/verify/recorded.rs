//! A case as data: the program, its inputs, and what each call must write, for an executor outside
//! this program.

use super::tracked::Tracked;
use super::{BufferContents, Case, CompareAfter, Scene};
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::error::Result;
use crate::kernels::Access;
use crate::numeric::real::Real;
use crate::program::{Phase, Program};
use crate::tensor::Element;

/// The distance of an element that may have any value.
pub(crate) const ANY: u32 = u32::MAX;

/// A case, and what its calls must write.
pub(crate) struct RecordedCase {
    pub(crate) program: Program,
    /// The bits of each buffer before the first call.
    pub(crate) contents: Vec<Vec<u32>>,
    pub(crate) checks: Vec<RecordedCheck>,
}

/// Calls that are played, and the buffers that are compared after them.
pub(crate) struct RecordedCheck {
    /// The phase of each call, and its index in the phase.
    pub(crate) calls: Vec<(Phase, usize)>,
    pub(crate) written: Vec<WrittenBuffer>,
}

/// What a buffer must hold.
pub(crate) struct WrittenBuffer {
    /// The argument's name; for whole training steps the buffer's.
    pub(crate) argument: String,
    pub(crate) buffer: usize,
    /// The bits of the reference's values in f32, or integers. The next call continues from them.
    pub(crate) expected: Vec<u32>,
    /// How many f32 values below and above the expected one each element may be; [`ANY`] for an
    /// element without a finite bound. `None` for integers, which are exact.
    pub(crate) distances: Option<[Vec<u32>; 2]>,
}

impl Case {
    /// Returns the case's program for a device of this tuning.
    ///
    /// # Errors
    /// Those of recording.
    pub(crate) fn program(&self, tuning: Tuning) -> Result<Program> {
        Ok((self.make)(tuning)?.program)
    }

    /// Plays the case on the reference and returns what each of its calls must write.
    ///
    /// # Errors
    /// Those of recording.
    pub(crate) fn record(&self, tuning: Tuning) -> Result<RecordedCase> {
        let Scene {
            program, contents, ..
        } = (self.make)(tuning)?;
        let mut reference = Cpu::<Tracked>::new(program.clone())?;
        for (buffer, contents) in contents.iter().enumerate() {
            restore(&mut reference, &program, buffer, contents)?;
        }
        let checks = match self.compare_after {
            CompareAfter::EachCall => check_calls(&program, &mut reference)?,
            CompareAfter::TrainingSteps(steps) => {
                vec![check_training(&program, &mut reference, steps)?]
            }
        };
        Ok(RecordedCase {
            program,
            contents: contents.iter().map(bits).collect(),
            checks,
        })
    }
}

/// Plays every call and returns what it must write; the next one continues from the values in f32.
fn check_calls(program: &Program, reference: &mut Cpu<Tracked>) -> Result<Vec<RecordedCheck>> {
    let mut checks = vec![];
    for phase in Phase::ALL {
        for (index, call) in program.calls(phase).iter().enumerate() {
            reference.time_call(phase, index)?;
            let args = call.kernel().args().into_iter();
            let mut written = vec![];
            for arg in args.filter(|arg| arg.access == Access::Write) {
                let buffer = arg.tensor.buffer.index();
                let (found, rounded) = written_buffer(program, reference, buffer, arg.name)?;
                restore(reference, program, buffer, &rounded)?;
                written.push(found);
            }
            let calls = vec![(phase, index)];
            checks.push(RecordedCheck { calls, written });
        }
    }
    Ok(checks)
}

/// Plays training steps and an evaluation, and returns what all buffers must hold.
fn check_training(
    program: &Program,
    reference: &mut Cpu<Tracked>,
    steps: usize,
) -> Result<RecordedCheck> {
    let evaluation = [Phase::Validate, Phase::Evaluate];
    reference.run(&Phase::TRAIN, steps)?;
    reference.run(&evaluation, 1)?;
    let phases = Phase::TRAIN.repeat(steps).into_iter().chain(evaluation);
    let calls = phases.flat_map(|phase| {
        let count = program.calls(phase).len();
        (0..count).map(move |index| (phase, index))
    });
    let written = program.buffers().iter().enumerate().map(|(id, buffer)| {
        let (found, _) = written_buffer(program, reference, id, &buffer.name)?;
        Ok(found)
    });
    let written = written.collect::<Result<_>>()?;
    Ok(RecordedCheck {
        calls: calls.collect(),
        written,
    })
}

/// Reads what a buffer must hold, and the same values in f32.
fn written_buffer(
    program: &Program,
    reference: &mut Cpu<Tracked>,
    buffer: usize,
    argument: &str,
) -> Result<(WrittenBuffer, BufferContents)> {
    let whole = program.whole(buffer);
    let (rounded, distances) = match program.buffers()[buffer].element {
        Element::Real => {
            let values = reference.read_exact(&whole);
            let rounded = values.iter().map(|value| value.f64() as f32).collect();
            let each = values
                .iter()
                .map(|value| distances(value.f64(), value.bound()));
            let (below, above) = each.unzip();
            (BufferContents::Real(rounded), Some([below, above]))
        }
        Element::Index => (BufferContents::Index(reference.read_index(&whole)?), None),
    };
    let written = WrittenBuffer {
        argument: argument.into(),
        buffer,
        expected: bits(&rounded),
        distances,
    };
    Ok((written, rounded))
}

fn restore(
    reference: &mut Cpu<Tracked>,
    program: &Program,
    buffer: usize,
    contents: &BufferContents,
) -> Result<()> {
    let whole = program.whole(buffer);
    match contents {
        BufferContents::Real(values) => reference.write(&whole, values),
        BufferContents::Index(values) => reference.write_index(&whole, values),
    }
}

fn bits(contents: &BufferContents) -> Vec<u32> {
    match contents {
        BufferContents::Real(values) => values.iter().map(|value| value.to_bits()).collect(),
        BufferContents::Index(values) => values.clone(),
    }
}

/// The position of a value among all finite ones of f32; that of 0 for both zeros.
fn rank(value: f32) -> i64 {
    let magnitude = i64::from(value.to_bits() & 0x7fff_ffff);
    if value.is_sign_negative() {
        -magnitude
    } else {
        magnitude
    }
}

/// The value of f32 at a position; see [`rank`].
fn value_at(rank: i64) -> f64 {
    let magnitude = f32::from_bits(rank.unsigned_abs() as u32);
    f64::from(if rank < 0 { -magnitude } else { magnitude })
}

/// How many values of f32 below and above the rounded `expected` are within `bound` of `expected`:
/// for a result in f32, the same condition as the bound itself. A correctly rounded result is
/// always allowed.
fn distances(expected: f64, bound: f64) -> (u32, u32) {
    // As a verification on this machine has it: f32 cannot hold every value within the bound.
    let is_bounded = expected.abs() + bound <= f64::from(f32::MAX);
    if !is_bounded {
        return (ANY, ANY);
    }
    let is_within = |rank: i64| (value_at(rank) - expected).abs() <= bound;
    let center = rank(expected as f32);
    let most = rank(f32::MAX);
    let farthest = |limit: f64, direction: i64| {
        // The limit's nearest value of f32 is at most one from the last that is within the bound.
        let near = rank(limit as f32).clamp(-most, most);
        let candidates = [1, 0, -1].map(|more| near + more * direction);
        let mut candidates = candidates.into_iter();
        let last = candidates.find(|&rank| rank.abs() <= most && is_within(rank));
        last.map_or(0, |last| ((last - center) * direction).max(0) as u32)
    };
    (
        farthest(expected - bound, -1),
        farthest(expected + bound, 1),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_last_values_within_the_bound() {
        assert_eq!(distances(1.0, 0.0), (0, 0));
        let ulp = f64::from(f32::EPSILON);
        // Below 1 the values are half as far from each other.
        assert_eq!(distances(1.0, 2.0 * ulp), (4, 2));
        assert_eq!(distances(1.0, 1.99 * ulp), (3, 1));
        // A value that f32 does not have, and less than the way to its neighbours.
        assert_eq!(distances(1.0 + ulp / 4.0, ulp / 4.0), (0, 0));
        assert_eq!(distances(1.0 + ulp / 4.0, ulp * 0.75), (1, 1));
        // Both zeros have one place, and the least values are beside it.
        let least = f64::from(f32::from_bits(1));
        assert_eq!(distances(0.0, 3.0 * least), (3, 3));
        assert_eq!(distances(-least, 3.0 * least), (3, 3));
        assert_eq!(distances(f64::from(f32::MAX), ulp), (0, 0));
        assert_eq!(distances(f64::from(f32::MAX), 1e31), (ANY, ANY));
        assert_eq!(distances(1.0, f64::INFINITY), (ANY, ANY));
        let wide = distances(0.0, f64::from(f32::MAX));
        assert_eq!(wide, (0x7f7f_ffff, 0x7f7f_ffff));
        for (expected, bound) in [(0.3, 1e-6), (-7e5, 0.4), (1e-30, 1e-33), (-2e-40, 1e-42)] {
            let (below, above) = distances(expected, bound);
            let center = rank(expected as f32);
            for (end, direction) in [
                (center - i64::from(below), -1),
                (center + i64::from(above), 1),
            ] {
                assert!((value_at(end) - expected).abs() <= bound);
                assert!((value_at(end + direction) - expected).abs() > bound);
            }
        }
    }

    #[test]
    fn a_recorded_case_has_every_call_and_argument() {
        let cases = crate::verify::sweep(crate::verify::Effort::Quick);
        let case = cases.into_iter().next().expect("there are cases");
        let recorded = case.record(Tuning::default()).expect("it is recorded");
        let calls: usize = recorded.checks.iter().map(|check| check.calls.len()).sum();
        let all = Phase::ALL
            .iter()
            .map(|&phase| recorded.program.calls(phase).len());
        assert_eq!(calls, all.sum::<usize>());
        for written in recorded.checks.iter().flat_map(|check| &check.written) {
            let len = recorded.program.buffers()[written.buffer].len;
            assert_eq!(written.expected.len(), len);
            assert!(
                written
                    .distances
                    .as_ref()
                    .is_none_or(|[a, b]| a.len() == len && b.len() == len)
            );
        }
    }
}
