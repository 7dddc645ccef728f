//! Results of a verification, by kernel.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;

use super::BufferContents;
use super::tracked::Tracked;
use crate::numeric::real::Real;

/// The name of the [`Report`]'s row for whole training steps; other rows have a kernel's name.
pub const TRAINING: &str = "training steps";

/// The results of all cases played so far.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub cases: usize,
    pub kernels: BTreeMap<&'static str, Row>,
    /// For each kernel and each case in which it failed, the element with the largest error.
    pub failures: Vec<Deviation>,
}

impl Report {
    /// Whether every element was within its bound.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }

    /// Returns the number of cases in which a kernel failed.
    pub fn failed_cases(&self) -> usize {
        let cases = self.failures.iter().map(|failure| failure.case.as_str());
        cases.collect::<BTreeSet<&str>>().len()
    }

    /// Adds the results of other cases.
    pub(super) fn merge(&mut self, other: Report) {
        self.cases += other.cases;
        self.failures.extend(other.failures);
        for (kernel, row) in other.kernels {
            self.kernels.entry(kernel).or_default().add(row);
        }
    }

    /// Adds the rows of one case.
    pub(super) fn add(&mut self, rows: BTreeMap<&'static str, Row>) {
        self.cases += 1;
        for (kernel, row) in rows {
            self.failures.extend(row.failure().cloned());
            self.kernels.entry(kernel).or_default().add(row);
        }
    }
}

/// The results of one kernel.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Row {
    pub cases: usize,
    pub calls: usize,
    /// Elements compared.
    #[serde(rename = "numbers")]
    pub elements: u64,
    /// Elements without a finite bound, for example after a division by a value that may be 0. They
    /// are counted in `elements` but not compared.
    pub unbounded: u64,
    /// The largest difference from the reference.
    pub absolute: f64,
    /// The largest difference, relative to the largest magnitude in the same argument.
    pub relative: f64,
    /// The largest difference, as a multiple of the element's rounding bound: above 1 the kernel is
    /// wrong. Infinite (`null` in JSON) for an element that must be exact and is not.
    pub units: f64,
    /// The element with that difference.
    pub worst: Option<Deviation>,
}

impl Row {
    /// Returns the worst element where it is beyond its bound.
    pub(super) fn failure(&self) -> Option<&Deviation> {
        self.worst.as_ref().filter(|worst| worst.units > 1.0)
    }

    /// Merges the results of further calls of the same kernel.
    pub(super) fn add(&mut self, other: Row) {
        self.cases += other.cases;
        self.calls += other.calls;
        self.elements += other.elements;
        self.unbounded += other.unbounded;
        self.absolute = self.absolute.max(other.absolute);
        self.relative = self.relative.max(other.relative);
        if self.worst.is_none() || other.units > self.units {
            (self.units, self.worst) = (other.units, other.worst);
        }
    }

    /// Compares every element of one argument.
    pub(super) fn compare(&mut self, outcome: &Outcome, location: Location) {
        let (mut absolute, mut magnitude) = (0.0f64, 0.0f64);
        for (index, pair) in outcome.pairs().enumerate() {
            self.elements += 1;
            if !pair.is_bounded() {
                self.unbounded += 1;
                continue;
            }
            absolute = absolute.max(pair.difference());
            magnitude = magnitude.max(pair.expected.abs());
            let units = pair.units();
            if self.worst.is_none() || units > self.units {
                self.units = units;
                self.worst = Some(location.deviation(index, pair));
            }
        }
        self.absolute = self.absolute.max(absolute);
        // For smaller magnitudes, flushed subnormal values dominate the relative difference.
        if magnitude > f64::from(f32::MIN_POSITIVE) / f64::from(f32::EPSILON) {
            self.relative = self.relative.max(absolute / magnitude);
        }
    }
}

/// One element that a call has computed, beside its reference.
#[derive(Debug, Clone, Serialize)]
pub struct Deviation {
    pub kernel: &'static str,
    pub case: String,
    /// The phase and the call's index in it, for example `forward 3`.
    pub call: String,
    /// The argument's name; for whole training steps the buffer's.
    pub argument: String,
    /// The element's index in the argument's buffer.
    pub index: usize,
    pub expected: f64,
    pub found: f64,
    pub bound: f64,
    /// `|found - expected| / bound`.
    pub units: f64,
}

impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deviation {
            kernel,
            case,
            call,
            argument,
            index,
            ..
        } = self;
        let (found, expected, bound) = (self.found, self.expected, self.bound);
        write!(
            f,
            "{kernel} in {case}, call {call}: {argument}[{index}] is {found:e}, \
             must be {expected:e} ± {bound:.1e}"
        )
    }
}

/// The argument of a call that is compared.
#[derive(Debug, Clone, Copy)]
pub(super) struct Location<'a> {
    pub kernel: &'static str,
    pub case: &'a str,
    pub call: &'a str,
    pub argument: &'a str,
}

impl Location<'_> {
    fn deviation(self, index: usize, pair: Pair) -> Deviation {
        Deviation {
            kernel: self.kernel,
            case: self.case.into(),
            call: self.call.into(),
            argument: self.argument.into(),
            index,
            expected: pair.expected,
            found: pair.found,
            bound: pair.bound,
            units: pair.units(),
        }
    }
}

/// The contents of one buffer on the reference and on the device.
pub(super) enum Outcome {
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
    fn pairs(&self) -> Box<dyn Iterator<Item = Pair> + '_> {
        match self {
            Outcome::Real { expected, found } => {
                let both = expected.iter().zip(found);
                Box::new(both.map(|(expected, &found)| Pair {
                    expected: expected.f64(),
                    bound: expected.bound(),
                    found: found.into(),
                }))
            }
            Outcome::Index { expected, found } => {
                let both = expected.iter().zip(found);
                Box::new(both.map(|(&expected, &found)| Pair {
                    expected: expected.into(),
                    bound: 0.0,
                    found: found.into(),
                }))
            }
        }
    }

    /// Returns the reference's values in f32, from which both continue.
    pub(super) fn rounded(&self) -> BufferContents {
        match self {
            Outcome::Real { expected, .. } => {
                let rounded = expected.iter().map(|value| value.f64() as f32);
                BufferContents::Real(rounded.collect())
            }
            Outcome::Index { expected, .. } => BufferContents::Index(expected.clone()),
        }
    }
}

/// An element on the reference and on the device.
#[derive(Debug, Clone, Copy)]
struct Pair {
    expected: f64,
    bound: f64,
    found: f64,
}

impl Pair {
    /// Whether f32 can hold every value within the bound. Where it cannot, the device may return
    /// infinity or NaN, so nothing is compared.
    fn is_bounded(self) -> bool {
        self.expected.abs() + self.bound <= f32::MAX.into()
    }

    fn difference(self) -> f64 {
        (self.found - self.expected).abs()
    }

    /// The difference as a multiple of the bound; infinite for a NaN in place of a finite value.
    fn units(self) -> f64 {
        let difference = self.difference();
        if difference == 0.0 {
            0.0
        } else if difference.is_nan() {
            f64::INFINITY
        } else {
            difference / self.bound
        }
    }
}
