//! Replaces `tui` in a build without the feature `tui`.

use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use gatescan::train::{EpochMetrics, Position};
use gatescan::{Error, Event, Result};

use super::console::{Console, OutputStream};
use super::train::describe::RunDescription;

pub struct Screen;

impl Screen {
    /// # Errors
    /// [`Error::Usage`], always.
    pub fn check(_: &Console) -> Result<()> {
        Err(Error::usage(
            "--tui: this gatescan was built without it; install one that has it with \
             `cargo install gatescan --features tui`, or in a clone with `cargo install --path . \
             --features tui`",
        ))
    }

    pub fn open(console: &Console, _: ScreenState, _: Arc<AtomicBool>) -> Result<Screen> {
        Screen::check(console).map(|()| Screen)
    }

    pub fn show(&self, _: Event, _: &Position, _: usize) {}
}

pub struct ScreenState;

impl ScreenState {
    pub fn new(_: RunDescription, _: Vec<EpochMetrics>) -> ScreenState {
        ScreenState
    }
}

#[derive(Clone, Default)]
pub struct ScreenHandle(());

impl ScreenHandle {
    pub fn hold(&self, _: OutputStream, _: &impl Display) -> bool {
        false
    }

    pub fn restore(&self) {}
}
