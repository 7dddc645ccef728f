//! Runs a reference case on an executor and returns its results under the names of the case.

pub mod case;
pub mod parameters;
pub mod play;
