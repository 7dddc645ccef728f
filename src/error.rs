//! The error type of the library. Every message says which value is wrong and where, what is
//! allowed, and what to do.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::messages::{mebibytes, printable, shown_path};

/// A decision of the caller, which data leave open or which corrects a guess about them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// The column to predict.
    Target,
    /// The column of groups, or that there is none.
    Group,
    /// The column of times.
    Time,
    /// Whether a language model should learn the text.
    TextRecipe,
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Decision::Target => "set the hint `target` to the column to predict",
            Decision::Group => {
                "set the hint `group` to the column that tells series apart, or to none"
            }
            Decision::Time => "set the hint `time` to the column of times",
            Decision::TextRecipe => "for a language model, use the recipe `text`",
        })
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The request is invalid: an unknown recipe, a misspelt key, options that exclude each other.
    #[error("{}", printable(.0))]
    Usage(String),
    /// A field has a value that is not allowed.
    #[error(
        "{} is {}; it must be {}",
        printable(field),
        printable(value),
        printable(allowed)
    )]
    InvalidValue {
        /// The field's path in the recipe, as `network.layer.0.hidden_size`.
        field: String,
        value: String,
        /// The allowed values, as a noun phrase.
        allowed: String,
    },
    /// No adapter has the requested index or name.
    #[error(
        "no adapter has the index or name `{}`; {}",
        printable(request),
        available(adapters)
    )]
    UnknownDevice {
        request: String,
        /// Labels of the adapters that exist.
        adapters: Vec<String>,
    },
    /// Several adapters have the requested name.
    #[error(
        "several adapters have `{}` in their name: {}; choose one by its index",
        printable(request),
        printable(&adapters.join(", "))
    )]
    AmbiguousDevice {
        request: String,
        /// Labels of the adapters with that name.
        adapters: Vec<String>,
    },
    /// The machine has no GPU adapter, not even a software one.
    #[error(
        "there is no GPU adapter; install the driver of the GPU, or a software driver \
         (on Debian: apt install mesa-vulkan-drivers), or use the CPU"
    )]
    NoAdapter,
    /// A file cannot be read or written, or its contents are not what they should be.
    #[error("{}: {}", shown_path(path), printable(problem))]
    File { path: PathBuf, problem: String },
    /// A file can be used only after a decision of the caller.
    #[error("{}: {}; {decision}", shown_path(path), printable(problem))]
    Undecided {
        path: PathBuf,
        problem: String,
        decision: Decision,
    },
    /// The data are not valid, or do not fit the network.
    #[error("{}", printable(.0))]
    Data(String),
    /// The device has too little free memory.
    #[error("{device} has {} free, and {purpose}; {remedy}", free(*available))]
    OutOfMemory {
        device: String,
        /// Bytes that are free, where the device reports them.
        available: Option<u64>,
        /// Bytes that are needed, if they are known.
        needed: Option<u64>,
        /// A clause on what needs how many bytes.
        purpose: String,
        /// A clause on what to do.
        remedy: &'static str,
    },
    /// The data and the window that streams them need more device memory than `data_memory` grants.
    #[error(
        "data_memory is {}, and two batches of each split, the least that streaming needs, take {}; \
         increase data_memory or reduce the batch size",
        mebibytes(*granted),
        mebibytes(*needed)
    )]
    DataMemory {
        /// Bytes.
        granted: u64,
        /// Bytes.
        needed: u64,
    },
    /// A size is beyond a limit of the device or of a kernel.
    #[error("{what} needs {needed}, and {device} allows {limit}; {remedy}")]
    LimitExceeded {
        what: String,
        /// The quantity needed, with its unit.
        needed: String,
        device: String,
        /// The device's limit, with its unit.
        limit: String,
        /// A clause on what to do.
        remedy: String,
    },
    /// The program does not fit the device with the requested batch size.
    #[error("{reason}; {}", largest_batch(*largest))]
    BatchTooLarge {
        /// Why the requested batch size does not fit.
        reason: Box<Error>,
        /// The largest batch size that fits, if any does.
        largest: Option<usize>,
    },
    /// A GPU was requested from a build without GPU support.
    #[error("this build has no GPU support; build gatescan with the feature `gpu`, or use the CPU")]
    NoGpuSupport,
    /// gatescan made an invalid request to wgpu.
    #[error(
        "{device}: wgpu rejected a request, which is a defect in gatescan; please report it: \
         {problem}"
    )]
    Defect { device: String, problem: String },
    /// The driver refused a request or failed.
    #[error("{device}: {problem}")]
    Driver { device: String, problem: String },
    /// The device was lost; opening it again may succeed.
    #[error("{device}: the device was lost: {reason}")]
    DeviceLost { device: String, reason: String },
    /// The driver dropped submissions but reported them complete; the contents of device memory are
    /// undefined.
    #[error(
        "{device}: the driver dropped submissions but reported them complete: \
         of {submitted} submissions it completed {completed} (a GPU watchdog timeout?)"
    )]
    WorkLost {
        device: String,
        submitted: u32,
        completed: u32,
    },
    /// The device of another process of a distributed run has failed, and that process goes on from
    /// the newest checkpoint.
    #[error("the device of rank {rank} has failed; all processes go back to the newest checkpoint")]
    RankFailed { rank: usize },
    /// A loss, a gradient's norm, a parameter or a moment is not finite.
    #[error("{problem}")]
    NotFinite {
        /// Updates up to and including that step.
        step: usize,
        problem: String,
    },
    /// A kernel's result is further from its f64 reference than rounding explains.
    #[error("{0}")]
    WrongResult(String),
    /// The interpreter has found a kernel that breaks a rule of WGSL or of this crate.
    #[error("{}", findings.join("; "))]
    ShaderFault {
        /// The findings as text, at least one.
        findings: Vec<String>,
    },
    /// Anything else that fails at run time, in the environment rather than in the request.
    #[error("{0}")]
    Failed(String),
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A request that is not valid.
    pub fn usage(message: impl Into<String>) -> Self {
        Error::Usage(message.into())
    }

    /// A field whose value is not allowed; `allowed` is a noun phrase.
    pub fn invalid(
        field: impl Into<String>,
        value: impl ToString,
        allowed: impl Into<String>,
    ) -> Self {
        Error::InvalidValue {
            field: field.into(),
            value: value.to_string(),
            allowed: allowed.into(),
        }
    }

    /// A file with invalid contents; `problem` says what was expected and what was found.
    pub fn file(path: impl AsRef<Path>, problem: impl ToString) -> Self {
        Error::File {
            path: path.as_ref().to_path_buf(),
            problem: problem.to_string(),
        }
    }

    /// A file that can be used only after a decision.
    pub fn undecided(
        path: impl AsRef<Path>,
        problem: impl Into<String>,
        decision: Decision,
    ) -> Self {
        Error::Undecided {
            path: path.as_ref().to_path_buf(),
            problem: problem.into(),
            decision,
        }
    }

    /// Data that are not valid or do not fit.
    pub fn data(message: impl Into<String>) -> Self {
        Error::Data(message.into())
    }

    /// Whether the request is at fault, and not what happened while it was carried out.
    pub fn is_usage(&self) -> bool {
        matches!(
            self,
            Error::Usage(_)
                | Error::InvalidValue { .. }
                | Error::UnknownDevice { .. }
                | Error::AmbiguousDevice { .. }
        )
    }

    /// Whether the device lacks the room for a program: a smaller program may fit.
    pub fn is_lack_of_room(&self) -> bool {
        matches!(
            self,
            Error::OutOfMemory { .. }
                | Error::DataMemory { .. }
                | Error::LimitExceeded { .. }
                | Error::BatchTooLarge { .. }
        )
    }

    /// The process exit code: 2 for wrong usage, 1 for what failed at run time.
    pub fn exit_code(&self) -> u8 {
        if self.is_usage() { 2 } else { 1 }
    }
}

fn available(adapters: &[String]) -> String {
    if adapters.is_empty() {
        "there is no GPU adapter".to_string()
    } else {
        format!("available: {}", printable(&adapters.join(", ")))
    }
}

fn free(available: Option<u64>) -> String {
    match available {
        Some(bytes) => format!("{} of memory", mebibytes(bytes)),
        None => "too little memory".to_string(),
    }
}

fn largest_batch(largest: Option<usize>) -> String {
    match largest {
        Some(size) => format!("the largest batch size that fits is {size}"),
        None => "not even a batch size of 1 fits".to_string(),
    }
}
