//! `gatescan train --tui`: a run in progress on the whole terminal.
//!
//! Training updates the [`ScreenState`]. A thread draws it at most ten times a second and reads the
//! keys. Lines that are printed meanwhile are shown and kept, and printed when the terminal is
//! restored.

mod drawing;
mod state;
mod terminal;
#[cfg(test)]
mod tests;

pub use state::ScreenState;
pub use terminal::{Screen, ScreenHandle};
