//! `gatescan verify --device interpreter` in a build without the feature `gpu`, to which the
//! interpreter belongs.

use std::path::Path;

use clap::Args;
use gatescan::verify::Case;
use gatescan::{Error, Result};

use super::Tune;

/// The value of `--device` that chooses the interpreter.
pub(super) const DEVICE: &str = "interpreter";

/// The hardware that the interpreter stands for.
#[derive(Args)]
pub(super) struct Hardware {}

impl Hardware {
    pub(super) fn check_unused(&self) -> Result<()> {
        Ok(())
    }
}

/// The results of all profiles.
pub(super) enum Outcome {}

/// Fails: the build has no interpreter.
pub(super) fn run(_: &Hardware, _: &Tune, _: Vec<Case>, _: Option<&Path>) -> Result<Outcome> {
    Err(Error::NoGpuSupport)
}

impl Outcome {
    pub(super) fn json(&self) -> String {
        match *self {}
    }

    pub(super) fn text(&self) -> String {
        match *self {}
    }

    pub(super) fn result(&self) -> Result<()> {
        match *self {}
    }
}
