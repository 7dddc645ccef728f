//! The search for the first call of a step that writes a value that is not finite.

use std::fmt;
use std::ops::RangeInclusive;

use crate::backend::executor::Executor;
use crate::error::Result;
use crate::kernels::{Access, Call};
use crate::program::{Phase, Program};
use crate::tensor::Element;

/// The result of [`Trainer::diagnose`](super::Trainer::diagnose).
#[derive(Debug, Clone, PartialEq)]
pub struct Diagnosis {
    /// The steps that were played call by call.
    pub steps: RangeInclusive<usize>,
    /// The first call that wrote a value that is not finite, if any did.
    pub finding: Option<Finding>,
}

/// The first call of a step that wrote a value that is not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// From 1, over the whole run.
    pub step: usize,
    /// The kernel and what it computes.
    pub call: String,
    /// From 1.
    pub number: usize,
    /// Calls of the phase.
    pub calls: usize,
    pub phase: Phase,
    pub values: NotFiniteValues,
}

/// The values of a tensor that are not finite.
#[derive(Debug, Clone, PartialEq)]
pub struct NotFiniteValues {
    pub tensor: String,
    pub shape: Vec<usize>,
    /// The index of the first value.
    pub index: Vec<usize>,
    /// The first value.
    pub first: f32,
    pub count: usize,
    /// Elements of the tensor.
    pub total: usize,
}

impl fmt::Display for Diagnosis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(finding) = &self.finding {
            return write!(f, "{finding}");
        }
        let (first, last) = (self.steps.start(), self.steps.end());
        write!(
            f,
            "the steps {first} to {last}, played again, left only finite values"
        )
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            step,
            call,
            number,
            calls,
            phase,
            values,
        } = self;
        write!(
            f,
            "in step {step}, `{call}`, call {number} of {calls} of the {} phase, left {values}",
            phase.name()
        )
    }
}

impl fmt::Display for NotFiniteValues {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let NotFiniteValues {
            tensor,
            shape,
            index,
            first,
            count,
            total,
        } = self;
        write!(
            f,
            "{first} in `{tensor}`, whose shape is {shape:?}, at {index:?}, and {count} of its \
             {total} values are not finite"
        )
    }
}

/// Runs `phases` call by call and checks what each call writes. Stops at the first finding.
///
/// # Errors
/// Those of the device.
pub(super) fn run_call_by_call(
    executor: &mut dyn Executor,
    program: &Program,
    phases: &[Phase],
    step: usize,
) -> Result<Option<Finding>> {
    for &phase in phases {
        let calls = program.calls(phase);
        for (index, call) in calls.iter().enumerate() {
            executor.time_call(phase, index)?;
            if let Some(values) = not_finite_values(executor, program, call)? {
                return Ok(Some(Finding {
                    step,
                    call: format!("{} {}", call.kernel().name(), program.site(call)),
                    number: index + 1,
                    calls: calls.len(),
                    phase,
                    values,
                }));
            }
        }
    }
    Ok(None)
}

/// The values that are not finite in the first tensor with such values that `call` has written.
fn not_finite_values(
    executor: &mut dyn Executor,
    program: &Program,
    call: &Call,
) -> Result<Option<NotFiniteValues>> {
    let args = call.kernel().args().into_iter();
    let written = args.filter(|arg| {
        arg.access == Access::Write && program.buffer_of(&arg.tensor).element == Element::Real
    });
    for arg in written {
        let values = executor.read(&arg.tensor)?;
        let Some(first) = values.iter().position(|value| !value.is_finite()) else {
            continue;
        };
        let extents = arg.tensor.shape.extents();
        return Ok(Some(NotFiniteValues {
            tensor: program.name_of(&arg.tensor).to_string(),
            shape: extents.to_vec(),
            index: index_of(extents, first),
            first: values[first],
            count: values.iter().filter(|value| !value.is_finite()).count(),
            total: values.len(),
        }));
    }
    Ok(None)
}

/// The index `[row, column]` of an element by its offset.
fn index_of(extents: &[usize], mut offset: usize) -> Vec<usize> {
    let mut index = vec![];
    for &extent in extents.iter().rev() {
        index.push(offset % extent);
        offset /= extent;
    }
    index.reverse();
    index
}

#[cfg(test)]
mod tests {
    use super::index_of;

    #[test]
    fn offsets_become_indices() {
        assert_eq!(index_of(&[7], 5), [5]);
        assert_eq!(index_of(&[3, 4], 7), [1, 3]);
        assert_eq!(index_of(&[2, 3, 4], 23), [1, 2, 3]);
    }
}
