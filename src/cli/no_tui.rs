//! What stands in for `tui.rs` where the program is built without the feature `tui`.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gatescan::data::text::Unit;
use gatescan::error::{Error, Result};
use gatescan::train::{Event, Position};

use super::Stream;

pub struct Screen;

impl Screen {
    /// # Errors
    /// [`Error::Usage`], always.
    pub fn check() -> Result<()> {
        Err(Error::usage(
            "--tui: this gatescan was built without it; install one that has it with \
             `cargo install gatescan --features tui`, or in a clone with `cargo install --path . --features tui`",
        ))
    }

    pub fn open(_: State, _: Arc<AtomicBool>) -> Result<Screen> {
        Screen::check().map(|()| Screen)
    }

    pub fn show(&self, _: Event, _: &Position, _: usize) {}
}

pub struct State;

impl State {
    pub fn new(_: String, _: String, _: String, _: Option<(Unit, usize)>) -> State {
        State
    }
}

pub fn hold(_: Stream, _: &impl Display) -> bool {
    false
}

pub fn restore() {}
