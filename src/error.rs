//! The one error type. Every message says what was wrong, where, what was expected and what to do.

use std::path::{Path, PathBuf};

/// What can go wrong, sorted by whose turn it is to act.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself makes no sense: an unknown recipe, a keep probability of 2, a misspelt key.
    #[error("{0}")]
    Usage(String),
    /// A file does not hold what it should.
    #[error("{}: {problem}", path.display())]
    File { path: PathBuf, problem: String },
    /// The device refused, is missing, or cannot hold the program.
    #[error("{0}")]
    Device(String),
    /// The device is gone; opened anew, it may do.
    #[error("{0}")]
    DeviceLost(String),
    /// The driver has dropped work without a word; what the device holds cannot be relied upon.
    #[error("{0}")]
    WorkLost(String),
    /// A step's loss, its gradient's norm, or what it made of the parameters is not finite.
    #[error("{problem}")]
    NotFinite {
        /// Updates up to and with that step.
        step: usize,
        problem: String,
    },
    /// Training cannot go on (a loss that is not finite, say).
    #[error("{0}")]
    Training(String),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A request that makes no sense.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// A file that does not hold what it should; `problem` says what was expected and what came.
    pub fn file(path: impl AsRef<Path>, problem: impl ToString) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            problem: problem.to_string(),
        }
    }

    /// The process exit code: 2 for wrong usage, 1 for what failed at run time.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            _ => 1,
        }
    }
}
