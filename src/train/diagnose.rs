//! Which call of a step was the first to leave a number that is not finite.

use crate::backend::executor::Executor;
use crate::error::{Error, Result};
use crate::kernels::{Access, Call};
use crate::program::{Phase, Program};
use crate::tensor::Element;

/// Plays `phases` as [`Executor::run`] does, one call at a time, and looks at all that each writes.
///
/// # Errors
/// [`Error::Failed`] that names the first call whose numbers are not finite; what the device reports.
pub(crate) fn play(executor: &mut dyn Executor, program: &Program, phases: &[Phase]) -> Result<()> {
    for &phase in phases {
        let calls = program.calls(phase);
        for (number, call) in calls.iter().enumerate() {
            executor.time_call(phase, number)?;
            if let Some(what) = left_by(executor, program, call)? {
                return Err(Error::Failed(format!(
                    "`{} {}`, call {} of {} of the {} phase, left {what}",
                    call.kernel().name(),
                    program.site(call),
                    number + 1,
                    calls.len(),
                    phase.name()
                )));
            }
        }
    }
    Ok(())
}

/// The first number that a call has written and that is not finite, and where it is.
fn left_by(executor: &mut dyn Executor, program: &Program, call: &Call) -> Result<Option<String>> {
    let args = call.kernel().args().into_iter();
    let written = args.filter(|arg| {
        arg.access == Access::Write && program.buffer_of(&arg.tensor).element == Element::Real
    });
    for arg in written {
        let values = executor.read(&arg.tensor)?;
        let finite = |value: &f32| value.is_finite();
        let Some(place) = values.iter().position(|value| !finite(value)) else {
            continue;
        };
        let count = values.iter().filter(|value| !finite(value)).count();
        return Ok(Some(format!(
            "{} in `{}`, whose shape is {:?}, at {}, and {} of its {} numbers are not finite",
            values[place],
            program.name_of(&arg.tensor),
            arg.tensor.shape,
            index(arg.tensor.shape.extents(), place),
            count,
            values.len()
        )));
    }
    Ok(None)
}

/// `[row, column]` of the element at `place`.
fn index(extents: &[usize], mut place: usize) -> String {
    let mut index = vec![];
    for &extent in extents.iter().rev() {
        index.push(place % extent);
        place /= extent;
    }
    index.reverse();
    format!("{index:?}")
}

#[cfg(test)]
mod tests {
    use super::index;

    #[test]
    fn places_are_indices() {
        assert_eq!(index(&[7], 5), "[5]");
        assert_eq!(index(&[3, 4], 7), "[1, 3]");
        assert_eq!(index(&[2, 3, 4], 23), "[1, 2, 3]");
    }
}
