//! What a run reports to its observer.

use std::fmt;
use std::ops::ControlFlow;

use crate::backend::OpenDevice;
use crate::error::{Error, Result};
use crate::train::{Event, TestMetrics, Trainer};

/// An event of a run.
#[non_exhaustive]
pub enum RunEvent<'a> {
    /// An event of training. An epoch's metrics and checkpoint are written before.
    Training {
        trainer: &'a mut Trainer,
        event: Event<'a>,
        device: &'a OpenDevice,
    },
    /// The scores of the finished model on the test split, where a validation split has chosen it.
    Tested(&'a TestMetrics),
    /// A problem that does not end the run, or the end of such a problem.
    Warning(RunWarning),
}

/// A function that receives every event. A break stops the run after the current step.
pub type RunObserver<'a> = dyn FnMut(RunEvent) -> Result<ControlFlow<()>> + 'a;

/// A problem that does not end a run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunWarning {
    /// The device's name could not be written to the run directory.
    DeviceNotWritten(Error),
    /// The disk cannot be written. Training continues, and saving is tried again.
    NotSaved {
        error: Error,
        /// The step of the newest checkpoint.
        step: Option<usize>,
    },
    /// The disk could be written again.
    SavedAgain {
        /// The step of the new checkpoint.
        step: usize,
    },
    /// The run continues from a checkpoint after the device failed.
    Restarted {
        error: Error,
        /// The step of the checkpoint; `None` for the beginning.
        step: Option<usize>,
    },
    /// A checkpoint cannot be read; an older one is used.
    DamagedCheckpoint(Error),
}

impl fmt::Display for RunWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RunWarning::DeviceNotWritten(error) | RunWarning::DamagedCheckpoint(error) => {
                write!(f, "{error}")
            }
            RunWarning::NotSaved { error, step } => {
                write!(f, "{error}; the run continues and tries again; ")?;
                match step {
                    Some(step) => write!(f, "the last checkpoint is of step {step}"),
                    None => write!(f, "nothing is saved yet"),
                }
            }
            RunWarning::SavedAgain { step } => write!(
                f,
                "the disk can be written again: all is saved up to step {step}"
            ),
            RunWarning::Restarted { error, step } => {
                write!(f, "{error}; the run continues from ")?;
                match step {
                    Some(step) => write!(f, "the checkpoint of step {step}"),
                    None => write!(f, "the beginning"),
                }
            }
        }
    }
}
