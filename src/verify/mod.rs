//! Verification of a device: every kernel call is compared with the CPU in f64.
//!
//! A [`Case`] is a recorded program with the contents of its buffers. The reference plays one
//! kernel call with values that carry a bound on the rounding error of f32; the device plays the
//! same call from the same inputs. Every element of every buffer that the call may write is then
//! compared. Both continue from the reference's results, rounded to f32, so an error names the
//! kernel that made it and does not spread. No tolerance is chosen: the bound follows from the
//! formula, the sizes and the magnitudes.
//!
//! ```
//! use gatescan::Device;
//! use gatescan::verify;
//! use gatescan::OpenDevice;
//!
//! let device = OpenDevice::open(&Device::Cpu)?;
//! let mut report = verify::Report::default();
//! for case in verify::sweep(verify::Effort::Quick) {
//!     case.check(&device, &mut report, None)?;
//! }
//! assert!(report.passed(), "{}", report.failures[0]);
//! # Ok::<(), gatescan::Error>(())
//! ```

#[cfg(test)]
mod bf16_mistakes;
mod case_run;
#[cfg_attr(not(feature = "tables"), path = "no_dump.rs")]
mod dump;
mod parallel;
#[cfg(feature = "report")]
pub(crate) mod recorded;
mod report;
mod sweep;
mod tracked;

use std::collections::BTreeMap;
use std::path::Path;

use rayon::prelude::*;

pub use parallel::check_all;
pub use report::{Deviation, Report, Row, TRAINING};
pub use sweep::{Effort, recipe_cases, sweep, sweep_case};

use crate::backend::OpenDevice;
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};
use crate::program::Program;
use crate::tensor::Tensor;
use case_run::CaseRun;

/// A program to play, with the contents of its buffers.
pub struct Case {
    /// Cell, sizes, options and kind of values, joined by hyphens. A name means the same case in
    /// every sweep.
    pub id: String,
    /// Cases of one family share most of their shaders.
    family: &'static str,
    compare_after: CompareAfter,
    /// Whether it is of one kernel and not of a network.
    is_kernel: bool,
    make: Box<dyn Fn(Tuning) -> Result<Scene> + Send + Sync>,
}

/// When the buffers of device and reference are compared.
#[derive(Debug, Clone, Copy)]
enum CompareAfter {
    /// After each call, which starts from the reference's values.
    EachCall,
    /// Once, after this number of training steps and an evaluation; the bound covers all of their
    /// arithmetic.
    TrainingSteps(usize),
}

/// A program and the initial contents of its buffers.
struct Scene {
    program: Program,
    /// One entry for each buffer of the program.
    contents: Vec<BufferContents>,
    /// Tensors whose contents are arbitrary: a kernel must write them before another reads them.
    unwritten: Vec<Tensor>,
}

/// The elements of one buffer.
#[derive(Debug, Clone)]
enum BufferContents {
    Real(Vec<f32>),
    Index(Vec<u32>),
}

/// Plays cases on `device`, several at once, and returns the results of all of them, and the errors
/// of those that did not end, by their names.
pub fn check_cases(
    cases: &[Case],
    device: &OpenDevice,
    dump: Option<&Path>,
) -> (Report, Vec<(String, Error)>) {
    let check = |case: &Case| {
        let mut report = Report::default();
        let result = case.check(device, &mut report, dump);
        (report, result.err().map(|error| (case.id.clone(), error)))
    };
    let results: Vec<_> = cases.par_iter().with_max_len(1).map(check).collect();
    let mut merged = Report::default();
    let mut errors = vec![];
    for (report, error) in results {
        merged.merge(report);
        errors.extend(error);
    }
    (merged, errors)
}

impl Case {
    /// Whether the program depends on the device's tuning. That of a single kernel does not: it is
    /// the same on every device.
    pub fn depends_on_tuning(&self) -> bool {
        !self.is_kernel
    }

    /// Plays the case on `device` and adds the results to `report`. For each call that fails, the
    /// arguments are saved in a directory of their own under `dump`, as `NAME.before.npy`,
    /// `.found`, `.expected` and `.bound`.
    ///
    /// # Errors
    /// Those of the device, for example a kernel that does not compile; a file that cannot be
    /// written. A wrong element is not an error but a failure in the report.
    pub fn check(
        &self,
        device: &OpenDevice,
        report: &mut Report,
        dump: Option<&Path>,
    ) -> Result<()> {
        report.add(self.rows(device, dump)?);
        Ok(())
    }

    /// Plays the case on `device` and returns the results by kernel.
    fn rows(
        &self,
        device: &OpenDevice,
        dump: Option<&Path>,
    ) -> Result<BTreeMap<&'static str, Row>> {
        let mut scene = (self.make)(device.tuning())?;
        if self.is_kernel {
            // A network's program has the precision that it was recorded with.
            scene.program.set_precision(device.tuning().precision);
        }
        let mut run = CaseRun::load(&self.id, scene, device, dump)?;
        match self.compare_after {
            CompareAfter::EachCall => run.play_calls()?,
            CompareAfter::TrainingSteps(steps) => run.play_training(steps)?,
        }
        Ok(run.into_rows())
    }
}
