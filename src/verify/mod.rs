//! Whether a device computes what it should: kernel calls, one at a time, against the CPU in f64.
//!
//! A [`Case`] is a recorded program with its buffers filled. The reference plays each call with numbers that carry a bound on
//! what f32 rounding can add; the device plays the same call alone, from the same inputs, and every buffer that it may write
//! is compared whole. Then both go on from the reference's results, rounded to f32. So an error names the kernel that made it
//! and does not spread, and no tolerance is chosen: the bound follows from the formula, the sizes and the magnitudes.
//!
//! ```
//! use gatescan::{device::Device, place::OpenDevice, verify};
//!
//! let place = OpenDevice::open(&Device::Cpu)?;
//! let mut report = verify::Report::default();
//! for case in verify::sweep(verify::Effort::Quick) {
//!     case.check(&place, &mut report, None)?;
//! }
//! assert!(report.passed(), "{}", report.failures[0]);
//! # Ok::<(), gatescan::error::Error>(())
//! ```

mod sweep;
mod tracked;

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ndarray::{ArrayD, IxDyn};
use serde::Serialize;

pub use sweep::{Effort, of_recipe, sweep};
use tracked::Tracked;

use crate::backend::OpenDevice;
use crate::backend::cpu::Cpu;
use crate::backend::executor::Executor;
use crate::backend::tuning::Tuning;
use crate::error::{Error, Result};
use crate::kernels::{Access, Arg, Call};
use crate::numeric::real::Real;
use crate::program::{Phase, Program};
use crate::tensor::{Element, Tensor};

/// What stands in a [`Report`] in place of a kernel for whole training steps.
pub const TRAINING: &str = "training steps";

/// A program to play.
pub struct Case {
    /// Names it: cell, sizes, options, values.
    pub id: String,
    manner: Manner,
    make: Box<dyn Fn(Tuning) -> Result<Scene>>,
}

/// How a program is played.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// One call at a time, each from the reference's numbers.
    Calls,
    /// So many training steps, end to end; the bound is that of all their arithmetic.
    Training(usize),
}

/// A program and what its buffers hold at first.
struct Scene {
    program: Program,
    contents: Vec<Content>,
}

/// What one buffer holds.
#[derive(Debug, Clone)]
enum Content {
    Real(Vec<f32>),
    Index(Vec<u32>),
}

/// What was found of each kernel.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub cases: usize,
    pub kernels: BTreeMap<&'static str, Row>,
    /// The worst number of each kernel that failed, in each case where it did.
    pub failures: Vec<Spot>,
}

/// What was found of one kernel.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub cases: usize,
    pub calls: usize,
    /// Numbers compared.
    pub numbers: u64,
    /// Of them those about which rounding leaves nothing to say: a division by what may be 0.
    pub unbounded: u64,
    /// The largest difference from the reference.
    pub absolute: f64,
    /// The largest difference, relative to the largest magnitude in the same argument.
    pub relative: f64,
    /// The largest difference, in units of the bound that rounding explains: above 1 the kernel is wrong. Infinite (`null` in
    /// JSON) where a number had to be exact and is not.
    pub units: f64,
    /// Where that is.
    pub worst: Option<Spot>,
}

/// One number of one call.
#[derive(Debug, Clone, Serialize)]
pub struct Spot {
    pub kernel: &'static str,
    pub case: String,
    /// Phase and number of the call in it, as in `forward 3`.
    pub call: String,
    /// The argument's name; a buffer's for whole training steps.
    pub argument: String,
    /// In the argument's buffer.
    pub index: usize,
    pub expected: f64,
    pub found: f64,
    pub bound: f64,
    /// `|found - expected| / bound`.
    pub units: f64,
}

impl fmt::Display for Spot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Spot {
            kernel,
            case,
            call,
            argument,
            index,
            expected,
            found,
            bound,
            ..
        } = self;
        write!(
            f,
            "{kernel} in {case}, call {call}: {argument}[{index}] is {found:e}, must be {expected:e} ± {bound:.1e}"
        )
    }
}

impl Report {
    /// Whether every number was within its bound.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

impl Case {
    /// Plays it on `place` and adds what was found to `report`. The arguments of calls that fail are saved in `dump`, in a
    /// directory for each call: `NAME.before.npy`, `.found`, `.expected` and `.bound`.
    ///
    /// # Errors
    /// What the device reports, such as a kernel that it cannot compile; a file that cannot be written. A wrong number is no
    /// error but a failure in the report.
    pub fn check(
        &self,
        place: &OpenDevice,
        report: &mut Report,
        dump: Option<&Path>,
    ) -> Result<()> {
        let Scene { program, contents } = (self.make)(place.tuning())?;
        let mut play = Play {
            case: self,
            device: place.load(&program)?,
            reference: Cpu::new(program.clone())?,
            program,
            contents,
            seen: BTreeMap::new(),
            dump,
        };
        for number in 0..play.contents.len() {
            let content = play.contents[number].clone();
            play.set(number, content)?;
        }
        match self.manner {
            Manner::Calls => play.calls()?,
            Manner::Training(steps) => play.training(steps)?,
        }
        report.cases += 1;
        for (kernel, row) in play.seen {
            let failed = row.worst.clone().filter(|worst| worst.units > 1.0);
            report.failures.extend(failed);
            report.kernels.entry(kernel).or_default().add(row);
        }
        Ok(())
    }
}

impl Row {
    fn add(&mut self, other: Row) {
        self.cases += other.cases;
        self.calls += other.calls;
        self.numbers += other.numbers;
        self.unbounded += other.unbounded;
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
        if self.worst.is_none() || other.units > self.units {
            (self.units, self.worst) = (other.units, other.worst);
        }
    }
}

/// A case being played.
struct Play<'a> {
    case: &'a Case,
    device: Box<dyn Executor>,
    reference: Cpu<Tracked>,
    program: Program,
    /// What both hold.
    contents: Vec<Content>,
    seen: BTreeMap<&'static str, Row>,
    dump: Option<&'a Path>,
}

impl Play<'_> {
    /// Puts `content` into a buffer of both.
    fn set(&mut self, buffer: usize, content: Content) -> Result<()> {
        let whole = self.program.whole(buffer);
        let players: [&mut dyn Executor; 2] = [&mut self.reference, self.device.as_mut()];
        for player in players {
            match &content {
                Content::Real(values) => player.write(&whole, values)?,
                Content::Index(values) => player.write_index(&whole, values)?,
            }
        }
        self.contents[buffer] = content;
        Ok(())
    }

    fn calls(&mut self) -> Result<()> {
        for phase in Phase::ALL {
            for number in 0..self.program.calls(phase).len() {
                let call = self.program.calls(phase)[number].clone();
                self.reference.time_call(phase, number)?;
                self.device.time_call(phase, number)?;
                let name = format!("{phase:?} {number}").to_lowercase();
                self.judge(&call, &name)?;
            }
        }
        for row in self.seen.values_mut() {
            row.cases = 1;
        }
        Ok(())
    }

    /// Compares all that a call may have written, and goes on from the reference's numbers.
    fn judge(&mut self, call: &Call, name: &str) -> Result<()> {
        let kernel = call.kernel().name();
        let args = call.kernel().args();
        let mut row = Row {
            calls: 1,
            ..Row::default()
        };
        let mut next = vec![];
        let mut outcomes = vec![];
        for arg in args.iter().filter(|arg| arg.access == Access::Write) {
            let buffer = arg.tensor.buffer.index();
            let outcome = self.outcome(buffer)?;
            row.compare(&outcome, kernel, &self.case.id, name, arg.name);
            next.push((buffer, outcome.rounded()));
            outcomes.push((arg.name, outcome));
        }
        if let Some(directory) = self.dump.filter(|_| row.units > 1.0) {
            let directory =
                directory.join(format!("{} {name} {kernel}", self.case.id).replace(' ', "-"));
            std::fs::create_dir_all(&directory)
                .map_err(|error| Error::file(&directory, format!("cannot be made: {error}")))?;
            self.save(&directory, &args, &outcomes)?;
        }
        self.seen.entry(kernel).or_default().add(row);
        next.into_iter()
            .try_for_each(|(buffer, content)| self.set(buffer, content))
    }

    /// What the two have made of a buffer.
    fn outcome(&mut self, buffer: usize) -> Result<Outcome> {
        let whole = self.program.whole(buffer);
        Ok(match self.program.buffers()[buffer].element {
            Element::Real => Outcome::Real {
                expected: self.reference.read_exact(&whole),
                found: self.device.read(&whole)?,
            },
            Element::Index => Outcome::Index {
                expected: self.reference.read_index(&whole)?,
                found: self.device.read_index(&whole)?,
            },
        })
    }

    fn training(&mut self, steps: usize) -> Result<()> {
        self.reference.run(&Phase::TRAIN, steps)?;
        self.device.run(&Phase::TRAIN, steps)?;
        let mut row = Row {
            cases: 1,
            calls: steps,
            ..Row::default()
        };
        let name = format!("all of {steps} steps");
        for buffer in 0..self.contents.len() {
            let outcome = self.outcome(buffer)?;
            let argument = &self.program.buffers()[buffer].name;
            row.compare(&outcome, TRAINING, &self.case.id, &name, argument);
        }
        self.seen.insert(TRAINING, row);
        Ok(())
    }

    fn save(&self, directory: &Path, args: &[Arg], outcomes: &[(&str, Outcome)]) -> Result<()> {
        for Arg { name, tensor, .. } in args {
            match &self.contents[tensor.buffer.index()] {
                Content::Real(values) => save(directory, name, "before", tensor, values)?,
                Content::Index(values) => save(directory, name, "before", tensor, values)?,
            }
            let outcome = outcomes.iter().find(|(written, _)| written == name);
            match outcome.map(|(_, outcome)| outcome) {
                Some(Outcome::Real { expected, found }) => {
                    let values: Vec<f64> = expected.iter().map(|number| number.f64()).collect();
                    let bounds: Vec<f64> = expected.iter().map(|number| number.bound()).collect();
                    save(directory, name, "expected", tensor, &values)?;
                    save(directory, name, "bound", tensor, &bounds)?;
                    save(directory, name, "found", tensor, found)?;
                }
                Some(Outcome::Index { expected, found }) => {
                    save(directory, name, "expected", tensor, expected)?;
                    save(directory, name, "found", tensor, found)?;
                }
                None => {}
            }
        }
        Ok(())
    }
}

/// Writes the part of a buffer that a call sees.
fn save<E: ndarray_npy::WritableElement + Copy>(
    directory: &Path,
    argument: &str,
    what: &str,
    tensor: &Tensor,
    buffer: &[E],
) -> Result<()> {
    let path = directory.join(format!("{argument}.{what}.npy"));
    let values = buffer[tensor.range()].to_vec();
    let array = ArrayD::from_shape_vec(IxDyn(tensor.shape.extents()), values);
    let array = array.map_err(|error| Error::file(&path, error))?;
    ndarray_npy::write_npy(&path, &array)
        .map_err(|error| Error::file(&path, format!("cannot be written: {error}")))
}

/// What the two have made of one buffer.
enum Outcome {
    Real {
        expected: Vec<Tracked>,
        found: Vec<f32>,
    },
    Index {
        expected: Vec<u32>,
        found: Vec<u32>,
    },
}

impl Outcome {
    /// Value, bound and what was found of each number.
    fn numbers(&self) -> Box<dyn Iterator<Item = (f64, f64, f64)> + '_> {
        match self {
            Outcome::Real { expected, found } => {
                let pairs = expected.iter().zip(found);
                Box::new(pairs.map(|(e, &f)| (e.f64(), e.bound(), f.into())))
            }
            Outcome::Index { expected, found } => {
                let pairs = expected.iter().zip(found);
                Box::new(pairs.map(|(&e, &f)| (e.into(), 0.0, f.into())))
            }
        }
    }

    /// What both go on from.
    fn rounded(&self) -> Content {
        match self {
            Outcome::Real { expected, .. } => {
                Content::Real(expected.iter().map(|number| number.f64() as f32).collect())
            }
            Outcome::Index { expected, .. } => Content::Index(expected.clone()),
        }
    }
}

impl Row {
    fn compare(
        &mut self,
        outcome: &Outcome,
        kernel: &'static str,
        case: &str,
        call: &str,
        argument: &str,
    ) {
        let (mut absolute, mut magnitude) = (0.0f64, 0.0f64);
        for (index, (expected, bound, found)) in outcome.numbers().enumerate() {
            self.numbers += 1;
            // Beyond what f32 holds there is nothing to compare: infinities and what is not a number may be taken for any.
            let reach = expected.abs() + bound;
            if reach.is_nan() || reach > f32::MAX.into() {
                self.unbounded += 1;
                continue;
            }
            let difference = (found - expected).abs();
            let units = match difference == 0.0 {
                true => 0.0,
                // Not a number, where one was due, is as wrong as can be.
                false if difference.is_nan() => f64::INFINITY,
                false => difference / bound,
            };
            absolute = absolute.max(difference);
            magnitude = magnitude.max(expected.abs());
            if self.worst.is_none() || units > self.units {
                self.units = units;
                self.worst = Some(Spot {
                    kernel,
                    case: case.into(),
                    call: call.into(),
                    argument: argument.into(),
                    index,
                    expected,
                    found,
                    bound,
                    units,
                });
            }
        }
        self.absolute = self.absolute.max(absolute);
        // Below, what is lost is not relative to anything.
        if magnitude > f64::from(f32::MIN_POSITIVE) / f64::from(f32::EPSILON) {
            self.relative = self.relative.max(absolute / magnitude);
        }
    }
}
