//! Plays a reference case on an executor, and gives back under the case's own names what came out.

pub mod case;
pub mod parameters;
pub mod play;
